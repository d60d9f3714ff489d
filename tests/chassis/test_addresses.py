from ipaddress import ip_network

import pytest

from ticketing.chassis.addresses import client_address, forwarded_peer

PROXIES = [ip_network("10.0.0.0/24"), ip_network("fd00::5")]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:5000", "192.0.2.7"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:5000", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2:ffff::1%5D:5000", "2001:db8:1:2::/64"),
        ("ipv6:[fe80::1%25eth0]:5000", "fe80::/64"),
        ("ipv6:[::ffff:192.0.2.7]:5000", "192.0.2.7"),
        ("unix:/run/socket", "unix"),
        ("ipv4:nonsense:5000", "nonsense"),
        ("", ""),
    ],
)
def test_an_address_has_no_part_that_its_caller_chooses(peer: str, address: str) -> None:
    assert client_address(peer) == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("ipv4:10.0.0.5:80", ["192.0.2.7"], "192.0.2.7"),
        # A caller writes whatever it likes; its proxy appends the true address.
        ("ipv4:10.0.0.5:80", ["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        ("ipv4:10.0.0.5:80", ["198.51.100.1", "192.0.2.7"], "192.0.2.7"),
        ("ipv4:10.0.0.5:80", ["192.0.2.7, 10.0.0.6"], "192.0.2.7"),
        ("ipv4:10.0.0.5:80", ["192.0.2.7:5000"], "192.0.2.7"),
        ("ipv6:[::ffff:10.0.0.5]:80", ["192.0.2.7"], "192.0.2.7"),
        ("ipv6:[fd00::5]:80", ["2001:db8:1:2:3::1"], "2001:db8:1:2::/64"),
        ("ipv6:[fd00::5]:80", ["[2001:db8:1:2:3::1]:5000"], "2001:db8:1:2::/64"),
        # Without a usable address, the last trusted one counts.
        ("ipv4:10.0.0.5:80", [], "10.0.0.5"),
        ("ipv4:10.0.0.5:80", ["192.0.2.7, unknown"], "10.0.0.5"),
        ("ipv4:10.0.0.5:80", ["10.0.0.6, 10.0.0.7"], "10.0.0.6"),
        # Nobody else is believed.
        ("ipv4:192.0.2.9:80", ["192.0.2.7"], "192.0.2.9"),
        ("ipv6:[fd00::6]:80", ["192.0.2.7"], "fd00::/64"),
        ("unix:/run/socket", ["192.0.2.7"], "unix"),
    ],
)
def test_only_trusted_proxies_name_the_address_of_a_caller(peer: str, forwarded: list[str], address: str) -> None:
    metadata = [("x-request-id", "1"), *(("x-forwarded-for", value) for value in forwarded)]
    assert client_address(forwarded_peer(peer, metadata, PROXIES)) == address

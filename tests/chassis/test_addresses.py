import pytest

from ticketing.chassis.addresses import client_address


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

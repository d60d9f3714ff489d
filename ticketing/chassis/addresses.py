"""The addresses of callers, without what a caller can change at will."""

from ipaddress import IPv6Address, ip_address
from urllib.parse import unquote


def client_address(peer: str) -> str:
    """Return the address in `peer` without its port, such as "ipv4:192.0.2.7:5000"; of an IPv6 address the first half.

    One customer of a network usually has 2^64 addresses of IPv6. Callers on this machine have an address like any other.
    """
    scheme, _, rest = peer.partition(":")
    if scheme not in {"ipv4", "ipv6"}:
        return scheme
    text = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"

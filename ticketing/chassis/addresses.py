"""The addresses of callers, without what a caller can change at will."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias
from urllib.parse import unquote

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

IP_SCHEMES: Final = frozenset({"ipv4", "ipv6"})
FORWARDED_FOR: Final = "x-forwarded-for"


def client_address(peer: str) -> str:
    """Return the address in `peer` without its port, such as "ipv4:192.0.2.7:5000"; of an IPv6 address the first half.

    One customer of a network usually has 2^64 addresses of IPv6. Callers on this machine have an address like any other.
    """
    scheme, _, rest = peer.partition(":")
    if scheme not in IP_SCHEMES:
        return scheme
    text = _host(rest)
    address = _parse(text)
    if address is None:
        return text
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def forwarded_peer(peer: str, metadata: Iterable[tuple[str, str | bytes]], trusted: Sequence[Network]) -> str:
    """Return the peer of a call that came through `trusted` proxies, in the form of a gRPC address; else `peer` itself.

    Each proxy appends the address that it saw to `x-forwarded-for`. From the right, the first address that is no trusted
    proxy is the caller's: a caller can write anything to the left of it.
    """
    found = _address_of(peer)
    if found is None or not _is_trusted(found, trusted):
        return peer
    hops = [hop for key, value in metadata if key == FORWARDED_FOR for hop in str(value).split(",")]
    for hop in reversed(hops):
        address = _address_of_hop(hop.strip())
        if address is None:
            # A proxy that hides the address: what stands to the left of it may be invented.
            break
        found = address
        if not _is_trusted(address, trusted):
            break
    return f"ipv6:[{found}]:0" if isinstance(found, IPv6Address) else f"ipv4:{found}:0"


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _address_of(peer: str) -> Address | None:
    scheme, _, rest = peer.partition(":")
    return _parse(_host(rest)) if scheme in IP_SCHEMES else None


def _host(rest: str) -> str:
    return unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]


def _address_of_hop(hop: str) -> Address | None:
    """Parse an address, which some proxies write with a port."""
    if hop.startswith("["):
        return _parse(hop[1:].partition("]")[0])
    return _parse(hop) or _parse(hop.rpartition(":")[0])


def _parse(text: str) -> Address | None:
    """Parse an address; an IPv4 address in the form of IPv6 becomes one of IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address

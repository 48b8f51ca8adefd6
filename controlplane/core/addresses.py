"""Which addresses the pre-flight may connect to.

A stranger's DNS says where to connect, so only addresses of the public Internet are good: never the process's own machine, its
network, a cloud's metadata service, or an address that carries one of those inside. The IANA special-purpose registries (RFC 6890)
decide, through `ipaddress`; what older versions of that module miss is listed here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_SIX_TO_FOUR_RELAY = IPv4Network("192.88.99.0/24")  # RFC 7526: deprecated, anycast
_PROTOCOL_ASSIGNMENTS = IPv4Network("192.0.0.0/24")  # RFC 6890 section 2.1
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291 section 2.4: all that IANA hands out
_DOCUMENTATION = IPv6Network("3fff::/20")  # RFC 9637
_IETF_PROTOCOLS = IPv6Network("2001::/23")  # RFC 2928; holds Teredo, 2001::/32
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1: the IPv4 address is in the last 32 bits
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056 section 2: the IPv4 address is in bits 16 to 47


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What may be connected to: public addresses, and the networks that the operator allows besides."""

    allow: tuple[IPNetwork, ...] = ()

    def refusal(self, address: IPAddress) -> str:
        """Returns why `address` must not be connected to, as the end of a sentence ("it is ..."); empty when it may be."""
        if any(address.version == network.version and address in network for network in self.allow):
            return ""
        if isinstance(address, IPv4Address):
            return _refusal_v4(address)
        return self._refusal_v6(address)

    def _refusal_v6(self, address: IPv6Address) -> str:
        if address.scope_id is not None:
            return "an address with a zone"
        if address.ipv4_mapped is not None:
            return "an IPv4-mapped address, which is not for use on the wire"
        if address in _NAT64:
            return self._refusal_of_carried(IPv4Address(int(address) & 0xFFFFFFFF), "a NAT64")
        if address in _SIX_TO_FOUR:
            return self._refusal_of_carried(IPv4Address((int(address) >> 80) & 0xFFFFFFFF), "a 6to4")
        if address.is_multicast:
            return "a multicast address"
        if address not in _GLOBAL_UNICAST:
            return _kind(address)
        if address in _DOCUMENTATION:
            return "an address for documentation"
        if address in _IETF_PROTOCOLS or not address.is_global:
            return "a special-purpose address"
        return ""

    def _refusal_of_carried(self, carried: IPv4Address, kind: str) -> str:
        reason = self.refusal(carried)
        return f"{kind} address that carries {carried}, {reason}" if reason else ""


def parse_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Returns networks in CIDR notation as values; a bare address is a network of one.

    Raises:
        ValueError: one is not a network, or has host bits set.
    """
    return tuple(ip_network(text.strip()) for text in texts)


def _refusal_v4(address: IPv4Address) -> str:
    if address.is_multicast:
        return "a multicast address"
    if address in _SIX_TO_FOUR_RELAY or address in _PROTOCOL_ASSIGNMENTS:
        return "a special-purpose address"
    return "" if address.is_global else _kind(address)


def _kind(address: IPAddress) -> str:
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    return "a private or special-purpose address"

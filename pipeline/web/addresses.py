"""Which addresses may be connected to: the check stands between the name's resolution and the socket.

The connector asks `Gate.socket` for a socket to one resolved address, at every connection and so at every redirect:
there is no second look-up that could answer otherwise (DNS rebinding), and a literal address is judged the same.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

from pipeline.web.errors import FetchError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
HOLDING = tuple(ipaddress.IPv6Network(one) for one in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
"""IPv6 networks whose last 32 bits are an IPv4 address: compatible, translated, NAT64."""
LOCAL = tuple(ipaddress.IPv6Network(one) for one in ("fec0::/10", "64:ff9b:1::/48"))
"""Networks of a site's own that older tables of the standard library take for public ones."""


class Gate:
    """Lets public addresses through, and those of the networks that the settings name."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._allow = [ipaddress.ip_network(network) for network in allow]

    def lets(self, address: str) -> bool:
        """Whether this address may be connected to."""
        found = real(ipaddress.ip_address(address.partition("%")[0]))
        return is_public(str(found)) or any(
            found.version == network.version and found in network for network in self._allow
        )

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for one answer of getaddrinfo.

        Raises:
            FetchError: the address is not one that may be asked.
        """
        family, kind, protocol, _, address = info
        if not self.lets(str(address[0])):
            raise FetchError(
                "forbidden_address",
                "a private, loopback or reserved address; [fetch] allow names networks that may be asked",
            )
        return socket.socket(family, kind, protocol)


def real(address: Address) -> Address:
    """The IPv4 address that hides inside an IPv6 one (mapped, 6to4, Teredo, NAT64), or the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and int(address) > 1 and any(address in network for network in HOLDING):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, also when it hides a private one inside IPv6."""
    found = real(ipaddress.ip_address(address.partition("%")[0]))
    if isinstance(found, ipaddress.IPv6Address) and any(found in network for network in LOCAL):
        return False
    return found.is_global and not found.is_multicast

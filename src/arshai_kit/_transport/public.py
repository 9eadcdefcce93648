"""Public addresses and no others: an address that a stranger chose must not lead into the network we stand in.

A name is resolved once, here, and the connection goes to the very addresses that were looked at: a second answer of
its name server is never asked for.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final

from arshai_kit._transport.blame import unconnected
from arshai_kit.errors import Misuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arshai_kit._transport.exchange import Exchange

__all__ = ["Found", "Guard", "all_public", "blind", "is_public", "only_public", "resolved"]

Found = tuple[Any, Any, int, str, Any]
"""One answer of `getaddrinfo`, its last item the address."""

# Beside what `ipaddress` calls not global, whose lists differ from one Python to the next.
_SPECIAL: Final = (
    IPv4Network("192.0.0.0/24"),  # assigned to protocols; one cloud keeps its metadata here
    IPv4Network("192.88.99.0/24"),  # relays into the tunnels of 6to4
    IPv4Network("168.63.129.16/32"),  # in one cloud, the host under each machine
    IPv4Network("224.0.0.0/4"),
    IPv4Network("240.0.0.0/4"),
)
_UNICAST: Final = IPv6Network("2000::/3")
_SPECIAL_6: Final = (
    IPv6Network("2001::/23"),  # assigned to protocols; holds the tunnels of Teredo
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),  # 6to4: a tunnel to the IPv4 address inside
    IPv6Network("3fff::/20"),
)
_NAT64: Final = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether *address*, as `getaddrinfo` writes it, is one that everybody on the internet reaches.

    >>> [is_public(each) for each in ("93.184.216.34", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0")]
    [True, False, False, False, False]
    >>> [is_public(each) for each in ("2606:4700::1111", "::1", "fd00:ec2::254", "fe80::1%eth0", "2002:7f00:1::")]
    [True, False, False, False, False]
    >>> [is_public(each) for each in ("::ffff:127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::93.184.216.34")]
    [False, False, True]
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv4Address):
        return ip.is_global and not any(ip in each for each in _SPECIAL)
    if ip.scope_id is not None:  # it means something on one link only
        return False
    if (inside := _inside(ip)) is not None:
        return is_public(str(inside))
    return ip in _UNICAST and ip.is_global and not any(ip in each for each in _SPECIAL_6)


def _inside(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that *ip* really leads to, on a machine that writes all as IPv6 or behind a translator."""
    return IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in _NAT64 else ip.ipv4_mapped


def only_public(host: str, found: Sequence[Found]) -> list[Found]:
    """Those of the addresses *found* for *host* that are public; raises when none is."""
    public = [each for each in found if is_public(str(each[4][0]))]
    if not public:
        raise not_public(host)
    return public


def all_public(host: str, found: Sequence[Found]) -> None:
    """Raise unless all addresses *found* for *host* are public: others will choose one of them."""
    if len(only_public(host, found)) < len(found):
        raise not_public(host)


def not_public(host: str) -> Misuse:
    """The refusal to connect to *host*."""
    return Misuse(
        f"{host} is not at a public address, and nothing else is fetched: read it yourself and pass its bytes"
    )


def blind(host: str) -> Misuse:
    """The refusal to trust a client that does not say whom it connected to for *host*."""
    return Misuse(
        f"this client does not tell what it connects to, so nothing is fetched from {host} by it: pass the bytes, "
        "or fetch them in a using(…) without client="
    )


def resolved(exchange: Exchange, host: str, port: int) -> list[Found]:
    """The addresses of *host*.

    The look-up cannot be broken off, nor does it know the time; whoever blew the fuse does not wait for it.
    """
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise unconnected(exchange, error) from error


class Guard:
    """Looks on while a foreign client connects, told by httpcore's `trace`, and ends what leads to no public address.

    By then there is a connection, but not one byte has been sent. *told* says whether the client tells anything.
    """

    __slots__ = ("_direct", "host", "told")

    def __init__(self, host: str) -> None:
        self.told = False
        self.host = host
        self._direct = True

    def blocking(self, event: str, facts: Any) -> None:
        """Hear of an *event* in a blocking client."""
        if self._is_wrong(event, facts):
            facts["return_value"].close()
            raise not_public(self.host)

    async def awaiting(self, event: str, facts: Any) -> None:
        """Hear of an *event* in a client that awaits."""
        if self._is_wrong(event, facts):
            await facts["return_value"].aclose()
            raise not_public(self.host)

    def _is_wrong(self, event: str, facts: Any) -> bool:
        self.told = True
        if event.endswith("connect_tcp.started"):
            self._direct = facts.get("host") == self.host  # anything else is the user's own proxy
        if not self._direct or not event.endswith("connect_tcp.complete"):
            return False
        peer = facts["return_value"].get_extra_info("server_addr")
        return not peer or not is_public(str(peer[0]))

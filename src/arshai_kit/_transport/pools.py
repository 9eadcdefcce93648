"""What our pools of connections have in common, whether they block or await."""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import httpcore
from attrs import frozen

from arshai_kit._transport.environment import ProxyAddress, tls_context
from arshai_kit.errors import Misuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arshai_kit._transport.exchange import Exchange
    from arshai_kit._transport.route import Route

__all__ = ["LEFT_OVER", "LINGER", "Address", "Shelf", "Way", "call_options", "keep_alive", "pool_options"]

# Seconds that an idle connection is kept. Servers and the boxes between drop theirs after 5 to 350; one that went
# meanwhile is noticed before it is used, or asked again on a fresh one (`Exchange.may_go_again`).
IDLE = 30.0

# How long, and for how many bytes, the end of a body is waited for once the reply itself is complete.
LINGER = 0.2
LEFT_OVER = 64 * 1024

# A reasoning model is silent for minutes: without these probes a box on the way forgets the connection.
PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}


class Address(httpcore.URL):
    """An address whose origin is worked out once, not at each of the pool's questions."""

    @cached_property
    def origin(self) -> httpcore.Origin:
        """Scheme, host and port."""
        return super().origin

    @classmethod
    def of(cls, route: Route) -> Address:
        """The address that *route* leads to."""
        usual = {"http": 80, "https": 443}[route.scheme]  # left out, as a proxy is told the address by its text
        port = None if route.port == usual else route.port
        return cls(scheme=route.scheme, host=route.host, port=port, target=route.target)


C = TypeVar("C", httpcore.ConnectionInterface, httpcore.AsyncConnectionInterface)


@frozen
class Way(Generic[C]):
    """A route, and what makes connections along it, by a proxy or straight."""

    route: Route
    address: Address
    connect: Callable[[], C]
    proxy: ProxyAddress | None

    @property
    def proxied(self) -> bool:
        """Whether there is a proxy, who makes the connections to servers."""
        return self.proxy is not None

    def begin(self, exchange: Exchange) -> None:
        """Let *exchange* go this way; a public one never meets a connection that was made with no look at its peer."""
        exchange.origin = self.route.origin
        exchange.proxy = self.proxy
        if exchange.request.public:
            exchange.origin = f"public {exchange.origin}"
            exchange.public = not self.proxied


class Shelf(Generic[C]):
    """Connections at rest, for each origin the one used last on top.

    httpcore's own pool looks at each connection, for each other one, whenever a request comes or ends: minutes of
    work for a thousand conversations. Here the gate has counted already, and a connection is taken or put back. Every
    step is one operation on a deque, so threads need no lock.
    """

    def __init__(self) -> None:
        self._resting: dict[str, deque[tuple[C, float]]] = {}

    def take(self, origin: str) -> C | None:
        """The connection to *origin* that was used last."""
        try:
            return self._resting[origin].pop()[0]
        except (KeyError, IndexError):
            return None

    def put(self, origin: str, connection: C) -> list[C]:
        """Lay *connection* down if it can serve again; returns what is to be closed, those that rested too long too."""
        if not connection.is_idle() or connection.has_expired() or _left_over(connection):
            return [connection]
        now = monotonic()
        self._resting.setdefault(origin, deque()).append((connection, now))
        return [old for each in list(self._resting.values()) for old in _older(each, now - IDLE)]

    def surplus(self, most: int) -> list[C]:
        """Those to be closed so that at most *most* rest: the oldest of the origins that have most."""
        extra: list[C] = []
        while sum(map(len, resting := list(self._resting.values()))) > max(most, 0):
            with suppress(IndexError):  # another thread was faster
                extra.append(max(resting, key=len).popleft()[0])
        return extra


def _left_over(connection: Any) -> bool:
    """Whether bytes have come that belong to no reply: they would be taken for the one to the next request.

    httpcore keeps them and does not tell; h11, which it speaks through, does.
    """
    while (inner := getattr(connection, "_connection", None)) is not None:
        connection = inner
    state = getattr(connection, "_h11_state", None)
    return state is not None and bool(state.trailing_data[0])


def _older(resting: deque[tuple[C, float]], since: float) -> Iterator[C]:
    with suppress(IndexError):
        while resting[0][1] < since:
            yield resting.popleft()[0]


def pool_options(scheme: str, proxy: ProxyAddress | None, backend: Any) -> dict[str, Any]:
    """What httpcore needs to know to make connections, for https or for http, through *proxy* if there is one."""
    return {
        "ssl_context": tls_context() if scheme == "https" else None,
        "proxy": None if proxy is None else _proxy(proxy),
        "keepalive_expiry": IDLE,
        "network_backend": backend,
    }


def _proxy(address: ProxyAddress) -> httpcore.Proxy:
    if address.scheme.startswith("socks5") and find_spec("socksio") is None:
        raise Misuse("the environment names a SOCKS proxy: pip install socksio, or unset ALL_PROXY")
    return httpcore.Proxy(
        f"{address.scheme}://{address.name}",
        auth=(address.user.encode(), address.password.encode()) if address.user or address.password else None,
        ssl_context=tls_context() if address.scheme == "https" else None,
    )


def call_options(exchange: Exchange) -> dict[str, Any]:
    """The extensions of a request: httpcore hands each time-out on to our streams as it is, so it may be *exchange*."""
    return {"timeout": {"connect": exchange, "read": exchange, "write": exchange}}


def keep_alive(sock: Any) -> None:
    """Have the system probe a connection that is silent for long."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _probes():
        sock.setsockopt(socket.IPPROTO_TCP, name, value)


def _probes() -> Iterator[tuple[int, int]]:
    for name, value in PROBES.items():
        if (number := getattr(socket, name, None)) is not None:  # not every system has all of them
            yield number, value

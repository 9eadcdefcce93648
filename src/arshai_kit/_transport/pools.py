"""What our pools of connections have in common, whether they block or await."""

from __future__ import annotations

import socket
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import httpcore

from arshai_kit._transport.environment import ProxyAddress, tls_context
from arshai_kit.errors import Misuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arshai_kit._transport.exchange import Exchange, Limits
    from arshai_kit._transport.route import Route

__all__ = ["LEFT_OVER", "LINGER", "Address", "Used", "call_options", "keep_alive", "pool_options"]

# Seconds that an idle connection is kept. Servers and the boxes between drop theirs after 5 to 350; one that went
# meanwhile is noticed before it is used, or asked again on a fresh one (`Exchange.may_go_again`).
IDLE = 30.0

# How long, and for how many bytes, the end of a body is waited for once the reply itself is complete.
LINGER = 0.2
LEFT_OVER = 64 * 1024

# A reasoning model is silent for minutes: without these probes a box on the way forgets the connection.
PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 60, "TCP_KEEPCNT": 5}


class Used(Exception):
    """A connection that has served before, where only a fresh one will do; never leaves the transport."""


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


def pool_options(scheme: str, proxy: ProxyAddress | None, limits: Limits, backend: Any) -> dict[str, Any]:
    """How a pool is made, for https or for http, through *proxy* if there is one."""
    return {
        "ssl_context": tls_context() if scheme == "https" else None,
        "proxy": None if proxy is None else _proxy(proxy),
        # The gate lets in no more exchanges than this, so that nobody waits inside the pool, where no fuse reaches.
        "max_connections": limits.max_connections,
        "max_keepalive_connections": None,
        "keepalive_expiry": IDLE,
        "network_backend": backend,
    }


def _proxy(address: ProxyAddress) -> httpcore.Proxy:
    if address.scheme.startswith("socks5") and find_spec("socksio") is None:
        raise Misuse("the environment names a SOCKS proxy: pip install socksio, or unset ALL_PROXY")
    host = f"[{address.host}]" if ":" in address.host else address.host
    return httpcore.Proxy(
        f"{address.scheme}://{host}:{address.port}",
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

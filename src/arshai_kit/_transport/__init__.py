"""HTTP exchanges, for the drivers: nothing in here knows about plans, and nothing above knows about sockets."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol

from arshai_kit._transport.exchange import Fuse, Limits
from arshai_kit.errors import Misuse

if TYPE_CHECKING:
    from arshai_kit.effects import Reply, Request

__all__ = ["AsyncLine", "AsyncTransport", "Fuse", "Limits", "Line", "Transport", "async_transport", "sync_transport"]


class Line(Protocol):
    """A reply whose body is still coming."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...
    def read(self, until: float) -> bytes: ...
    def close(self) -> None: ...
    def finish(self) -> None: ...


class Transport(Protocol):
    """Exchanges that block; times are those of `time.monotonic`."""

    def open(self, request: Request, until: float, fuse: Fuse | None = None) -> Line: ...
    def send(self, request: Request, until: float, fuse: Fuse | None = None) -> Reply: ...
    def close(self) -> None: ...


class AsyncLine(Protocol):
    """A reply whose body is still coming, for tasks."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...
    async def read(self, until: float) -> bytes: ...
    async def close(self) -> None: ...
    async def finish(self) -> None: ...


class AsyncTransport(Protocol):
    """Exchanges that await, broken off by cancelling; bound to the event loop that used it first."""

    async def open(self, request: Request, until: float) -> AsyncLine: ...
    async def send(self, request: Request, until: float) -> Reply: ...
    async def close(self) -> None: ...


def sync_transport(client: Any, limits: Limits) -> Transport:
    """Exchanges over *client*, an `httpx.Client` or its like; over our own connections without one."""
    if client is None:
        from arshai_kit._transport.blocking import SyncTransport

        return SyncTransport(limits)
    if _is_async(client):
        raise Misuse(
            "this client is async: give its sync twin too, with a using(client=httpx.Client(…)) of its own, "
            "or call the functions of arshai_kit.aio"
        )
    from arshai_kit._transport.foreign import ForeignSync

    return ForeignSync(client)


def async_transport(client: Any, limits: Limits) -> AsyncTransport:
    """Exchanges over *client*, an `httpx.AsyncClient` or its like; over our own connections without one."""
    if client is None:
        from arshai_kit._transport.awaiting import OwnAsync

        return OwnAsync(limits)
    if not _is_async(client):
        raise Misuse(
            "this client is sync: the functions of arshai_kit.aio take its async twin, "
            "with a using(client=httpx.AsyncClient(…)) of its own"
        )
    from arshai_kit._transport.foreign import ForeignAsync

    return ForeignAsync(client)


def _is_async(client: Any) -> bool:
    if not callable(getattr(client, "send", None)) or not callable(getattr(client, "build_request", None)):
        raise Misuse(f"client= takes an httpx or httpx2 client, not {type(client).__name__}")
    return iscoroutinefunction(client.send)

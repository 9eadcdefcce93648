"""The same questions for every transport: ours and foreign ones, blocking and awaiting, on asyncio and trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from time import monotonic
from typing import Any, TypeVar

import anyio
import pytest
from attrs import field, frozen

from arshai_kit import _transport
from arshai_kit._transport import AsyncTransport, Transport
from arshai_kit._transport.environment import tls_context
from arshai_kit.effects import Reply, Request
from arshai_kit.errors import ArshaiError
from tests.transport.server import SOON

T = TypeVar("T")


@frozen
class Bounds:
    """How many exchanges run at a time."""

    max_connections: int = 100
    max_connections_per_host: int = 100


@frozen
class Heard:
    """What a streamed exchange gave: pieces until its end, or until an error."""

    status: int
    headers: tuple[tuple[str, str], ...]
    pieces: tuple[bytes, ...]
    error: ArshaiError | None = None


@frozen
class World:
    """A transport, asked in a way that hides whether it blocks."""

    name: str
    backend: str = ""
    library: str = ""
    limits: Bounds = field(default=Bounds())

    @property
    def foreign(self) -> bool:
        """Whether a client of the user does the work."""
        return bool(self.library)

    def send(self, *requests: Request, seconds: float = SOON) -> list[Reply]:
        """The replies to *requests*, one after another."""
        if not self.backend:
            with self.blocking() as transport:
                return [transport.send(each, monotonic() + seconds) for each in requests]

        async def asked(transport: AsyncTransport) -> list[Reply]:
            return [await transport.send(each, monotonic() + seconds) for each in requests]

        return self._awaited(asked)

    def stream(self, *requests: Request, seconds: float = SOON, most: int = 10**9, polite: bool = False) -> list[Heard]:
        """What is heard of *requests*, one after another, after at most *most* pieces of each."""
        if not self.backend:
            with self.blocking() as transport:
                return [_heard(transport, each, seconds, most, polite) for each in requests]

        async def asked(transport: AsyncTransport) -> list[Heard]:
            return [await _aheard(transport, each, seconds, most, polite) for each in requests]

        return self._awaited(asked)

    @contextmanager
    def blocking(self) -> Iterator[Transport]:
        """The blocking transport of this world."""
        client = import_module(self.library).Client(verify=tls_context()) if self.foreign else None
        transport = _transport.sync_transport(client, self.limits)
        try:
            yield transport
        finally:
            transport.close()
            if client is not None:
                client.close()

    def _awaited(self, asked: Callable[[AsyncTransport], Awaitable[list[T]]]) -> list[T]:
        async def main() -> list[T]:
            client = import_module(self.library).AsyncClient(verify=tls_context()) if self.foreign else None
            transport = _transport.async_transport(client, self.limits)
            try:
                return await asked(transport)
            finally:
                await transport.close()
                if client is not None:
                    await client.aclose()

        return anyio.run(main, backend=self.backend)


def _heard(transport: Transport, request: Request, seconds: float, most: int, polite: bool) -> Heard:
    line = transport.open(request, monotonic() + seconds)
    pieces: list[bytes] = []
    error = None
    try:
        while len(pieces) < most and (piece := line.read(monotonic() + seconds)):
            pieces.append(piece)
    except ArshaiError as raised:
        error = raised
    (line.finish if polite else line.close)()
    return Heard(line.status, line.headers, tuple(pieces), error)


async def _aheard(transport: AsyncTransport, request: Request, seconds: float, most: int, polite: bool) -> Heard:
    line = await transport.open(request, monotonic() + seconds)
    pieces: list[bytes] = []
    error = None
    try:
        while len(pieces) < most and (piece := await line.read(monotonic() + seconds)):
            pieces.append(piece)
    except ArshaiError as raised:
        error = raised
    await (line.finish if polite else line.close)()
    return Heard(line.status, line.headers, tuple(pieces), error)


OURS = (World("sync"), World("asyncio", "asyncio"), World("trio", "trio"))
FOREIGN = tuple(
    World(f"{library}-{world.name}", world.backend, library) for library in ("httpx", "httpx2") for world in OURS
)


def params(*worlds: World) -> list[Any]:
    """*worlds* as parameters, those of httpx2 needing it."""
    return [
        pytest.param(world, id=world.name, marks=[pytest.mark.needs("httpx2")] if world.library == "httpx2" else [])
        for world in worlds
    ]


everywhere = pytest.mark.parametrize("world", params(*OURS, *FOREIGN))
ours = pytest.mark.parametrize("world", params(*OURS))
foreign = pytest.mark.parametrize("world", params(*FOREIGN))

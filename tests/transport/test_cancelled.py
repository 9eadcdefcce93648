"""Cancelled wherever it waits, an exchange leaves no socket open, no connection in use, and no turn taken."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from threading import get_ident
from time import monotonic
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from attrs import frozen

from arshai_kit._transport.awaiting import OwnAsync, closed
from arshai_kit._transport.environment import tls_context
from arshai_kit.effects import Request
from arshai_kit.errors import Unreachable
from tests.transport.server import PEM, SOON, Peer, always, chunked, proxying, reply, serving, socks
from tests.transport.worlds import Bounds, World, ours

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

Asked = Coroutine[Any, Any, None]


@pytest.fixture(autouse=True)
def _trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


@contextmanager
def sockets() -> Iterator[list[socket.socket]]:
    """The sockets for the network that this thread makes; held, so that no collector closes what we forgot."""
    made: list[socket.socket] = []
    thread = get_ident()

    class Counted(socket.socket):
        def __init__(self, *options: Any, **named: Any) -> None:
            super().__init__(*options, **named)
            if self.family == socket.AF_INET and get_ident() == thread:
                made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", Counted)
        yield made


@frozen
class Cut:
    """*coroutine*, awaited; *cancel* is called as it begins to wait for the *number*-th time."""

    coroutine: Asked
    number: int
    cancel: Callable[[], Any]

    def __await__(self) -> Generator[Any, Any, None]:
        resume = partial(self.coroutine.send, None)
        for waits in count():
            try:
                wanted = resume()
            except StopIteration:
                return
            if waits == self.number:
                self.cancel()
            try:
                resume = partial(self.coroutine.send, (yield wanted))
            except BaseException as error:  # whatever it is, it is the coroutine's
                resume = partial(self.coroutine.throw, error)


async def by_a_scope(asked: Asked, number: int) -> bool:
    """Cancel as anyio and trio do; whether it came to that."""
    with anyio.CancelScope() as scope:
        await Cut(asked, number, scope.cancel)
    return scope.cancel_called


async def by_its_task(asked: Asked, number: int) -> bool:
    """Cancel as asyncio does, once and through every shield; whether it came to that."""
    called: list[bool] = []

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        await Cut(asked, number, lambda: called.append(task.cancel()))

    await asyncio.gather(asyncio.create_task(run()), return_exceptions=True)
    return bool(called)


async def by_another(asked: Asked, number: int) -> bool:
    """Cancel from a second task, after *number* turns of the event loop: wherever our own tasks stand by then."""

    async def run() -> None:
        await asked
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        for _ in range(number):
            await checkpoint()
        group.cancel_scope.cancel()
    return number < 60


Cancelling = Callable[[Asked, int], Awaitable[bool]]

ways_to_cancel = pytest.mark.parametrize(
    ("backend", "cancelling"),
    [
        pytest.param(backend, cancelling, id=f"{backend}-{cancelling.__name__}")
        for backend in ("asyncio", "trio")
        for cancelling in (by_a_scope, by_its_task, by_another)
        if (backend, cancelling) != ("trio", by_its_task)
    ],
)


async def whole_and_streamed(transport: OwnAsync, url: str) -> None:
    """Ask for a whole reply and then, on the same connection, for a streamed one, closed as the drivers close it."""
    request = Request("POST", url, content=b"{}")
    await transport.send(request, monotonic() + SOON)
    line = await transport.open(request, monotonic() + SOON)
    try:
        while await line.read(monotonic() + SOON):
            pass
    finally:
        with anyio.CancelScope(shield=True):
            await line.close()


async def cancelled_everywhere(url: str, cancelling: Cancelling, made: list[socket.socket]) -> None:
    """Cancel at the first wait, at the second, and so on until there is none left."""
    for number in count():
        transport = OwnAsync(Bounds())
        came_to_that = await cancelling(whole_and_streamed(transport, url), number)
        assert not transport._gate._at
        assert not transport._busy
        await transport.close()
        assert not [each for each in made if each.fileno() >= 0], number
        if not came_to_that:
            break
    assert number > 10
    assert len(made) > 3


@ways_to_cancel
@pytest.mark.parametrize("way", ["plain", "tls", "tunnel", pytest.param("socks", marks=pytest.mark.needs("socks"))])
def test_no_socket_is_left(way: str, backend: str, cancelling: Cancelling, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(serving(always(chunked(b"data: 1\n\n", b"data: 2\n\n")), tls=way != "plain"))
        if way in ("tunnel", "socks"):
            proxy = stack.enter_context(serving(proxying if way == "tunnel" else socks))
            monkeypatch.setenv("ALL_PROXY", proxy.url.replace("http", "socks5" if way == "socks" else "http"))
        made = stack.enter_context(sockets())
        anyio.run(cancelled_everywhere, server.url, cancelling, made, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_whole_reply_that_has_come_leaves_its_connection_to_others(backend: str) -> None:
    """Cancelled as the very last byte comes, a request has nothing to break off."""

    async def asked() -> None:
        transport = OwnAsync(Bounds())
        request = Request("POST", server.url, content=b"{}")
        line = await transport.open(request, monotonic() + SOON)
        while await line.read(monotonic() + SOON) != b"hello":
            pass
        with anyio.CancelScope() as scope:
            scope.cancel()
            await line.read(monotonic() + SOON)
        await line.close()
        await transport.send(request, monotonic() + SOON)
        await transport.close()

    with serving(always(reply())) as server:
        anyio.run(asked, backend=backend)
        assert len(server.peers) == 1


@ours
@pytest.mark.needs("socks")
def test_a_socks_proxy_that_refuses_keeps_no_socket(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(peer: Peer) -> None:
        peer.sock.recv(4096)
        peer.send(b"\5\xff")
        assert peer.hung_up()

    with serving(refusing) as proxy, sockets() as made:
        monkeypatch.setenv("ALL_PROXY", proxy.url.replace("http", "socks5"))
        with pytest.raises(Unreachable):
            world.send(Request("GET", "http://nowhere.invalid"))
        assert made
        assert not [each for each in made if each.fileno() >= 0]


def test_a_task_cancelled_while_it_closes_closes_them_all() -> None:
    class Connection:
        def __init__(self) -> None:
            self.is_closed = False

        async def aclose(self) -> None:
            self.is_closed = True
            await checkpoint()

    async def main() -> None:
        task = asyncio.create_task(closed(connections))  # type: ignore[arg-type]  # what is closed needs no more
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    connections = [Connection() for _ in range(3)]
    asyncio.run(main())
    assert all(each.is_closed for each in connections)

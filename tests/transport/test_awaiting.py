"""Tasks: cancelling is breaking off, turns are fair, and nothing is left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic

import anyio
import httpx
import pytest
from anyio.abc import TaskStatus

from arshai_kit import _transport
from arshai_kit._transport.awaiting import OwnAsync
from arshai_kit.effects import Request
from arshai_kit.errors import BadReply, Misuse, TimedOut, Unreachable
from tests.transport.server import SOON, Peer, Server, always, chunked, once, reply, serving, silent
from tests.transport.test_breaking import a_full_backlog
from tests.transport.worlds import Bounds

pytestmark = pytest.mark.anyio


def to(url: str, content: bytes = b"{}", connect_timeout: float = SOON) -> Request:
    """A request."""
    return Request("POST", url, content=content, connect_timeout=connect_timeout)


@asynccontextmanager
async def ours(limits: Bounds | None = None) -> AsyncIterator[OwnAsync]:
    """Our own transport for tasks."""
    transport = OwnAsync(limits or Bounds())
    try:
        yield transport
    finally:
        await transport.close()


async def until(holds: Callable[[], object]) -> None:
    """Wait until *holds* does."""
    with anyio.fail_after(SOON):
        while not holds():  # noqa: ASYNC110  # what is waited for happens in a server's thread
            await anyio.sleep(0.005)


async def cancelled(act: Callable[[], Awaitable[object]], when: Callable[[], object]) -> None:
    """Begin *act*, and cancel it as soon as *when* holds."""
    ended = False

    async def run(*, task_status: TaskStatus[anyio.CancelScope]) -> None:
        nonlocal ended
        with anyio.CancelScope() as scope:
            task_status.started(scope)
            await act()
        ended = scope.cancelled_caught

    async with anyio.create_task_group() as group:
        scope = await group.start(run)
        await until(when)
        scope.cancel()
    assert ended


async def test_cancelled_while_connecting() -> None:
    with a_full_backlog() as url:
        async with ours() as transport:
            await cancelled(lambda: transport.send(to(url), monotonic() + SOON), lambda: transport._gate._at)
            assert not transport._gate._at
            with pytest.raises(TimedOut, match="no connection"):
                await transport.send(to(url, connect_timeout=0.1), monotonic() + SOON)
            with pytest.raises(TimedOut):
                await transport.send(to(url), monotonic() + 0.1)


async def test_cancelled_during_the_handshake() -> None:
    def behave(peer: Peer) -> None:
        peer.sock.recv(10)
        peer.seen.append(b"hello")
        assert peer.hung_up() or peer.hung_up()

    with serving(behave) as server:
        async with ours() as transport:
            url = server.url.replace("http", "https")
            await cancelled(lambda: transport.send(to(url), monotonic() + SOON), lambda: server.heads)


async def test_cancelled_while_sending() -> None:
    def behave(peer: Peer) -> None:
        peer.sock.recv(10)
        peer.seen.append(b"some")
        server.over.wait(SOON)

    with serving(behave) as server:
        async with ours() as transport:
            large = to(server.url, bytes(20_000_000))
            await cancelled(lambda: transport.send(large, monotonic() + SOON), lambda: server.heads)
            with pytest.raises(TimedOut):
                await transport.send(large, monotonic() + 0.2)


async def test_cancelled_before_the_headers() -> None:
    with serving(silent) as server:
        async with ours() as transport:
            await cancelled(lambda: transport.open(to(server.url), monotonic() + SOON), lambda: server.heads)
            assert not transport._gate._at


async def test_cancelled_in_the_body() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(b"data: 1\n\n", end=False))
        assert peer.hung_up()

    with serving(behave) as server:
        async with ours() as transport:
            line = await transport.open(to(server.url), monotonic() + SOON)
            assert await line.read(monotonic() + SOON) == b"data: 1\n\n"
            await cancelled(lambda: line.read(monotonic() + SOON), lambda: True)
            await line.close()
            await line.close()
            assert not transport._gate._at


async def test_closed_in_a_cancelled_scope() -> None:
    with serving(always(chunked(*[b"data: 1\n\n"] * 100, end=False))) as server:
        async with ours() as transport:
            line = await transport.open(to(server.url), monotonic() + SOON)
            await line.read(monotonic() + SOON)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await line.close()
            assert not transport._gate._at


async def test_closed_unread() -> None:
    with serving(always(chunked(b"data: 1\n\n"))) as server:
        async with ours() as transport:
            line = await transport.open(to(server.url), monotonic() + SOON)
            await line.close()
            assert not transport._gate._at


async def test_whoever_came_first_goes_first() -> None:
    order: list[bytes] = []

    def behave(peer: Peer) -> None:
        while head := peer.request():
            order.append(head.split()[1])
            assert may.wait(SOON)
            peer.send(reply())

    with serving(behave) as server, serving(always(reply(b"other"))) as other:
        may = server.gone
        async with ours(Bounds(10, 1)) as transport, anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(transport.send, to(f"{server.url}/{number}"), monotonic() + SOON)
                await until(lambda number=number: order and len(transport._gate._queue) == number)  # type: ignore[misc]
            assert (await transport.send(to(other.url), monotonic() + SOON)).body == b"other"
            await cancelled(
                lambda: transport.send(to(server.url), monotonic() + SOON), lambda: len(transport._gate._queue) == 5
            )
            with pytest.raises(TimedOut, match="became free"):
                await transport.send(to(server.url), monotonic() + 0.1)
            may.set()
        assert not transport._gate._at
    assert order == [b"/%d" % number for number in range(5)]


async def test_a_turn_that_comes_with_the_cancelling_is_passed_on() -> None:
    async with ours(Bounds(1, 1)) as transport:
        gate = transport._gate
        with serving(always(reply())) as server:
            line = await transport.open(to(server.url), monotonic() + SOON)
            async with anyio.create_task_group() as group:
                group.start_soon(transport.send, to(server.url), monotonic() + SOON)
                await until(lambda: gate._queue)
                await line.read(monotonic() + SOON)
                await line.read(monotonic() + SOON)  # the end: the turn is granted, but its task has not run yet
                assert not gate._queue
                group.cancel_scope.cancel()
            assert not gate._at
            assert (await transport.send(to(server.url), monotonic() + SOON)).body == b"hello"


async def test_many_tasks_share_the_connections() -> None:
    with serving(always(reply())) as server:
        async with ours(Bounds(5, 5)) as transport:
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(transport.send, to(server.url), monotonic() + SOON)
            assert len(server.peers) <= 5


async def test_a_connection_known_to_be_closed_is_not_used() -> None:
    with serving(once(reply())) as server:
        async with ours() as transport:
            for number in range(3):
                assert (await transport.send(to(server.url), monotonic() + SOON)).body == b"hello"
                await until(partial(ended, server, number))
    assert [len(peer.seen) for peer in server.peers] == [1, 1, 1]


def ended(server: Server, number: int) -> bool:
    """Whether the server has closed its side of a connection."""
    return server.peers[number].sock.fileno() < 0


async def test_closing_breaks_what_runs() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(b"data: 1\n\n", end=False))
        peer.hung_up()

    with serving(behave) as server:
        async with ours() as transport:
            line = await transport.open(to(server.url), monotonic() + SOON)
            await line.read(monotonic() + SOON)
            await transport.close()
            with pytest.raises(Unreachable):
                await line.read(monotonic() + SOON)


# -- clients of the user --


def answering(response: Callable[[httpx.Request], httpx.Response]) -> httpx.AsyncClient:
    """A client whose world is *response*."""
    return httpx.AsyncClient(transport=httpx.MockTransport(response))


async def test_a_fake_transport_will_do() -> None:
    async with answering(lambda request: httpx.Response(200, json={"a": 1})) as client:
        transport = _transport.async_transport(client, Bounds())
        assert (await transport.send(to("http://a.example"), monotonic() + SOON)).body == b'{"a":1}'
        line = await transport.open(to("http://a.example"), monotonic() + SOON)
        assert await line.read(monotonic() + SOON) == b'{"a":1}'
        await line.finish()


def test_a_fake_transport_will_do_without_tasks() -> None:
    with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, text="ok"))) as client:
        transport = _transport.sync_transport(client, Bounds())
        assert transport.send(to("http://a.example"), monotonic() + SOON).body == b"ok"
        line = transport.open(to("http://a.example"), monotonic() + SOON)
        assert line.read(monotonic() + SOON) == b"ok"
        line.finish()


async def test_a_reply_that_a_hook_has_read_is_there_all_the_same() -> None:
    async def read(response: httpx.Response) -> None:
        await response.aread()

    import gzip

    with serving(always(reply(gzip.compress(b"hello"), "Content-Encoding: gzip"))) as server:
        async with httpx.AsyncClient(event_hooks={"response": [read]}) as client:
            transport = _transport.async_transport(client, Bounds())
            assert (await transport.send(to(server.url), monotonic() + SOON)).body == b"hello"


async def test_a_mistake_in_the_users_code_stays_what_it_is() -> None:
    def mistaken(request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    async with answering(mistaken) as client:
        transport = _transport.async_transport(client, Bounds())
        with pytest.raises(ZeroDivisionError):
            await transport.send(to("http://a.example"), monotonic() + SOON)
        with pytest.raises(ZeroDivisionError):
            await transport.open(to("http://a.example"), monotonic() + SOON)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (httpx.ReadTimeout("slow"), TimedOut),
        (httpx.DecodingError("what"), BadReply),
        (httpx.LocalProtocolError("sk-secret"), Misuse),
        (httpx.UnsupportedProtocol("which"), Misuse),
        (httpx.TooManyRedirects("round"), Unreachable),
        (ConnectionResetError(), Unreachable),
    ],
)
async def test_errors_of_a_client_are_told_in_our_words(error: Exception, told: type[Exception]) -> None:
    def failing(request: httpx.Request) -> httpx.Response:
        raise error

    async with answering(failing) as client:
        transport = _transport.async_transport(client, Bounds())
        with pytest.raises(told) as raised:
            await transport.send(to("http://a.example"), monotonic() + SOON)
    assert "sk-secret" not in str(raised.value)


async def test_a_closed_client_is_misuse() -> None:
    client = httpx.AsyncClient()
    await client.aclose()
    with pytest.raises(Misuse, match="is closed"):
        await _transport.async_transport(client, Bounds()).send(to("http://a.example"), monotonic() + SOON)


async def test_a_foreign_stream_with_an_unknown_encoding_is_let_go() -> None:
    with serving(always(reply(b"?", "Content-Encoding: br"))) as server:
        async with httpx.AsyncClient() as client:
            with pytest.raises(BadReply, match="br"):
                await _transport.async_transport(client, Bounds()).open(to(server.url), monotonic() + SOON)


def test_the_server_of_tests_is_a_server() -> None:
    server = Server(always(reply()))
    server.close()

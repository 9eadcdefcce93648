"""Fuses: an exchange that another thread breaks off ends at once, whatever it was doing, and hurts no other."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event, Thread
from time import monotonic

import pytest

from arshai_kit._transport import Fuse, sync_transport
from arshai_kit._transport.blocking import SyncTransport
from arshai_kit._transport.exchange import Exchange
from arshai_kit.effects import Reply, Request
from arshai_kit.errors import ArshaiError, TimedOut, Unreachable
from tests.transport.server import (
    SOON,
    Peer,
    Server,
    always,
    bomb,
    chunked,
    eventually,
    once,
    reply,
    serving,
    silent,
)
from tests.transport.worlds import Bounds


def to(url: str, content: bytes = b"{}", connect_timeout: float = SOON) -> Request:
    """A request."""
    return Request("POST", url, content=content, connect_timeout=connect_timeout)


class Worker:
    """A thread that does something and keeps what came of it."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.value: object = None
        self.error: BaseException | None = None
        self._act = act
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._act()
        except BaseException as error:
            self.error = error

    def ended(self) -> Worker:
        """This, once it has come to an end."""
        self._thread.join(SOON)
        assert not self._thread.is_alive()
        return self


@pytest.fixture
def transport() -> Iterator[SyncTransport]:
    """Our own blocking transport."""
    made = SyncTransport(Bounds())
    yield made
    made.close()


def exchange_of(fuse: Fuse) -> Exchange:
    """The exchange that runs under *fuse*, once it does."""
    eventually(lambda: fuse._running)
    (exchange,) = fuse._running
    return exchange


@contextmanager
def a_full_backlog() -> Iterator[str]:
    """An address that takes no more connections, and refuses none."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_while_connecting(transport: SyncTransport) -> None:
    fuse = Fuse()
    with a_full_backlog() as url:
        worker = Worker(lambda: transport.send(to(url), monotonic() + SOON, fuse))
        eventually(lambda: exchange_of(fuse).socket is not None)
        fuse.blow()
        fuse.blow()
        assert "broken off" in str(worker.ended().error)
    assert isinstance(worker.error, Unreachable)
    assert not fuse._running


def test_no_connection_in_time(transport: SyncTransport) -> None:
    with a_full_backlog() as url:
        with pytest.raises(TimedOut, match=r"no connection to .* within 0\.1 s"):
            transport.send(to(url, connect_timeout=0.1), monotonic() + SOON)
        with pytest.raises(TimedOut, match="no connection"):
            transport.send(to(url), monotonic() + 0.1)


def test_during_the_handshake(transport: SyncTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    hello = Event()

    def behave(peer: Peer) -> None:
        peer.sock.recv(10)
        hello.set()
        server.over.wait(SOON)

    fuse = Fuse()
    with serving(behave) as server:
        url = server.url.replace("http", "https")
        worker = Worker(lambda: transport.send(to(url), monotonic() + SOON, fuse))
        assert hello.wait(SOON)
        fuse.blow()
        assert "broken off" in str(worker.ended().error)
        with pytest.raises(TimedOut, match="no connection"):
            transport.send(to(url, connect_timeout=0.1), monotonic() + SOON)


def test_while_sending(transport: SyncTransport) -> None:
    began = Event()

    def behave(peer: Peer) -> None:
        peer.sock.recv(10)
        began.set()
        server.over.wait(SOON)

    fuse = Fuse()
    with serving(behave) as server:
        large = to(server.url, bytes(20_000_000))
        worker = Worker(lambda: transport.send(large, monotonic() + SOON, fuse))
        assert began.wait(SOON)
        fuse.blow()
        assert "broken off" in str(worker.ended().error)
        with pytest.raises(TimedOut):
            transport.send(large, monotonic() + 0.2)


@pytest.mark.parametrize("how", ["send", "open"])
def test_before_the_headers(transport: SyncTransport, how: str) -> None:
    fuse = Fuse()
    with serving(silent) as server:
        worker = Worker(partial(getattr(transport, how), to(server.url), monotonic() + SOON, fuse))
        eventually(lambda: server.heads)
        fuse.blow()
        assert "broken off" in str(worker.ended().error)


def test_in_the_body(transport: SyncTransport) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(b"data: 1\n\n", end=False))
        assert peer.hung_up()

    fuse = Fuse()
    with serving(behave) as server:
        line = transport.open(to(server.url), monotonic() + SOON, fuse)
        assert line.read(monotonic() + SOON) == b"data: 1\n\n"
        worker = Worker(lambda: line.read(monotonic() + SOON))
        fuse.blow()
        assert "broken off" in str(worker.ended().error)
        line.close()


def test_a_body_that_ends_with_the_connection_is_not_taken_for_whole(transport: SyncTransport) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        peer.hung_up()

    fuse = Fuse()
    with serving(behave) as server:
        line = transport.open(to(server.url), monotonic() + SOON, fuse)
        assert line.read(monotonic() + SOON) == b"half"
        fuse.blow()
        with pytest.raises(Unreachable, match="broken off"):
            line.read(monotonic() + SOON)


def test_while_waiting_for_ones_turn() -> None:
    transport = SyncTransport(Bounds(1, 1))
    fuse = Fuse()
    with serving(silent) as server:
        first_fuse = Fuse()
        first = Worker(lambda: transport.send(to(server.url), monotonic() + SOON, first_fuse))
        eventually(lambda: server.heads)
        second = Worker(lambda: transport.send(to(server.url), monotonic() + SOON, fuse))
        eventually(lambda: exchange_of(fuse).waiting is not None)
        fuse.blow()
        assert "broken off" in str(second.ended().error)
        with pytest.raises(TimedOut, match="became free"):
            transport.send(to(server.url), monotonic() + 0.1)
        first_fuse.blow()
        first.ended()
        assert not transport._gate._queue
        assert not transport._gate._at
    transport.close()


def test_a_blown_fuse_lets_nothing_begin(transport: SyncTransport) -> None:
    fuse = Fuse()
    fuse.blow()
    with serving(always(reply())) as server:
        with pytest.raises(Unreachable, match="broken off"):
            transport.send(to(server.url), monotonic() + SOON, fuse)
        assert not server.peers


def test_a_fuse_blown_late_hits_nobody(transport: SyncTransport) -> None:
    early = Fuse()
    with serving(always(reply())) as server:
        transport.send(to(server.url), monotonic() + SOON, early)
        line = transport.open(to(server.url), monotonic() + SOON, early)
        line.finish()
        line = transport.open(to(server.url), monotonic() + SOON)
        early.blow()
        assert line.read(monotonic() + SOON) == b"hello"
        line.finish()
        assert len(server.peers) == 1


def test_no_socket_is_left_open(transport: SyncTransport, recwarn: pytest.WarningsRecorder) -> None:
    """An open socket that is dropped would warn, and each warning is an error here."""
    with serving(once(reply(bomb(10)[:-5], "Content-Encoding: gzip"))) as server:
        for _ in range(3):
            with pytest.raises(ArshaiError):
                transport.send(to(server.url), monotonic() + SOON)
    gc.collect()
    assert not recwarn.list


def test_whoever_came_first_goes_first() -> None:
    transport = SyncTransport(Bounds(10, 1))
    order: list[bytes] = []
    go = Event()

    def behave(peer: Peer) -> None:
        while head := peer.request():
            order.append(head.split()[1])
            go.wait(SOON)
            peer.send(reply())

    def waiting(number: int) -> bool:
        return bool(order) and len(transport._gate._queue) == number

    with serving(behave) as server, serving(always(reply(b"other"))) as other:
        workers: list[Worker] = []
        for number in range(6):
            workers.append(Worker(partial(transport.send, to(f"{server.url}/{number}"), monotonic() + SOON)))
            eventually(partial(waiting, number))
        assert transport.send(to(other.url), monotonic() + SOON).body == b"other"
        go.set()
        assert all(isinstance(worker.ended().value, Reply) for worker in workers)
        assert len(server.peers) == 1
    assert order == [b"/%d" % number for number in range(6)]
    transport.close()


def test_many_threads_share_one_transport() -> None:
    transport = SyncTransport(Bounds(5, 5))
    with serving(always(reply())) as server:

        def act() -> int:
            return sum(len(transport.send(to(server.url), monotonic() + SOON).body) for _ in range(10))

        workers = [Worker(act) for _ in range(20)]
        assert [worker.ended().value for worker in workers] == [50] * 20
        assert len(server.peers) <= 5
    transport.close()


def test_closing_breaks_what_runs_and_the_next_call_connects_anew(transport: SyncTransport) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(b"data: 1\n\n", end=False))
        peer.hung_up()

    with serving(behave) as server:
        line = transport.open(to(server.url), monotonic() + SOON)
        line.read(monotonic() + SOON)
        transport.close()
        with pytest.raises(Unreachable):
            line.read(monotonic() + SOON)
        assert transport.open(to(server.url), monotonic() + SOON).status == 200
        assert len(server.peers) == 2


def test_a_foreign_client_is_broken_off_once_headers_have_come() -> None:
    import httpx

    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(b"data: 1\n\n", end=False))
        assert peer.hung_up()

    fuse = Fuse()
    with serving(behave) as server, httpx.Client() as client:
        transport = sync_transport(client, Bounds())
        line = transport.open(to(server.url), monotonic() + SOON, fuse)
        line.read(monotonic() + SOON)
        worker = Worker(lambda: line.read(monotonic() + SOON))
        fuse.blow()
        assert "broken off" in str(worker.ended().error)
        with pytest.raises(Unreachable, match="broken off"):
            transport.send(to(server.url), monotonic() + SOON, fuse)


def test_a_foreign_client_that_answers_after_the_fuse_blew_is_hung_up_on() -> None:
    import httpx

    fuse = Fuse()

    def answer(request: httpx.Request) -> httpx.Response:
        fuse.blow()
        return httpx.Response(200, content=b"late")

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        transport = sync_transport(client, Bounds())
        with pytest.raises(Unreachable, match="broken off"):
            transport.open(to("http://a.example"), monotonic() + SOON, fuse)
    assert not fuse._running


def test_servers_of_tests_report_their_own_mistakes() -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        raise ZeroDivisionError

    server = Server(behave)
    with pytest.raises(Unreachable):
        SyncTransport(Bounds()).send(to(server.url), monotonic() + SOON)
    server.close()
    assert isinstance(server.errors[0], ZeroDivisionError)

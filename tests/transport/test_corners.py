"""Corners that servers and callers seldom reach, and the laws of the parts."""

from __future__ import annotations

import gzip
import socket
import ssl
import weakref
import zlib
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import _transport
from arshai_kit._transport import exchange as exchanges
from arshai_kit._transport import pools
from arshai_kit._transport.awaiting import OwnAsync
from arshai_kit._transport.blame import unconnected
from arshai_kit._transport.blocking import SyncTransport, _calling
from arshai_kit._transport.body import Gathering, Inflation
from arshai_kit._transport.environment import proxy_for, tls_context
from arshai_kit._transport.exchange import Exchange, Gate, Ticket
from arshai_kit.effects import Request
from arshai_kit.errors import BadReply, TimedOut, Unreachable
from tests.transport.server import PEM, SOON, Peer, always, chunked, once, proxying, raw_deflate, reply, serving, silent
from tests.transport.worlds import Bounds, World, everywhere, ours

HOSTS = st.sampled_from("abc")


def to(url: str, content: bytes = b"{}") -> Request:
    """A request."""
    return Request("POST", url, content=content)


# -- connections --


def forgetful(peer: Peer) -> None:
    """Answer the first request of each of the first two connections, and hang up when another comes."""
    while peer.request() and (peer.number > 1 or len(peer.seen) == 1):
        peer.send(chunked(b"%d" % peer.number))


@pytest.fixture
def _slow_to_hang_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on a busy machine may be."""
    monkeypatch.setattr(exchanges, "STALE", SOON)


@pytest.mark.usefixtures("_slow_to_hang_up")
def test_several_stale_connections_cost_one_answer_nothing() -> None:
    transport = SyncTransport(Bounds())
    with serving(forgetful) as server:
        lines = [transport.open(to(server.url), monotonic() + SOON) for _ in range(2)]
        for line in lines:
            line.finish()
        assert transport.send(to(server.url), monotonic() + SOON).body == b"2"
        assert len(server.peers) == 3
    transport.close()


@pytest.mark.anyio
@pytest.mark.usefixtures("_slow_to_hang_up")
async def test_several_stale_connections_cost_a_task_nothing_either() -> None:
    transport = OwnAsync(Bounds())
    with serving(forgetful) as server:
        lines = [await transport.open(to(server.url), monotonic() + SOON) for _ in range(2)]
        for line in lines:
            await line.finish()
        assert (await transport.send(to(server.url), monotonic() + SOON)).body == b"2"
        await transport.close()


@ours
def test_resting_connections_make_room_for_those_in_use(world: World) -> None:
    small = World(world.name, world.backend, limits=Bounds(1, 1))
    with serving(always(reply(b"one"))) as one, serving(always(reply(b"two"))) as two:
        bodies = [answer.body for answer in small.send(to(one.url), to(two.url), to(two.url), to(one.url))]
        assert (len(one.peers), len(two.peers)) == (2, 1)
    assert bodies == [b"one", b"two", b"two", b"one"]


@ours
def test_connections_do_not_rest_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "IDLE", -1.0)
    with serving(always(reply())) as server:
        world.send(to(server.url), to(server.url))
        assert len(server.peers) == 2


@ours
def test_a_reset_while_sending(world: World) -> None:
    def behave(peer: Peer) -> None:
        peer.sock.recv(10)
        peer.reset()

    with serving(behave) as server, pytest.raises(Unreachable):
        world.send(to(server.url, bytes(20_000_000)))


@everywhere
def test_silence_is_told_from_the_deadline(world: World) -> None:
    told = []
    with serving(silent) as server:
        for timeout, seconds in ((0.1, SOON), (SOON, 0.1)):
            with pytest.raises(TimedOut) as raised:
                world.send(Request("POST", server.url, timeout=timeout), seconds=seconds)
            told.append(str(raised.value))
    knows = not world.name.endswith("-sync")  # who tells, tells less
    assert ["(timeout=0.1)" in each for each in told] == [knows, False]
    assert ["time was up" in each for each in told] == [False, knows]


@ours
def test_no_time_at_all(world: World) -> None:
    with serving(always(reply())) as server:
        with pytest.raises(TimedOut):
            world.send(to(server.url), seconds=-1)
        with pytest.raises(TimedOut):
            world.stream(to(server.url), seconds=-1)


def test_an_address_that_refuses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("255.255.255.255", 1))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    with pytest.raises(Unreachable, match=r"a\.example"):
        World("sync").send(to("http://a.example"))


def test_tls_that_cannot_even_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: object, **kwargs: object) -> None:
        raise ssl.SSLError(1, "no")

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", failing)
    with serving(silent) as server, pytest.raises(Unreachable, match="no TLS"):
        World("sync").send(to(server.url.replace("http", "https")))


def test_a_group_of_errors_is_told_by_its_first() -> None:
    group = ExceptionGroup("", [ConnectionRefusedError(111, "refused"), ConnectionRefusedError(111, "again")])
    error = OSError("all failed")
    error.__cause__ = group
    exchange = Exchange("a", to("http://a"), 0)
    assert str(unconnected(exchange, error)) == "no connection to a: refused"
    assert str(unconnected(exchange, OSError())) == "no connection to a: OSError"


def test_inside_two_tunnels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that ends with its connection, and a server that does not read, both behind a proxy with TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
    tls_context.cache_clear()

    def deaf(peer: Peer) -> None:
        peer.sock.recv(10)
        server.over.wait(SOON)

    whole = once(b"HTTP/1.1 200 OK\r\n\r\nto the end")
    with serving(proxying, tls=True) as proxy, serving(deaf, tls=True) as server, serving(whole, tls=True) as other:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        (answer,) = World("sync").send(to(other.url))
        assert answer.body == b"to the end"
        with pytest.raises(TimedOut):
            World("sync").send(to(server.url, bytes(20_000_000)), seconds=0.5)
        server.over.set()
    tls_context.cache_clear()


def test_exceptions_of_no_one_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> httpx.Response:
        raise KeyboardInterrupt

    transport = SyncTransport(Bounds())
    with httpx.Client(transport=httpx.MockTransport(interrupted)) as client:
        with pytest.raises(KeyboardInterrupt):
            _transport.sync_transport(client, Bounds()).send(to("http://a.example"), monotonic() + SOON)
        monkeypatch.setattr(socket, "getaddrinfo", interrupted)
        for act in (transport.send, transport.open):
            with pytest.raises(KeyboardInterrupt):
                act(to("http://a.example"), monotonic() + SOON)
    monkeypatch.undo()
    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", interrupted)
    with serving(silent) as server, pytest.raises(KeyboardInterrupt):
        transport.send(to(server.url.replace("http", "https")), monotonic() + SOON)
    assert not transport._gate._at


@pytest.mark.anyio
async def test_a_foreign_task_is_cancelled_before_its_headers() -> None:
    with serving(silent) as server:
        async with httpx.AsyncClient(verify=False) as client:
            transport = _transport.async_transport(client, Bounds())
            with anyio.move_on_after(0.1) as scope:
                await transport.open(to(server.url), monotonic() + SOON)
            assert scope.cancelled_caught


@everywhere
def test_a_stream_that_cannot_be_read_is_let_go(world: World) -> None:
    """Its place is free at once for the next."""
    one = World(world.name, world.backend, world.library, Bounds(1, 1))
    with serving(always(reply(b"?", "Content-Encoding: br"))) as server:
        for _ in range(2):
            with pytest.raises(BadReply):
                one.stream(to(server.url))


def test_what_a_child_does_with_what_its_parent_left() -> None:
    """As after a fork, but in one process: what was there is closed, and all begins anew."""
    transport = SyncTransport(Bounds(1, 1))
    with serving(always(chunked(b"data: 1", end=False))) as server:
        line = transport.open(to(server.url), monotonic() + SOON)
        assert line.read(monotonic() + SOON) == b"data: 1"
        _calling(weakref.WeakMethod(transport._leave_to_parent))()
        with pytest.raises(Unreachable):
            line.read(monotonic() + SOON)
        line.close()
        assert transport.open(to(server.url), monotonic() + SOON).status == 200
        transport.close()
    _calling(lambda: None)()  # type: ignore[arg-type]  # a method whose object is gone


def test_exceptions_to_proxies_in_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", "a.com:81, http://b.com, https://c.com, localhost")
    spared = [proxy_for("http", host, 80) is None for host in ("a.com", "b.com", "x.b.com", "c.com", "localhost")]
    assert spared == [False, True, False, False, True]
    assert proxy_for("http", "a.com", 81) is None


# -- the laws of the parts --

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw": raw_deflate,
}


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(1, 9)), packer=st.sampled_from(sorted(PACKERS)))
def test_where_compressed_data_is_cut_does_not_matter(data: bytes, cuts: list[int], packer: str) -> None:
    data = data * 50
    packed = PACKERS[packer](data)
    inflation = Inflation("a", "gzip" if packer == "gzip" else "deflate")
    pieces: list[bytes] = []
    rest = packed
    # The first two bytes tell whether deflate comes in its frame, so they come together.
    for size in (2, *cuts, len(packed)):
        pieces += inflation.feed(rest[:size])
        rest = rest[size:]
    inflation.end()
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= 64 * 1024 for piece in pieces)


@given(data=st.binary(min_size=1, max_size=50), packer=st.sampled_from(["gzip", "deflate"]), lost=st.integers(1, 4))
def test_compressed_data_that_lost_its_end_is_cut(data: bytes, packer: str, lost: int) -> None:
    inflation = Inflation("a", packer)
    list(inflation.feed(PACKERS[packer](data)[:-lost]))
    with pytest.raises(Unreachable):
        inflation.end()


@given(data=st.binary(max_size=200), junk=st.booleans())
def test_any_bytes_are_inflated_or_refused(data: bytes, junk: bool) -> None:
    for coding in ("gzip", "deflate"):
        inflation = Inflation("a", coding)
        with suppress(BadReply, Unreachable):
            list(inflation.feed(gzip.compress(b"x") + data if junk else data))
            inflation.end()


@given(parts=st.lists(st.binary(max_size=20)), most=st.integers(0, 100))
def test_a_body_is_whole_or_too_large(parts: list[bytes], most: int) -> None:
    gathering = Gathering("a", (), most)
    whole = b"".join(parts)
    try:
        for part in parts:
            gathering.add(part)
    except BadReply:
        assert len(whole) > most
    else:
        assert gathering.whole() == whole
        assert len(whole) <= most


@given(
    total=st.integers(1, 4),
    per_host=st.integers(1, 3),
    steps=st.lists(st.tuples(st.sampled_from(["enter", "leave", "give up"]), HOSTS), max_size=40),
)
def test_a_gate_is_fair_and_full_but_never_overfull(total: int, per_host: int, steps: list[tuple[str, str]]) -> None:
    gate = Gate(Bounds(total, per_host), _Bell)
    inside: dict[str, list[Exchange]] = {"a": [], "b": [], "c": []}
    queue: list[tuple[Ticket, Exchange]] = []

    def granted() -> None:
        first_in_line: set[str] = set()
        for entry in list(queue):
            ticket, exchange = entry
            if ticket.granted:
                assert ticket.host not in first_in_line, "overtaken"
                assert ticket.event.rung
                queue.remove(entry)
                exchange.gate = gate
                inside[ticket.host].append(exchange)
            else:
                first_in_line.add(ticket.host)

    for step, host in steps:
        if step == "enter":
            exchange = Exchange(host, to("http://a"), 0)
            ticket = gate.enter(exchange)
            if ticket is None:
                inside[host].append(exchange)
            else:
                queue.append((ticket, exchange))
        elif step == "leave" and inside[host]:
            left = inside[host].pop(0)
            gate.leave(left)
            gate.leave(left)
        elif step == "give up" and queue:
            gate.give_up(queue.pop()[0])
        granted()
        counts = [len(each) for each in inside.values()]
        assert sum(counts) <= total
        assert max(counts) <= per_host
        for waiting, _ in queue:
            assert sum(counts) == total or len(inside[waiting.host]) == per_host, "waits for nothing"


def test_a_turn_granted_too_late_is_passed_on() -> None:
    gate = Gate(Bounds(1, 1), _Bell)
    first, second, third = (Exchange("a", to("http://a"), 0) for _ in range(3))
    assert gate.enter(first) is None
    late, next_one = gate.enter(second), gate.enter(third)
    assert late is not None
    assert next_one is not None
    gate.leave(first)
    assert late.granted
    gate.give_up(late)
    assert next_one.granted
    gate.give_up(next_one)
    assert gate.enter(first) is None


class _Bell:
    """An event that nobody waits for."""

    def __init__(self) -> None:
        self.rung = False

    def set(self) -> None:
        self.rung = True

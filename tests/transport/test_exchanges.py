"""What every transport does with what servers send, whole or streamed."""

from __future__ import annotations

import gzip
import zlib
from time import monotonic

import pytest

from arshai_kit._transport import awaiting, blocking, exchange
from arshai_kit._transport import foreign as foreign_clients
from arshai_kit._transport.pools import LINGER
from arshai_kit.effects import Reply, Request, Secret
from arshai_kit.errors import BadReply, Misuse, TimedOut, Unreachable
from tests.transport.server import (
    SOON,
    Peer,
    always,
    at_some_pace,
    bomb,
    chunked,
    echo,
    once,
    raw_deflate,
    reply,
    serving,
    silent,
)
from tests.transport.worlds import World, everywhere, foreign, ours

KEY = "sk-very-secret"


def asking(url: str, *, content: bytes = b"{}", max_body: int = 1000) -> Request:
    """A request with a key."""
    return Request("POST", f"{url}/v1/chat", (("authorization", Secret(KEY)),), content, max_body=max_body)


@everywhere
def test_a_key_is_revealed_to_the_server(world: World) -> None:
    with serving(echo) as server:
        (answer,) = world.send(asking(server.url))
    assert KEY.encode() in answer.body


@everywhere
def test_a_reply_comes_whole_and_connections_are_kept(world: World) -> None:
    with serving(always(reply(b"hello", "X-Request-Id: 7"))) as server:
        answers = world.send(asking(server.url), asking(server.url), asking(server.url))
        assert len(server.peers) == 1
    assert answers == [Reply(200, (("content-length", "5"), ("x-request-id", "7")), b"hello")] * 3


@everywhere
def test_the_request_is_what_was_asked(world: World) -> None:
    with serving(echo) as server:
        (answer,) = world.send(asking(server.url, content=b"{}" * 50_000))
        lines = answer.body.split(b"\r\n")
        assert lines[0] == b"POST /v1/chat HTTP/1.1"
        assert {b"authorization: " + KEY.encode(), b"accept-encoding: gzip, deflate"} <= {
            line.replace(b"Authorization", b"authorization").replace(b"Accept-Encoding", b"accept-encoding")
            for line in lines
        }
        (heard,) = world.stream(asking(server.url))
        assert b"ncoding: identity" in b"".join(heard.pieces)


@everywhere
def test_what_the_caller_says_of_encodings_and_host_holds(world: World) -> None:
    with serving(echo) as server:
        request = Request("GET", f"{server.url}/a?b=c%20d", (("Accept-Encoding", "gzip"), ("Host", "a.example")))
        (answer,) = world.send(request)
    head = answer.body.lower()
    assert head.startswith(b"get /a?b=c%20d ")
    assert head.count(b"accept-encoding:") == 1
    assert b"accept-encoding: gzip\r\n" in head + b"\r\n"
    if not world.foreign:
        assert b"host: a.example" in head


@everywhere
def test_a_stream_is_heard_as_it_comes(world: World) -> None:
    with serving(always(chunked(b"data: 1\n\n", b"data: 2\n\n"))) as server:
        one, two = world.stream(asking(server.url), asking(server.url), polite=True)
        assert len(server.peers) == 1
    assert one == two
    assert b"".join(one.pieces) == b"data: 1\n\ndata: 2\n\n"
    assert (one.status, dict(one.headers)["content-type"]) == (200, "text/event-stream")


@everywhere
@pytest.mark.parametrize("status", ["302 Found", "404 Not Found", "500 Oops"])
def test_a_status_is_the_callers_business_and_nobody_is_redirected(world: World, status: str) -> None:
    with serving(always(reply(b"no", "Location: /elsewhere", status=status))) as server:
        (answer,) = world.send(asking(server.url))
        assert len(server.heads) == 1
    assert (answer.status, answer.body) == (int(status[:3]), b"no")


@ours
def test_cookies_are_not_kept(world: World) -> None:
    with serving(always(reply(b"", "Set-Cookie: a=b"))) as server:
        world.send(asking(server.url), asking(server.url))
        assert not any(b"cookie" in head.lower() for head in server.heads)


TEXT = b"all work and no play " * 20
CODED = {
    "gzip": (gzip.compress(TEXT), "gzip"),
    "x-gzip": (gzip.compress(TEXT), "X-GZIP"),
    "deflate": (zlib.compress(TEXT), "deflate"),
    "raw deflate": (raw_deflate(TEXT), "deflate"),
    "identity": (TEXT, "identity"),
    "two members": (gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]), "gzip"),
    "garbage after the end": (gzip.compress(TEXT) + b"\0\0", "gzip"),
}


@everywhere
@pytest.mark.parametrize("coded", CODED.values(), ids=CODED.keys())
def test_encodings_are_undone(world: World, coded: tuple[bytes, str]) -> None:
    body, coding = coded
    with serving(always(reply(body, f"Content-Encoding: {coding}"))) as server:
        (answer,) = world.send(asking(server.url))
        (heard,) = world.stream(asking(server.url))
    assert answer.body == TEXT
    assert b"".join(heard.pieces) == TEXT


@everywhere
@pytest.mark.parametrize("coding", ["br", "gzip, deflate", "zstd"])
def test_an_encoding_that_nobody_asked_for_is_named(world: World, coding: str) -> None:
    with serving(always(reply(b"?", f"Content-Encoding: {coding}"))) as server:
        with pytest.raises(BadReply, match=coding):
            world.send(asking(server.url))
        with pytest.raises(BadReply, match=coding):
            world.stream(asking(server.url))


@everywhere
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_lie_about_the_encoding_is_a_bad_reply(world: World, coding: str) -> None:
    with serving(always(reply(b"plain text", f"Content-Encoding: {coding}"))) as server:
        with pytest.raises(BadReply, match="is not"):
            world.send(asking(server.url))
        (heard,) = world.stream(asking(server.url))
    assert isinstance(heard.error, BadReply)


@everywhere
def test_compressed_data_without_its_end_is_cut(world: World) -> None:
    with serving(always(reply(gzip.compress(TEXT)[:-9], "Content-Encoding: gzip"))) as server:
        with pytest.raises(Unreachable, match="cut"):
            world.send(asking(server.url))
        (heard,) = world.stream(asking(server.url))
    assert isinstance(heard.error, Unreachable)


TOO_LARGE = {
    "told": reply(b"x" * 1001),
    "chunked": chunked(*[b"x" * 100] * 11),
    "bomb": reply(bomb(50_000_000), "Content-Encoding: gzip"),
}


@everywhere
@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_body_that_is_too_large_says_so_and_how_to_allow_it(world: World, data: bytes) -> None:
    with serving(always(data)) as server, pytest.raises(BadReply, match=r"1000 bytes.*max_body="):
        world.send(asking(server.url))


@everywhere
def test_a_bomb_is_streamed_in_small_pieces(world: World) -> None:
    with serving(always(reply(bomb(1_000_000), "Content-Encoding: gzip"))) as server:
        (heard,) = world.stream(asking(server.url))
    assert sum(map(len, heard.pieces)) == 1_000_000
    assert max(map(len, heard.pieces)) <= 64 * 1024


CUT = {
    "length": reply(b"x" * 100)[:-50],
    "chunks": chunked(b"data: 1\n\n", end=False),
    "in a chunk": chunked(b"data: 1\n\n", end=False)[:-4],
}


@everywhere
@pytest.mark.parametrize("data", CUT.values(), ids=CUT.keys())
def test_a_cut_body_is_never_taken_for_whole(world: World, data: bytes) -> None:
    with serving(once(data)) as server:
        with pytest.raises(Unreachable, match="in the middle of its reply"):
            world.send(asking(server.url))
        (heard,) = world.stream(asking(server.url))
    assert isinstance(heard.error, Unreachable)
    assert heard.pieces


@everywhere
def test_a_body_may_end_with_the_connection(world: World) -> None:
    with serving(once(b"HTTP/1.1 200 OK\r\n\r\nto the end")) as server:
        assert [answer.body for answer in world.send(asking(server.url))] == [b"to the end"]


@everywhere
@pytest.mark.parametrize("data", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n"])
def test_what_is_not_http_is_unreachable(world: World, data: bytes) -> None:
    with serving(once(data)) as server:
        with pytest.raises(Unreachable, match="broke") as raised:
            world.send(asking(server.url))
        assert f"127.0.0.1:{server.port}" in str(raised.value)
        with pytest.raises(Unreachable):
            world.stream(asking(server.url))
        assert len(server.heads) == 2  # a fresh connection that breaks is not asked again


@everywhere
def test_a_reset_is_unreachable(world: World) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.reset()

    with serving(behave) as server, pytest.raises(Unreachable):
        world.send(asking(server.url))


@everywhere
def test_nobody_listens(world: World) -> None:
    with serving(echo) as server:
        pass
    with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{server.port}") as raised:
        world.send(asking(server.url))
    assert raised.value.__cause__ is not None
    with pytest.raises(Unreachable):
        world.stream(asking(server.url))


@everywhere
def test_a_name_that_nobody_knows(world: World) -> None:
    with pytest.raises(Unreachable, match=r"nowhere\.invalid"):
        world.send(asking("http://nowhere.invalid"))
    with pytest.raises(Unreachable):
        world.send(asking(f"http://{'a' * 80}.invalid"))


@everywhere
def test_silence_ends_with_the_time(world: World) -> None:
    with serving(silent) as server:
        with pytest.raises(TimedOut):
            world.send(asking(server.url), seconds=0.1)
        with pytest.raises(TimedOut):
            world.stream(asking(server.url), seconds=0.1)


DRIPS = {
    "headers": reply(b"x" * 900, "X-Long: " + "a" * 900),
    "body": reply(b"x" * 900),
    "chunk": chunked(b"x" * 900),
}


@ours
@pytest.mark.parametrize("data", DRIPS.values(), ids=DRIPS.keys())
def test_a_drip_ends_with_the_time(world: World, data: bytes) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.drip(data, server.over)

    with serving(behave) as server:
        started = monotonic()
        with pytest.raises(TimedOut):
            world.send(asking(server.url), seconds=0.3)
        assert monotonic() - started < SOON


@foreign
def test_a_body_that_drips_ends_with_the_time_for_foreign_clients_too(world: World) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        head, _, body = reply(b"x" * 900).partition(b"\r\n\r\n")
        peer.send(head + b"\r\n\r\n")
        peer.drip(body, server.over)

    with serving(behave) as server, pytest.raises(TimedOut):
        world.send(asking(server.url), seconds=0.3)


@everywhere
def test_a_stream_that_falls_silent_times_out(world: World) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(b"data: 1\n\n", end=False))
        peer.hung_up()

    def silence(pace: float) -> None:
        with serving(behave) as server:
            (heard,) = world.stream(asking(server.url), seconds=0.2 * pace)
        assert heard.pieces == (b"data: 1\n\n",)
        assert isinstance(heard.error, TimedOut)

    at_some_pace(silence)


@everywhere
def test_leaving_early_hangs_up(world: World) -> None:
    left: list[bool] = []

    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(chunked(*[b"data: 1\n\n"] * 50, end=False))
        left.append(peer.hung_up())

    with serving(behave) as server:
        (heard,) = world.stream(asking(server.url), most=1)
    assert heard.pieces[0].startswith(b"data: 1")
    assert left == [True]


@everywhere
def test_a_polite_end_keeps_the_connection_and_never_waits_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def behave(peer: Peer) -> None:
        while peer.request():
            end = peer.number > 0 or len(peer.seen) == 1
            peer.send(chunked(b"data: 1\n\n", b"data: [DONE]\n\n", end=end))

    def three(pace: float) -> None:
        for module in (awaiting, blocking, foreign_clients):
            monkeypatch.setattr(module, "LINGER", LINGER * pace)
        with serving(behave) as server:
            heard = world.stream(*[asking(server.url)] * 3, most=1, polite=True)
            assert [len(peer.seen) for peer in server.peers] == [2, 1]
        assert all(each.error is None for each in heard)

    at_some_pace(three)


@ours
def test_a_long_rest_is_not_read(world: World) -> None:
    def behave(peer: Peer) -> None:
        while peer.request():
            peer.send(chunked(*[b"x" * 10_000] * 30))

    with serving(behave) as server:
        world.stream(asking(server.url), asking(server.url), most=1, polite=True)
        assert len(server.peers) == 2


@ours
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_connection_closed_while_idle_is_nobodys_error(
    world: World, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hangs up when the next request comes: as if the two had crossed on the way."""
    monkeypatch.setattr(exchange, "STALE", SOON)  # a busy server may be slow to hang up

    def behave(peer: Peer) -> None:
        for _ in range(1 + peer.number):
            peer.request()
            peer.send(reply(b"%d" % peer.number))
        peer.request()
        if how == "reset":
            peer.reset()

    with serving(behave) as server:
        answers = world.send(*[asking(server.url)] * 2)
    assert [answer.body for answer in answers] == [b"0", b"1"]


@ours
def test_a_connection_that_breaks_after_a_byte_is_an_error(world: World) -> None:
    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(reply())
        peer.request()
        peer.send(b"HTTP/1.1 2")

    with serving(behave) as server:
        with pytest.raises(Unreachable):
            world.send(*[asking(server.url)] * 2)
        assert len(server.peers) == 1


@ours
def test_a_server_may_answer_before_it_has_read_all(world: World) -> None:
    def behave(peer: Peer) -> None:
        peer.sock.recv(1000)
        peer.send(reply(b"too long", status="413 Content Too Large"))
        peer.hung_up()

    with serving(behave) as server:
        (answer,) = world.send(asking(server.url, content=b"x" * 200_000))
    assert answer.status == 413


@everywhere
@pytest.mark.parametrize("url", ["", "nonsense", "ftp://a.example/", "http:///x", "http://a:port/", "https://.a/"])
def test_an_address_that_is_none_is_misuse(world: World, url: str) -> None:
    with pytest.raises(Misuse, match="base_url"):
        world.send(Request("GET", url))


@everywhere
@pytest.mark.parametrize("value", ["line\nbreak", "outer ", "“quoted”", "tab\t"])
def test_a_key_that_http_cannot_carry_is_named_not_shown(world: World, value: str) -> None:
    request = Request("POST", "http://127.0.0.1:9/", (("x-api-key", Secret(value)),))
    with pytest.raises(Misuse, match="x-api-key") as raised:
        world.send(request)
    assert value not in str(raised.value)
    assert raised.value.__cause__ is None


@ours
def test_a_method_or_name_that_is_not_http_is_misuse(world: World) -> None:
    with serving(echo) as server:
        for request in (Request("PO ST", server.url), Request("POST", server.url, ((f"na me {KEY}", "x"),))):
            with pytest.raises(Misuse, match="not valid HTTP") as raised:
                world.send(request)
            assert KEY not in str(raised.value)

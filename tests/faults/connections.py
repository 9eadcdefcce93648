"""Connections that are not made, break, end too soon, fall silent or drip, and those that died while idle."""

from __future__ import annotations

from tenacity import wait_none

from arshai_kit.errors import BadReply, StreamIncomplete, TimedOut, Unreachable
from arshai_kit.retry import Retry
from tests.badinput.ways import DONE, body, chunk, message, sent
from tests.faults.proving import TRUSTED
from tests.faults.rows import Answers, Expected, Fails, Row
from tests.faults.server import (
    CLOSE,
    LEAVE,
    RESET,
    STALL,
    Act,
    Again,
    Drip,
    FaultServer,
    Pause,
    Piece,
    cut_at,
    either,
    hello,
    says,
    then,
)
from tests.transport.server import eventually


def closed(_: FaultServer, other: FaultServer | None) -> str:
    """The address of a server that is no more."""
    assert other is not None
    other.close()
    return f"{other.url}/v1"


def secure(server: FaultServer, _: FaultServer | None) -> str:
    """The address of a server, as if it spoke TLS."""
    return f"https://127.0.0.1:{server.port}/v1"


def trusted(*_: object) -> dict[str, str]:
    """An environment in which the certificate of the tests is one to trust."""
    return dict(TRUSTED)


def never(name: str, says: str, **more: object) -> Row:
    """A connection that never comes about: no request is seen, not even that of a round before."""
    return Row(name, (hello,), Fails(Unreachable, says, requests=0, ran=()), before=False, **more)  # type: ignore[arg-type]


NOT_MADE = (
    never("refused", "no connection to 127.0.0.1", other=(hello,), address=closed),
    never("unresolvable", r"no connection to nowhere\.invalid", address=lambda *_: "http://nowhere.invalid/v1"),
    never("a name that can be none", "no connection to", address=lambda *_: f"http://{'a' * 80}.invalid/v1"),
    never("a certificate that nobody vouches for", "is not trusted", tls=True),
    never(
        "a certificate of another name",
        "is not trusted",
        tls=True,
        environ=trusted,
        address=lambda server, _: f"https://127.1:{server.port}/v1",
    ),
    never("no TLS, but HTTP", "no TLS with", greets=(b"HTTP/1.1 400 Bad Request\r\n\r\n", CLOSE), address=secure),
    never("a reset instead of TLS", "no TLS with|no connection to", greets=(RESET,), address=secure),
    never("a close instead of TLS", "no TLS with", greets=(CLOSE,), address=secure),
    never(
        "TLS, but HTTP was asked for", "broke", tls=True, address=lambda server, _: f"http://127.0.0.1:{server.port}/v1"
    ),
    Row(
        "a handshake that never ends",
        (hello,),
        Fails(TimedOut, "no connection to .* within", requests=0, ran=()),
        before=False,
        greets=(STALL,),
        address=secure,
        options={"connect_timeout": 0.2},
    ),
    Row("TLS", (hello,), Answers(), tls=True, environ=trusted),
)

# Breaking

WORDS = sent(chunk({"role": "assistant"}), chunk({"content": "Hel"}), chunk({"content": "lo"}), end=False)
FINISH, ANSWER = chunk({}, "stop"), body(message({"content": "Hello"}))
EARLY = Fails(Unreachable, "connection to .* broke before it answered", requests=3)
AMID = Fails(Unreachable, "connection to .* broke", requests=3)
PARTIAL = Fails(StreamIncomplete, "ended before the provider said", "Hello")
HALF_AN_EVENT = b"80\r\n" + chunk({"content": " there"})[:30]
HALF_A_LETTER = b"80\r\n" + b'data: {"choices":[{"index":0,"delta":{"content":"gr\xc3'
WHOLE_LETTER = b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"choices":[{"index":0,"message":{"content":"gr\xc3'
SOON = Pause(0.05)
"""Long enough for what was sent to be read: a reset may throw away what was not."""

ENDINGS: tuple[tuple[str, Piece], ...] = (("reset", RESET), ("closed", CLOSE))
PLACES: tuple[tuple[str, Act, Expected, Expected], ...] = (
    ("before headers", (), EARLY, EARLY),
    ("in the status line", (b"HTTP/1.1 20",), AMID, AMID),
    ("in headers", (b"HTTP/1.1 200 OK\r\nContent-Type: text/ev",), AMID, AMID),
    ("behind headers", (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",), AMID, AMID),
    ("in the body", either((ANSWER[:-20],), (WORDS,)), AMID, PARTIAL),
    ("in an event", either((ANSWER[:-60],), (WORDS + HALF_AN_EVENT,)), AMID, PARTIAL),
    ("in a letter", either((WHOLE_LETTER,), (WORDS + HALF_A_LETTER,)), AMID, PARTIAL),
    ("in the size of a chunk", either((sent(ANSWER, end=False) + b"1",), (WORDS + b"1",)), AMID, PARTIAL),
)
BROKEN = tuple(
    [
        row
        for ending, piece in ENDINGS
        for place, act, whole, streamed in PLACES
        for row in (
            Row(
                f"{ending} {place} for ever",
                (then(act, SOON, piece) if place != "before headers" else (piece,),),
                whole,
                streamed,
                reused=int(place == "before headers"),
            ),
            Row(
                f"{ending} {place} once",
                (then(act, SOON, piece) if place != "before headers" else (piece,), hello),
                Answers(requests=2),
                Answers(requests=2) if streamed is not PARTIAL else PARTIAL,
            ),
        )
    ]
)


def streamed(name: str, expected: Expected, *pieces: Piece, **more: object) -> Row:
    """What matters to a stream alone."""
    return Row(name, (pieces,), expected, only="stream", **more)  # type: ignore[arg-type]  # fields of a row


TWO = sent(chunk({"content": "Hel"}), chunk({"content": "lo"}))
UNSIZED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + chunk({"content": "Hello"})
EMPTY = Fails(StreamIncomplete, "ended before the provider said")
ENDS = (
    streamed("a stream's end without a finish", PARTIAL, TWO),
    streamed("closed without a finish, no length", PARTIAL, UNSIZED, CLOSE),
    streamed(
        "closed without a finish, with a length",
        PARTIAL,
        UNSIZED.replace(b"-stream\r\n", b"-stream\r\nContent-Length: 9999\r\n"),
        CLOSE,
    ),
    streamed("closed between events, with [DONE]", Answers(), UNSIZED + DONE, CLOSE),
    streamed("closed between events, with a finish", Answers(), UNSIZED + FINISH, CLOSE),
    streamed("closed between events, with both", Answers(), UNSIZED + FINISH + DONE, CLOSE),
    streamed("closed behind half an end mark", PARTIAL, UNSIZED + b"data: [DO", CLOSE),
    streamed("closed behind half a finish", PARTIAL, UNSIZED + FINISH[:-8], CLOSE),
    streamed("a reset behind the finish", Answers(), WORDS + b"%x\r\n%s\r\n" % (len(FINISH), FINISH), SOON, RESET),
    streamed(
        "silence behind the finish",
        Answers(),
        WORDS + b"%x\r\n%s\r\n" % (len(FINISH), FINISH),
        STALL,
        options={"timeout": 0.7},
    ),
    streamed("silence behind the end mark", Answers(), UNSIZED + FINISH + DONE, STALL),
    streamed("comments behind the end mark", Answers(), UNSIZED + FINISH + DONE, Again(b": ping\n\n", 0.02)),
    streamed("words behind the end mark", Answers(), UNSIZED + FINISH + DONE, Again(chunk({"content": "more"}), 0.01)),
    streamed("[DONE] and nothing else", Fails(BadReply, "no choices"), sent(DONE)),
    streamed("a stream of nothing", EMPTY, sent()),
    streamed("a stream of comments that ends", EMPTY, sent(b": ping\n\n" * 9)),
    streamed("a role, and the end", EMPTY, sent(chunk({"role": "assistant"}))),
)

# One connection, and none to spare

BUSY = b'data: {"error": {"message": "busy", "type": "server_error", "code": 503}}\n\n'
THOUGHT = chunk({"reasoning_content": "Well"})


def only_one(*_: object) -> dict[str, str]:
    """An environment in which a try that keeps its connection leaves none for the next."""
    return {"ARSHAI_MAX_CONNECTIONS": "1"}


ONE = (
    Row(
        "a failure in a stream that goes on, and one connection",
        ((sent(BUSY, end=False), STALL), hello),
        Answers(requests=2),
        only="stream",
        environ=only_one,
    ),
    Row(
        "a failure behind what was told, and one connection",
        ((sent(THOUGHT, BUSY, end=False), STALL), hello),
        Answers(requests=2),
        only="stream",
        environ=only_one,
        options={"retry": Retry(wait=wait_none(), restart=True)},
    ),
)

# Silence

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
SILENT = Fails(TimedOut, "told nothing for|with nothing told")
SILENT_AMID = Fails(TimedOut, "told nothing for|with nothing told", "Hello")
LATE, LATE_AMID = Fails(TimedOut, "time was up"), Fails(TimedOut, "time was up", "Hello")


def quiet(name: str, act: Act, *, amid: bool = False, **more: object) -> tuple[Row, Row]:
    """Silence, ended by `timeout=`, and by `deadline=`."""
    seconds = 1.0 if amid or more.get("tls") else 0.4
    by_time, by_end = (SILENT_AMID, LATE_AMID) if amid else (SILENT, LATE)
    return (
        Row(f"{name}, and timeout=", (act,), by_time, options={"timeout": seconds}, **more),  # type: ignore[arg-type]
        Row(f"{name}, and deadline=", (act,), by_end, options={"deadline": seconds}, **more),  # type: ignore[arg-type]
    )


SILENCES = (
    *quiet("stalled headers", (STALL,)),
    *quiet("a stalled status line", (b"HTTP/1.1 2", STALL)),
    *quiet("a stalled body", either((LENGTH + b'{"choices":', STALL), (HEAD, STALL))),
    *quiet("a stalled event", (HEAD + chunk({"content": "x"})[:20], STALL)),
    *quiet("headers in drips", (b"HTTP/1.1 200 OK\r\n", Drip(b"x-slow: yes\r\n"))),
    *quiet("a body in drips", (LENGTH, Drip(b'{"choices":')), only="whole"),
    *quiet("an event in drips", (HEAD, Drip(b"data: ")), only="stream"),
    *quiet("comments without end", (HEAD, Again(b": ping\n\n", 0.02))),
    *quiet("blank lines without end", (HEAD, Again(b"\r\n", 0.02))),
    *quiet("interim replies without end", (Again(b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),)),
    *quiet("words, then a stall", (WORDS, STALL), amid=True, only="stream"),
    *quiet("words, then drips", (UNSIZED, Drip(b"data: ")), amid=True, only="stream"),
    *quiet("words, then comments", (UNSIZED, Again(b": ping\n\n", 0.02)), amid=True, only="stream"),
    *quiet("TLS, then silence", (STALL,), tls=True, environ=trusted),
    Row(
        "words without end",
        ((UNSIZED, Again(chunk({"content": ""}), 0.02)),),
        LATE_AMID,
        only="stream",
        options={"deadline": 1.0},
    ),
    Row(
        "slow, but it comes",
        (
            either(
                (
                    LENGTH.replace(b"9999", b"%d" % len(ANSWER.partition(b"\r\n\r\n")[2])),
                    Pause(0.2),
                    ANSWER.partition(b"\r\n\r\n")[2],
                ),
                (
                    HEAD,
                    Pause(0.1),
                    chunk({"content": "Hel"}),
                    Pause(0.1),
                    chunk({"content": "lo"}),
                    Pause(0.1),
                    FINISH,
                    CLOSE,
                ),
            ),
        ),
        Answers(),
    ),
    Row(
        "an early hint, then the answer",
        (
            either(
                (b"HTTP/1.1 103 Early Hints\r\n\r\n" + ANSWER,),
                (b"HTTP/1.1 103 Early Hints\r\n\r\n" + UNSIZED + FINISH, CLOSE),
            ),
        ),
        Answers(),
    ),
)

# What is no HTTP

HUGE = b"HTTP/1.1 200 OK\r\nx-huge: " + b"x" * 1_000_000 + b"\r\n\r\n"
NO_HTTP = (
    Row("not HTTP", ((b"SSH-2.0-OpenSSH_9.2\r\n", CLOSE),), AMID),
    Row("a header of 1 MB", ((HUGE, CLOSE),), AMID),
    Row("headers without end", ((b"HTTP/1.1 200 OK\r\n", Again(b"x-more: and more\r\n" * 99)),), AMID, memory=True),
    Row("a status line without end", ((b"HTTP/1.1 200 ", Again(b"O" * 999)),), AMID, memory=True),
    Row(
        "interim replies at full speed",
        ((Again(b"HTTP/1.1 100 Continue\r\n\r\n"),),),
        Fails(TimedOut),
        memory=True,
        seconds=150.0,
        options={"timeout": 0.3},
    ),
    Row("two lengths", ((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", CLOSE),), AMID),
    Row("a length below 0", ((b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabcd", CLOSE),), AMID),
    Row("a length of words", ((b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nabcd", CLOSE),), AMID),
    Row("a chunk of no size", ((HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", CLOSE),), AMID),
    Row(
        "a chunk of too large a size",
        ((HEAD[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nabc", CLOSE),),
        AMID,
    ),
    Row("a null byte in a header", ((b"HTTP/1.1 200 OK\r\nx-odd: a\0b\r\n\r\n", CLOSE),), AMID),
    Row("HTTP/2", ((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", CLOSE),), AMID),
    Row("other protocols", ((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", CLOSE),), AMID),
)

# Kept connections


def once_left(server: FaultServer) -> None:
    """Wait until the server has hung up."""
    eventually(lambda: any(line.closed_by == "us" for line in server.lines))


def once_said(server: FaultServer) -> None:
    """Wait until all that the server has to say is said."""
    eventually(lambda: all(line.kept for line in server.lines))


STALE = b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
FORGED = body(message({"content": "forged"}))
KEPT = (
    Row("closed while idle", (then(says("one"), LEAVE), hello), Answers(requests=2), times=2, between=once_left),
    Row("reset while idle", (then(says("one"), RESET), hello), Answers(requests=2), times=2, between=once_left),
    Row(
        "closed after 408 while idle",
        (then(says("one"), SOON, STALE, LEAVE), hello),
        Answers(requests=2),
        times=2,
        between=once_left,
    ),
    Row(
        "a second reply that nobody asked for",
        (then(says("one"), SOON, FORGED), hello),
        Answers(requests=2),
        times=2,
        between=once_said,
    ),
    Row(
        "a second reply in one piece with the first",
        (either((ANSWER + FORGED,), (sent(chunk({"content": "Hello"}), FINISH, DONE) + FORGED,)), hello),
        Answers(requests=2),
        times=2,
        between=once_said,
    ),
    Row(
        "more than its length",
        (either((ANSWER + b"\r\n\r\nmore",), (sent(chunk({"content": "Hello"}), FINISH, DONE) + b"more",)), hello),
        Answers(requests=2),
        times=2,
        between=once_said,
    ),
    Row(
        "a connection that says it is kept, and is closed",
        (then(says("one"), LEAVE),),
        Answers("one", requests=3),
        times=3,
        between=once_left,
    ),
    Row(
        "broken where it was kept, before a byte",
        (says("one"), (RESET,), hello),
        Answers(requests=3),
        times=2,
        options={"retry": None},
    ),
    Row(
        "broken where it was kept, in the reply",
        (says("one"), cut_at(hello, 30, SOON, RESET)),
        Fails(Unreachable, "broke", requests=2),
        times=2,
        options={"retry": None},
    ),
)
ROWS = (*NOT_MADE, *BROKEN, *ENDS, *ONE, *SILENCES, *NO_HTTP, *KEPT)

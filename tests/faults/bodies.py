"""Status 200, and no answer in it, or one that looks odd: pages, nothing, broken JSON, too much of anything."""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any

from arshai_kit.errors import BadReply, ServerFailed, StreamIncomplete, Unreachable
from tests.badinput.ways import DONE, body, chunk, message, sent
from tests.faults.proving import WORDS
from tests.faults.rows import MIB, Answers, Expected, Fails, Row, Scene
from tests.faults.server import CLOSE, Again, Asked, Script, either

ANSWER = json.dumps(message({"content": "Hello"})).encode()
STREAMED = chunk({"content": "Hello"}) + chunk({}, "stop") + DONE
NEST = b"[" * 100_000 + b"]" * 100_000
PAGE = b"<!DOCTYPE html><html><title>Log in</title></html>"
NOTHING = Fails(StreamIncomplete, "ended before the provider said")


def bad(name: str, content: bytes, says: str, streamed: Expected | None = None, kind: str = "application/json") -> Row:
    """A body that is no answer, whatever was asked for."""
    return Row(name, ((body(content, kind=kind),),), Fails(BadReply, says), streamed)


def within_event(name: str, data: bytes, says: str) -> Row:
    """An event that is no JSON object, after some words."""
    return Row(
        name,
        (
            (
                sent(
                    chunk({"content": "Hel"}),
                    chunk({"content": "lo"}),
                    b"data: " + data + b"\n\n",
                    chunk({}, "stop"),
                    DONE,
                ),
            ),
        ),
        Fails(BadReply, says, "Hello"),
        only="stream",
    )


NO_ANSWER = (
    bad("a page", PAGE, "an HTML page, 'Log in'", kind="text/html"),
    bad("a page that says it is JSON", PAGE, "an HTML page, 'Log in'"),
    bad("a page that says it is a stream", PAGE, "an HTML page, 'Log in'", kind="text/event-stream"),
    bad("nothing", b"", "nothing", NOTHING),
    bad("blanks", b" \r\n\n", "nothing", NOTHING),
    bad("null", b"null", "null"),
    bad("true", b"true", "true"),
    bad("a number", b"42", "42"),
    bad("a string", b'"Hello"', '"Hello"'),
    bad("words", b"upstream connect error", "upstream connect", kind="text/plain"),
    bad("zeros", bytes(100), "no JSON"),
    bad("a list", b"[]", r"no (answer|object): \[\]"),
    bad("a list of an answer", b"[" + ANSWER + b"]", r"no (answer|object): \[\{"),
    bad("an object", b"{}", "no choices"),
    bad("no choices", b'{"choices":[]}', "no choices"),
    bad("choices of null", b'{"choices":[null]}', "no choices"),
    bad("a message of null", b'{"choices":[{"index":0,"message":null}]}', "no choices"),
    bad("truncated JSON", ANSWER[:-10], "no JSON"),
    bad("JSON truncated in a string", b'{"choices":[{"message":{"content":"Hel', "Unterminated string|no JSON"),
    bad("NaN", b'{"choices":[{"message":{"content":"a","x":NaN}}]}', "NaN"),
    bad("infinity", b'{"choices":[{"message":{"content":"a","x":-Infinity}}]}', "Infinity"),
    bad("a number without end", b'{"choices":[{"message":{"content":"a","x":1e999}}]}', "1e999"),
    bad("100,000 levels deep", b'{"choices":' + NEST + b"}", "nested too deep"),
    bad("a list 100,000 levels deep", NEST, "nested too deep"),
    bad("wrong charset", b'{"choices":[{"message":{"content":"caf\xe9"}}]}', "can't decode byte 0xe9"),
    bad("JSON and more", ANSWER + b" and more", "no JSON"),
    bad("JSON twice", ANSWER + ANSWER, "no JSON"),
    Row("an error at status 200", ((body({"error": {"message": "no model"}}),),), Fails(ServerFailed, "no model")),
    Row("gzip that is none", ((body(ANSWER, "Content-Encoding: gzip"),),), Fails(BadReply, "is not gzip")),
    Row(
        "gzip that is cut",
        ((body(gzip.compress(ANSWER)[:-9], "Content-Encoding: gzip"),),),
        Fails(Unreachable, "was cut", requests=3),
    ),
    Row(
        "an unknown coding",
        ((body(ANSWER, "Content-Encoding: zstd"),),),
        Fails(BadReply, "zstd, which nobody asked for"),
    ),
    within_event("an event of words", b"oops", "no JSON: oops"),
    within_event("an event of a page", PAGE, "an HTML page, 'Log in'"),
    within_event("an event of null", b"null", "no object: null"),
    within_event("an event of a list", b"[1]", r"no object: \[1\]"),
    within_event("an event of NaN", b'{"x": NaN}', "NaN"),
    within_event("an event that is cut", b'{"choices": [', "no JSON"),
    within_event("an event 100,000 levels deep", NEST, r"no JSON|too deep"),
    within_event("an event of a wrong charset", b'{"choices":[{"delta":{"content":"\xff"}}]}', "no JSON"),
)

# Odd, and an answer all the same

ODD = (
    Row("UTF-16", ((body(ANSWER.decode().encode("utf-16")),),), Answers()),
    Row("JSON where a stream was asked for", ((body(ANSWER),),), Answers()),
    Row(
        "a stream where JSON was asked for",
        ((body(STREAMED, kind="text/event-stream"),),),
        Fails(BadReply, "no JSON"),
        Answers(),
    ),
    Row(
        "wrong content type",
        (either((body(ANSWER, kind="text/html"),), (body(STREAMED, kind="image/png"),)),),
        Answers(),
    ),
    Row("no content type", (either((body(ANSWER, kind=""),), (body(STREAMED, kind=""),)),), Answers()),
    Row(
        "a charset that is not true",
        (
            either(
                (body(ANSWER, kind="application/json; charset=utf-7"),),
                (body(STREAMED, kind="text/event-stream; charset=latin-1"),),
            ),
        ),
        Answers(),
    ),
    Row(
        "a byte order mark",
        (either((body(b"\xef\xbb\xbf" + ANSWER),), (body(b"\xef\xbb\xbf" + STREAMED),)),),
        Answers(),
    ),
    Row("blanks before", (either((body(b"\r\n \r\n" + ANSWER),), (body(b"\r\n\r\n" + STREAMED),)),), Answers()),
    Row(
        "in single bytes",
        (either((sent(*[bytes([each]) for each in ANSWER]),), (sent(*[bytes([each]) for each in STREAMED]),)),),
        Answers(),
    ),
    Row("other ends of lines", (either((body(ANSWER),), (body(STREAMED.replace(b"\n", b"\r\n")),)),), Answers()),
    Row(
        "HTTP/1.0",
        (either((b"HTTP/1.0 200 OK\r\n\r\n" + ANSWER, CLOSE), (b"HTTP/1.0 200 OK\r\n\r\n" + STREAMED, CLOSE)),),
        Answers(),
    ),
    Row(
        "gzip",
        (
            either(
                (body(gzip.compress(ANSWER), "Content-Encoding: gzip"),),
                (body(gzip.compress(STREAMED), "Content-Encoding: gzip"),),
            ),
        ),
        Answers(),
    ),
)

# Too much

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
PACKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
FILLING = b"x" * 65536
TOO_MUCH = Fails(BadReply, "max_body=")


@cache
def bomb() -> bytes:
    """1 MiB, packed into 1 KiB; 512 of them one after another are 512 MiB."""
    return gzip.compress(b'{"x": "' + bytes(MIB))


def exploding(asked: Asked) -> Script:
    """A small body that becomes a large one."""
    return (PACKED, Again(bomb() * 8, times=64), CLOSE)


def large(name: str, *pieces: bytes | Again, expected: Expected = TOO_MUCH, **more: object) -> Row:
    """A body that is too large."""
    return Row(name, ((*pieces, CLOSE),), expected, memory=True, seconds=150.0, **more)  # type: ignore[arg-type]


def too_much_told(scene: Scene) -> None:
    """What is kept are the words that were told, of the round before where no more came."""
    error = scene.came.error
    assert isinstance(error, BadReply)
    assert error.partial is not None
    before = WORDS if scene.way.loops else ""
    assert scene.came.told in (f"{before}{error.partial.text}", before)


def endless(name: str, delta: Any) -> Row:
    """A stream that goes on and on: all of it counts as one reply."""
    script = (STREAM, Again(chunk(delta) * 20))
    expected = Fails(BadReply, "max_body=", text=None, told=None)
    return Row(name, (script,), expected, only="stream", memory=True, seconds=150.0, check=too_much_told)


LARGE = (
    large("256 MiB of JSON", HEAD + b'{"x": "', Again(FILLING, times=4096)),
    large("256 MiB, and it says so", HEAD[:-2] + b"Content-Length: 268435456\r\n\r\n", Again(FILLING, times=4096)),
    large("256 MiB of blanks", HEAD, Again(b" " * 65536, times=4096)),
    large("256 MiB of HTML", HEAD + b"<html>", Again(FILLING, times=4096)),
    large("JSON without end", HEAD + b'{"x": [', Again(b"1, " * 20_000)),
    Row("a gzip bomb of 512 MiB", (exploding,), TOO_MUCH, memory=True, seconds=150.0),
    large("an event of 128 MiB", STREAM + b'data: {"x": "', Again(FILLING, times=2048)),
    large("an event of 128 MiB in many lines", STREAM, Again(b"data: " + b"x" * 1000 + b"\n", times=130_000)),
    large("a line of 128 MiB that is no field", STREAM, Again(FILLING, times=2048)),
    large("a comment of 128 MiB", STREAM + b": ", Again(FILLING, times=2048)),
    endless("words at full speed", {"content": "x" * 400}),
    endless("thoughts at full speed", {"reasoning_content": "x" * 400}),
    endless(
        "arguments at full speed", {"tool_calls": [{"index": 0, "function": {"name": "a", "arguments": "x" * 400}}]}
    ),
    endless("unknown fields at full speed", {"odd": "x" * 400}),
)
ROWS = (*NO_ANSWER, *ODD, *LARGE)

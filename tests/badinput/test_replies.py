"""Status 200 and no answer: every way of asking says what came instead, and keeps what the rounds before had."""

from __future__ import annotations

import gzip
import json
import logging
import re

import pytest
from attrs import frozen

from arshai_kit import Text, ToolCall
from arshai_kit.errors import BadReply, ProviderError, ServerFailed, StreamIncomplete, Unreachable
from tests.badinput.ways import (
    DONE,
    KEY,
    Act,
    Way,
    asked,
    body,
    chunk,
    cut,
    everyway,
    kept,
    message,
    sent,
    shows_no_key,
)

ANSWER = json.dumps(message({"content": "Hello"})).encode()
DEEP = 100_000
NEST = b"[" * DEEP + b"]" * DEEP


@frozen
class Row:
    """What a server says at status 200, the error, and what the message names; *streamed* is the error of a stream."""

    name: str
    act: Act
    error: type[ProviderError]
    says: str
    streamed: type[ProviderError] | None = None


def html(data: bytes) -> bytes:
    """A page."""
    return body(data, kind="text/html")


def nested(depth: int) -> bytes:
    """An answer whose content is nested so deep."""
    return b'{"choices":[{"message":{"content":' + b'[{"x":' * depth + b"1" + b"}]" * depth + b"}}]}"


NOTHING = "nothing|ended before"  # a stream in which no event comes has not begun
ROWS = (
    Row("page", html(b"<!DOCTYPE html><html><title>Log in</title></html>"), BadReply, "an HTML page, 'Log in'"),
    Row("page after blanks", html(b"\r\n\r\n  <html><title>Log in</title>"), BadReply, "an HTML page, 'Log in'"),
    Row("page in drops", sent(*[bytes([each]) for each in b"\n <html><title>Hm</title>"]), BadReply, "page, 'Hm'"),
    Row("page without a title", html(b"<p>Welcome</p>"), BadReply, "<p>Welcome"),
    Row("page in chunks", sent(b"<html>", b"<title>Hm</title>", kind="text/html"), BadReply, "an HTML page, 'Hm'"),
    Row("page that says it is JSON", body(b"<html><title>Hm</title>"), BadReply, "an HTML page, 'Hm'"),
    Row("nothing", body(b""), BadReply, NOTHING, StreamIncomplete),
    Row("nothing and no length", sent(), BadReply, NOTHING, StreamIncomplete),
    Row("blanks", body(b" \r\n\n"), BadReply, NOTHING, StreamIncomplete),
    Row("null", body(b"null"), BadReply, "null|ended before", StreamIncomplete),
    Row("true", body(b"true"), BadReply, "true|ended before", StreamIncomplete),
    Row("number", body(b"42"), BadReply, "42|ended before", StreamIncomplete),
    Row("string", body(b'"Hello"'), BadReply, '"Hello"|ended before', StreamIncomplete),
    Row("words", body(b"upstream connect error"), BadReply, "upstream connect|ended before", StreamIncomplete),
    Row("zeros", body(bytes(100)), BadReply, "no JSON|ended before", StreamIncomplete),
    Row("list", body(b"[]"), BadReply, r"no (answer|object): \[\]"),
    Row("list of answers", body(b"[" + ANSWER + b"]"), BadReply, r"no (answer|object): \[\{"),
    Row("object", body(b"{}"), BadReply, "it has no choices: {}"),
    Row("no choices", body(b'{"id":"c-7","choices":[]}'), BadReply, 'it has no choices: {"id":"c-7"'),
    Row("choices of no list", body(b'{"choices":{"a":1}}'), BadReply, "it has no choices"),
    Row("choices of nothing", body(b'{"choices":[null]}'), BadReply, "it has no choices"),
    Row("no message", body(b'{"choices":[{"index":0,"message":null}]}'), BadReply, "it has no choices"),
    Row("cut", body(ANSWER[:-10]), BadReply, 'no JSON .*: {"id": "c-1"'),
    Row("cut in a string", body(b'{"choices":[{"message":{"content":"Hel'), BadReply, "Unterminated string"),
    Row("cut in the body", cut(body(ANSWER)[:-10]), Unreachable, "connection to .* broke in the middle"),
    Row("cut in a chunk", cut(sent(ANSWER)[:-12]), Unreachable, "connection to .* broke in the middle"),
    Row("cut between chunks", cut(sent(ANSWER[:40], end=False)), Unreachable, "connection to .* broke in the middle"),
    Row("reset in the body", cut(body(ANSWER)[:-10], rudely=True), Unreachable, "connection to .* broke"),
    Row("reset at once", cut(b"", rudely=True), Unreachable, "connection to .* broke before it answered"),
    Row("closed at once", cut(b""), Unreachable, "connection to .* broke before it answered"),
    Row("cut in the headers", cut(body(ANSWER)[:30]), Unreachable, "connection to .* broke"),
    Row("no HTTP", cut(b"SSH-2.0-OpenSSH_9.2\r\n"), Unreachable, "connection to .* broke"),
    Row("NaN", body(b'{"choices":[{"message":{"content":"a","x":NaN}}]}'), BadReply, "NaN is not JSON"),
    Row("infinity", body(b'{"choices":[{"message":{"content":"a","x":-Infinity}}]}'), BadReply, "Infinity is not"),
    Row("too large a number", body(b'{"choices":[{"message":{"content":"a","x":1e999}}]}'), BadReply, "1e999"),
    Row("too deep", body(b'{"choices":' + NEST + b"}"), BadReply, "nested too deep"),
    Row("too deep a content", body(nested(DEEP)), BadReply, "nested too deep"),
    Row("too deep to keep", body(nested(150)), BadReply, "cannot be kept: .* more than 200 levels deep"),
    Row("too deep an error", body(b'{"error":{"x":' + b"[" * 990 + b"]" * 990 + b"}}"), ServerFailed, "too deep"),
    Row("too deep a list", body(NEST), BadReply, "nested too deep|ended before", StreamIncomplete),
    Row("Latin-1", body(b'{"choices":[{"message":{"content":"caf\xe9"}}]}'), BadReply, "can't decode byte 0xe9"),
    Row("error", body(b'{"error":"no model is loaded"}'), ServerFailed, "no model is loaded"),
    Row("detail", body(b'{"detail":[{"loc":["body","model"],"msg":"missing"}]}'), ServerFailed, "body.model: missing"),
    Row("gzip that is none", body(ANSWER, "Content-Encoding: gzip"), BadReply, "is not gzip"),
    Row("gzip that is cut", body(gzip.compress(ANSWER)[:-9], "Content-Encoding: gzip"), Unreachable, "was cut"),
    Row("unknown coding", body(ANSWER, "Content-Encoding: zstd"), BadReply, "zstd, which nobody asked for"),
)


@everyway
@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_what_is_no_answer_is_an_error_that_says_what_came(
    row: Row, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    came = asked(way, row.act)
    expected = (row.streamed or row.error) if way.streams else row.error
    assert isinstance(came.error, (expected, row.error))
    assert re.search(row.says, str(came.error))
    assert came.response is None
    assert came.ran == ["Bergen"] * way.loops
    partial = kept(came.error, way)
    assert partial is None or partial.text == ""
    shows_no_key(came.error, caplog.records)


@frozen
class Good:
    """What looks odd, and is an answer all the same."""

    name: str
    act: Act


GOOD = (
    Good("wrong type", html(ANSWER)),
    Good("wrong charset", body(ANSWER, kind="application/json; charset=utf-7")),
    Good("byte order mark", body(b"\xef\xbb\xbf" + ANSWER)),
    Good("blanks before", body(b"\r\n\r\n " + ANSWER)),
    Good("no length", sent(ANSWER[:20], ANSWER[20:], kind="application/json")),
    Good("until the connection ends", cut(b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER)),
    Good("HTTP/1.0", cut(b"HTTP/1.0 200 OK\r\n\r\n" + ANSWER)),
    Good("gzip", body(gzip.compress(ANSWER), "Content-Encoding: gzip")),
    Good("choices twice", body(b'{"choices":[],' + ANSWER[1:])),
)


@everyway
@pytest.mark.parametrize("good", [pytest.param(good, id=good.name) for good in GOOD])
def test_json_is_an_answer_also_where_a_stream_was_asked_for(good: Good, way: Way) -> None:
    came = asked(way, good.act)
    assert came.error is None
    assert came.response is not None
    assert came.response.text == "Hello"
    if way.streams:
        assert came.told.endswith("Hello")
    assert came.ran == ["Bergen"] * way.loops


@everyway
def test_a_stream_where_json_was_asked_for_is_told_as_such(way: Way) -> None:
    came = asked(way, sent(chunk({"content": "Hello"}), chunk({}, "stop"), DONE))
    if way.streams:
        assert came.response is not None
        assert came.response.text == "Hello"
    else:
        assert isinstance(came.error, BadReply)
        assert "no JSON" in str(came.error)
        assert 'data: {"id": "c-1"' in str(came.error)
        kept(came.error, way)


# Too large


@everyway
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(body(bytes(3000)), id="by its length"),
        pytest.param(sent(b'{"x": "' + bytes(2000), bytes(2000)), id="as it comes"),
        pytest.param(sent(b'data: {"x": "' + bytes(2000), bytes(2000)), id="as one event"),
        pytest.param(body(gzip.compress(b"{" + bytes(10**6)), "Content-Encoding: gzip"), id="when unpacked"),
    ],
)
def test_a_body_that_is_too_large_names_the_setting(act: bytes, way: Way) -> None:
    came = asked(way, act, max_body=2000)
    assert isinstance(came.error, BadReply)
    assert re.search(r"2,?000 bytes.*max_body=", str(came.error))
    kept(came.error, way)


# Arguments


ODD = ('{"city": "Par', '{"city":' + "[" * DEEP + "]" * DEEP + "}", "null", "5", "[1]", '{"city": NaN}', "{'city': 1}")


@everyway
@pytest.mark.parametrize("arguments", ODD, ids=lambda text: text[:16])
def test_arguments_that_are_no_object_are_kept_and_told_to_the_model_never_run(arguments: str, way: Way) -> None:
    function = {"name": "weather", "arguments": arguments}
    act = body(message({"tool_calls": [{"id": "c9", "type": "function", "function": function}]}, "tool_calls"))
    came = asked(way, act, body(ANSWER))
    assert came.response is not None
    if not way.loops:
        (call,) = came.response.tool_calls
        assert call == ToolCall("c9", "weather", broken=arguments)
        assert came.ran == []
        return
    assert came.ran == ["Bergen"]
    assert came.response.text == "Hello"
    told = came.response.tool_runs[1]
    assert "arguments are no JSON object" in str(told.error)


@everyway
def test_a_call_that_is_told_in_both_shapes_is_one(way: Way) -> None:
    """As llama.cpp's server for Python tells it; in the older shape alone it is one as well."""
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    both = {"tool_calls": [{"id": "c9", "type": "function", "function": function}], "function_call": function}
    for told in (both, {"function_call": function}):
        came = asked(way, body(message(told, "tool_calls")), body(ANSWER))
        assert came.ran == ["Bergen", "Paris"] * way.loops
        assert came.response is not None
        if not way.loops:
            (call,) = came.response.tool_calls
            assert (call.name, call.arguments) == ("weather", {"city": "Paris"})
            assert call.id == "c9" if told is both else call.id


@everyway
def test_a_reply_that_was_cut_off_by_its_limit_runs_nothing(way: Way) -> None:
    """The arguments happen to be valid, but the model was not done."""
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    calls = [{"id": "c9", "type": "function", "function": function}]
    came = asked(way, body(message({"content": "Well", "tool_calls": calls}, "length")))
    assert came.ran == ["Bergen"] * way.loops
    assert came.response is not None
    assert (came.response.finish_reason, came.response.message.parts[0]) == ("length", Text("Well"))


@everyway
def test_words_that_hold_the_key_are_not_repeated(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """A server repeats the key at every place that an error could show."""
    caplog.set_level(logging.DEBUG)
    said = f"wrong key Bearer {KEY}"
    for act in (
        body({"error": {"message": said, "code": KEY, "type": said, "metadata": {"raw": f"{'x' * 195}{KEY}"}}}),
        body({"error": {"message": said}}, f"x-request-id: {KEY}", f"x-told: {KEY}", status="401 Unauthorized"),
        body({"message": "x" * 1990 + KEY}, status="400 Bad Request"),
        body({"detail": [{"loc": ["header", KEY], "msg": said}]}, status="422 Unprocessable"),
        body(f"{'y' * 190}{KEY} and more".encode() + bytes(99), status="500 Oh", kind="text/plain"),
        body(f"<html><title>{'t' * 190}{KEY}</title></html>".encode()),
        body(f'{{"choices": [], "key": "{KEY}", "escaped": "{KEY.replace("/", chr(92) + "/")}"}}'.encode()),
        body(f'{{"cut": "{"z" * 180}{KEY}'.encode()),
        sent(f"data: {KEY}\n\n".encode()),
        sent(b'data: {"error": {"message": "' + said.encode() + b'"}}\n\n'),
        sent(f"event: error\ndata: {'w' * 195}{KEY}\n\n".encode()),
        body(b"", f"Location: http://elsewhere.invalid/{KEY}", status="302 Found"),
    ):
        caplog.clear()
        came = asked(way, act)
        assert isinstance(came.error, ProviderError)
        kept(came.error, way)
        shows_no_key(came.error, [record for record in caplog.records if record.name.startswith("arshai_kit")])

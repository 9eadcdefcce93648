"""Streams that break, lie or look odd: an error that holds what came, or the answer; and no tool runs by accident."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence

import pytest
from attrs import field, frozen

from arshai_kit import Response, ToolCall, ToolResult
from arshai_kit.errors import BadReply, ProviderError, RateLimited, ServerFailed, StreamIncomplete
from tests.badinput.ways import (
    DONE,
    Act,
    Came,
    Way,
    answering,
    asked,
    before,
    calling,
    chunk,
    cut,
    kept,
    message,
    model_at,
    sent,
    shows_no_key,
    streaming,
    ways,
)

HELLO = chunk({"role": "assistant", "content": "Hel"}) + chunk({"content": "lo"})
STOP = chunk({}, "stop")
CALLS = chunk({}, "tool_calls")
PARIS = '{"city": "Paris"}'
SPOKEN = sent(chunk({"content": "Fine."}), STOP, DONE)
DEEP = 100_000


@frozen
class Row:
    """What a server streams, the error, what its message names, and the words and calls that are in `partial`."""

    name: str
    act: Act
    error: type[ProviderError]
    says: str
    text: str = "Hello"
    calls: Sequence[str] = field(default=())


def ended(name: str, act: Act, text: str = "Hello", *calls: str) -> Row:
    """A stream that ends before the provider said so."""
    return Row(name, act, StreamIncomplete, "ended before the provider said", text, calls)


ROWS = (
    ended("cut before a finish", sent(HELLO)),
    ended("cut, said the connection", cut(sent(HELLO, end=False))),
    ended("reset", cut(sent(HELLO, end=False), rudely=True)),
    ended("cut in an event", sent(HELLO, b'data: {"choices": [{"index": 0, "del')),
    ended("cut in a name of a field", sent(HELLO, b"dat")),
    ended("cut in a character", cut(sent(HELLO, b'data: {"choices":[{"delta":{"content":"\xc3', end=False))),
    ended("cut behind empty choices", sent(b'data: {"choices": []}\n\n' + HELLO + b'data: {"choices": []}\n\n')),
    ended("cut behind usage", sent(HELLO, b'data: {"choices": [], "usage": {"prompt_tokens": 3}}\n\n')),
    ended("cut behind its length", cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + HELLO)),
    ended("cut, no length", cut(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + HELLO)),
    ended("finish of null", sent(HELLO, chunk({}, None))),
    ended("finish of nothing", sent(HELLO, chunk({}, ""))),
    ended("no words", sent(chunk({"role": "assistant"})), ""),
    ended("comments alone", sent(b": ping\n\n" * 9), ""),
    ended("cut in arguments", sent(HELLO, calling('{"city": "Par'))),
    ended("cut behind valid arguments", sent(HELLO, calling(PARIS))),
    ended("cut behind a name", sent(HELLO, calling(""))),
    ended("cut in a second call", sent(HELLO, calling(PARIS), calling('{"ci', 1, "call_2")), "Hello", "Paris"),
    Row("chunk cut", sent(HELLO, b"data: {\n\n", STOP), BadReply, "a chunk of the stream is no JSON: {"),
    Row("chunk of words", sent(HELLO, b"data: oops\n\n", STOP), BadReply, "is no JSON: oops"),
    Row("chunk of HTML", sent(HELLO, b"data: <html><title>Oh</title>\n\n"), BadReply, "an HTML page, 'Oh'"),
    Row("chunk of a list", sent(HELLO, b"data: [1]\n\n", STOP), BadReply, r"no object: \[1\]"),
    Row("chunk of null", sent(HELLO, b"data: null\n\n", STOP), BadReply, "no object: null"),
    Row("chunk of a number", sent(HELLO, b"data: 7\n\n", STOP), BadReply, "no object: 7"),
    Row("chunk of NaN", sent(HELLO, b'data: {"x": NaN}\n\n', STOP), BadReply, 'no JSON: {"x": NaN}'),
    Row("invalid UTF-8", sent(HELLO, b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n'), BadReply, "no JSON"),
    Row("invalid UTF-8 alike", sent(HELLO, chunk({"content": "?"}).replace(b"?", b"\xc3")), BadReply, "no JSON"),
    Row("too deep", sent(HELLO, b"data: " + b"[" * DEEP + b"\n\n"), BadReply, r"no JSON: \[\["),
    Row("too deep to keep", sent(HELLO, b'data: {"x":' + b"[" * 300 + b"]" * 300 + b"}\n\n"), BadReply, "200 levels"),
    Row("two chunks in one line", sent(HELLO, b"data: {}data: {}\n\n"), BadReply, "no JSON: {}data: {}"),
    Row("no empty line", sent(chunk({})[:-1] + chunk({})), BadReply, "no JSON", ""),
    Row("only the end", sent(DONE), BadReply, "it had no choices", ""),
    Row("no choices", sent(b'data: {"choices": []}\n\n', DONE), BadReply, "it had no choices", ""),
    Row("error in a chunk", sent(HELLO, b'data: {"error":{"message":"slow","code":429}}\n\n'), RateLimited, "slow"),
    Row("error as an event", sent(HELLO, b'event: error\ndata: {"message":"broke"}\n\n'), ServerFailed, "broke"),
    Row("error as a line", sent(HELLO, b'error: {"message":"out of memory"}\n\n'), ServerFailed, "out of memory"),
    Row("error as bare JSON", sent(HELLO, b'{"error":{"message":"overloaded"}}'), ServerFailed, "overloaded"),
    Row("error of words", sent(HELLO, b"event: error\ndata: it broke\n\n"), ServerFailed, "it broke"),
    Row(
        "error behind a finish",
        sent(HELLO, chunk({}, "error", error={"message": "lost", "code": 502})),
        ServerFailed,
        "HTTP 502: lost",
    ),
    Row(
        "on with a call that was closed",
        sent(HELLO, calling(PARIS), calling("{}", 1, "call_2"), calling("more", 0, ""), CALLS, DONE),
        BadReply,
        "went on with a call of 'weather' that was complete",
        calls=("Paris",),
    ),
)
rows = pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])


def cities(response: Response) -> list[str]:
    """Where the calls of the final message want to know the weather."""
    return [str(call.arguments["city"]) for call in response.tool_calls if call.broken is None]


@streaming
@rows
def test_a_stream_that_fails_holds_what_came(row: Row, way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    came = asked(way, row.act)
    assert type(came.error) is row.error
    assert re.search(row.says, str(came.error))
    assert came.told.endswith(row.text)
    partial = kept(came.error, way) or Response(())
    assert (partial.text, cities(partial)) == (row.text, list(row.calls))
    assert came.ran == ["Bergen"] * way.loops
    shows_no_key(came.error, caplog.records)


@ways(lambda way: way.mode == "tools-stream")
@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_none_but_calls_that_were_closed_run_early(row: Row, way: Way) -> None:
    """Those run at once that the next call closed: their results are kept with them."""
    came = eager(way, row.act)
    assert type(came.error) is row.error
    assert came.ran == ["Bergen", *row.calls]
    assert isinstance(came.error, ProviderError)
    assert [run.result for run in came.error.partial.tool_runs] == [f"rain in {city}" for city in came.ran]


def eager(way: Way, *acts: Act) -> Came:
    """What comes of asking with tools that start as soon as their call is closed."""
    with answering(*before(way), *acts) as server:
        return way.ask(model_at(server), eager=True)


@streaming
def test_a_finish_says_that_a_reply_is_complete_however_it_is_cut_then(way: Way) -> None:
    for act in (
        sent(HELLO, STOP),
        sent(HELLO, STOP, b"data: {"),
        cut(sent(HELLO, STOP, end=False)),
        cut(sent(HELLO, STOP, end=False), rudely=True),
        sent(HELLO, DONE),
        sent(HELLO, DONE, b"data: more\n\n<html>"),
        cut(sent(HELLO, DONE, end=False), rudely=True),
    ):
        came = asked(way, act)
        assert came.error is None
        assert came.response is not None
        assert came.response.text == "Hello"
        assert came.response.raw_finish_reason in {"stop", None}


# What looks odd, and is none


MARK = b"\xef\xbb\xbf"
PRETTY = b"".join(b"data: " + line + b"\n" for line in json.dumps(message({}), indent=1).encode().split(b"\n"))
ODD: dict[str, Sequence[bytes]] = {
    "CRLF": [(HELLO + STOP + DONE).replace(b"\n", b"\r\n")],
    "CRLF in pieces": [bytes([byte]) for byte in (HELLO + STOP).replace(b"\n", b"\r\n")],
    "CR": [(HELLO + STOP + DONE).replace(b"\n", b"\r")],
    "byte order mark": [MARK + HELLO, STOP],
    "byte order mark in pieces": [MARK[:1], MARK[1:2], MARK[2:] + HELLO, STOP],
    "comments": [b": hello\n\n: ping\n", HELLO, b":\n\n" * 99, STOP],
    "ids and times": [b"id: 1\nretry: 500\nevent: message\n" + HELLO, b"id\nretry\n\n", STOP],
    "unknown fields and events": [b"who: knows\n" + HELLO, b"event: ping\ndata: {}\n\n", STOP],
    "several lines of data": [HELLO, PRETTY.replace(b'"message"', b'"delta"') + b"\n"],
    "no blanks behind the colon": [(HELLO + STOP).replace(b"data: ", b"data:")],
    "empty events": [b"\n\n\ndata:\n\ndata\n\n" + HELLO, b"\n\n", STOP],
    "no choices first": [b'data: {"choices": [], "prompt_filter_results": []}\n\n', HELLO, STOP],
    "nulls everywhere": [HELLO, b'data: {"choices":[{"delta":null,"finish_reason":null}],"usage":null}\n\n', STOP],
    "two finishes": [HELLO, STOP, STOP, DONE, DONE],
    "words behind the finish": [chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop"), DONE],
    "no indexes": [(HELLO + STOP).replace(b'"index": 0, ', b"")],
    "last event without its end": [HELLO, STOP[:-2]],
    "wrong content type": [HELLO, STOP],
}


@streaming
@pytest.mark.parametrize("name", ODD)
def test_what_is_allowed_or_usual_changes_nothing(name: str, way: Way) -> None:
    came = asked(way, sent(*ODD[name], kind="text/plain" if name == "wrong content type" else "text/event-stream"))
    assert came.error is None
    assert came.response is not None
    assert (came.told[-5:], came.response.text, came.response.finish_reason) == ("Hello", "Hello", "stop")


# Calls


LYON = '{"city": "Lyon"}'
CALL = {"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": PARIS}}
BOTH = chunk({"function_call": CALL["function"], "tool_calls": [CALL]})
HALVES = (calling(PARIS[:9]), calling(PARIS[9:], name="", key=""))


@frozen
class Calls:
    """How calls are streamed, and the cities that are asked for in the end, with the ids if those are good for it."""

    name: str
    pieces: Sequence[bytes]
    cities: Sequence[str] = ("Paris", "Lyon")
    ids: Sequence[str] = ("call_1", "call_2")


STREAMED = (
    Calls("as they should be", (*HALVES, calling(LYON, 1, "call_2"))),
    Calls("empty fragments", (HALVES[0], calling("", 0, "", ""), HALVES[1], calling(LYON, 1, "call_2"))),
    Calls("two of one index", (*HALVES, calling(LYON, 0, "call_2"))),
    Calls("no index", (calling(PARIS, None), calling(LYON, None, "call_2"))),
    Calls("no index, in halves", (calling(PARIS[:9], None), calling(PARIS[9:], None), calling(LYON, None, "call_2"))),
    Calls("no ids", (calling(PARIS, 0, ""), calling(LYON, 1, "")), ids=()),
    Calls("neither index nor id", (calling(PARIS, None, ""), calling(LYON, None, "")), ids=()),
    Calls("one id for both", (calling(PARIS), calling(LYON, 1)), ids=()),
    Calls("id and name said again", (calling(PARIS[:9]), calling(PARIS[9:]), calling(LYON, 1, "call_2"))),
    Calls("the same call twice", (calling(PARIS), calling(PARIS, 1, "call_2")), ("Paris", "Paris")),
    Calls("in turns", (HALVES[0], calling(LYON[:9], 1, "call_2"), HALVES[1], calling(LYON[9:], 1, ""))),
    Calls("indexes with a gap", (calling(PARIS, 3), calling(LYON, 7, "call_2"))),
    Calls("the first in both shapes", (BOTH, calling(LYON, 1, "call_2"))),
    Calls("in one chunk", (chunk({"tool_calls": [
        {"index": place, "id": f"call_{place + 1}", "function": {"name": "weather", "arguments": text}}
        for place, text in enumerate((PARIS, LYON))
    ]}),)),
)  # fmt: skip


@streaming
@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
@pytest.mark.parametrize("calls", [pytest.param(calls, id=calls.name) for calls in STREAMED])
def test_every_call_runs_once_with_its_own_arguments(calls: Calls, finish: str, way: Way) -> None:
    for ask in (asked, eager) if way.loops else (asked,):
        came = ask(way, sent(*calls.pieces, chunk({}, finish), DONE), SPOKEN)
        assert came.error is None
        response = came.response
        assert response is not None
        found = [call for each in response.messages for call in each.tool_calls if call.arguments["city"] != "Bergen"]
        assert [call.arguments["city"] for call in found] == list(calls.cities)
        ids = calls.ids or [call.id for call in found]  # ids that are no names are made anew
        assert [call.id for call in found] == list(ids)
        assert len(set(ids)) == 2
        assert sorted(came.ran) == sorted(["Bergen", *calls.cities] * way.loops)
        if way.loops:
            results = [part for each in response.messages for part in each.parts if isinstance(part, ToolResult)]
            assert [result.id for result in results] == ["call_0", *ids]


@streaming
def test_a_call_that_is_never_closed_is_told_to_the_model_and_does_not_run(way: Way) -> None:
    came = asked(way, sent(HELLO, calling('{"city": "Par'), CALLS, DONE), SPOKEN)
    assert came.ran == ["Bergen"] * way.loops
    assert came.response is not None
    if way.loops:
        assert came.response.text == "Fine."
        assert "arguments are no JSON object" in str(came.response.tool_runs[1].error)
    else:
        assert came.response.tool_calls == (ToolCall("call_1", "weather", broken='{"city": "Par'),)


@streaming
@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_call_that_was_cut_off_by_the_provider_does_not_run(finish: str, way: Way) -> None:
    """Its arguments happen to be valid, but the model was not done."""
    for ask in (asked, eager) if way.loops else (asked,):
        came = ask(way, sent(HELLO, calling(PARIS), chunk({}, finish), DONE))
        assert came.ran == ["Bergen"] * way.loops
        assert came.response is not None
        assert (came.response.text, came.response.finish_reason) == ("Hello", finish)


@streaming
def test_a_tool_that_is_not_there_is_told_to_the_model(way: Way) -> None:
    came = asked(way, sent(calling(PARIS, name="wether"), CALLS, DONE), SPOKEN)
    assert came.response is not None
    if way.loops:
        assert came.ran == ["Bergen"]
        assert came.response.tool_runs[1].error == "there is no tool 'wether'; there are: weather"

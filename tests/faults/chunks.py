"""Chunks of a stream that lie, stutter or come in the wrong order: what was said is read, nothing else is made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen

from arshai_kit.errors import BadReply, ProviderError, RateLimited, ServerFailed, StreamIncomplete
from tests.badinput.ways import DONE, calling, chunk, sent
from tests.faults.rows import Answers, Fails, Row, Scene
from tests.faults.server import RESET, hello
from tests.faults.ways import Way

HELLO = chunk({"role": "assistant", "content": "Hel"}) + chunk({"content": "lo"})
MORE = chunk({"content": " again"})
STOP, LENGTH, CALLS = (chunk({}, why) for why in ("stop", "length", "tool_calls"))
PARIS, LYON = '{"city": "Paris"}', '{"city": "Lyon"}'
HALVES = (calling(PARIS[:9]), calling(PARIS[9:], 0, "", ""))
OTHER = calling(LYON, 1, "call_2")
BOTH = ("Paris", "Lyon")
COUNTED = {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100}


@frozen
class Some(Row):
    """A row that makes sense in *some* ways."""

    some: Callable[[Way], bool] = field(default=lambda _: True, kw_only=True)

    def fits(self, way: Way) -> bool:
        """Whether *way* is one of them."""
        return self.some(way)


def streams(way: Way) -> bool:
    """Whether a stream is asked for, in a loop or not."""
    return way.streams


def told_once(way: Way) -> bool:
    """Whether one stream is asked for, and all that came of it stands alone."""
    return way.streams and not way.loops


def loops(way: Way) -> bool:
    """Whether a stream is asked for by who runs tools."""
    return way.streams and way.loops


def reads(name: str, *pieces: bytes, text: str = "Hello", why: str = "stop", **more: Any) -> Row:
    """A stream that is an answer: this *text*, which ended as *why* says."""

    def check(scene: Scene) -> None:
        assert scene.came.response is not None
        assert scene.came.response.finish_reason == why

    return Some(name, ((sent(*pieces),),), Answers(text), check=check, some=streams, **more)


def fails(name: str, error: type[ProviderError], says: str, *pieces: bytes, text: str = "Hello") -> Row:
    """A stream that is none, and what of it is kept."""
    return Some(name, ((sent(*pieces),),), Fails(error, says, text), some=streams)


def cut(name: str, *pieces: bytes, text: str = "Hello") -> Row:
    """A stream that is reset, and was not whole yet."""
    acts = ((sent(*pieces, end=False), RESET),)
    return Some(name, acts, Fails(StreamIncomplete, "before the provider said", text), some=streams)


def called(name: str, *pieces: bytes, ran: Sequence[str] = (), told: str = "") -> tuple[Row, ...]:
    """Calls of which those *ran* that were whole, and of the others the model was *told*; eager tools or not."""

    def check(scene: Scene) -> None:
        first, last = (asked.content["messages"] for asked in scene.server.seen)
        results = [each for each in last[len(first) :] if each["role"] == "tool"]
        ids = [call["id"] for call in last[len(first)]["tool_calls"]]
        assert [each["tool_call_id"] for each in results] == ids
        assert len(set(ids)) == len(ids)
        assert told in results[0]["content"]

    found = Answers(requests=2, ran=("Bergen", *ran))
    rows = [
        Some(
            f"{name}{also}",
            ((sent(*pieces, CALLS, DONE),), hello),
            found,
            run={"eager": bool(also), "side_by_side": 1},
            check=check,
            some=loops,
        )
        for also in ("", ", eager")
    ]
    return tuple(rows)


def counted(name: str, *usages: Any, tokens: tuple[int, int] = (70, 30), missing: Sequence[str] = ()) -> Row:
    """A stream with these *usages*, of which so many *tokens* are believed, and some *missing*."""
    told = [b"data: " + json.dumps({"choices": [], "usage": each}).encode() + b"\n\n" for each in usages]

    def check(scene: Scene) -> None:
        assert scene.came.response is not None
        usage = scene.came.response.usage
        assert (usage.input_tokens, usage.output_tokens) == tokens
        assert usage.reported is not bool(missing)
        assert set(missing) <= usage.missing
        assert scene.came.response.cost is None

    return Some(name, ((sent(HELLO, STOP, *told, DONE),),), Answers(), check=check, some=told_once)


MALFORMED = (
    fails("chunk that is no JSON", BadReply, "no JSON: oops", HELLO, b"data: oops\n\n", STOP),
    fails("chunk that is cut", BadReply, "no JSON", HELLO, b'data: {"choices": [{"del\n\n', STOP),
    fails("chunk that is null", BadReply, "no object: null", HELLO, b"data: null\n\n", STOP),
    fails("chunk that is a list", BadReply, "no object", HELLO, b"data: [1]\n\n", STOP),
    fails("chunk with NaN", BadReply, "no JSON", HELLO, b'data: {"choices": [], "x": NaN}\n\n', STOP),
    fails("choices that are no list", BadReply, "are no list", HELLO, b'data: {"choices": {"0": 1}}\n\n', STOP),
    fails("choice that is no object", BadReply, "is no object", HELLO, b'data: {"choices": ["lo"]}\n\n', STOP),
    fails("delta that is no object", BadReply, "is no object", HELLO, chunk(["lo"]), STOP),
    fails("delta that is a text", BadReply, "is no object", HELLO, chunk("lo"), STOP),
    fails("chunk too deep", BadReply, "levels", HELLO, b'data: {"x":' + b"[" * 300 + b"]" * 300 + b"}\n\n"),
    fails("chunks with nothing", BadReply, "no choices", b'data: {"choices": []}\n\n', DONE, text=""),
    reads("unknown fields", chunk({"content": "Hello", "new": {"a": [1]}}, None, new=3), STOP, DONE),
    reads("unknown events", HELLO, b"event: new\ndata: {}\n\n", b": comment\n\n", STOP, DONE),
    reads("nulls in every place", HELLO, b'data: {"choices": [null], "usage": null}\n\n', chunk(None), STOP, DONE),
    reads("another candidate beside", HELLO, chunk({"content": "x"}).replace(b'"index": 0', b'"index": 1'), STOP, DONE),
    reads("words of another role", chunk({"role": "user", "content": "Hello"}), STOP, DONE),
    reads("words twice, which nothing tells apart", HELLO, HELLO, STOP, DONE, text="HelloHello"),
    fails(
        "error in the middle",
        RateLimited,
        "slow down",
        HELLO,
        b'data: {"error": {"message": "slow down", "code": 429}}\n\n',
    ),
    fails("error as an event", ServerFailed, "broke", HELLO, b'event: error\ndata: {"message": "broke"}\n\n'),
    fails(
        "error instead of a finish",
        ServerFailed,
        "lost",
        HELLO,
        chunk({}, "error", error={"message": "lost", "code": 502}),
    ),
)

ENDS = (
    reads("finish before the words", STOP, HELLO, DONE),
    cut("finish before the words, which are cut", STOP, HELLO),
    fails("finish before the words, and no end", StreamIncomplete, "before the provider said", STOP, HELLO),
    reads("words behind the finish", HELLO, STOP, MORE, DONE, text="Hello again"),
    cut("words behind the finish, which are cut", HELLO, STOP, MORE, text="Hello again"),
    reads("words behind the end mark", HELLO, STOP, DONE, MORE),
    reads("finish without an end mark", HELLO, STOP),
    reads("end mark without a finish", HELLO, DONE, why="other"),
    reads("two finishes of a kind", HELLO, STOP, STOP, DONE, DONE),
    reads("cut off, then well", HELLO, LENGTH, STOP, DONE, why="length"),
    reads("well, then cut off", HELLO, STOP, LENGTH, DONE, why="length"),
    reads("filtered, then well", HELLO, chunk({}, "content_filter"), STOP, DONE, why="content_filter"),
    reads("cut off, and on, and well", HELLO, LENGTH, MORE, STOP, DONE, text="Hello again"),
    reads("cut off with a whole call", calling(PARIS), LENGTH, DONE, text="", why="length"),
    reads("cut off with a whole call, then well", calling(PARIS), LENGTH, CALLS, DONE, text="", why="length"),
    reads("finish of an unknown kind", HELLO, chunk({}, "tired"), DONE, why="other"),
    reads("finish that is a number", HELLO, chunk({}, 7), DONE, why="other"),  # type: ignore[arg-type]  # it is wrong
    cut("no finish", HELLO),
    cut("no finish, cut in a call", HELLO, calling('{"city": "Par')),
    cut("no finish behind a whole call", HELLO, calling(PARIS)),
    fails("finish of nothing", StreamIncomplete, "before the provider said", HELLO, chunk({}, "")),
)

CALLED = (
    *called("a call in halves", *HALVES, ran=["Paris"]),
    *called("two calls of one index", *HALVES, calling(LYON, 0, "call_2"), ran=BOTH),
    *called("two calls of one index and no ids", calling(PARIS, 0, ""), calling(LYON, 0, ""), told="no JSON object"),
    *called("two calls without ids", calling(PARIS, 0, ""), calling(LYON, 1, ""), ran=BOTH),
    *called("two calls with neither id nor index", calling(PARIS, None, ""), calling(LYON, None, ""), ran=BOTH),
    *called("two calls of one id", calling(PARIS), calling(LYON, 1, "call_1"), ran=BOTH),
    *called("a call twice, by one id", calling(PARIS), calling(PARIS), told="no JSON object"),
    *called("half a call twice", HALVES[0], *HALVES, told="no JSON object"),
    *called("halves in the wrong order", *reversed(HALVES), told="no JSON object"),
    *called("calls in the wrong order", OTHER, calling(PARIS), ran=["Lyon", "Paris"]),
    *called("calls in turns", HALVES[0], calling(LYON[:9], 1), HALVES[1], calling(LYON[9:], 1, ""), ran=BOTH),
    *called("arguments that are never closed", calling('{"city": "Par'), told="no JSON object"),
    *called("arguments that the next call cuts", calling('{"city": "Par'), OTHER, ran=["Lyon"], told="no JSON"),
    *called("arguments that are two objects", calling(PARIS + LYON), told="no JSON object"),
    *called("arguments that are no object", calling("[1]"), told="no JSON object"),
    *called("no arguments", calling(""), told="do not fit"),
    *called("indexes that are odd", calling(PARIS, -1), calling(LYON, 1e12, "call_2"), ran=BOTH),
    *called("a finish before the call", CALLS, calling(PARIS), ran=["Paris"]),
    *called("a name in pieces", calling("", 0, "call_1", "wea"), calling(PARIS, 0, "", "ther"), ran=["Paris"]),
    *called("no name", calling(PARIS, 0, "call_1", ""), told="there is no tool ''"),
)

BROKEN = tuple(
    Some(name, acts, Fails(error, says, "Hello", ran=("Bergen", *ran)), run={"eager": True}, some=loops)
    for name, acts, error, says, ran in (
        (
            "an error behind a call that was closed",
            ((sent(HELLO, calling(PARIS), OTHER, b'data: {"error": {"message": "broke", "code": 500}}\n\n'),),),
            ServerFailed,
            "broke",
            ["Paris"],
        ),
        (
            "reset behind a call that was closed",
            ((sent(HELLO, calling(PARIS), OTHER, end=False), RESET),),
            StreamIncomplete,
            "",
            ["Paris"],
        ),
        (
            "on with a call that was closed",
            ((sent(HELLO, calling(PARIS), OTHER, calling("more", 0, ""), CALLS, DONE),),),
            BadReply,
            "went on with a call",
            ["Paris"],
        ),
        ("reset in a call", ((sent(HELLO, calling('{"city": "P'), end=False), RESET),), StreamIncomplete, "", []),
    )
)
"""Eager tools: what was closed ran, once, and is kept with its result; what was not did not run, nor does it again."""

USED = (
    counted("usage missing", tokens=(0, 0), missing=("input_tokens", "output_tokens")),
    counted("usage twice", COUNTED, COUNTED),
    counted("usage that grows", {**COUNTED, "completion_tokens": 3, "total_tokens": 73}, COUNTED),
    counted("usage negative", {**COUNTED, "prompt_tokens": -70}, tokens=(0, 30), missing=("input_tokens",)),
    counted("usage of words", {**COUNTED, "completion_tokens": "30"}, tokens=(70, 0), missing=("output_tokens",)),
    counted("usage of fractions", {**COUNTED, "completion_tokens": 29.5}, tokens=(70, 0), missing=("output_tokens",)),
    counted(
        "usage beyond all bounds", {**COUNTED, "completion_tokens": 1e300}, tokens=(70, 0), missing=("output_tokens",)
    ),
    counted("usage that is a list", [1], tokens=(0, 0), missing=("input_tokens",)),
    counted("usage with a cost below nothing", {**COUNTED, "cost": -1}),
    counted("usage with a cost that is none", {**COUNTED, "cost": "much"}),
)

ROWS = (*MALFORMED, *ENDS, *CALLED, *BROKEN, *USED)

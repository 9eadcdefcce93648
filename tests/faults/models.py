"""Models that misbehave: they call what is not there, call for ever, repeat ids, and send arguments that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from arshai_kit.errors import Exhausted
from tests.badinput.ways import DONE, body, chunk, message, sent
from tests.faults.rows import MIB, Answers, Fails, Row, Scene
from tests.faults.server import Act, either, hello

__all__ = ["ROWS", "asks"]

Call = tuple[str, str, Any]
"""The id of a call, its name, and its arguments: JSON text, or what it is made of."""

ROUNDS = 10
"""As many as a run has when nobody says."""
PIECE = 10_000
LONG = "Paris " * (MIB // 6)
TOLD = "Let me see."


def asks(*calls: Call, text: str = "", finish: str = "tool_calls") -> Act:
    """A reply that makes *calls*: whole, or streamed in pieces."""
    made = [
        {"id": key, "type": "function", "function": {"name": name, "arguments": _written(arguments)}}
        for key, name, arguments in calls
    ]
    pieces = [chunk({"role": "assistant", "content": text})]
    for index, (key, name, arguments) in enumerate(calls):
        head = {"index": index, "id": key, "type": "function", "function": {"name": name, "arguments": ""}}
        pieces.append(chunk({"tool_calls": [head]}))
        pieces += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": each}}]}) for each in _cut(arguments)
        ]
    whole = message({"content": text, **({"tool_calls": made} if made else {})}, finish)
    return either((body(whole),), (sent(*pieces, chunk({}, finish), DONE),))


def _written(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _cut(arguments: Any) -> Sequence[str]:
    text = _written(arguments)
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]


def weather(city: Any, key: str = "call_1") -> Call:
    """A call that fits."""
    return key, "weather", {"city": city}


def told(*words: str) -> Callable[[Scene], None]:
    """See that the model was told these *words* of its last calls, each under its id, and nothing else."""

    def check(scene: Scene) -> None:
        last = scene.server.seen[-1].content["messages"]
        at = max(place for place, each in enumerate(last) if each.get("tool_calls"))
        calls, results = last[at]["tool_calls"], last[at + 1 :]
        assert [each["tool_call_id"] for each in results] == [call["id"] for call in calls]
        assert len({call["id"] for call in calls}) == len(calls)
        for word, result in zip(words, results, strict=True):
            assert word in result["content"]

    return check


def row(name: str, call: Act, *words: str, ran: Sequence[str] = (), text: str = "", **more: Any) -> Row:
    """A model that makes one such *call*, is told these *words* of it, and answers then."""
    found = Answers(requests=2, ran=("Bergen", *ran), told=f"{TOLD}{text}Hello")
    return Row(name, (call, hello), found, only="tools", check=told(*words), **more)


def endless(name: str, call: Act, *, ran: Sequence[str] = (), requests: int = ROUNDS - 1, **more: Any) -> Row:
    """A model that never does anything else."""
    run = {"side_by_side": 1, **more.pop("run", {})}
    has = {"bound": more.pop("bound", "max_rounds")}
    failed = Fails(Exhausted, requests=requests, ran=("Bergen", *ran), told=TOLD, has={**has, "partial": whole})
    return Row(name, (call,), failed, only="tools", run=run, **more)


def whole(partial: Any) -> bool:
    """Whether *partial* can be continued: each call in it is answered, by its own result, before anything else."""
    asked = [call.id for message in partial.messages for call in message.tool_calls]
    results = [part.id for message in partial.messages if message.role == "tool" for part in message.parts]
    return asked == results and bool(asked)


UNKNOWN = (
    row("a tool that is not there", asks(("call_1", "wether", {})), "there is no tool 'wether'; there are: weather"),
    row(
        "a tool that is not there beside one that is",
        asks(("call_1", "wether", {}), weather("Paris", "call_2")),
        "there is no tool",
        "rain in Paris",
        ran=["Paris"],
    ),
    row("a tool without a name", asks(("call_1", "", {})), "there is no tool ''"),
    row("a tool with a name of 1 MB", asks(("call_1", "w" * MIB, {})), "there is no tool 'www"),
    row("a tool whose name is a path", asks(("call_1", "../weather", {})), "there is no tool '../weather'"),
    endless("a tool that is not there, for ever", asks(("call_1", "wether", {}))),
)

ENDLESS = (
    endless("calls for ever", asks(weather("Paris")), ran=["Paris"] * (ROUNDS - 1)),
    endless("calls for ever, eager", asks(weather("Paris")), ran=["Paris"] * (ROUNDS - 1), run={"eager": True}),
    endless(
        "calls for ever, of three rounds", asks(weather("Paris")), ran=["Paris"] * 2, requests=2, run={"max_rounds": 3}
    ),
    endless(
        "calls for ever, of four calls",
        asks(weather("Paris"), weather("Lyon", "call_2")),
        ran=["Paris", "Lyon", "Paris"],
        requests=2,
        run={"max_tool_calls": 4},
        bound="max_tool_calls",
    ),
    endless(
        "calls for ever, and says no usage",
        asks(weather("Paris")),
        requests=0,
        run={"max_total_tokens": 1000},
        bound="max_total_tokens",
    ),
    endless("arguments that do not fit, for ever", asks(("call_1", "weather", {}))),
    endless("arguments that are never closed, for ever", asks(("call_1", "weather", '{"city": "Par'))),
    row(
        "a thousand calls at once",
        asks(*[weather(f"{place}", f"call_{place}") for place in range(1000)]),
        *["rain in"] * 1000,
        ran=[f"{place}" for place in range(1000)],
        run={"side_by_side": 1},
    ),
    endless(
        "a thousand calls at once, of which three may run",
        asks(*[weather(f"{place}", f"call_{place}") for place in range(1000)]),
        ran=["0", "1"],
        requests=1,
        run={"max_tool_calls": 3},
        bound="max_tool_calls",
    ),
)

IDS = (
    row(
        "two calls with one id",
        asks(weather("Paris"), weather("Lyon")),
        "Paris",
        "Lyon",
        ran=["Paris", "Lyon"],
        run={"side_by_side": 1},
    ),
    row("the id of the round before", asks(weather("Paris", "call_0")), "Paris", ran=["Paris"]),
    row("the same call twice", asks(weather("Paris"), weather("Paris", "call_2")), "Paris", "Paris", ran=["Paris"] * 2),
    row(
        "calls without ids",
        asks(weather("Paris", ""), weather("Lyon", "")),
        "Paris",
        "Lyon",
        ran=["Paris", "Lyon"],
        run={"side_by_side": 1},
    ),
    row("an id of 1 MB", asks(weather("Paris", "c" * MIB)), "Paris", ran=["Paris"]),
)

ARGUMENTS = (
    row("arguments missing", asks(("call_1", "weather", {})), "do not fit"),
    row("arguments of no text", asks(("call_1", "weather", "")), "do not fit"),
    row("arguments too many", asks(("call_1", "weather", {"city": "Paris", "mood": 1})), "do not fit"),
    row("arguments of another type", asks(weather(["Paris"])), "do not fit"),
    row("arguments that are a list", asks(("call_1", "weather", ["Paris"])), "no JSON object"),
    row("arguments that are null", asks(("call_1", "weather", "null")), "no JSON object"),
    row("arguments that are a word", asks(("call_1", "weather", "Paris")), "no JSON object"),
    row("arguments in Python", asks(("call_1", "weather", "{'city': 'Paris'}")), "no JSON object"),
    row("arguments in a fence", asks(("call_1", "weather", '```json\n{"city": "Paris"}\n```')), "no JSON object"),
    row("arguments with NaN", asks(("call_1", "weather", '{"city": NaN}')), "no JSON object"),
    row("arguments 100,000 levels deep", asks(("call_1", "weather", "[" * 100_000)), "no JSON object"),
    row("arguments 300 levels deep", asks(("call_1", "weather", '{"city":' + "[" * 300 + "]" * 300 + "}")), ""),
    row("arguments of 1 MB", asks(weather(LONG)), "characters]", ran=[LONG]),
    row("arguments of 1 MB that do not fit", asks(("call_1", "weather", {"mood": LONG})), "do not fit"),
    row(
        "arguments of 1 MB that are cut", asks(("call_1", "weather", json.dumps({"city": LONG})[:-9])), "no JSON object"
    ),
)

SAID = (
    Row("an empty answer", (asks(finish="stop"),), Answers("")),
    Row("a finish that promises calls, and none", (asks(text="Hello"),), Answers()),
    row("a finish that promises no calls, and one", asks(weather("Paris"), finish="stop"), "Paris", ran=["Paris"]),
    row("words beside a call", asks(weather("Paris"), text="Well. "), "Paris", ran=["Paris"], text="Well. "),
    Row(
        "cut off in a call that is whole by chance",
        (asks(weather("Paris"), text="Hello", finish="length"),),
        Answers(),
    ),
)

ROWS = (*UNKNOWN, *ENDLESS, *IDS, *ARGUMENTS, *SAID)

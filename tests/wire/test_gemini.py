"""What Gemini really sent, read as a correct parser must: some recordings here, all where they are given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from arshai_kit import Message, ToolCall, ToolResult, assistant, user
from arshai_kit.models import Ask
from tests.wire.agreement import Exchange, bytes_of, streamed
from tests.wire.gemini import OPERATIONS, disagreements, outcome, reader, sent

HERE = Path(__file__).parent / "data"
SEEDS = (1, 2, 3)

BROUGHT = """
    gemini-0029 gemini-0065 gemini-0067 gemini-0081 gemini-0088 gemini-0089 gemini-0090 gemini-0104 gemini-0114
    gemini-0115 gemini-0124 gemini-vertex-0017 gemini-vertex-0022
""".split()
EXCEPTIONS: dict[tuple[str, str], str] = {
    **{
        ("usage.input", name): "what tools brought is input, too, and in the total; `expected` counts the prompt alone"
        for name in BROUGHT
    },
    ("usage.output", "gemini-0097"): "the total equals what went in: nothing came out, which JSON leaves out as a zero",
    ("error", "gemini-vertex-0006"): "a stream without any finish reason is not complete; what came is on the error",
}
"""Where we differ, and why our result is the right one: the field, and the conversation."""

EDITED = {
    "gemini-0028": "the client sent the arguments of a call back as text",
    "gemini-0045": "the client answered the calls one by one",
    "gemini-0049": "the client put the signature of the first of parallel calls on all of them",
    "gemini-vertex-0029": "as gemini-0049",
    "gemini-vertex-0032": "the client left out the ids that it got",
}
"""Where the recorded client sent something else than it got."""


def conversations(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.rglob("gemini*.json")):
        yield json.loads(path.read_text("utf-8"))


def exchanges(talk: dict[str, Any]) -> Iterator[tuple[str, Exchange]]:
    for place, exchange in enumerate(talk["exchanges"]):
        if exchange["operation"] in OPERATIONS | {"countTokens"}:
            yield f"{talk['id']}[{place}]", exchange


def unexplained(talk: dict[str, Any], exchange: Exchange, seed: int) -> dict[str, Any]:
    found = disagreements(exchange, talk["vendor"], seed)
    return {name: pair for name, pair in found.items() if (name, talk["id"]) not in EXCEPTIONS}


TALKS = tuple(conversations(HERE))


@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk["id"])
def test_a_recording_is_read_as_it_must_be_wherever_it_was_cut(talk: dict[str, Any]) -> None:
    for name, exchange in exchanges(talk):
        for seed in SEEDS:
            assert unexplained(talk, exchange, seed) == {}, (name, seed)


def novel(value: Any) -> Any:
    """*value*, with a field that nobody knows around every answer, candidate and content."""
    if isinstance(value, list):
        return [novel(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: novel(each) if name in ("candidates", "content") else each for name, each in value.items()}
    return {"novel": [{"x": 1}], **found}


@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk["id"])
def test_no_field_that_is_new_to_us_changes_what_is_read(talk: dict[str, Any]) -> None:
    for _, exchange in exchanges(talk):
        if exchange["body_format"] == "json" and exchange["status"] == 200:
            again = {**exchange, "response_body": novel(exchange["response_body"])}
            assert disagreements(again, talk["vendor"]) == disagreements(exchange, talk["vendor"])
            assert outcome(again, talk["vendor"])[0] == outcome(exchange, talk["vendor"])[0]


def test_every_recording_is_read_as_it_must_be(wire: Path) -> None:
    count, wrong = 0, dict[str, list[Any]]()
    for talk in conversations(wire / "data" / "gemini"):
        for name, exchange in exchanges(talk):
            count += 1
            if found := [each for seed in SEEDS if (each := unexplained(talk, exchange, seed))]:
                wrong[name] = found
    assert not wrong
    assert count == 260


def test_a_stream_gives_what_the_same_reply_gives_as_a_whole(wire: Path) -> None:
    """The body that a stream adds up to, read as a whole reply, is the same response; so is a list of its chunks."""
    compared = 0
    for talk in conversations(wire / "data" / "gemini"):
        for name, exchange in exchanges(talk):
            if exchange["body_format"] == "sse" and not unexplained(talk, exchange, 0) and _finishes(exchange):
                _, response = streamed([bytes_of(exchange)], reader(talk["vendor"]))
                for body in (response.raw, _chunks(exchange)):
                    plain: Exchange = {"body_format": "json", "response_body": body, "response_headers": {}}
                    again, error = outcome({**exchange, **plain}, talk["vendor"])
                    assert error is None, name
                    assert again == response, name
                    compared += 1
    assert compared > 110


def _finishes(exchange: Exchange) -> bool:
    return bool(exchange["expected"]["finish_reason"] or exchange["expected"]["block_reason"])


def _chunks(exchange: Exchange) -> list[Any]:
    """The chunks of a stream, as they come without `alt=sse`."""
    lines = exchange["response_body"].splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_what_goes_back_carries_what_the_recorded_client_sent_back(wire: Path) -> None:
    """Names, arguments, ids that the API gave, signatures and parts that only Google reads; and results in order."""
    compared = 0
    for talk in conversations(wire / "data" / "gemini"):
        chats = [exchange for _, exchange in exchanges(talk) if exchange["operation"] in OPERATIONS]
        for first, second in pairwise(chats):
            response, error = outcome(first, talk["vendor"])
            theirs = _last_turn(second)
            if response is None or error is not None or not theirs or talk["id"] in EDITED:
                continue
            model = reader(talk["vendor"], second)
            given = {call["id"] for call in first["expected"]["tool_calls"]} - {None}
            ours = [_plain(each, given) for each in sent(response, model)]
            for each in filter(None, (_plain(part, given) for part in theirs)):
                assert each in ours, talk["id"]
                compared += 1
            _same_results(response, second, model, given)
    assert compared > 60


def _last_turn(exchange: Exchange) -> list[dict[str, Any]]:
    contents = (exchange["request_body"] or {}).get("contents", [])
    said = [content["parts"] for content in contents if content.get("role") == "model"]
    return said[-1] if said else []


def _camel(value: Any) -> Any:
    """*value*, its keys in the one of the two spellings that we use."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    names = {"function_call": "functionCall", "thought_signature": "thoughtSignature", "tool_type": "toolType"}
    return {names.get(name, name): _camel(each) for name, each in value.items()}


def _plain(part: dict[str, Any], given: set[str | None]) -> dict[str, Any]:
    """What must go back of *part*: not plain words, which clients cut, and no id that only the client made."""
    part = _camel(part)
    if "thoughtSignature" in part:  # bytes, which some clients write in the other alphabet of base64
        part["thoughtSignature"] = part["thoughtSignature"].translate(str.maketrans("-_", "+/"))
    if "text" in part:  # clients join words and thoughts; the signature is what must be there
        return {"thoughtSignature": part["thoughtSignature"]} if "thoughtSignature" in part else {}
    told = part.get("functionCall")
    if told is not None:
        known = {"id": told["id"]} if told.get("id") in given else {}
        return {**part, "functionCall": {**known, "name": told["name"], "args": told.get("args") or {}}}
    for name in ("toolCall", "toolResponse"):  # the client filled these with what it had read elsewhere
        if name in part:
            part[name] = {key: value for key, value in part[name].items() if key in ("id", "toolType")}
    return part if part.keys() & {"thoughtSignature", "executableCode", "codeExecutionResult"} else {}


def _same_results(response: Any, second: Exchange, model: Any, given: set[str | None]) -> None:
    """The results go out in the order, and with the ids, of the recorded ones."""
    last = _camel(second["request_body"]["contents"][-1]["parts"])
    theirs = [told for part in last if (told := part.get("functionResponse") or part.get("function_response"))]
    calls = [call if call.id else _named(call, place) for place, call in enumerate(response.tool_calls)]
    if not theirs or len(theirs) != len(calls):
        return
    said = assistant(*calls)
    results = [Message("tool", (ToolResult(call.id, call.name, "done"),)) for call in reversed(calls)]
    wire = json.loads(model.dialect.build(model, Ask((user("?"), said, *results)), False).content)
    ours = [part["functionResponse"] for part in wire["contents"][-1]["parts"]]
    assert [each["name"] for each in ours] == [each["name"] for each in theirs]
    assert [each.get("id") for each in ours] == [each["id"] if each.get("id") in given else None for each in theirs]


def _named(call: ToolCall, place: int) -> ToolCall:
    """*call*, with an id of ours, as the core gives one to a call that has none."""
    return evolve(call, id=f"call_1_{place}")

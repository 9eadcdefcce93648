"""Recorded loops, run again by `run_tools` over a socket: what we send after each result is what was sent then."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest

from arshai_kit import run_tools, stream
from arshai_kit.errors import Exhausted, ProviderError
from tests.wire import test_gemini, test_recordings, test_responses
from tests.wire.agreement import bytes_of
from tests.wire.loops import Link, Loop, linked, loops, prompt, results, said, tools
from tests.wire.loops import history as sent
from tests.wire.responses import sent_back, told
from tests.wire.served import Served, Talk, model_of, served

HERE = Path(__file__).parent / "data"
SEED = 7
ALTERED = test_recordings.FORGETFUL | test_responses.REWRITTEN | test_gemini.EDITED
"""The conversations whose client did not send back what it got; the tests named there say what it did."""

REWORDED = {
    "compat-avian-0001": "the client dropped the words beside the calls",
    "compat-groq-0009": "the client sent the reasoning back as words",
    "compat-groq-0010": "as compat-groq-0009",
}
"""The conversations whose client sent other words back than it got; the rest of them is compared."""

Wire = dict[str, Any]


RAN = {
    "chat loops": 113,
    "chat requests": 123,
    "responses loops": 30,
    "responses requests": 33,
    "generateContent loops": 14,
    "generateContent requests": 24,
    "streamGenerateContent loops": 17,
    "streamGenerateContent requests": 19,
}
"""The loops that run, and the requests after results that are compared in them."""

WHY = {
    "does not go on with the conversation": 29,
    "answers by ids that the client made": 12,
    "the client altered what it got": 9,
    "does not answer every call": 5,
    "answers by media or by a list of texts": 3,
    "changes between whole and streamed": 1,
}
"""The exchanges with calls behind which no loop goes on, by the reason."""


@pytest.fixture(scope="module")
def replay() -> Iterator[Served]:
    with served() as living:
        yield living


def conversations(folder: Path) -> Iterator[Talk]:
    for path in sorted(folder.rglob("*.json")):
        yield json.loads(path.read_text("utf-8"))


def run_again(loop: Loop, replay: Served) -> None:
    """Run *loop* against its recorded replies; a recording that ends with calls, or by an error, ends the run so."""
    exchanges = loop.exchanges
    model = model_of(loop.talk, exchanges[0], replay.address, retry=None)
    replay.answers(exchanges, SEED)
    options: Any = {"tools": tools(loop), "max_rounds": len(exchanges), "side_by_side": 1}
    try:
        if exchanges[0]["stream"]:
            list(stream(model, prompt(exchanges[0]), **options))
        else:
            run_tools(model, prompt(exchanges[0]), **options)
    except Exhausted:
        assert exchanges[-1]["expected"]["tool_calls"]
    except ProviderError:
        assert exchanges[-1]["expected"]["error"]


def differences(loop: Loop, replay: Served) -> list[Any]:
    """What we sent in *loop* otherwise than it was sent."""
    operation = loop.exchanges[0]["operation"]
    bodies = [each.body for each in replay.asked]
    if len(bodies) != len(loop.exchanges):
        return [("requests", len(bodies), len(loop.exchanges))]
    words = [said(operation, each) for each in (bodies[0], loop.exchanges[0]["request_body"])]
    wrong = [] if words[0] == words[1] or not words[1] else [("words", *words)]
    for link, (before, after) in zip(loop.links, pairwise(bodies), strict=True):
        start, whole = sent(operation, before), sent(operation, after)
        assert whole[: len(start)] == start, "what was sent once is sent again, as it was"
        wrong += [(link.name, *each) for each in _differ(link, whole[len(start) :])]
    return wrong


def _differ(link: Link, ours: list[Wire]) -> list[Any]:
    operation = link.first["operation"]
    found = {"chat": _chat, "responses": _responses}.get(operation, _gemini)(link, ours)
    mine = [(each[0], each[2]) for each in results(operation, ours)]
    given = {call["id"] for call in link.first["expected"]["tool_calls"]}
    theirs = {(each[0] if each[0] in given else None, each[2]) for each in results(operation, link.tail)}
    if set(mine) != theirs or [text for _, text in mine] != [text for _, text in link.answers]:
        found.append(("results", mine, theirs))
    return found


def _chat(link: Link, ours: list[Wire]) -> list[Any]:
    """Calls with their ids, words and reasoning; all of it from one message of ours."""
    back = test_recordings._returned(ours[0])
    wrong: list[Any] = []
    for each in takewhile(lambda message: message["role"] == "assistant", link.tail):
        for name, value in test_recordings._returned(each).items():
            wrong += [(name, back.get(name), part) for part in value if part not in back.get(name, ())]
        if link.name.partition("[")[0] not in REWORDED and (each.get("content") or "") not in _words(ours[0]):
            wrong.append(("text", ours[0], each["content"]))
        if (thought := _thought(each)) and thought != _thought(ours[0]):
            wrong.append(("reasoning", ours[0], thought))
    ids = [call["id"] for call in link.first["expected"]["tool_calls"]]
    return wrong + ([] if [call[0] for call in back["tool_calls"]] == ids else [("order", back["tool_calls"], ids)])


def _words(message: Wire) -> list[Any]:
    """The words of *message*, which some clients leave out where there are calls, and others send as a list."""
    content = message.get("content") or ""
    return ["", content, [{"type": "text", "text": content}]]


def _thought(message: Wire) -> Any:
    """What the model thought; ours goes back by the name that the provider gave it, which some clients change."""
    return message.get("reasoning_content") or message.get("reasoning")


def _responses(link: Link, ours: list[Wire]) -> list[Any]:
    """The items of the provider's, its calls in their order, and its ciphertexts byte for byte."""
    back = sent_back({"input": link.tail}, link.first)
    mine, theirs = list(map(told, ours)), list(map(told, back))
    wrong: list[Any] = [("item", mine, each) for each in theirs if not _there(each, mine)]
    calls = [[each[:3] for each in items if each[0] == "call"] for items in (mine, theirs)]
    secret, kept = (list(_ciphertexts(items)) for items in (ours, back))
    body = bytes_of(link.first).decode()  # whose two ciphertexts of a thought are equally good
    if len(secret) < len(kept) or not all(each in body for each in secret):
        wrong.append(("ciphertexts", secret, kept))
    return wrong + ([] if calls[0] == calls[1] else [("order", *calls)])


def _ciphertexts(items: list[Wire]) -> Iterator[str]:
    for each in items:
        if each.get("encrypted_content"):
            yield each["encrypted_content"]


def _there(item: Any, mine: list[Any]) -> bool:
    return item[0] == "result" or test_responses._among(item, mine)


def _gemini(link: Link, ours: list[Wire]) -> list[Any]:
    """Names, arguments, ids that the API gave, signatures and parts that only Google reads."""
    given = {call["id"] for call in link.first["expected"]["tool_calls"]} - {None}
    mine, theirs = ([test_gemini._plain(each, given) for each in _model(contents)] for contents in (ours, link.tail))
    calls = [[each["functionCall"]["name"] for each in parts if "functionCall" in each] for parts in (mine, theirs)]
    wrong = [("part", mine, each) for each in theirs if each and each not in mine]
    return wrong + ([] if calls[0] == calls[1] else [("order", *calls)])


def _model(contents: list[Wire]) -> Iterator[Wire]:
    for content in contents:
        if content.get("role") == "model":
            yield from content["parts"]


def again(folder: Path, replay: Served) -> tuple[Counter[str], Counter[str], dict[str, Any]]:
    """How many loops and requests of each operation ran, why others did not, and what was sent otherwise."""
    ran, why, wrong = Counter[str](), Counter[str](), dict[str, Any]()
    for talk in conversations(folder):
        why.update(link.why for link in linked(talk) if link.why)
        for loop in loops(talk):
            if talk["id"] in ALTERED:
                why["the client altered what it got"] += len(loop.links)
                continue
            run_again(loop, replay)
            operation = loop.exchanges[0]["operation"]
            ran.update({f"{operation} loops": 1, f"{operation} requests": len(loop.links)})
            if found := differences(loop, replay):
                wrong[loop.links[0].name] = found
    return ran, why, wrong


def test_a_recorded_loop_runs_again_as_recorded(replay: Served) -> None:
    ran, _, wrong = again(HERE, replay)
    assert wrong == {}
    assert ran.keys() >= {"chat loops", "responses loops", "streamGenerateContent loops"}
    assert sum(ran[name] for name in ran if name.endswith("requests")) == 16


def test_every_recorded_loop_runs_again_as_recorded(wire: Path, replay: Served) -> None:
    ran, why, wrong = again(wire / "data", replay)
    assert wrong == {}
    assert ran == RAN
    assert why == WHY

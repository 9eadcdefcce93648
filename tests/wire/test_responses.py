"""What providers really sent over the Responses API, read as a correct parser must, and sent back as they want it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from arshai_kit.dialects.responses import retrieval
from tests.wire.agreement import Exchange, bytes_of, streamed
from tests.wire.responses import disagreements, endpoint, goes_back, history, outcome, sent_back, told

HERE = Path(__file__).parent / "data"
SEEDS = (1, 2, 3)

EXCEPTIONS: dict[tuple[str, str], str] = {
    (
        "calls",
        "compat-xai-0022",
    ): "custom tools take text, not arguments, and these have run: they are Opaque, in order",
}
"""Where we differ, and why our result is the right one: the field, and the conversation."""


REWRITTEN = {
    "oairesp-0056": "the client gave a call a namespace that it did not come with",
}
"""Where the recorded client did not send back what it got."""


def conversations(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.rglob("*.json")):
        text = path.read_text("utf-8")
        if '"responses"' in text:
            talk = json.loads(text)
            if any(exchange["operation"] == "responses" for exchange in talk["exchanges"]):
                yield talk


def exchanges(talk: dict[str, Any]) -> Iterator[tuple[str, Exchange]]:
    for place, exchange in enumerate(talk["exchanges"]):
        if exchange["operation"] == "responses":
            yield f"{talk['id']}[{place}]", exchange


def unexplained(talk: dict[str, Any], exchange: Exchange, seed: int) -> dict[str, Any]:
    found = disagreements(exchange, seed)
    return {name: pair for name, pair in found.items() if (name, talk["id"]) not in EXCEPTIONS}


TALKS = tuple(conversations(HERE))


@pytest.fixture(scope="module")
def talks(wire: Path) -> list[dict[str, Any]]:
    """All recorded conversations, read once."""
    return list(conversations(wire / "data"))


@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk["id"])
def test_a_recording_is_read_as_it_must_be_wherever_it_was_cut(talk: dict[str, Any]) -> None:
    for name, exchange in exchanges(talk):
        for seed in SEEDS:
            assert unexplained(talk, exchange, seed) == {}, (name, seed)


def test_no_field_that_is_new_to_us_changes_what_is_read() -> None:
    for talk in TALKS:
        for name, exchange in exchanges(talk):
            if exchange["body_format"] == "json" and exchange["status"] == 200:
                before, _ = outcome(exchange)
                after, _ = outcome({**exchange, "response_body": {"novel": [{"x": 1}], **exchange["response_body"]}})
                assert before == after, name


def test_a_recorded_loop_goes_on_as_recorded() -> None:
    assert sum(compared(talk) for talk in TALKS) >= 15


def compared(talk: dict[str, Any]) -> int:
    """How many items went back as the recorded client sent them; it is an error if one did not."""
    count = 0
    for (name, first), (_, second) in pairwise(exchanges(talk)):
        response, _ = outcome(first)
        theirs = sent_back(second["request_body"] or {}, first)
        if response is None or not theirs:
            continue
        ours = [told(item) for item in goes_back(history(response, theirs))]
        for item in map(told, theirs):
            if item[0] != "result" or item[2] is not None:
                assert _among(item, ours), (name, item, ours)
                count += 1
        kinds = [item[:2] for item in map(told, theirs) if item[0] == "call"]
        assert [item[:2] for item in ours if item[0] == "call"][: len(kinds)] == kinds, name
    return count


def _among(item: Any, ours: list[Any]) -> bool:
    """Whether *item* is among *ours*, which may hold more of an item of the provider's than the client sent."""
    if isinstance(item[-1], dict):
        return any(item[:-1] == each[:-1] and item[-1].items() <= each[-1].items() for each in ours)
    return item in ours


def test_every_recording_is_read_as_it_must_be(talks: list[dict[str, Any]]) -> None:
    count, wrong = 0, dict[str, Any]()
    for talk in talks:
        for name, exchange in exchanges(talk):
            count += 1
            seeds = SEEDS if exchange["body_format"] == "sse" else SEEDS[:1]
            if found := [each for seed in seeds if (each := unexplained(talk, exchange, seed))]:
                wrong[name] = found
    assert not wrong
    assert count >= 282


def test_a_stream_gives_what_the_same_reply_gives_as_a_whole(talks: list[dict[str, Any]]) -> None:
    count = 0
    for talk in talks:
        for name, exchange in exchanges(talk):
            if exchange["body_format"] == "sse":
                _, response = streamed([bytes_of(exchange)], endpoint)
                again, error = outcome(
                    {**exchange, "body_format": "json", "response_body": response.raw, "response_headers": {}}
                )
                assert error is None, name
                assert again == response, name
                bare = without_output(exchange)
                _, gathered = streamed([bare], endpoint)
                assert (gathered.text, gathered.reasoning) == (response.text, response.reasoning), name
                assert gathered.tool_calls == response.tool_calls, name
                count += 1
    assert count >= 75


def without_output(exchange: Exchange) -> bytes:
    """The stream of *exchange*, whose last event leaves the output out, as some servers do."""
    return b"".join(map(_without_output, bytes_of(exchange).splitlines(keepends=True)))


def _without_output(line: bytes) -> bytes:
    if not (line.startswith(b"data: {") and b'"response.completed"' in line):
        return line
    event = json.loads(line[6:])
    event["response"]["output"] = []
    return b"data: " + json.dumps(event).encode() + b"\n"


def test_every_recorded_loop_goes_on_as_recorded(talks: list[dict[str, Any]]) -> None:
    assert sum(compared(talk) for talk in talks if talk["id"] not in REWRITTEN) > 120


def test_what_is_kept_is_asked_for_as_recorded() -> None:
    (talk,) = (talk for talk in TALKS if talk["id"] == "oairesp-0070")
    first, second = (exchange for _, exchange in exchanges(talk))
    queued, _ = outcome(first)
    assert queued is not None
    assert (queued.finish_reason, queued.raw_finish_reason, queued.text) == ("other", "queued", "")
    asked = retrieval(endpoint, queued.id)
    assert (asked.method, asked.url, asked.content) == (
        second["method"],
        f"https://api.openai.com{second['url_path']}",
        b"",
    )
    done, _ = outcome(second)
    assert done is not None
    assert (done.finish_reason, done.raw_finish_reason, bool(done.text)) == ("stop", "completed", True)

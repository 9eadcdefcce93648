"""What providers really sent, read as a correct parser must: some recordings here, all where they are given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from arshai_kit._json import exact
from arshai_kit.dialects.chat import messages
from arshai_kit.records import RateLimit
from tests.wire.agreement import Exchange, bytes_of, disagreements, endpoint, outcome, streamed

HERE = Path(__file__).parent / "data"
PROVIDERS = {"openai-chat", "openai-compatible", "openrouter", "azure"}
SEEDS = (1, 2, 3)

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("usage.cached", "databricks"): "cached tokens are told as cache_read_input_tokens; `expected` reads fewer names",
    ("usage.cached", "mistral"): "cached tokens are told as num_cached_tokens; `expected` reads fewer names",
    ("usage.input", "compat-mistral-0006"): "sound is counted apart, and in the total: it is input, too",
    ("calls", "openrouter-0055"): "a call without arguments has none: {}, as the same call has in a stream",
}
"""Where we differ, and why our result is the right one: the field, and the vendor or conversation."""

FORGETFUL = dict.fromkeys(
    ("openrouter-0010", "openrouter-0012", "openrouter-0016"),
    "the client lost the first words of the reasoning, or sent a summary back as text",
)
"""Where the recorded client did not send back what it got."""


def conversations(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.rglob("*.json")):
        if path.parent.name in PROVIDERS or folder == HERE:
            yield json.loads(path.read_text("utf-8"))


def exchanges(talk: dict[str, Any]) -> Iterator[tuple[str, Exchange]]:
    for place, exchange in enumerate(talk["exchanges"]):
        if exchange["operation"] == "chat":
            yield f"{talk['id']}[{place}]", exchange


def unexplained(talk: dict[str, Any], exchange: Exchange, seed: int) -> dict[str, Any]:
    found = disagreements(exchange, seed)
    return {
        name: pair
        for name, pair in found.items()
        if not {(name, talk["vendor"]), (name, talk["id"])} & EXCEPTIONS.keys()
    }


TALKS = tuple(conversations(HERE))


@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk["id"])
def test_a_recording_is_read_as_it_must_be_wherever_it_was_cut(talk: dict[str, Any]) -> None:
    for name, exchange in exchanges(talk):
        for seed in SEEDS:
            assert unexplained(talk, exchange, seed) == {}, (name, seed)


@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk["id"])
def test_no_field_that_is_new_to_us_changes_what_is_read(talk: dict[str, Any]) -> None:
    for _, exchange in exchanges(talk):
        if exchange["body_format"] == "json" and exchange["status"] == 200:
            before, _ = outcome(exchange)
            after, _ = outcome({**exchange, "response_body": {"novel": [{"x": 1}], **exchange["response_body"]}})
            assert before == after


def test_every_recording_is_read_as_it_must_be(wire: Path) -> None:
    count, wrong = 0, dict[str, list[Any]]()
    for talk in conversations(wire / "data"):
        for name, exchange in exchanges(talk):
            count += 1
            if found := [each for seed in SEEDS if (each := unexplained(talk, exchange, seed))]:
                wrong[name] = found
    assert not wrong
    assert count >= 635


LIMIT = re.compile(r"x-ratelimit-(limit|remaining|reset)(-.+)?")
NUMBER = re.compile(r"\d{1,18}(?!\d)")


def test_limits_are_read_from_the_headers_that_came(wire: Path) -> None:
    """Every number is, but one vendor's 2**63 that stands for none; some recordings hold words in their place."""
    replies, kinds = 0, set[str]()
    for talk in conversations(wire / "data"):
        for name, exchange in exchanges(talk):
            told = exchange["response_headers"]
            headers = {key for key, value in told.items() if LIMIT.fullmatch(key) and NUMBER.match(value)}
            response, error = outcome(exchange)
            if response is not None and error is None:
                assert {key for each in response.rate_limits for key in _told(each, headers)} == headers, name
                replies += bool(headers)
                kinds |= {each.kind for each in response.rate_limits}
    assert replies > 50
    assert kinds >= {"requests", "tokens", "req-minute", "tokens-minute"}


def _told(limit: RateLimit, headers: set[str]) -> list[str]:
    """The headers that *limit* was read from."""
    names = [f"x-ratelimit-{name}" for name in ("limit", "remaining", "reset") if getattr(limit, name) is not None]
    return [name if limit.kind == "requests" and name in headers else f"{name}-{limit.kind}" for name in names]


def test_a_stream_gives_what_the_same_reply_gives_as_a_whole(wire: Path) -> None:
    """The body that a stream adds up to, read as a whole reply, is the same response."""
    for talk in conversations(wire / "data"):
        for name, exchange in exchanges(talk):
            if exchange["body_format"] == "sse" and exchange["expected"]["error"] is None:
                _, response = streamed([bytes_of(exchange)])
                again, error = outcome(
                    {**exchange, "body_format": "json", "response_body": response.raw, "response_headers": {}}
                )
                assert error is None, name
                assert again == response, name


def test_what_goes_back_carries_what_the_recorded_client_sent_back(wire: Path) -> None:
    compared = 0
    for talk in filter(lambda talk: talk["id"] not in FORGETFUL, conversations(wire / "data")):
        chats = [exchange for _, exchange in exchanges(talk)]
        for first, second in pairwise(chats):
            response, _ = outcome(first)
            said = [each for each in (second["request_body"] or {}).get("messages", ()) if each["role"] == "assistant"]
            if response is not None and said and (theirs := _returned(said[-1])) and _same_turn(theirs, first):
                (ours,) = messages(response.messages, endpoint.provider)
                for name, value in theirs.items():
                    back = _returned(ours).get(name, ())
                    assert all(each in back for each in value), (talk["id"], name)
                    compared += 1
    assert compared > 130


def _returned(message: dict[str, Any]) -> dict[str, Any]:
    """What has to go back, as data: ids, names and arguments of calls, and what the model thought."""
    calls = [
        (each["id"], each["function"]["name"], exact(each["function"]["arguments"]))
        for each in message.get("tool_calls") or ()
        if each.get("function")
    ]
    told = [{name: value for name, value in each.items() if value} for each in message.get("reasoning_details", ())]
    details = [each for each in told if each.keys() & {"text", "summary", "data", "signature"}]
    found = {"tool_calls": calls, "reasoning_details": json.loads(json.dumps(details))}
    return {name: value for name, value in found.items() if value}


def _same_turn(theirs: dict[str, Any], exchange: Exchange) -> bool:
    """Whether the message that the client sent is the one that it got (some clients send another history)."""
    told = {call["id"] for call in exchange["expected"]["tool_calls"]}
    return {call[0] for call in theirs.get("tool_calls", ())} == told

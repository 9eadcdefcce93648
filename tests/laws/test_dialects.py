"""The laws of every dialect, on what a provider would send: any split, unknown fields, whole or streamed, cut anywhere.

No sockets and no drivers: bytes go through the splitter and the fold alone, so that all this costs next to nothing.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import Message, Opaque, Response, Text, Thinking, gemini, openai, openai_compatible
from arshai_kit.effects import Reply
from arshai_kit.errors import StreamIncomplete
from arshai_kit.models import Endpoint
from arshai_kit.testing import strategies
from tests.wire.agreement import streamed, told_by

Sent = st.SearchStrategy[tuple[bytes, Response]]
Wire = dict[str, Any]


@frozen
class Spoken:
    """A dialect, what is said in it, and an event of it that nobody knows."""

    model: Endpoint
    replies: Sent
    streams: Sent
    unknown: Wire


SPOKEN = {
    "chat": Spoken(
        openai_compatible("toy-1", base_url="http://localhost", api_key=""),
        strategies.chat_replies(),
        strategies.chat_streams(),
        {"id": "chatcmpl-1", "choices": []},
    ),
    "responses": Spoken(
        openai("toy-1", api_key=""),
        strategies.responses_replies(),
        strategies.responses_streams(),
        {"type": "response.tomorrow.delta", "delta": "?", "output_index": 0},
    ),
    "gemini": Spoken(
        gemini("toy-1", api_key=""), strategies.gemini_replies(), strategies.gemini_streams(), {"responseId": "r-1"}
    ),
}
everywhere = pytest.mark.parametrize("spoken", [pytest.param(each, id=name) for name, each in SPOKEN.items()])


def read(spoken: Spoken, body: bytes) -> Response:
    """What *body* says as a whole."""
    return spoken.model.dialect.parse(spoken.model, Reply(200, (), body))


def meaning(response: Response) -> Any:
    """What *response* means, whatever else came with it: neighbouring words are one, and no words are nothing."""
    said = [part for message in response.messages for part in plain(message)]
    ends = (response.finish_reason, response.raw_finish_reason, response.usage, response.model, response.id)
    return said, ends, response.candidates


def plain(message: Message) -> list[Any]:
    """The parts of *message*, without what only its provider reads and what nobody knows."""
    told: list[Any] = []
    for part in message.parts:
        match part:
            case Text(text) | Thinking(text):
                if told and type(told[-1]) is type(part):
                    told[-1] = type(part)(told[-1].text + text)
                elif text:
                    told.append(type(part)(text))
            case Opaque(kind) if "tomorrow" in kind.lower():
                pass
            case _:
                told.append(evolve(part, state=None))
    return told


@everywhere
@given(data=st.data())
def test_where_a_stream_is_cut_never_matters_and_it_says_what_a_whole_reply_does(
    spoken: Spoken, data: st.DataObject
) -> None:
    sent, meant = data.draw(spoken.streams)
    events, response = streamed([sent], spoken.model)
    assert streamed(list(data.draw(strategies.splits(sent))), spoken.model) == (events, response)
    whole = read(spoken, json.dumps(meant.raw).encode())
    assert meaning(response) == meaning(whole) == meaning(meant)
    assert response == whole, "not even in what goes back to the provider"
    assert told_by(events) == (response.text, response.reasoning, response.tool_calls)


# Arguments of calls


LARGE = -(2**63) - 1
"""The first whole number for which a fast parser takes a float."""


def test_whole_numbers_in_arguments_come_whole_where_they_are_part_of_the_reply() -> None:
    call = {"functionCall": {"name": "add", "args": {"a": LARGE}}}
    candidate = {"content": {"parts": [call], "role": "model"}, "finishReason": "STOP"}
    body = json.dumps({"candidates": [candidate]}).encode()
    model = SPOKEN["gemini"].model
    for response in (read(SPOKEN["gemini"], body), streamed([b"data: " + body + b"\n\n"], model)[1]):
        (asked,) = response.tool_calls
        assert (asked.arguments["a"], type(asked.arguments["a"])) == (LARGE, int)


# Unknown fields

fields = st.dictionaries(st.sampled_from(["x_tomorrow", "xTomorrow", "tomorrow"]), strategies.json_values(), max_size=2)
strewing = st.tuples(fields, st.integers(0, 2**32).map(random.Random))


@everywhere
@given(data=st.data(), junk=strewing)
def test_what_nobody_knows_changes_nothing_in_a_reply(
    spoken: Spoken, data: st.DataObject, junk: tuple[Wire, random.Random]
) -> None:
    body, meant = data.draw(spoken.replies)
    assert meaning(read(spoken, json.dumps(strewn(json.loads(body), *junk)).encode())) == meaning(meant)


@everywhere
@given(data=st.data(), junk=strewing)
def test_nor_in_a_stream(spoken: Spoken, data: st.DataObject, junk: tuple[Wire, random.Random]) -> None:
    sent, meant = data.draw(spoken.streams)
    told = "\n".join([line for each in sent.decode().split("\n") for line in disturbed(each, spoken, *junk)])
    assert meaning(streamed([told.encode()], spoken.model)[1]) == meaning(meant)


def disturbed(line: str, spoken: Spoken, junk: Wire, chance: random.Random) -> list[str]:
    """*line* of a stream, with *junk* in its objects, and between two events perhaps one that nobody knows."""
    if line.startswith("data: {"):
        return ["data: " + json.dumps(strewn(json.loads(line[6:]), junk, chance))]
    unknown = not line.strip() and chance.random() < 0.3
    return ["", f"data: {json.dumps(strewn(spoken.unknown, junk, chance))}", "", line] if unknown else [line]


AS_IT_IS = ("args", "promptFeedback")


def strewn(value: Any, junk: Wire, chance: random.Random) -> Any:
    """*value* with *junk* in some of its objects, but for those that we give on as they are."""
    if isinstance(value, list):
        return [strewn(each, junk, chance) for each in value]
    if not isinstance(value, dict):
        return value
    told = {name: each if name in AS_IT_IS else strewn(each, junk, chance) for name, each in value.items()}
    return junk | told if chance.random() < 0.3 else told


# Nothing is invented


@everywhere
@given(data=st.data())
def test_a_stream_that_ends_too_early_says_nothing_that_was_not_said(spoken: Spoken, data: st.DataObject) -> None:
    sent, meant = data.draw(spoken.streams)
    response, complete = as_far_as(spoken, sent[: data.draw(st.integers(0, len(sent)))])
    if complete:
        assert response.finish_reason == meant.finish_reason
        assert plain(response.message) == plain(meant.message)
    else:
        assert (response.finish_reason, response.raw_finish_reason) == ("error", None)
    assert meant.text.startswith(response.text)
    assert meant.reasoning.startswith(response.reasoning)
    assert all(evolve(call, state=None) in meant.tool_calls for call in response.tool_calls)


def as_far_as(spoken: Spoken, sent: bytes) -> tuple[Response, bool]:
    """What *sent* tells, and whether the provider said that it is all."""
    try:
        return streamed([sent], spoken.model)[1], True
    except StreamIncomplete as error:
        return error.partial or Response((), "error"), False

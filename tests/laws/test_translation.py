"""Nothing is lost in translation: what a provider sent with a turn goes back with it, unchanged, and to nobody else."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import Response, complete, request, run_tools, stream, tool
from arshai_kit.codec import from_json, to_json
from arshai_kit.effects import Reply
from arshai_kit.providers import openai_compatible
from arshai_kit.providers.compatible import Api
from arshai_kit.records import Finished
from arshai_kit.testing import strategies
from tests.laws.provider import Provider, Sent, whole

names = st.sampled_from(["thought_signature", "encrypted_content", "safety", "x-note"])
something = strategies.words().filter(str.strip)
details = st.one_of(
    st.fixed_dictionaries({"type": st.just("reasoning.encrypted"), "data": something, "id": something}),
    st.fixed_dictionaries({"type": st.just("reasoning.text"), "text": something, "signature": something}),
)
extras = st.fixed_dictionaries({"google": st.dictionaries(names, something, min_size=1, max_size=2)})


@st.composite
def assistants(draw: st.DrawFn, *, calls: bool) -> dict[str, Any]:
    """What an assistant says on the wire, with state of every kind that providers attach."""
    said: dict[str, Any] = {"role": "assistant", "content": draw(something)}
    if draw(st.booleans()):
        said["reasoning_content"] = draw(something)
    else:
        told = draw(st.lists(details, min_size=1, max_size=2))
        said["reasoning_details"] = [{**each, "index": place} for place, each in enumerate(told)]
    if draw(st.booleans()):
        said["annotations_of_tomorrow"] = draw(st.lists(something, min_size=1, max_size=2))
    if calls:
        function = {"name": "look", "arguments": json.dumps(draw(strategies.json_objects()))}
        call = {"id": "call_1", "type": "function", "function": function}
        said["tool_calls"] = [call | draw(st.just({}) | st.fixed_dictionaries({"extra_content": extras}))]
    return said


def looking(**_: Any) -> str:
    return "seen"


LOOK = tool(looking, name="look", parameters={"type": "object"})


def as_whole(said: dict[str, Any]) -> Sent:
    finish = "tool_calls" if "tool_calls" in said else "stop"
    return whole({"id": "1", "model": "toy-1", "choices": [{"index": 0, "message": said, "finish_reason": finish}]})


def as_stream(said: dict[str, Any]) -> Sent:
    """*said*, field by field."""
    finish = "tool_calls" if "tool_calls" in said else "stop"
    deltas: list[dict[str, Any]] = [{name: value} for name, value in said.items() if name != "tool_calls"]
    deltas += [{"tool_calls": [{"index": n, **call}]} for n, call in enumerate(said.get("tool_calls", ()))]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    return Sent([f"data: {json.dumps({'choices': [each]})}\n\n".encode() for each in choices] + [b"data: [DONE]\n\n"])


def answered(toy: Provider, says: Callable[[dict[str, Any]], Sent], *turns: dict[str, Any]) -> Response:
    """What comes of a run in which the provider says *turns*."""
    toy.answers(*[says(turn) for turn in turns])
    model = toy.model(retry=None)
    if says is as_whole:
        return run_tools(model, "Go!", [LOOK])
    final = list(stream(model, "Go!", tools=[LOOK]))[-1]
    assert isinstance(final, Finished)
    return final.response


def normal(said: dict[str, Any]) -> dict[str, Any]:
    """*said*, its arguments as what they mean."""
    calls = [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        for call in said.get("tool_calls", ())
    ]
    return {**said, "tool_calls": calls} if calls else said


both = pytest.mark.parametrize("says", [as_whole, as_stream])


@both
@given(asks=assistants(calls=True), ends=assistants(calls=False))
def test_state_goes_back_between_the_rounds_of_a_run(
    toy: Provider, says: Callable[[dict[str, Any]], Sent], asks: dict[str, Any], ends: dict[str, Any]
) -> None:
    response = answered(toy, says, asks, ends)
    assert response.text == ends["content"]
    _, back, result = toy.asked[1]["messages"]
    assert normal(back) == normal(asks)
    assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", "call_1", "seen")


def keeps(response: Response) -> Sequence[Response]:
    """*response*, as programs keep it between two turns."""
    return response, from_json(to_json(response)), pickle.loads(pickle.dumps(response))


@both
@given(asks=assistants(calls=True), ends=assistants(calls=False))
def test_state_goes_back_in_the_next_turn_however_the_conversation_was_kept(
    toy: Provider, says: Callable[[dict[str, Any]], Sent], asks: dict[str, Any], ends: dict[str, Any]
) -> None:
    first = answered(toy, says, asks, ends)
    for kept in keeps(first):
        toy.answers(as_whole({"role": "assistant", "content": "Bye."}))
        complete(toy.model(retry=None), ("Go!", kept, "And now?"))
        _, one, _, two, last = toy.asked[0]["messages"]
        assert (normal(one), two) == (normal(asks), ends)
        assert last == {"role": "user", "content": "And now?"}


@both
@given(said=assistants(calls=False))
def test_state_goes_to_nobody_else(toy: Provider, says: Callable[[dict[str, Any]], Sent], said: dict[str, Any]) -> None:
    """Another provider gets the words, and none of what the first one attached."""
    first = answered(toy, says, said)
    toy.answers(as_whole({"role": "assistant", "content": "Bye."}))
    complete(evolve(toy.model(retry=None), provider="another"), ("Go!", first, "And now?"))
    back = toy.asked[0]["messages"][1]
    assert back["content"] == said["content"]
    assert "reasoning_details" not in back
    assert "annotations_of_tomorrow" not in back


@given(said=assistants(calls=True))
def test_servers_without_a_name_are_told_apart_by_their_host(said: dict[str, Any]) -> None:
    """What one host attached goes back to it, and not to another, whatever the API."""
    sealed = {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAAAB", "summary": []}
    spoke = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}
    finish = {"index": 0, "message": said, "finish_reason": "tool_calls"}
    replies: dict[Api, Any] = {
        "chat": {"choices": [finish]},
        "responses": {"id": "1", "status": "completed", "output": [sealed, spoke]},
    }
    for api, reply in replies.items():
        one, same, other = (
            openai_compatible("m", base_url=f"https://{host}/v1", api=api, api_key="")
            for host in ("api.one.example", "API.one.example:443", "api.other.example")
        )
        first = one.dialect.parse(one, Reply(200, (), json.dumps(reply).encode()))
        assert first.provider == "openai-compatible"
        back, kept, lost = (request(model, ("Go!", first, "And now?")).content for model in (one, same, other))
        assert back == kept
        marks = (b"gAAAAAB", b"reasoning", b"annotations_of_tomorrow", b"extra_content")
        assert any(mark in back for mark in marks)
        assert not any(mark in lost.replace(b"reasoning.encrypted_content", b"") for mark in marks)

"""The Responses API on the wire, as hypothesis strategies and as a small writer of streams."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

from arshai_kit.dialects.responses import RESPONSES
from arshai_kit.models import Endpoint
from tests.dialects.wires import arguments, names, pieces, words

__all__ = ["ENDPOINT", "Wire", "bodies", "events", "outputs", "sse"]

ENDPOINT = Endpoint(
    name="model", base_url="https://api.openai.com/v1", dialect=RESPONSES, api_key="sk-secret", provider="openai"
)

Wire = dict[str, Any]

_texts = st.builds(
    lambda text, cited: {
        "type": "output_text",
        "text": text,
        "annotations": [{"type": "url_citation", "url": "https://x.example"}] * cited,
        "logprobs": [],
    },
    words,
    st.booleans(),
)
_refusals = st.builds(lambda text: {"type": "refusal", "refusal": text}, words)
_summaries = st.lists(st.builds(lambda text: {"type": "summary_text", "text": text}, words), max_size=2)


@st.composite
def outputs(draw: st.DrawFn) -> list[Wire]:
    """The items of an answer."""
    kinds = draw(st.lists(st.sampled_from(["message", "reasoning", "function_call", "novel"]), max_size=5))
    return [_ITEMS[kind](draw, place) for place, kind in enumerate(kinds)]


def _message(draw: st.DrawFn, place: int) -> Wire:
    content = draw(st.lists(_texts | _refusals, min_size=1, max_size=2))
    wire: Wire = {"type": "message", "id": f"msg_{place}", "status": "completed", "role": "assistant"}
    return {**wire, "content": content, **draw(st.sampled_from([{}, {"phase": "commentary"}]))}


def _reasoning(draw: st.DrawFn, place: int) -> Wire:
    wire: Wire = {"type": "reasoning", "id": f"rs_{place}", "summary": draw(_summaries)}
    sealed = draw(st.none() | words)
    return wire if sealed is None else {**wire, "encrypted_content": sealed}


def _call(draw: st.DrawFn, place: int) -> Wire:
    wire: Wire = {"type": "function_call", "id": f"fc_{place}", "call_id": f"call_{place}", "status": "completed"}
    given = json.dumps(draw(arguments), ensure_ascii=draw(st.booleans()))
    return {**wire, "name": draw(names), "arguments": given}


def _novel(draw: st.DrawFn, place: int) -> Wire:
    return {"type": "novel_call", "id": f"nov_{place}", "what": draw(st.dictionaries(names, words))}


_ITEMS = {"message": _message, "reasoning": _reasoning, "function_call": _call, "novel": _novel}


@st.composite
def bodies(draw: st.DrawFn) -> Wire:
    """A whole reply."""
    used = st.integers(0, 10**6)
    usage = {"input_tokens": draw(used), "output_tokens": draw(used)}
    body: Wire = {"id": "resp_1", "model": "model-1", "store": draw(st.booleans()), "error": None}
    if draw(st.integers(0, 4)) == 0:
        body["incomplete_details"] = {"reason": draw(st.sampled_from(["max_output_tokens", "content_filter"]))}
    status = "incomplete" if "incomplete_details" in body else "completed"
    return {**body, "status": status, "output": draw(outputs()), "usage": usage}


def events(body: Wire, seed: int) -> list[Wire]:
    """The events in which a provider may stream *body*: items side by side, the last event with or without them."""
    chance = random.Random(seed)
    top = {**body, "status": "in_progress", "output": [], "usage": None}
    told: list[Wire] = [{"type": "response.created", "response": top}, {"type": "response.novel", "item": 1}]
    queues: list[list[Wire]] = [list(_item(index, item, chance)) for index, item in enumerate(body["output"])]
    if chance.random() < 0.5:
        told += [event for queue in queues for event in queue]
    else:
        begun = 0
        while any(queues):  # side by side, but they begin in order, and so do their words
            place = chance.choice([place for place, queue in enumerate(queues[: begun + 1]) if queue])
            told += queues[place] if body["output"][place]["type"] in {"message", "reasoning"} else queues[place][:1]
            queues[place] = [] if body["output"][place]["type"] in {"message", "reasoning"} else queues[place][1:]
            begun = max(begun, min(place + 1, len(queues) - 1))
    last = {**body, "output": []} if chance.random() < 0.3 else body
    return [*told, {"type": f"response.{body['status']}", "response": last}]


def _item(index: int, item: Wire, chance: random.Random) -> Iterator[Wire]:
    where = {"output_index": index, "item_id": item["id"]}
    begun = {"content": [], "summary": [], "arguments": "", "status": "in_progress"}
    yield {
        "type": "response.output_item.added",
        **where,
        "item": {name: begun.get(name, value) for name, value in item.items()},
    }
    yield from _STREAMED.get(item["type"], _nothing)(item, where, chance)
    yield {"type": "response.output_item.done", **where, "item": item}


def _said(item: Wire, where: Wire, chance: random.Random) -> Iterator[Wire]:
    for place, part in enumerate(item["content"]):
        kind, word = ("refusal", "refusal") if part["type"] == "refusal" else ("output_text", "text")
        here = {**where, "content_index": place}
        for piece in _some(part[word], chance):
            yield {"type": f"response.{kind}.delta", **here, "delta": piece}
        yield {"type": f"response.{kind}.done", **here, word: part[word]}


def _thought(item: Wire, where: Wire, chance: random.Random) -> Iterator[Wire]:
    for place, part in enumerate(item["summary"]):
        here = {**where, "summary_index": place}
        for piece in _some(part["text"], chance):
            yield {"type": "response.reasoning_summary_text.delta", **here, "delta": piece}
        yield {"type": "response.reasoning_summary_text.done", **here, "text": part["text"]}


def _called(item: Wire, where: Wire, chance: random.Random) -> Iterator[Wire]:
    for piece in _some(item["arguments"], chance):
        yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
    if chance.random() < 0.8:
        yield {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"]}


def _some(text: str, chance: random.Random) -> list[str]:
    """*text* in pieces, of which the last ones may be lost."""
    found = list(pieces(text, chance))
    return found if chance.random() < 0.8 else found[: chance.randint(0, len(found))]


def _nothing(*_: Any) -> Iterator[Wire]:
    yield from ()


_STREAMED = {"message": _said, "reasoning": _thought, "function_call": _called}


def sse(told: Iterable[Wire | bytes]) -> bytes:
    """The events *told* as server-sent events, which name their type twice."""
    return b"".join(each if isinstance(each, bytes) else _event(each) for each in told)


def _event(event: Wire) -> bytes:
    return f"event: {event.get('type', 'x')}\ndata: {json.dumps(event)}\n\n".encode()

"""Chat Completions on the wire, as hypothesis strategies and as a small writer of streams."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

from arshai_kit.dialects.chat import CHAT
from arshai_kit.models import Endpoint

__all__ = ["ENDPOINT", "arguments", "assistants", "bodies", "chunks", "junk", "names", "sse", "words"]

ENDPOINT = Endpoint(name="model", base_url="http://127.0.0.1:1/v1", dialect=CHAT, api_key="sk-secret")

Wire = dict[str, Any]

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
names = st.text("abcdef_", min_size=1, max_size=8)
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(names, junk, max_size=3)


@st.composite
def _calls(draw: st.DrawFn) -> list[Wire]:
    found = draw(st.lists(st.tuples(names, arguments, st.booleans()), min_size=1, max_size=4))
    return [
        {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": _dumped(given, spaced)}}
        for place, (name, given, spaced) in enumerate(found)
    ]


def _dumped(value: Any, spaced: bool) -> str:
    return json.dumps(value, indent=1 if spaced else None, ensure_ascii=spaced)


details = st.fixed_dictionaries(
    {
        "type": st.just("reasoning.text"),
        "text": words.map("{} in detail".format),  # what only says the same again does not go back
        "format": st.just("anthropic"),
        "index": st.just(0),
    },
    optional={"signature": words},
) | st.fixed_dictionaries({"type": st.just("reasoning.encrypted"), "data": words, "index": st.just(1)})


@st.composite
def assistants(draw: st.DrawFn) -> Wire:
    """What an assistant says, as a whole message."""
    message: Wire = {"role": "assistant", "content": draw(st.none() | words)}
    under = draw(st.sampled_from(["", "reasoning_content", "reasoning", "thinking"]))
    if under:
        message[under] = draw(words)
    if draw(st.booleans()):
        message["reasoning_details"] = draw(st.lists(details, min_size=1, max_size=1))
    if draw(st.booleans()):
        message["tool_calls"] = draw(_calls())
    if draw(st.integers(0, 4)) == 0:
        message["refusal"] = draw(words)
    if draw(st.integers(0, 2)) == 0:
        message["novel_field"] = draw(st.dictionaries(names, words, min_size=1, max_size=2))
    return message


@st.composite
def bodies(draw: st.DrawFn) -> Wire:
    """A whole reply."""
    message = draw(assistants())
    finish = "tool_calls" if "tool_calls" in message else draw(st.sampled_from(["stop", "length", "content_filter"]))
    used = st.integers(0, 10**6)
    usage = {"prompt_tokens": draw(used), "completion_tokens": draw(used)}
    usage["total_tokens"] = sum(usage.values())
    return {
        "id": "chatcmpl-1",
        "model": "model-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage,
    }


def pieces(text: str, chance: random.Random) -> Iterator[str]:
    """*text* in one or more pieces."""
    place = 0
    while place < len(text):
        size = chance.randint(1, 6)
        yield text[place : place + size]
        place += size


def chunks(body: Wire, seed: int) -> list[Wire]:
    """The chunks in which a provider may stream *body*."""
    chance = random.Random(seed)
    (choice,) = body["choices"]
    message = choice["message"]
    deltas: list[Wire] = [{"role": "assistant", "content": ""}]
    for under in ("reasoning_content", "reasoning", "thinking"):
        deltas += [{under: piece} for piece in pieces(message.get(under) or "", chance)]
    for each in message.get("reasoning_details", ()):
        deltas.append({"reasoning_details": [each]})
    deltas += [{"content": piece} for piece in pieces(message["content"] or "", chance)]
    deltas += [{"refusal": piece} for piece in pieces(message.get("refusal") or "", chance)]
    deltas += [{"tool_calls": [each]} for each in _fragments(message.get("tool_calls", ()), chance)]
    if "novel_field" in message:
        deltas.append({"novel_field": message["novel_field"]})
    top = {"id": body["id"], "model": body["model"]}
    told = [{**top, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    end = {**top, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    if chance.random() < 0.5:
        return [*told, {**end, "usage": body["usage"]}]
    return [*told, end, {**top, "choices": [], "usage": body["usage"]}]


def _fragments(calls: Iterable[Wire], chance: random.Random) -> Iterator[Wire]:
    """The fragments of *calls*: one after the other, or all at once."""
    queues: list[list[Wire]] = []
    for index, call in enumerate(calls):
        function = call["function"]
        first = {"index": index, "id": call["id"], "function": {"name": function["name"], "arguments": ""}}
        rest = [{"index": index, "function": {"arguments": piece}} for piece in pieces(function["arguments"], chance)]
        queues.append([first, *rest])
    if chance.random() < 0.5:
        yield from (fragment for queue in queues for fragment in queue)
        return
    begun = 0
    while any(queues):  # side by side, but they begin in order
        place = chance.choice([place for place, queue in enumerate(queues[: begun + 1]) if queue])
        begun += place == begun
        yield queues[place].pop(0)


def sse(told: Iterable[Wire | bytes], *, done: bool = True) -> bytes:
    """The chunks *told* as server-sent events."""
    lines = [each if isinstance(each, bytes) else b"data: " + json.dumps(each).encode() for each in told]
    return b"".join(line + b"\n\n" for line in [*lines, *([b"data: [DONE]"] if done else [])])

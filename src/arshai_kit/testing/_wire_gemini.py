"""What Google's generateContent sends, with what it means; strategies for hypothesis."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from arshai_kit.records import FinishReason, Message, Opaque, Part, Response, Text, Thinking, ToolCall, Usage
from arshai_kit.testing._hypothesis import DrawFn, SearchStrategy, st
from arshai_kit.testing._records import json_objects, words
from arshai_kit.testing._wire_sent import pieces, sent

__all__ = ["gemini_replies", "gemini_streams"]

Wire = dict[str, Any]

_FINISHES: dict[str, FinishReason] = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter"}
_UNREPORTED = frozenset({"cached_tokens", "reasoning_tokens"})


def gemini_replies() -> SearchStrategy[tuple[bytes, Response]]:
    """A whole reply and the response it means."""

    def wire(response: Response, ascii_only: bool) -> tuple[bytes, Response]:  # noqa: FBT001  # drawn by hypothesis
        return json.dumps(response.raw, ensure_ascii=ascii_only, indent=2).encode(), response

    return st.builds(wire, _meant(), st.booleans())


def gemini_streams() -> SearchStrategy[tuple[bytes, Response]]:
    """A reply as a stream of chunks (`alt=sse`), several parts in one or each in its own, and the response it means."""

    @st.composite
    def wire(draw: DrawFn) -> tuple[bytes, Response]:
        response = draw(_meant())
        return sent(draw, _chunks(draw, response.raw), comments=False), response

    return wire()


# What is meant


def _meant() -> SearchStrategy[Response]:
    """A response that Gemini can give, with the whole body that gives it as `raw`."""

    @st.composite
    def meant(draw: DrawFn) -> Response:
        if draw(st.integers(0, 9)) == 0:
            return _refused(draw)
        kinds = draw(st.lists(st.sampled_from(list(_PARTS)), min_size=1, max_size=4))
        told = [wire for kind, run in groupby(kinds) for wire in _PARTS[kind](draw, len(list(run)))]
        calls = any("functionCall" in wire for wire in told)
        raw = "STOP" if calls else draw(st.sampled_from(list(_FINISHES)))
        candidate = {"content": {"parts": told, "role": "model"}, "finishReason": raw, "index": 0}
        counts, used = _used(draw)
        body = _body({"candidates": [candidate], "usageMetadata": counts})
        said = Message("assistant", tuple([_part(wire) for wire in told]))
        return _response(said, "tool_calls" if calls else _FINISHES[raw], raw, used, body)

    return meant()


def _refused(draw: DrawFn) -> Response:
    """A prompt that is refused."""
    why = {"blockReason": draw(st.sampled_from(["SAFETY", "PROHIBITED_CONTENT", "OTHER"]))}
    count = draw(st.integers(1, 999))
    used = Usage(count, 0, missing=_UNREPORTED)
    body = _body({"promptFeedback": why, "usageMetadata": {"promptTokenCount": count, "totalTokenCount": count}})
    said = Message("assistant", (Opaque("promptFeedback", why),))
    return _response(said, "content_filter", why["blockReason"], used, body)


def _response(said: Message, finish: FinishReason, raw: str, used: Usage, body: Wire) -> Response:
    return Response((said,), finish, raw, used, model=body["modelVersion"], id=body["responseId"], raw=body)


def _body(told: Wire) -> Wire:
    return {**told, "modelVersion": "toy-1", "responseId": "r-1"}


def _used(draw: DrawFn) -> tuple[Wire, Usage]:
    """Counts of tokens: what was thought is counted apart, what was read before is left out when it is nothing."""
    read, wrote, thought, cached = [draw(st.integers(low, 999)) for low in (1, 1, 0, 0)]
    cached = min(cached, read)
    counts = {"promptTokenCount": read, "candidatesTokenCount": wrote, "totalTokenCount": read + wrote + thought}
    missing = {name for name, count in (("cached_tokens", cached), ("reasoning_tokens", thought)) if not count}
    counts |= {"thoughtsTokenCount": thought} if thought else {}
    counts |= {"cachedContentTokenCount": cached} if cached else {}
    return counts, Usage(read, wrote + thought, cached, thought, missing=missing)


def _signature(draw: DrawFn) -> Wire:
    """Nothing, or a signature."""
    data = draw(st.none() | st.binary(min_size=1, max_size=9))
    return {} if data is None else {"thoughtSignature": base64.b64encode(data).decode()}


def _thought(draw: DrawFn, _: int) -> list[Wire]:
    return [{"text": draw(words().filter(bool)), "thought": True}]


def _text(draw: DrawFn, _: int) -> list[Wire]:
    """Words, and behind them perhaps the signature, which comes with no words."""
    sign = _signature(draw)
    return [{"text": draw(words().filter(bool))}, *([{"text": "", **sign}] if sign else [])]


def _calls(draw: DrawFn, many: int) -> list[Wire]:
    """Calls side by side, of which the first one is signed; only some models give them ids."""
    named, sign = draw(st.booleans()), _signature(draw)
    return [
        {
            "functionCall": {
                "name": draw(st.sampled_from(["add", "look_up", "now"])),
                "args": draw(json_objects()),
                **({"id": f"call_{draw(st.uuids())}"} if named else {}),
            },
            **({} if place else sign),
        }
        for place in range(many)
    ]


_PARTS = {"thought": _thought, "text": _text, "call": _calls}


def _part(wire: Wire) -> Part:
    """The part that *wire* means."""
    if "functionCall" in wire:
        call = wire["functionCall"]
        return ToolCall(call.get("id", ""), call["name"], call["args"])
    return Thinking(wire["text"]) if "thought" in wire else Text(wire["text"])


# How it is told


def _chunks(draw: DrawFn, body: Wire) -> list[Wire]:
    """The chunks of a stream that is *body* as a whole."""
    counts = body["usageMetadata"]
    if "candidates" not in body:
        return [body]
    (candidate,) = body["candidates"]
    groups: list[list[Wire]] = []
    for wire in _pieces(draw, candidate["content"]["parts"]):
        if groups and draw(st.integers(0, 3)) == 0:
            groups[-1].append(wire)
        else:
            groups.append([wire])
    told: list[Wire] = [{"content": {"parts": group, "role": "model"}, "index": 0} for group in groups]
    if draw(st.booleans()):
        told.append({"content": {"parts": [{"text": ""}], "role": "model"}, "index": 0})
    told[-1] = {**told[-1], "finishReason": candidate["finishReason"]}
    read = dict.fromkeys(("promptTokenCount", "totalTokenCount"), counts["promptTokenCount"])
    first: Wire = {"usageMetadata": read} if draw(st.booleans()) else {}
    chunks = [_body({"candidates": [each], **first}) for each in told]
    chunks[-1]["usageMetadata"] = counts
    return chunks


def _pieces(draw: DrawFn, parts: list[Wire]) -> Iterator[Wire]:
    for wire in parts:
        if wire.get("text"):
            yield from [{**wire, "text": piece} for piece in pieces(draw, wire["text"])]
        else:
            yield wire

"""What providers that speak Chat Completions send, with what it means; strategies for hypothesis."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from arshai_kit.models import written
from arshai_kit.records import FinishReason, Message, Response, Text, Thinking, ToolCall, Usage
from arshai_kit.testing._hypothesis import DrawFn, SearchStrategy, st
from arshai_kit.testing._records import json_objects, words

__all__ = ["chat_replies", "chat_streams"]

_FINISHES: tuple[FinishReason, ...] = ("stop", "length", "content_filter")


def _meant() -> Any:
    """A response that Chat Completions can say: thoughts, words and calls, and why it ended."""
    names = st.sampled_from(["add", "look_up", "now"])

    @st.composite
    def meant(draw: DrawFn) -> Response:
        many = range(draw(st.integers(0, 3)))
        calls = [ToolCall(f"call_{place}", draw(names), draw(json_objects())) for place in many]
        thought = [Thinking(draw(words().filter(bool)))] if draw(st.booleans()) else []
        said = [Text(draw(words().filter(bool)))] if draw(st.booleans()) or not calls else []
        finish: FinishReason = "tool_calls"
        if not calls:
            finish = draw(st.sampled_from(_FINISHES))
        counts = Usage(draw(st.integers(1, 999)), draw(st.integers(1, 999)))
        message = Message("assistant", (*thought, *said, *calls))
        return Response((message,), finish, finish, counts, model="toy-1", id="chatcmpl-1")

    return meant()


def chat_replies() -> SearchStrategy[tuple[bytes, Response]]:
    """A whole reply and the response it means."""

    def wire(response: Response, ascii_only: bool) -> tuple[bytes, Response]:  # noqa: FBT001  # drawn by hypothesis
        message = response.message
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": written(call)}}
            for call in message.tool_calls
        ]
        told: dict[str, Any] = {"role": "assistant", "content": message.text or None}
        told |= {"reasoning_content": message.reasoning} if message.reasoning else {}
        told |= {"tool_calls": calls} if calls else {}
        choice = {"index": 0, "message": told, "finish_reason": response.finish_reason}
        body = {**_top(response), "object": "chat.completion", "choices": [choice], "usage": _usage(response)}
        return json.dumps(body, ensure_ascii=ascii_only).encode(), response

    return st.builds(wire, _meant(), st.booleans())


def chat_streams() -> SearchStrategy[tuple[bytes, Response]]:
    """A reply as a stream of server-sent events, calls in fragments that may interleave, and the response it means."""

    @st.composite
    def wire(draw: DrawFn) -> tuple[bytes, Response]:
        response = draw(_meant())
        deltas = [{"role": "assistant", "content": ""}, *_spoken(draw, response), *_called(draw, response)]
        choices: list[dict[str, Any]] = [{"index": 0, "delta": each, "finish_reason": None} for each in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": response.finish_reason})
        chunks = [{**_top(response), "object": "chat.completion.chunk", "choices": [each]} for each in choices]
        chunks.append({**_top(response), "choices": [], "usage": _usage(response)})
        return _sent(draw, chunks), response

    return wire()


def _top(response: Response) -> dict[str, Any]:
    return {"id": response.id, "model": response.model, "created": 1}


def _usage(response: Response) -> dict[str, int]:
    usage = response.usage
    counts = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}
    return {**counts, "total_tokens": usage.total_tokens}


def _pieces(draw: DrawFn, text: str) -> list[str]:
    """*text* in one to four pieces, none of them empty."""
    cuts = draw(st.lists(st.integers(0, len(text)), max_size=3))
    places = sorted({0, *cuts, len(text)})
    return [text[start:end] for start, end in pairwise(places)]


def _spoken(draw: DrawFn, response: Response) -> list[dict[str, Any]]:
    thoughts = [{"reasoning_content": piece} for piece in _pieces(draw, response.reasoning)]
    return [*thoughts, *[{"content": piece} for piece in _pieces(draw, response.text)]]


def _called(draw: DrawFn, response: Response) -> list[dict[str, Any]]:
    """The fragments of all calls: those of one in order, and every call begun before a later one."""
    waiting = [_fragments(draw, place, call) for place, call in enumerate(response.tool_calls)]
    begun: list[list[dict[str, Any]]] = []
    told: list[dict[str, Any]] = []
    while waiting or begun:
        fresh = bool(waiting) and (not begun or draw(st.booleans()))
        if fresh:
            begun.append(waiting.pop(0))
        fragments = begun[-1] if fresh else draw(st.sampled_from(begun))
        told.append({"tool_calls": [fragments.pop(0)]})
        begun = [each for each in begun if each]
    return told


def _fragments(draw: DrawFn, place: int, call: ToolCall) -> list[dict[str, Any]]:
    first = {"index": place, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
    pieces = _pieces(draw, written(call))
    return [first, *[{"index": place, "function": {"arguments": piece}} for piece in pieces]]


def _sent(draw: DrawFn, chunks: list[dict[str, Any]]) -> bytes:
    """*chunks* as server-sent events, with what servers put between them."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    ascii_only = draw(st.booleans())
    between = draw(st.sampled_from(["", f": ping{end}{end}"]))
    told = [f"data: {json.dumps(chunk, ensure_ascii=ascii_only)}{end}{end}" for chunk in chunks]
    return (between + between.join(told) + f"data: [DONE]{end}{end}").encode()

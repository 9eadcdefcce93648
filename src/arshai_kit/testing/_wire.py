"""What providers that speak Chat Completions send, with what it means; strategies for hypothesis."""

from __future__ import annotations

import json
from typing import Any

from arshai_kit.models import evolve, written
from arshai_kit.records import FinishReason, Message, Response, Text, Thinking, ToolCall, Usage
from arshai_kit.testing._hypothesis import DrawFn, SearchStrategy, st
from arshai_kit.testing._records import json_objects, words
from arshai_kit.testing._wire_sent import interleaved, pieces, sent

__all__ = ["chat_replies", "chat_streams"]

_FINISHES: tuple[FinishReason, ...] = ("stop", "length", "content_filter")


def _meant() -> Any:
    """A response that Chat Completions can say, with the whole body that says it as `raw`."""
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
        missing = ("cached_tokens", "reasoning_tokens")
        counts = Usage(draw(st.integers(1, 999)), draw(st.integers(1, 999)), missing=missing)
        message = Message("assistant", (*thought, *said, *calls))
        response = Response((message,), finish, finish, counts, model="toy-1", id="chatcmpl-1")
        return evolve(response, raw=_whole(response))

    return meant()


def chat_replies() -> SearchStrategy[tuple[bytes, Response]]:
    """A whole reply and the response it means."""

    def wire(response: Response, ascii_only: bool) -> tuple[bytes, Response]:  # noqa: FBT001  # drawn by hypothesis
        return json.dumps(response.raw, ensure_ascii=ascii_only).encode(), response

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
        return sent(draw, chunks, mark="[DONE]"), response

    return wire()


def _whole(response: Response) -> dict[str, Any]:
    """The body that says *response* as a whole."""
    message = response.message
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": written(call)}}
        for call in message.tool_calls
    ]
    told: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    told |= {"reasoning_content": message.reasoning} if message.reasoning else {}
    told |= {"tool_calls": calls} if calls else {}
    choice = {"index": 0, "message": told, "finish_reason": response.finish_reason}
    return {**_top(response), "object": "chat.completion", "choices": [choice], "usage": _usage(response)}


def _top(response: Response) -> dict[str, Any]:
    return {"id": response.id, "model": response.model, "created": 1}


def _usage(response: Response) -> dict[str, int]:
    usage = response.usage
    counts = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}
    return {**counts, "total_tokens": usage.total_tokens}


def _spoken(draw: DrawFn, response: Response) -> list[dict[str, Any]]:
    thoughts = [{"reasoning_content": piece} for piece in pieces(draw, response.reasoning)]
    return [*thoughts, *[{"content": piece} for piece in pieces(draw, response.text)]]


def _called(draw: DrawFn, response: Response) -> list[dict[str, Any]]:
    """The fragments of all calls: those of one in order, and every call begun before a later one."""
    runs = [_fragments(draw, place, call) for place, call in enumerate(response.tool_calls)]
    return [{"tool_calls": [fragment]} for fragment in interleaved(draw, runs)]


def _fragments(draw: DrawFn, place: int, call: ToolCall) -> list[dict[str, Any]]:
    first = {"index": place, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
    told = pieces(draw, written(call))
    return [first, *[{"index": place, "function": {"arguments": piece}} for piece in told]]

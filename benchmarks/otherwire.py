"""Ready bytes as `wire` has them, of the Responses API and of Gemini: `responses-text`, `gemini-stream-400`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from benchmarks.wire import SAID, STREAM_HEAD, compact, framed, word

KEY = "0a1b2c3d4e5f60718293a4b5c6d7e8f90011223344556677"
"""What ids of the Responses API end in."""
END = b"0\r\n\r\n"


def whole(scenario: str) -> bytes:
    """What the provider answers at once; nothing if *scenario* is of another dialect.

    >>> whole("responses-text")[:12], whole("text")
    (b'HTTP/1.1 200', b'')
    """
    match scenario.split("-"):
        case ["responses", "text"]:
            return responses_text()
        case ["gemini", "text"]:
            return gemini_text()
        case ["responses" | "gemini" as api, "stream", count]:
            return streamed(api, int(count))
        case _:
            return b""


@cache
def streamed(api: str, chunks: int) -> bytes:
    """A streamed reply of *chunks* words, each event in an HTTP chunk of its own."""
    events = EVENTS[api](chunks)
    return STREAM_HEAD + b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events) + END


# The Responses API


def response(output: list[Any], **more: Any) -> dict[str, Any]:
    """A response as the API tells it, with all that it says of itself."""
    return {
        "id": f"resp_{KEY}", "object": "response", "created_at": 1700000000, "status": "in_progress",
        "background": False, "error": None, "incomplete_details": None, "instructions": None,
        "max_output_tokens": None, "max_tool_calls": None, "model": "bench-1", "output": output,
        "parallel_tool_calls": True, "previous_response_id": None, "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None}, "safety_identifier": None, "service_tier": "default",
        "store": False, "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "usage": None,
        "user": None, "metadata": {}, **more,
    }  # fmt: skip


def completed(text: str) -> dict[str, Any]:
    """The response that says *text*."""
    usage = {
        "input_tokens": 12, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 34, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 46,
    }  # fmt: skip
    return response([message("completed", [part(text)])], status="completed", usage=usage)


def message(status: str, content: list[Any]) -> dict[str, Any]:
    """The one item of the output."""
    return {"id": f"msg_{KEY}", "type": "message", "status": status, "content": content, "role": "assistant"}


def part(text: str) -> dict[str, Any]:
    """The one part of the item."""
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


@cache
def responses_text() -> bytes:
    """A whole reply."""
    return framed(200, completed(SAID))


def responses_events(chunks: int) -> Iterator[bytes]:
    """The events of a stream."""
    where = {"item_id": f"msg_{KEY}", "output_index": 0, "content_index": 0}
    text = "".join(map(word, range(chunks)))
    told: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": response([])}),
        ("in_progress", {"response": response([])}),
        ("output_item.added", {"output_index": 0, "item": message("in_progress", [])}),
        ("content_part.added", {**where, "part": part("")}),
        *[
            ("output_text.delta", {**where, "delta": word(n), "logprobs": [], "obfuscation": "qWxT2vNc8"})
            for n in range(chunks)
        ],
        ("output_text.done", {**where, "text": text, "logprobs": []}),
        ("content_part.done", {**where, "part": part(text)}),
        ("output_item.done", {"output_index": 0, "item": message("completed", [part(text)])}),
        ("completed", {"response": completed(text)}),
    ]
    for number, (name, more) in enumerate(told):
        body = compact({"type": f"response.{name}", "sequence_number": number, **more})
        yield f"event: response.{name}\ndata: {body}\n\n".encode()


# Gemini


def candidate(text: str, **more: Any) -> dict[str, Any]:
    """A reply, or a chunk of one."""
    usage = {
        "promptTokenCount": 12, "candidatesTokenCount": 34, "totalTokenCount": 46,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],
    }  # fmt: skip
    told = {"content": {"parts": [{"text": text}], "role": "model"}, **more, "index": 0}
    return {"candidates": [told], "usageMetadata": usage, "modelVersion": "bench-1", "responseId": "b3nChm4rKs"}


@cache
def gemini_text() -> bytes:
    """A whole reply."""
    return framed(200, candidate(SAID, finishReason="STOP"))


def gemini_events(chunks: int) -> Iterator[bytes]:
    """The chunks of a stream, whose lines end as Google ends them."""
    told = [*[candidate(word(n)) for n in range(chunks)], candidate("", finishReason="STOP")]
    for each in told:
        yield f"data: {compact(each)}\r\n\r\n".encode()


EVENTS: Mapping[str, Callable[[int], Iterator[bytes]]] = MappingProxyType(
    {"responses": responses_events, "gemini": gemini_events}
)

"""What providers that speak the Responses API send, with what it means; strategies for hypothesis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from arshai_kit.records import FinishReason, Message, Opaque, Part, Response, Text, Thinking, ToolCall, Usage
from arshai_kit.testing._hypothesis import DrawFn, SearchStrategy, st
from arshai_kit.testing._records import json_objects, words
from arshai_kit.testing._wire_sent import interleaved, pieces, sent

__all__ = ["responses_replies", "responses_streams"]

Wire = dict[str, Any]

_CUTS: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_SAID = {"output_text": "text", "refusal": "refusal", "summary_text": "text", "reasoning_text": "text"}
_NAMED = {"output_text": "output_text", "refusal": "refusal", "summary_text": "reasoning_summary_text"}


def responses_replies() -> SearchStrategy[tuple[bytes, Response]]:
    """A whole reply and the response it means."""

    def wire(response: Response, ascii_only: bool) -> tuple[bytes, Response]:  # noqa: FBT001  # drawn by hypothesis
        return json.dumps(response.raw, ensure_ascii=ascii_only).encode(), response

    return st.builds(wire, _meant(), st.booleans())


def responses_streams() -> SearchStrategy[tuple[bytes, Response]]:
    """A reply as a stream of named events, calls side by side interleaved, and the response it means."""

    @st.composite
    def wire(draw: DrawFn) -> tuple[bytes, Response]:
        response = draw(_meant())
        body = response.raw
        begun = {**body, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
        told: list[Wire] = [{"type": f"response.{name}", "response": begun} for name in ("created", "in_progress")]
        told += _written(draw, body["output"])
        told.append({"type": f"response.{body['status']}", "response": body})
        return sent(draw, [{**each, "sequence_number": place} for place, each in enumerate(told)]), response

    return wire()


# What is meant


def _meant() -> SearchStrategy[Response]:
    """A response that the API can say, with the whole body that says it as `raw`."""

    @st.composite
    def meant(draw: DrawFn) -> Response:
        kinds = draw(st.lists(st.sampled_from(list(_ITEMS)), min_size=1, max_size=4))
        output = [_ITEMS[kind](draw, place) for place, kind in enumerate(kinds)]
        finish, raw = _end(draw, output)
        said = Message("assistant", tuple(_parts(output)))
        read, wrote = draw(st.integers(1, 999)), draw(st.integers(1, 999))
        used = Usage(read, wrote, draw(st.integers(0, read)), draw(st.integers(0, wrote)))
        body = _body(output, raw, used)
        return Response((said,), finish, raw, used, model=body["model"], id=body["id"], raw=body)

    return meant()


def _reasoning(draw: DrawFn, place: int) -> Wire:
    """Thoughts: in summary and sealed, or, as open models have them, shown."""
    told, shown = draw(st.lists(words().filter(bool), max_size=2)), draw(st.booleans())
    wire: Wire = {"id": f"rs_{place}", "type": "reasoning", "summary": []}
    if told and shown:
        return {**wire, "content": [{"type": "reasoning_text", "text": text} for text in told]}
    sealed = {"encrypted_content": draw(st.text("abcXYZ019+/=-_", min_size=1, max_size=12))}
    return {**wire, **sealed, "summary": [{"type": "summary_text", "text": text} for text in told]}


def _message(draw: DrawFn, place: int) -> Wire:
    texts = draw(st.lists(words().filter(bool), min_size=1, max_size=2))
    content: list[Wire] = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []} for text in texts]
    if draw(st.integers(0, 5)) == 0:
        content = [{"type": "refusal", "refusal": texts[0]}]
    return {
        "id": f"msg_{place}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": content,
    }


def _call(draw: DrawFn, place: int) -> Wire:
    name, arguments = draw(st.sampled_from(["add", "look_up", "now"])), draw(json_objects())
    ascii_only = draw(st.booleans())
    return {
        "id": f"fc_{place}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{place}",
        "name": name,
        "arguments": json.dumps(arguments, ensure_ascii=ascii_only),
    }


_ITEMS = {"reasoning": _reasoning, "message": _message, "function_call": _call}


def _end(draw: DrawFn, output: list[Wire]) -> tuple[FinishReason, str]:
    """Why a reply with this *output* ends, as we and as the provider call it; what is cut is cut in its last words."""
    if any(each["type"] == "refusal" for item in output for each in item.get("content", ())):
        return "refusal", "completed"
    if any(item["type"] == "function_call" for item in output):
        return "tool_calls", "completed"
    raw = draw(st.sampled_from(["completed", *_CUTS]))
    if raw in _CUTS and output[-1]["type"] == "message":
        output[-1]["status"] = "incomplete"
    return _CUTS.get(raw, "stop"), raw


def _parts(output: list[Wire]) -> Iterator[Part]:
    """The parts that *output* means."""
    between = ""
    for item in output:
        match item["type"]:
            case "reasoning":
                text = "\n\n".join([each["text"] for each in (*item["summary"], *item.get("content", ()))])
                yield Thinking(between + text if text else "")
                between = "\n\n" if text else between
            case "function_call":
                yield ToolCall(item["call_id"], item["name"], json.loads(item["arguments"]))
            case _:
                for each in item["content"]:
                    refused = each["type"] == "refusal"
                    yield Opaque("refusal", each["refusal"]) if refused else Text(each["text"])


def _body(output: list[Wire], raw: str, used: Usage) -> Wire:
    """The whole reply."""
    cut = raw in _CUTS
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "incomplete" if cut else raw,
        "error": None,
        "incomplete_details": {"reason": raw} if cut else None,
        "instructions": None,
        "metadata": {},
        "model": "toy-1",
        "output": output,
        "parallel_tool_calls": True,
        "store": False,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": used.input_tokens,
            "input_tokens_details": {"cached_tokens": used.cached_tokens},
            "output_tokens": used.output_tokens,
            "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
            "total_tokens": used.total_tokens,
        },
    }


# How it is told


def _written(draw: DrawFn, output: list[Wire]) -> Iterator[Wire]:
    """The events that tell of *output*, item by item; neighbouring calls may be written side by side."""
    for kind, run in groupby(enumerate(output), lambda pair: pair[1]["type"]):
        told = [list(_item(draw, place, item)) for place, item in run]
        yield from interleaved(draw, told) if kind == "function_call" else [each for one in told for each in one]


def _item(draw: DrawFn, place: int, item: Wire) -> Iterator[Wire]:
    where = {"output_index": place}
    empty: Wire = {"arguments": ""} if item["type"] == "function_call" else {}
    empty |= {name: [] for name in ("content", "summary") if name in item}
    progress = {"status": "in_progress"} if "status" in item else {}
    yield {"type": "response.output_item.added", **where, "item": {**item, **progress, **empty}}
    where = {**where, "item_id": item["id"]}
    if item["type"] == "function_call":
        name = "response.function_call_arguments"
        for piece in pieces(draw, item["arguments"]):
            yield {"type": f"{name}.delta", **where, "delta": piece}
        yield {"type": f"{name}.done", **where, "name": item["name"], "arguments": item["arguments"]}
    for index, each in enumerate(item.get("summary", ())):
        yield from _entry(draw, {**where, "summary_index": index}, each, "response.reasoning_summary_part")
    for index, each in enumerate(item.get("content", ())):
        yield from _entry(draw, {**where, "content_index": index}, each, "response.content_part")
    yield {"type": "response.output_item.done", "output_index": place, "item": item}


def _entry(draw: DrawFn, where: Wire, entry: Wire, part: str) -> Iterator[Wire]:
    """The events that tell of one *entry* of an item, which is a *part* of it."""
    key = _SAID[entry["type"]]
    name = f"response.{_NAMED.get(entry['type'], entry['type'])}"
    more: Wire = {"logprobs": []} if "logprobs" in entry else {}
    yield {"type": f"{part}.added", **where, "part": {**entry, key: ""}}
    for piece in pieces(draw, entry[key]):
        yield {"type": f"{name}.delta", **where, "delta": piece, **more}
    yield {"type": f"{name}.done", **where, key: entry[key], **more}
    yield {"type": f"{part}.done", **where, "part": entry}

"""Whether what we parse of the Responses API agrees with what a correct parser must reach, and what goes back."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from attrs import evolve

from arshai_kit._json import exact
from arshai_kit.dialects.responses import RESPONSES
from arshai_kit.errors import ProviderError
from arshai_kit.models import Ask, Endpoint
from arshai_kit.records import Message, Response, Text, ToolResult
from tests.wire.agreement import (
    Exchange,
    _call,
    _error,
    _expected_call,
    _usage,
    bytes_of,
    cut,
    streamed,
    told_by,
    whole,
)

__all__ = ["disagreements", "endpoint", "goes_back", "history", "outcome", "sent_back", "told"]

endpoint = Endpoint(
    name="recorded",
    base_url="https://api.openai.com/v1",
    dialect=RESPONSES,
    api_key="sk-not-a-real-key",
    provider="openai",
)

Wire = dict[str, Any]


def outcome(exchange: Exchange, seed: int = 0) -> tuple[Response | None, ProviderError | None]:
    """What *exchange* comes to: a response, or an error with what came before it."""
    try:
        if exchange["body_format"] == "sse":
            pieces = list(cut(bytes_of(exchange), random.Random(seed), 400))
            events, response = streamed(pieces, endpoint, headers=tuple(exchange["response_headers"].items()))
            assert told_by(events) == (response.text, response.reasoning, response.tool_calls)
            return response, None
        return whole(exchange, endpoint), None
    except ProviderError as error:
        return error.partial, error


def disagreements(exchange: Exchange, seed: int = 0) -> dict[str, tuple[Any, Any]]:
    """The fields in which we and `expected` differ, ours first."""
    response, error = outcome(exchange, seed)
    expected = exchange["expected"]
    if error is not None or expected["error"] is not None:
        found = {"error": (error, expected["error"])}
        if error is not None and expected["error"] is not None:
            found = _error(error, expected["error"])
    else:
        assert response is not None
        found = _answer(response, expected)
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _answer(response: Response, told: Wire) -> dict[str, tuple[Any, Any]]:
    calls = [_expected_call(each) for each in told["tool_calls"]]
    return {
        "text": (response.text, told["text"] or ""),
        "reasoning": (response.reasoning, told["reasoning_text"] or ""),
        "refusal": (response.refusal, told.get("refusal") or ""),
        "model": (response.model, told["model"] or ""),
        "id": (response.id, told["response_id"] or ""),
        "calls": ([_call(each) for each in response.tool_calls], calls),
        "finish": (response.raw_finish_reason, told["incomplete_reason"] or told["finish_reason"]),
        "logprobs": (len(response.logprobs), told.get("logprobs_count") or 0),
        "annotations": (sum(_annotations(response.message)), told.get("annotations") or 0),
        "service_tier": (response.raw.get("service_tier"), told.get("service_tier")),
        "items": (_types(response.message), told["output_item_types"]),
        **_usage(response, told["usage"] or {}),
    }


def _annotations(message: Message) -> Iterator[int]:
    for part in message.parts:
        if isinstance(part, Text) and part.state is not None:
            yield len(part.state.get("part", {}).get("annotations", ()))


def _types(message: Message) -> list[str]:
    """The types of the items that *message* goes back as, wherever their ids mean something."""
    kept = Message("assistant", tuple(_stored(part) for part in message.parts))
    return [item["type"] for item in goes_back([kept])]


def _stored(part: Any) -> Any:
    return evolve(part, state={**part.state, "stored": True})


def goes_back(messages: list[Message]) -> list[Wire]:
    """What we send of *messages*, as it is on the wire."""
    found: list[Wire] = json.loads(RESPONSES.build(endpoint, Ask(tuple(messages)), False).content)["input"]
    return found


# What goes back


def sent_back(request: Wire, exchange: Exchange) -> list[Wire]:
    """The items of *request* that came out of *exchange*, or answer its calls, as the recorded client sent them."""
    sent = request.get("input")
    body = bytes_of(exchange).decode()
    calls = {each["id"] for each in exchange["expected"]["tool_calls"]}
    return [item for item in (sent if isinstance(sent, list) else []) if _came_of(item, body, calls)]


def _came_of(item: Wire, body: str, calls: set[str]) -> bool:
    match item.get("type"):
        case "function_call" | "function_call_output":
            return item["call_id"] in calls
        case "reasoning":
            return bool(item.get("encrypted_content")) and item["encrypted_content"] in body
        case None | "message":
            return False
    return bool(item.get("id")) and item["id"] in body


def history(response: Response, sent: list[Wire]) -> list[Message]:
    """What *response* said, and the answers to its calls that are among the items *sent*."""
    names = {call.id: call.name for call in response.tool_calls}
    results = tuple(
        ToolResult(item["call_id"], names[item["call_id"]], item["output"])
        for item in sent
        if item["type"] == "function_call_output" and isinstance(item["output"], str)
    )
    return [response.message, Message("tool", results)] if results else [response.message]


def told(item: Wire) -> Any:
    """What has to go back of *item*, as data; which of two ciphertexts of a thought it is does not matter."""
    match item.get("type"):
        case "function_call":
            return "call", item["call_id"], item["name"], exact(item["arguments"]), item.get("namespace")
        case "function_call_output":
            return "result", item["call_id"], item["output"] if isinstance(item["output"], str) else None
        case "reasoning":
            return "reasoning", [each["text"] for each in item.get("summary", ())]
        case "tool_search_call":  # whose arguments one recorded client writes in a form of its own
            return "tool_search_call", item["id"], item["execution"]
    return item.get("type"), item.get("id"), {k: v for k, v in _pruned(item).items() if k not in _BLANKED}


def _pruned(value: Any) -> Any:
    """*value* without what is null, which some clients leave out and others add."""
    match value:
        case dict():
            return {name: _pruned(each) for name, each in value.items() if each is not None}
        case list():
            return [_pruned(each) for each in value]
    return value


_BLANKED = frozenset({"status", "output", "tools", "result", "encrypted_content"})
"""What some recorded clients send back shortened, or as it was in an earlier event."""

"""Whether what we parse agrees with what a correct parser must reach, field by field."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from arshai_kit._json import exact, freeze
from arshai_kit.dialects.chat import CHAT
from arshai_kit.effects import Reply
from arshai_kit.errors import ProviderError
from arshai_kit.models import Endpoint
from arshai_kit.records import Event, Finished, Opaque, Response, TextDelta, ThinkingDelta, ToolCallDelta
from arshai_kit.sse import Splitter

__all__ = ["bytes_of", "cut", "disagreements", "endpoint", "outcome", "streamed", "whole"]

Exchange = dict[str, Any]

endpoint = Endpoint(name="recorded", base_url="http://127.0.0.1/v1", dialect=CHAT, api_key="sk-not-a-real-key")


def bytes_of(exchange: Exchange) -> bytes:
    """The body of *exchange* as it was on the wire."""
    body = exchange["response_body"]
    return json.dumps(body, ensure_ascii=False).encode() if exchange["body_format"] == "json" else (body or "").encode()


def cut(data: bytes, chance: random.Random, longest: int = 60) -> Iterator[bytes]:
    """*data* in fragments of random sizes."""
    place = 0
    while place < len(data):
        size = chance.randint(1, longest)
        yield data[place : place + size]
        place += size


def streamed(
    data: Iterator[bytes] | list[bytes], model: Endpoint = endpoint, headers: tuple[tuple[str, str], ...] = ()
) -> tuple[list[Event], Response]:
    """The events and the response of the stream *data*; the error of a stream that fails is raised."""
    split, state = Splitter(model.max_body), model.dialect.start(model, headers)
    events: list[Event] = []
    for piece in (*data, b""):
        for event in split.feed(piece):
            state, told = model.dialect.advance(state, event)
            events += told
            if told and isinstance(told[-1], Finished):
                return events, told[-1].response
    state, told = model.dialect.advance(state, None)
    events += told
    assert isinstance(events[-1], Finished), "an end that neither finishes nor raises"
    return events, events[-1].response


def whole(exchange: Exchange, model: Endpoint = endpoint) -> Response:
    """The response of *exchange*, read as a whole reply."""
    headers = tuple(exchange["response_headers"].items())
    return model.dialect.parse(model, Reply(exchange["status"], headers, bytes_of(exchange)))


def outcome(exchange: Exchange, seed: int = 0) -> tuple[Response | None, ProviderError | None]:
    """What *exchange* comes to: a response, or an error with what came before it."""
    try:
        if exchange["body_format"] == "sse" and exchange["status"] < 300:
            pieces = list(cut(bytes_of(exchange), random.Random(seed)))
            events, response = streamed(pieces, headers=tuple(exchange["response_headers"].items()))
            assert told_by(events) == (response.text, response.reasoning, response.tool_calls)
            return response, None
        return whole(exchange), None
    except ProviderError as error:
        return error.partial, error


def told_by(events: list[Event]) -> tuple[str, str, tuple[Any, ...]]:
    """What *events* add up to."""
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    thoughts = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    calls = sorted(
        ((event.index, event.call) for event in events if isinstance(event, ToolCallDelta) and event.call is not None),
        key=lambda pair: pair[0],
    )
    return text, thoughts, tuple(call for _, call in calls)


def disagreements(exchange: Exchange, seed: int = 0) -> dict[str, tuple[Any, Any]]:
    """The fields in which we and `expected` differ, ours first."""
    response, error = outcome(exchange, seed)
    expected = exchange["expected"]
    ours: dict[str, tuple[Any, Any]] = {}
    if (expected["error"] is None) != (error is None):
        return {"error": (error, expected["error"])}
    if error is not None:
        ours |= _error(error, expected["error"])
    if response is not None:
        ours |= _answer(response, expected, partial=error is not None)
    elif expected["text"] or expected["reasoning_text"] or expected["tool_calls"]:
        ours["partial"] = (None, expected["text"])
    return {name: pair for name, pair in ours.items() if pair[0] != pair[1]}


def _error(error: ProviderError, told: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    codes = {str(told[name]) for name in ("code", "type") if told[name] is not None} or {""}
    return {
        "error.message": (told["message"] in str(error), True),
        "error.code": (error.code in codes or (error.code, codes), True),
        "error.status": (error.status if told["status"] else None, told["status"]),
    }


def _answer(response: Response, told: dict[str, Any], *, partial: bool) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {
        "text": (response.text, told["text"] or ""),
        "reasoning": (response.reasoning, told["reasoning_text"] or ""),
        "refusal": (response.refusal, told.get("refusal") or ""),
        "model": (response.model, told["model"] or ""),
        "id": (response.id, told["response_id"] or ""),
        "calls": ([_call(call) for call in response.tool_calls], [_expected_call(call) for call in told["tool_calls"]]),
    }
    if not partial:
        found["finish"] = (response.raw_finish_reason or None, told["finish_reason"] or None)
    found |= _raw(response.raw, told) | _candidates(response, told)
    return found | _usage(response, told["usage"] or {})


def _raw(raw: dict[str, Any], told: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What we keep in `raw` alone."""
    names = [name for name in ("service_tier", "system_fingerprint", "provider") if told.get(name)]
    found = {name: (raw.get(name), told[name]) for name in names}
    choice = raw["choices"][0]
    if told.get("native_finish_reason"):
        found["native_finish_reason"] = (choice.get("native_finish_reason"), told["native_finish_reason"])
    if told.get("annotations"):
        found["annotations"] = (len(choice["message"]["annotations"]), told["annotations"])
    return found


def _candidates(response: Response, told: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """All answers, and how likely the words of the first were."""
    found: dict[str, tuple[Any, Any]] = {"logprobs": (len(response.logprobs), told.get("logprobs_count") or 0)}
    answers = told.get("choices") or ()
    found["candidates"] = (len(response.candidates), len(answers) if len(answers) > 1 else 0)
    for ours, each in zip(response.candidates, answers, strict=False):
        said = ours.message
        refusal = "".join(part.value for part in said.parts if isinstance(part, Opaque) and part.kind == "refusal")
        found[f"candidate {each['index']}"] = (
            (said.text, said.reasoning, refusal, [_call(call) for call in said.tool_calls], ours.raw_finish_reason),
            (
                each["text"] or "",
                each["reasoning_text"] or "",
                each["refusal"] or "",
                [_expected_call(call) for call in each["tool_calls"]],
                each["finish_reason"],
            ),
        )
    return found


def _call(call: Any) -> tuple[Any, ...]:
    return call.id, call.name, call.arguments if call.broken is None else None


def _expected_call(call: dict[str, Any]) -> tuple[Any, ...]:
    raw = call["arguments_raw"]
    arguments = exact(raw) if raw else call["arguments"]
    return call["id"] or "", call["name"], freeze(arguments) if isinstance(arguments, dict) else None


def _usage(response: Response, told: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    usage, missing = response.usage, response.usage.missing
    found: dict[str, tuple[Any, Any]] = {}
    for name in ("input", "cached", "reasoning", "total"):
        field = f"{name}_tokens"
        if told.get(name) is not None or name != "total":
            found[f"usage.{name}"] = (None if field in missing else getattr(usage, field), told.get(name))
    apart = told.get("reasoning") and told.get("total") == told["input"] + told["output"] + told["reasoning"]
    output = told["output"] + told["reasoning"] if apart else told.get("output")
    found["usage.output"] = (None if "output_tokens" in missing else usage.output_tokens, output)
    return found

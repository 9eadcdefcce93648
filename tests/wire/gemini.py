"""Whether what the Gemini dialect reads and writes agrees with the recordings, field by field."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve

from arshai_kit._json import freeze
from arshai_kit.dialects.gemini import GEMINI
from arshai_kit.effects import Reply
from arshai_kit.errors import ProviderError
from arshai_kit.models import Endpoint
from arshai_kit.records import Opaque, Response
from tests.wire.agreement import Exchange, bytes_of, cut, streamed, told_by, whole

__all__ = ["OPERATIONS", "disagreements", "outcome", "reader", "sent", "tokens"]

OPERATIONS = frozenset({"generateContent", "streamGenerateContent"})
_ENDPOINT = Endpoint(
    name="gemini-2.5-flash",
    base_url="http://127.0.0.1/v1beta",
    dialect=GEMINI,
    provider="gemini",
    api_key="AIza-not-a-real-key",
    key_header="x-goog-api-key",
)


def reader(vendor: str, exchange: Exchange | None = None) -> Endpoint:
    """The model that was asked in *exchange*, of the service *vendor*."""
    name = re.search(r"([^/]+):\w+$", exchange["url_path"]) if exchange else None
    provider = "vertex" if vendor == "vertex" else "gemini"
    return evolve(_ENDPOINT, provider=provider, name=name[1] if name else _ENDPOINT.name)


def outcome(exchange: Exchange, vendor: str, seed: int = 0) -> tuple[Response | None, ProviderError | None]:
    """What *exchange* comes to: a response, or an error with what came before it."""
    model = reader(vendor)
    try:
        if exchange["body_format"] == "sse" and exchange["status"] < 300:
            events, response = streamed(list(cut(bytes_of(exchange), random.Random(seed))), model)
            assert told_by(events) == (response.text, response.reasoning, response.tool_calls)
            return response, None
        return whole(exchange, model), None
    except ProviderError as error:
        return error.partial, error


def tokens(exchange: Exchange, vendor: str) -> tuple[int | None, ProviderError | None]:
    """What *exchange* counts, or the error that it tells."""
    model = reader(vendor)
    reply = Reply(exchange["status"], tuple(exchange["response_headers"].items()), bytes_of(exchange))
    assert model.dialect.counted is not None
    try:
        return model.dialect.counted(model, reply), None
    except ProviderError as error:
        return None, error


def disagreements(exchange: Exchange, vendor: str, seed: int = 0) -> dict[str, tuple[Any, Any]]:
    """The fields in which we and `expected` differ, ours first."""
    expected = exchange["expected"]
    if exchange["operation"] == "countTokens":
        total, error = tokens(exchange, vendor)
        ours: dict[str, tuple[Any, Any]] = {"tokens": (total, (expected["usage"] or {}).get("total"))}
        response = None
    else:
        response, error = outcome(exchange, vendor, seed)
        ours = {}
    if (expected["error"] is None) != (error is None):
        return {"error": (error, expected["error"])}
    if error is not None:
        ours |= _error(error, expected["error"])
    if response is not None:
        ours |= _answer(response, expected)
    return {name: pair for name, pair in ours.items() if pair[0] != pair[1]}


def _error(error: ProviderError, told: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    message = told["message"] if "<" not in told["message"] else "Error 404 (Not Found)"  # a page is told by its title
    return {
        "error.message": (message in str(error), True),
        "error.code": (error.code, told["type"] or ""),
        "error.status": (error.status, told["status"]),
    }


def _answer(response: Response, told: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    kinds = {part.kind: part.value for part in response.message.parts if isinstance(part, Opaque)}
    finish = told["finish_reason"] if told["finish_reason"] is not None else told["block_reason"]
    blocked = response.finish_reason == "content_filter"
    found: dict[str, tuple[Any, Any]] = {
        "text": (response.text, told["text"] or ""),
        "reasoning": (response.reasoning, told["reasoning_text"] or ""),
        "model": (response.model, told["model"] or ""),
        "id": (response.id, told["response_id"] or ""),
        "calls": ([_call(call) for call in response.tool_calls], [_expected_call(each) for each in told["tool_calls"]]),
        "finish": (response.raw_finish_reason, None if finish is None else str(finish)),
        "blocked": (blocked or not told["block_reason"], True),
        "grounded": ("groundingMetadata" in kinds, told.get("grounded", False)),
        "signatures": (len(list(_signatures(response))), told.get("thought_signatures", 0)),
    }
    if told.get("finish_message") and response.finish_reason not in ("stop", "tool_calls"):
        found["finish message"] = (kinds.get("finishMessage"), told["finish_message"])
    if told.get("logprobs_count"):
        found["logprobs"] = (len(response.logprobs), told["logprobs_count"])
    return found | _usage(response, told["usage"] or {})


def _call(call: Any) -> tuple[Any, ...]:
    return call.id or None, call.name, call.arguments if call.broken is None else None


def _expected_call(call: Mapping[str, Any]) -> tuple[Any, ...]:
    return call["id"], call["name"], freeze(call["arguments"])


def _signatures(response: Response) -> Iterator[str]:
    """The signatures that the parts of *response* carry."""
    for part in response.message.parts:
        held = part.value if isinstance(part, Opaque) else (part.state or {}).get("part", {})
        if "thoughtSignature" in held:
            yield held["thoughtSignature"]


def _usage(response: Response, told: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """A zero that was not sent may be known here."""
    usage, missing = response.usage, response.usage.missing
    found: dict[str, tuple[Any, Any]] = {}
    for name in ("cached", "reasoning", "total"):
        field = f"{name}_tokens"
        found[f"usage.{name}"] = (None if field in missing else getattr(usage, field), told.get(name))
    count = None if "input_tokens" in missing else usage.input_tokens
    found["usage.input"] = (count, told.get("input"))
    output = None if "output_tokens" in missing else usage.output_tokens
    if told.get("output_with_reasoning") is not None or output != told.get("reasoning"):
        found["usage.output"] = (output, told.get("output_with_reasoning"))
    return found


def sent(response: Response, model: Endpoint) -> list[dict[str, Any]]:
    """The parts in which *response* goes back to *model*."""
    from arshai_kit.models import Ask
    from arshai_kit.records import user

    body = json.loads(model.dialect.build(model, Ask((user("?"), *response.messages)), False).content)
    return [part for content in body["contents"] if content["role"] == "model" for part in content["parts"]]

"""Bodies of Chat Completions, read leniently: what recordings of some twenty-five vendors show is handled by rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from arshai_kit.dialects.chat._message import calls, message
from arshai_kit.dialects.exchange import rate_limits, signature
from arshai_kit.dialects.failures import Headers, decoded, failure, request_id, shown
from arshai_kit.effects import Reply
from arshai_kit.errors import BadReply
from arshai_kit.models import Endpoint
from arshai_kit.records import Candidate, FinishReason, Logprob, Message, Opaque, Part, Response, Usage

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["complete", "cost", "kinds", "parsed", "place", "response", "says_error", "usage"]

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "refusal": "refusal",
    "error": "error",
    "network_error": "error",
    "malformed_function_call": "error",
}
_COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "total_tokens")
_HUGE = 1e300
_COSTS = ("cost", "total_cost", "estimated_cost")


def parsed(endpoint: Endpoint, reply: Reply) -> Response:
    """The response that *reply* holds as a whole."""
    body = decoded(endpoint, reply)
    if says_error(body):
        raise failure(endpoint, body, headers=reply.headers)
    choices = _choices(body)
    if not choices:
        came, told = shown(endpoint, reply.body), request_id(reply.headers)
        raise BadReply(f"what came is no answer: it has no choices: {came}", status=reply.status, request_id=told)
    try:
        answer = response(endpoint, body, choices, reply.headers)
    except ValueError as error:
        told = request_id(reply.headers)
        raise BadReply(f"what came cannot be kept: {error}", status=reply.status, request_id=told) from error
    if choices[0].get("error"):
        raise failure(endpoint, choices[0], headers=reply.headers, partial=answer)
    return answer


def response(
    endpoint: Endpoint,
    body: dict[str, Any],
    choices: Sequence[Mapping[str, Any]],
    headers: Headers = (),
    called: Sequence[Iterable[Part]] = (),
) -> Response:
    """The response that *choices* of *body* give, the first of which is the answer; *called* are the calls of each."""
    candidates = [
        _candidate(choice, signature(endpoint), called[number] if called else None)
        for number, choice in enumerate(choices)
    ]
    answer = candidates[0]
    return Response(
        (answer.message,),
        answer.finish_reason,
        answer.raw_finish_reason,
        usage(body),
        cost(_usage(body)),
        _text(body.get("model")),
        endpoint.provider,
        _text(body.get("id")),
        request_id(headers) or _text(body.get("request_id")),
        candidates=tuple(candidates) if len(candidates) > 1 else (),
        logprobs=answer.logprobs,
        rate_limits=rate_limits(headers),
        raw=body,
    )


def _candidate(choice: Mapping[str, Any], provider: str, called: Iterable[Part] | None) -> Candidate:
    raw = choice.get("finish_reason")
    raw = raw if raw is None or isinstance(raw, str) else str(raw)
    wire = choice.get("message")
    wire = wire if isinstance(wire, dict) else {"content": _text(choice.get("text"))}  # as the older Completions
    if called is None:
        called = calls(wire, provider, complete=complete(raw))
    said = message(wire, provider, called)
    told = choice.get("logprobs")
    return Candidate(said, _finish(raw, said), raw, _logprobs(told) if isinstance(told, dict) else ())


def _logprobs(told: Mapping[str, Any]) -> tuple[Logprob, ...]:
    """The tokens that *told* lists: those of the words, else those of a refusal."""
    for name in ("content", "refusal"):
        if tokens := _tokens(told.get(name)):
            return tokens
    words, values = told.get("tokens"), told.get("token_logprobs")  # the shape of the older Completions
    if isinstance(words, list) and isinstance(values, list):
        return _tokens([{"token": word, "logprob": value} for word, value in zip(words, values, strict=False)])
    return ()


def _tokens(told: Any) -> tuple[Logprob, ...]:
    found = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    return tuple(
        [
            Logprob(_text(each.get("token")), float(value), _tokens(each.get("top_logprobs")))
            for each in found
            if isinstance(value := each.get("logprob"), int | float) and abs(value) <= _HUGE
        ]
    )


def says_error(body: Mapping[str, Any]) -> bool:
    """Whether *body* tells an error rather than an answer.

    >>> says_error({"detail": "Not here"}), says_error({"error": None, "choices": []})
    (True, False)
    """
    if body.get("error"):
        return True
    return not body.get("choices") and any(body.get(name) for name in ("detail", "message", "errors"))


def complete(raw: str | None) -> bool:
    """Whether *raw* says that the model came to its end, so that arguments it did not write are none."""
    return _FINISH.get((raw or "stop").lower()) not in {"length", "content_filter", "error"}


def _finish(raw: str | None, said: Message) -> FinishReason:
    """Why the reply ended; when the provider did not say, that it calls tools is all that is known."""
    if any(type(part) is Opaque and part.kind == "refusal" for part in said.parts):
        return "refusal"
    known = _FINISH.get(raw.lower(), "other") if raw else "other"
    if said.tool_calls and (known == "stop" or not raw):
        return "tool_calls"
    return known


def _choices(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The candidates in their order; none if the first is no answer at all."""
    choices = body.get("choices")
    found = [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []
    if len(found) > 1:
        found.sort(key=place)
    first = found[0] if found else {}
    said = isinstance(first.get("message"), dict) or isinstance(first.get("text"), str)
    return found if said or first.get("finish_reason") or first.get("error") else []


def place(choice: Mapping[str, Any]) -> float:
    """Where *choice* belongs among the others; at the end if it has a strange index."""
    index = choice.get("index")
    return index if isinstance(index, int) else inf if index else 0


def usage(body: Mapping[str, Any]) -> Usage:
    """The tokens that *body* tells of; providers that count reasoning or sound apart are seen by their total.

    >>> usage({"usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 9,
    ...     "completion_tokens_details": {"reasoning_tokens": 3}}}).output_tokens
    5
    """
    told = _usage(body)
    before, after = _dict(told.get("prompt_tokens_details")), _dict(told.get("completion_tokens_details"))
    count, output = _count(told.get("prompt_tokens")), _count(told.get("completion_tokens"))
    reasoning = _one_of(after.get("reasoning_tokens"), told.get("reasoning_tokens"))
    cached = _one_of(
        before.get("cached_tokens"), *map(told.get, ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens")),
        told.get("cache_read_input_tokens"),
    )  # fmt: skip
    total = _count(told.get("total_tokens"))
    kinds_told = kinds(before, after)
    if count is not None and output is not None:
        heard = kinds_told.get("audio_input", 0)
        if reasoning and total == count + output + reasoning:
            output += reasoning
        elif heard and total == count + output + heard:
            count += heard
        total = count + output if total is None else total
    found = (count, output, cached, reasoning, total)
    missing = frozenset(name for name, value in zip(_COUNTS, found, strict=True) if value is None)
    return Usage(count or 0, output or 0, cached or 0, reasoning or 0, total or 0, missing, kinds=kinds_told)


def kinds(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, int]:
    """The tokens that are priced apart, of the details of what went in and came out.

    >>> kinds({"audio_tokens": 7, "cached_tokens": 2}, {"image_tokens": 0})
    {'audio_input': 7}
    """
    told = {name: _count(before.get(f"{kind}_tokens")) for name, kind in _BEFORE.items()}
    told |= {name: _count(after.get(f"{kind}_tokens")) for name, kind in _AFTER.items()}
    return {name: count for name, count in told.items() if count}


_BEFORE = {"audio_input": "audio", "image_input": "image", "cache_write": "cache_write"}
_AFTER = {"audio_output": "audio", "image_output": "image"}


def cost(told: Mapping[str, Any]) -> Decimal | None:
    """The US dollars that the usage *told* names; `None` when it does not.

    What a gateway asks for a call with the user's own key is its fee; what the provider asks comes on top.

    >>> cost({"cost": 0.00007159}), cost({"prompt_tokens": 3})
    (Decimal('0.00007159'), None)
    >>> cost({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}})
    Decimal('0.021')
    """
    fee = _charged(told)
    if told.get("is_byok") is not True:
        return fee
    upstream = _dollars(_dict(told.get("cost_details")).get("upstream_inference_cost"))
    return None if fee is None or upstream is None else fee + upstream


def _charged(told: Mapping[str, Any]) -> Decimal | None:
    for name in _COSTS:
        value = told.get(name)
        value = value.get("total_cost") if isinstance(value, dict) else value
        if (found := _dollars(value)) is not None:
            return found
    ticks = _count(told.get("cost_in_usd_ticks"))
    return None if ticks is None else _decimal(f"{ticks}e-10")


def _dollars(value: Any) -> Decimal | None:
    known = isinstance(value, int | float | str) and not isinstance(value, bool)
    return _decimal(str(value)) if known else None


def _decimal(text: str) -> Decimal | None:
    from decimal import Decimal  # only for those who tell the cost

    try:
        value = Decimal(text) + 0
    except ArithmeticError:  # no number, or one that is out of all range
        return None
    return value if value.is_finite() and value >= 0 else None


def _usage(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return _dict(body.get("usage")) or _dict(_dict(body.get("x_groq")).get("usage"))


def _one_of(*values: Any) -> int | None:
    return next((count for value in values if (count := _count(value)) is not None), None)


def _count(value: Any) -> int | None:
    match value:
        case bool():
            return None
        case int() if value >= 0:
            return value
        case float() if 0 <= value <= 2**53 and value.is_integer():  # above, it is no count but an estimate
            return int(value)
    return None


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

"""Bodies of the Responses API, read leniently: a status that is not final is told, never made into an end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arshai_kit.dialects.chat._reply import cost, kinds
from arshai_kit.dialects.exchange import rate_limits, signature
from arshai_kit.dialects.failures import decoded, failure, request_id, shown
from arshai_kit.dialects.responses._items import parts
from arshai_kit.effects import Reply
from arshai_kit.errors import BadReply, ProviderError
from arshai_kit.models import Endpoint
from arshai_kit.records import FinishReason, Logprob, Message, Opaque, Response, Usage

__all__ = ["broken", "counted", "parsed", "response", "usage"]

Headers = tuple[tuple[str, str], ...]

_CUT: dict[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
_COMPLETE = frozenset({"completed", ""})
_HUGE = 1e308
_COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "total_tokens")


def parsed(endpoint: Endpoint, reply: Reply) -> Response:
    """The response that *reply* holds as a whole."""
    body = decoded(endpoint, reply)
    told = request_id(reply.headers)
    try:
        answer = response(endpoint, body, reply.headers) if isinstance(body.get("output"), list) else None
    except ValueError as error:
        raise BadReply(f"what came cannot be kept: {error}", status=reply.status, request_id=told) from error
    if body.get("error") or body.get("status") == "failed":
        raise broken(endpoint, body, reply.headers, answer)
    if answer is not None:
        return answer
    if any(body.get(name) for name in ("detail", "message", "errors")):
        raise failure(endpoint, body, headers=reply.headers)
    came = shown(endpoint, reply.body)
    raise BadReply(f"what came is no answer: it has no output: {came}", status=reply.status, request_id=told)


def broken(endpoint: Endpoint, body: Mapping[str, Any], headers: Headers, partial: Response | None) -> ProviderError:
    """The error that the response *body* tells, which may be no more than that there was one."""
    told = {"error": body.get("error") or "the provider says that it failed, not why"}
    return failure(endpoint, told, headers=headers, partial=partial)


def response(endpoint: Endpoint, body: Mapping[str, Any], headers: Headers) -> Response:
    """The response that *body* gives."""
    output = body.get("output")
    output = output if isinstance(output, list) else []
    status, stored = _text(body.get("status")), body.get("store") is True
    complete = status in _COMPLETE
    said = Message("assistant", tuple(parts(output, signature(endpoint), stored=stored, complete=complete)))
    cut = _text(_dict(body.get("incomplete_details")).get("reason"))
    return Response(
        (said,),
        _finish(status, cut, said),
        cut or status or None,
        usage(_dict(body.get("usage"))),
        cost(_dict(body.get("usage"))),
        _text(body.get("model")),
        endpoint.provider,
        _text(body.get("id")),
        request_id(headers),
        logprobs=tuple(_logprobs(output)),
        rate_limits=rate_limits(headers),
        raw=body,
    )


def _finish(status: str, cut: str, said: Message) -> FinishReason:
    """Why the reply ended, if it did: what is queued or in progress is `other`, and its raw reason says what."""
    if any(type(part) is Opaque and part.kind == "refusal" for part in said.parts):
        return "refusal"
    if cut:
        return _CUT.get(cut, "other")
    if status == "failed":
        return "error"
    if said.tool_calls and status in _COMPLETE:
        return "tool_calls"
    return "stop" if status == "completed" else "other"


def usage(told: Mapping[str, Any]) -> Usage:
    """The tokens that *told* counts; providers that count reasoning apart are seen by their total.

    >>> usage({"input_tokens": 4, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 3}}).total_tokens
    9
    """
    before, after = _dict(told.get("input_tokens_details")), _dict(told.get("output_tokens_details"))
    count, output = _count(told.get("input_tokens")), _count(told.get("output_tokens"))
    cached, reasoning = _count(before.get("cached_tokens")), _count(after.get("reasoning_tokens"))
    total = _count(told.get("total_tokens"))
    if count is not None and output is not None:
        if reasoning and total == count + output + reasoning:
            output += reasoning
        total = count + output if total is None else total
    found = (count, output, cached, reasoning, total)
    missing = frozenset(name for name, value in zip(_COUNTS, found, strict=True) if value is None)
    told_kinds = kinds(before, after)
    return Usage(count or 0, output or 0, cached or 0, reasoning or 0, total or 0, missing, kinds=told_kinds)


def counted(endpoint: Endpoint, reply: Reply) -> int:
    """The tokens that *reply* says a question has."""
    number = _count(decoded(endpoint, reply).get("input_tokens"))
    if number is None:
        came = shown(endpoint, reply.body)
        raise BadReply(f"what came is no count of tokens: {came}", request_id=request_id(reply.headers))
    return number


def _logprobs(output: list[Any]) -> Iterator[Logprob]:
    for item in output:
        content = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else ()
        for part in content if isinstance(content, list) else ():
            told = part.get("logprobs") if isinstance(part, dict) else ()
            for each in told if isinstance(told, list) else ():
                yield from _logprob(each)


def _logprob(told: Any) -> Iterator[Logprob]:
    match told:
        case {"token": str(token), "logprob": int() | float() as value} if _is_real(value):
            top = told.get("top_logprobs")
            others = [one for each in top for one in _logprob(each)] if isinstance(top, list) else ()
            yield Logprob(token, value, tuple(others))


def _is_real(value: float) -> bool:
    return not isinstance(value, bool) and abs(value) <= _HUGE


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

"""Bodies of generateContent, read leniently: as answers, or as what keeps one from being given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from attrs import evolve

from arshai_kit.dialects.exchange import rate_limits, signature
from arshai_kit.dialects.failures import request_id
from arshai_kit.dialects.gemini._parts import about, feedback, parts
from arshai_kit.errors import BadReply
from arshai_kit.models import Endpoint
from arshai_kit.records import Candidate, FinishReason, Logprob, Message, Response, ToolCall, Usage

__all__ = ["finished", "response", "usage"]

Wire = Mapping[str, Any]
Headers = Iterable[tuple[str, str]]

_FINISH: Final[Mapping[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
}
_NUMBERS: Final = tuple(
    """
    FINISH_REASON_UNSPECIFIED STOP MAX_TOKENS SAFETY RECITATION OTHER LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII
    MALFORMED_FUNCTION_CALL IMAGE_SAFETY UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS IMAGE_PROHIBITED_CONTENT IMAGE_OTHER
    NO_IMAGE IMAGE_RECITATION MISSING_THOUGHT_SIGNATURE
    """.split()
)
_VERTEX_NUMBERS: Final = tuple(
    """
    FINISH_REASON_UNSPECIFIED STOP MAX_TOKENS SAFETY RECITATION OTHER BLOCKLIST PROHIBITED_CONTENT SPII
    MALFORMED_FUNCTION_CALL MODEL_ARMOR IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION IMAGE_OTHER
    UNEXPECTED_TOOL_CALL NO_IMAGE
    """.split()
)
"""Where enums are sent as numbers, the two services count differently."""
_HUGE: Final = 1e308
_COUNTS: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "total_tokens")


def response(endpoint: Endpoint, body: Wire, headers: Headers = ()) -> Response:
    """The response that *body* gives; one without candidates says why the prompt was refused."""
    provider, called = signature(endpoint), request_id(headers)
    found = _candidates(body)
    refused = tuple(feedback(body, provider))
    if not found and not refused:
        raise BadReply("what came is no answer: it has no candidates", request_id=called)
    answers = [_candidate(each, provider) for each in found] or [Candidate(Message("assistant"))]
    if refused:  # what did not come to an end of its own was ended by that
        answers = [each if each.raw_finish_reason else _blocked(body, each) for each in answers]
    first = answers[0]
    return Response(
        (Message("assistant", (*first.message.parts, *refused)) if refused else first.message,),
        first.finish_reason,
        first.raw_finish_reason,
        usage(body),
        None,
        _text(body.get("modelVersion")),
        endpoint.provider,
        _text(body.get("responseId")),
        called,
        candidates=answers if len(answers) > 1 else (),
        logprobs=first.logprobs,
        rate_limits=rate_limits(headers),
        raw=body,
    )


def finished(raw: Any, provider: str) -> FinishReason:
    """Why a candidate ended that ends with *raw*, a word or its number.

    >>> finished("MAX_TOKENS", "gemini"), finished(10, "gemini"), finished(10, "vertex"), finished("NEW", "gemini")
    ('length', 'error', 'content_filter', 'other')
    """
    if type(raw) is int:
        names = _VERTEX_NUMBERS if provider.startswith("vertex") else _NUMBERS
        raw = names[raw] if 0 <= raw < len(names) else ""
    return _FINISH.get(str(raw).upper(), "other")


def _candidates(body: Wire) -> list[Wire]:
    """The candidates of *body* in their order."""
    told = body.get("candidates")
    found: list[Wire] = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    return sorted(found, key=lambda each: _count(each.get("index")) or 0) if len(found) > 1 else found


def _candidate(wire: Wire, provider: str) -> Candidate:
    raw, content = wire.get("finishReason"), parts(wire.get("content"), provider)
    known = finished(raw, provider)
    calls = ToolCall in map(type, content)
    if calls and (known == "stop" or not raw or _answerable(raw)):
        known = "tool_calls"
    content += about(wire, provider, why=known not in ("stop", "tool_calls"))
    said = None if raw is None else str(raw)
    return Candidate(Message("assistant", content), known, said, _logprobs(wire.get("logprobsResult")))


def _answerable(raw: Any) -> bool:
    """Whether the model called what it was not given: whoever answers the calls can tell it so."""
    return str(raw) == "UNEXPECTED_TOOL_CALL"


def _blocked(body: Wire, answer: Candidate) -> Candidate:
    reason = body["promptFeedback"].get("blockReason")
    return evolve(answer, finish_reason="content_filter", raw_finish_reason=str(reason) if reason else None)


def usage(body: Wire) -> Usage:
    """The tokens that *body* tells of: what was thought counts as output, what tools brought as input.

    >>> usage({"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 48, "thoughtsTokenCount": 540,
    ...     "totalTokenCount": 598}})
    Usage(10, output_tokens=588, reasoning_tokens=540, missing=frozenset({'cached_tokens'}))
    """
    told = body.get("usageMetadata")
    told = told if isinstance(told, dict) else {}
    prompt, said, thought, brought, cached, total = [_count(told.get(name)) for name in _NAMES]
    count = None if prompt is None and brought is None else (prompt or 0) + (brought or 0)
    output = None if said is None and thought is None else (said or 0) + (thought or 0)
    if output is None and count is not None and total == count:  # a count of zero is left out
        output = 0
    if total is None and count is not None and output is not None:
        total = count + output
    found = (count, output, cached, thought, total)
    missing = frozenset([name for name, value in zip(_COUNTS, found, strict=True) if value is None])
    return Usage(count or 0, output or 0, cached or 0, thought or 0, total or 0, missing, kinds=_kinds(told))


def _kinds(told: Wire) -> dict[str, int]:
    """The tokens of sound and pictures, which may have prices of their own."""
    found: dict[str, int] = {}
    for details, way in (("prompt", "input"), ("toolUsePrompt", "input"), ("candidates", "output")):
        for each in _list(told.get(f"{details}TokensDetails")):
            kind, count = str(each.get("modality", "")).lower(), _count(each.get("tokenCount"))
            if kind in _PRICED_APART and count:
                found[f"{kind}_{way}"] = found.get(f"{kind}_{way}", 0) + count
    return found


_PRICED_APART: Final = frozenset({"audio", "image"})


_NAMES: Final = tuple(
    [f"{name}TokenCount" for name in ("prompt", "candidates", "thoughts", "toolUsePrompt", "cachedContent", "total")]
)


def _logprobs(told: Any) -> tuple[Logprob, ...]:
    if not isinstance(told, dict):
        return ()
    tops = _list(told.get("topCandidates"))
    found: list[Logprob] = []
    for place, each in enumerate(_list(told.get("chosenCandidates"))):
        found += _logprob(each, _list(tops[place].get("candidates")) if place < len(tops) else ())
    return tuple(found)


def _logprob(wire: Wire, tops: Iterable[Wire] = ()) -> Iterator[Logprob]:
    """A token as it was told; a logarithm of zero is left out, and what is no number tells nothing."""
    value = wire.get("logProbability", 0.0)
    if type(value) in (int, float) and abs(value) <= _HUGE:
        yield Logprob(_text(wire.get("token")), float(value), tuple([one for each in tops for one in _logprob(each)]))


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _list(value: Any) -> list[Wire]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

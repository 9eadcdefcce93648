"""Whole replies of generateContent and countTokens, and the errors that take their place."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from attrs import evolve

from arshai_kit.dialects.gemini import GEMINI
from arshai_kit.effects import Reply
from arshai_kit.errors import (
    BadReply,
    BadRequest,
    NotFound,
    ProviderError,
    RateLimited,
    ServerFailed,
    StreamIncomplete,
    Unauthorized,
)
from arshai_kit.records import Audio, File, Image, Logprob, Opaque, RateLimit, Response, Text, Thinking, ToolCall
from arshai_kit.retry import transient
from tests.dialects.test_gemini_stream import ENDPOINT, Wire, answer, heard, whole


def failing(body: Any, status: int = 400, *headers: tuple[str, str]) -> ProviderError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ProviderError) as caught:
        GEMINI.parse(ENDPOINT, Reply(status, headers, data))
    return caught.value


def told(candidate: Wire, **top: Any) -> Response:
    return whole({"candidates": [candidate], **top})


def test_every_kind_of_part_is_read_and_keeps_what_it_carries() -> None:
    sound = base64.b64encode(b"RIFF").decode()
    blobs: list[Wire] = [
        {"inlineData": {"mimeType": "image/png", "data": sound, "displayName": "cat"}, "thoughtSignature": "c2ln"},
        {"inlineData": {"mimeType": "audio/L16", "data": sound}},
        {"fileData": {"fileUri": "gs://b/v.mp4", "mimeType": "video/mp4"}, "videoMetadata": {"fps": 1}},
        {"fileData": {"fileUri": "gs://b/x"}},
    ]
    code: list[Wire] = [{"executableCode": {"code": "1+1"}, "thoughtSignature": "c2ln"}, {"codeExecutionResult": {}}]
    call = {"id": "c1", "name": "go", "args": {"a": 1}, "new": True}
    thought = {"text": "Hm.", "thought": True}
    response = whole(answer(thought, *blobs, *code, {"functionCall": call, "thoughtSignature": "c2ln"}, {"text": "Hi"}))
    mine = {"gemini": "gemini"}
    signature = {"thoughtSignature": "c2ln"}
    assert response.message.parts == (
        Thinking("Hm.", state={**mine, "part": {}}),
        Image(b"RIFF", "", "image/png", state={**mine, "part": signature, "blob": {"displayName": "cat"}}),
        Audio(b"RIFF", "", "audio/L16", state=mine),
        File(b"", "gs://b/v.mp4", "video/mp4", state={**mine, "part": {"videoMetadata": {"fps": 1}}}),
        File(b"", "gs://b/x", state=mine),
        Opaque("executableCode", code[0], state=mine),
        Opaque("codeExecutionResult", code[1], state=mine),
        ToolCall("c1", "go", {"a": 1}, state={**mine, "id": "c1", "part": signature, "call": {"new": True}}),
        Text("Hi"),
    )
    assert (response.finish_reason, response.raw_finish_reason, response.provider) == ("tool_calls", None, "gemini")


def test_what_is_said_about_the_answer_is_kept_and_never_sent_back() -> None:
    about = {
        "citationMetadata": {"citations": [{"uri": "u"}]},
        "groundingMetadata": {"webSearchQueries": ["q"]},
        "urlContextMetadata": {"urlMetadata": [{"retrievedUrl": "u"}]},
    }
    response = told(
        {**answer({"text": "a"})["candidates"][0], **about, "finishReason": "STOP", "finishMessage": "Done."}
    )
    kinds = {part.kind: part.value for part in response.message.parts if isinstance(part, Opaque)}
    assert kinds == {
        "citationMetadata": {"citations": ({"uri": "u"},)},
        "groundingMetadata": {"webSearchQueries": ("q",)},
        "urlContextMetadata": {"urlMetadata": ({"retrievedUrl": "u"},)},
    }
    assert response.text == "a"


@pytest.mark.parametrize(
    ("raw", "finish"),
    [
        ("STOP", "stop"),
        (1, "stop"),
        ("MAX_TOKENS", "length"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        (10, "error"),
        ("UNEXPECTED_TOOL_CALL", "error"),
        ("BRAND_NEW", "other"),
        (77, "other"),
        (None, "other"),
    ],
)
def test_why_a_reply_ended(raw: Any, finish: str) -> None:
    response = told({"content": {}, "finishReason": raw, "finishMessage": "Why.", "safetyRatings": [{"blocked": True}]})
    assert (response.finish_reason, response.raw_finish_reason) == (finish, None if raw is None else str(raw))
    kept = () if finish == "stop" else ("finishMessage", "safetyRatings")
    assert tuple(part.kind for part in response.message.parts if isinstance(part, Opaque)) == kept


def test_a_call_of_what_was_not_offered_can_be_answered() -> None:
    response = whole(answer({"functionCall": {"name": "list_files"}}, finishReason="UNEXPECTED_TOOL_CALL"))
    assert (response.finish_reason, response.raw_finish_reason) == ("tool_calls", "UNEXPECTED_TOOL_CALL")
    cut = whole(answer({"functionCall": {"name": "go"}}, finishReason="MAX_TOKENS"))
    assert cut.finish_reason == "length"


@pytest.mark.parametrize(
    "feedback",
    [{"blockReason": "SAFETY", "blockReasonMessage": "No."}, {"blockReasonMessage": "No."}, {"blockReason": 1}],
)
def test_a_prompt_that_is_refused_is_data(feedback: Wire) -> None:
    response = whole({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}})
    (part,) = response.message.parts
    assert isinstance(part, Opaque)
    assert (part.kind, part.value, response.finish_reason) == ("promptFeedback", feedback, "content_filter")
    assert response.raw_finish_reason == (str(feedback["blockReason"]) if "blockReason" in feedback else None)
    assert (response.text, response.usage.output_tokens, response.usage.reported) == ("", 0, True)


@pytest.mark.parametrize("body", [{}, {"candidates": []}, {"promptFeedback": {"safetyRatings": []}}, [{}], []])
def test_what_holds_no_answer_is_a_bad_reply(body: Any) -> None:
    with pytest.raises(BadReply, match="no candidates"):
        whole(body)


def test_a_list_of_chunks_without_an_end_is_as_incomplete_as_a_stream() -> None:
    error = failing([answer({"text": "Hel"})], 200)
    assert isinstance(error, StreamIncomplete)
    assert error.partial.text == "Hel"
    assert whole([answer({"text": "Hel"}), answer({"text": "lo"}, finishReason="STOP")]).text == "Hello"


@pytest.mark.parametrize("body", [b"", b"{", b"[{", b"7", b"[1]", b'"x"'])
def test_what_is_no_reply_is_a_bad_reply(body: bytes) -> None:
    assert type(failing(body, 200)) is BadReply


def test_what_is_nested_too_deep_is_a_bad_reply() -> None:
    deep = b"[" * 300 + b"]" * 300
    body = b'{"candidates": [{"content": {"parts": [{"novel": %b}]}}]}' % deep
    assert type(failing(body, 200)) is BadReply


def test_usage_counts_thoughts_as_output_and_what_tools_brought_as_input() -> None:
    counts = {"prompt": 10, "toolUsePrompt": 100, "candidates": 5, "thoughts": 20, "cachedContent": 4, "total": 135}
    body = {"usageMetadata": {f"{name}TokenCount": count for name, count in counts.items()}}
    usage = told({"content": {}}, **body).usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (110, 25, 135)
    assert (usage.cached_tokens, usage.reasoning_tokens, usage.missing) == (4, 20, frozenset())
    odd = told({"content": {}}, usageMetadata={"promptTokenCount": True, "candidatesTokenCount": -1}).usage
    assert not odd.reported


def test_logprobs_are_read_with_the_likeliest_in_each_place() -> None:
    token = {"token": "a", "logProbability": -0.5, "tokenId": 7}
    result = {"chosenCandidates": [token, {"token": "b"}], "topCandidates": [{"candidates": [token, {"token": "c"}]}]}
    response = told({"content": {}, "logprobsResult": result})
    odd = [{"token": "x", "logProbability": value} for value in (10**400, True, "0")]
    assert told({"content": {}, "logprobsResult": {"chosenCandidates": [*odd, token]}}).logprobs == (
        Logprob("a", -0.5),
    )
    assert response.logprobs == (Logprob("a", -0.5, (Logprob("a", -0.5), Logprob("c", 0.0))), Logprob("b", 0.0))


def test_headers_tell_of_limits_and_of_the_request() -> None:
    headers = (("x-goog-request-id", "r7"), ("x-ratelimit-limit-requests", "5"))
    response = whole(answer({"text": "a"}), 200, *headers)
    assert (response.request_id, response.rate_limits) == ("r7", (RateLimit("requests", 5),))


def test_a_key_that_is_refused_is_no_mistake_of_the_request() -> None:
    error: Wire = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}
    refused = failing([{"error": {**error, "details": [{"reason": "API_KEY_INVALID"}]}}], 400, ("x-request-id", "r"))
    assert type(refused) is Unauthorized
    assert (refused.status, refused.code, refused.request_id) == (400, "INVALID_ARGUMENT", "r")
    assert type(failing({"error": error})) is BadRequest
    assert type(failing({"error": error}, 200)) is BadRequest
    assert "GEMINI_API_KEY" in str(_without_key({"error": {**error, "code": 403, "status": "PERMISSION_DENIED"}}))


def _without_key(body: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        GEMINI.parse(evolve(ENDPOINT, api_key=None), Reply(403, (), json.dumps(body).encode()))
    return caught.value


def test_errors_in_other_shapes_are_errors() -> None:
    assert type(failing(b"<html><title>Gone</title></html>", 404)) is NotFound
    assert type(failing({"error": "words"}, 500)) is ServerFailed
    assert type(failing([], 503)) is ServerFailed
    assert "base_url" in str(failing(b"", 302, ("location", "https://elsewhere.example/")))


def test_an_error_keeps_what_google_says_as_it_says_it() -> None:
    quota = {
        "quotaMetric": "generate_requests",
        "quotaId": "PerDay",
        "quotaDimensions": {"model": "m"},
        "quotaValue": "50",
    }
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [quota]},
        {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"url": "https://ai.google.dev/limits"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26.471385729s"},
    ]
    body = {"error": {"code": 429, "message": "AIza-secret: no.", "status": "RESOURCE_EXHAUSTED", "details": details}}
    kept = {"error": {**body["error"], "message": "***: no."}}
    with pytest.raises(RateLimited) as streamed:
        heard([body])
    for error in (failing(body, 429), failing([body], 429), failing(body, 200), streamed.value):
        assert type(error) is RateLimited
        assert json.loads(json.dumps(error.details)) == kept
        assert (error.status, error.code, error.retry_after) == (429, "RESOURCE_EXHAUSTED", 26.471385729)
        assert transient(error)
    for delay in ("1e9s", "-1s", "1.5", "99999999s", "٣s", 5):
        assert failing({"error": {"code": 503, "details": [{"retryDelay": delay}]}}, 503).retry_after is None


def test_the_header_that_tells_when_to_come_back_goes_before_the_details() -> None:
    details = [{"retryDelay": "48.5s"}]
    body = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "Busy.", "details": details}}
    assert failing(body, 503).retry_after == 48.5
    assert failing(body, 503, ("retry-after", "3")).retry_after == 3


def test_parts_that_say_nothing_are_none() -> None:
    parts: list[Any] = [None, {}, {"text": ""}, {"text": "", "thought": True}, {"text": "a"}]
    assert whole(answer(*parts)).message.parts == (Text("a"),)


def test_tokens_are_counted() -> None:
    assert GEMINI.counted is not None
    assert GEMINI.counted(ENDPOINT, Reply(200, (), b'{"totalTokens": 12}')) == 12
    for body in (b"{}", b"[]", b'{"totalTokens": "x"}'):
        with pytest.raises(BadReply):
            GEMINI.counted(ENDPOINT, Reply(200, (), body))

"""Whole replies of Chat Completions: answers read leniently, everything else a typed error that says what came."""

from __future__ import annotations

import json
import pickle
import re
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import evolve
from arshai_kit.dialects.chat import parse
from arshai_kit.dialects.failures import failure
from arshai_kit.effects import Reply, Secret
from arshai_kit.errors import (
    BadReply,
    BadRequest,
    ContentTooLong,
    Misuse,
    NotFound,
    ProviderError,
    RateLimited,
    ServerFailed,
    Unauthorized,
)
from arshai_kit.records import Image, Logprob, Opaque, RateLimit, Response, Text, Thinking, ToolCall, Usage
from arshai_kit.retry import transient
from tests.dialects.wires import ENDPOINT, Wire, bodies, junk

OURS = {"chat": "openai-compatible"}


def answer(message: Wire | None = None, finish: Any = "stop", **more: Any) -> Response:
    choice = {"index": 0, "message": {"role": "assistant", **(message or {})}, "finish_reason": finish}
    return parse(ENDPOINT, Reply(200, (), json.dumps({"choices": [choice], **more}).encode()))


def failing(body: Any, status: int = 200, **headers: str) -> ProviderError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    with pytest.raises(ProviderError) as caught:
        parse(ENDPOINT, Reply(status, told, raw))
    return caught.value


# Answers


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "Hi"}, (Text("Hi"),)),
        ({"content": None}, ()),
        ({"content": ""}, ()),
        ({"content": 7}, (Opaque("content", 7, state=OURS),)),
        ({"content": 0, "tool_calls": {}}, ()),
        ({"tool_calls": "call f"}, (Opaque("tool_calls", "call f", state=OURS),)),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "https://x/i.png"}}]},
            (Image(url="https://x/i.png", state={**OURS, "field": "content", "part": {}}),),
        ),
        ({}, ()),
        ({"content": {"a": 1}}, (Text('{"a":1}'),)),
        (
            {"content": [{"type": "text", "text": "a"}, "b", {"type": "text", "text": ""}, "", 7, {}]},
            (Text("a"), Text("b"), Opaque("part", 7, state={**OURS, "field": "content"})),
        ),
        (
            {"content": [{"type": "text", "text": "a", "cited": [1]}]},
            (Text("a", state={**OURS, "part": {"cited": [1]}}),),
        ),
        (
            {
                "content": "a",
                "reasoning_content": "t",
                "novel": {"x": 1},
                "void": {"id": "", "n": 0},
                "role": "assistant",
            },
            (
                Thinking("t", state={**OURS, "field": "reasoning_content"}),
                Text("a"),
                Opaque("novel", {"x": 1}, state=OURS),
            ),
        ),
        (
            {"reasoning_details": [{"type": "reasoning.summary", "summary": "s"}, {"type": "reasoning.encrypted"}, 1]},
            (
                Thinking(
                    "s",
                    state={
                        **OURS,
                        "details": [{"type": "reasoning.summary", "summary": "s"}, {"type": "reasoning.encrypted"}, 1],
                    },
                ),
            ),
        ),
        (
            {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
            (Image(b"hi", media_type="image/png", state={**OURS, "field": "images", "part": {}}),),
        ),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}]},
            (Image(url="data:image/png;base64,???", state={**OURS, "field": "content", "part": {}}),),
        ),
        (
            {"tool_calls": [{"type": "custom", "id": "c", "custom": {"name": "sql", "input": "select"}}, {"id": ""}]},
            (
                Opaque(
                    "tool_calls",
                    {"type": "custom", "id": "c", "custom": {"name": "sql", "input": "select"}},
                    state={**OURS, "field": "tool_calls"},
                ),
            ),
        ),
        ({"function_call": {"name": "", "arguments": ""}, "tool_calls": None, "refusal": ""}, ()),
    ],
)
def test_messages_of_all_shapes(message: Wire, parts: tuple[Any, ...]) -> None:
    assert answer(message).message.parts == parts


@pytest.mark.parametrize(
    ("raw", "message", "reason"),
    [
        ("stop", {}, "stop"),
        ("eos", {}, "stop"),
        ("STOP", {}, "stop"),
        ("length", {}, "length"),
        ("content_filter", {}, "content_filter"),
        ("function_call", {}, "tool_calls"),
        ("stop", {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}, "tool_calls"),
        (None, {"tool_calls": [{"id": "a", "function": {"name": "f"}}]}, "tool_calls"),
        ("", {"content": "Hi"}, "other"),
        (None, {"content": "Hi"}, "other"),
        ("novel", {"content": "Hi"}, "other"),
        (3, {"content": "Hi"}, "other"),
        ("stop", {"refusal": "No"}, "refusal"),
        ("error", {}, "error"),
    ],
)
def test_reasons_are_a_closed_set_and_the_raw_one_is_kept(raw: Any, message: Wire, reason: str) -> None:
    response = answer(message, raw)
    assert response.finish_reason == reason
    assert response.raw_finish_reason == (raw if raw is None else str(raw))


@pytest.mark.parametrize(
    ("arguments", "finish", "call"),
    [
        ('{"x": 1}', "stop", ToolCall("a", "f", {"x": 1})),
        ({"x": 1}, "stop", ToolCall("a", "f", {"x": 1})),
        ("", "stop", ToolCall("a", "f")),
        (None, "tool_calls", ToolCall("a", "f")),
        ("", "length", ToolCall("a", "f", broken="")),
        ('{"x"', "length", ToolCall("a", "f", broken='{"x"')),
        ("[]", "stop", ToolCall("a", "f", broken="[]")),
        (7, "stop", ToolCall("a", "f", broken="7")),
    ],
)
def test_arguments_are_an_object_or_kept_as_they_are(arguments: Any, finish: str, call: ToolCall) -> None:
    told = {"tool_calls": [{"id": "a", "index": 0, "function": {"name": "f", "arguments": arguments}}, "nonsense"]}
    assert answer(told, finish).tool_calls == (call,)


def test_ids_and_names_are_kept_and_the_rest_stays_in_raw() -> None:
    body = {"id": "c1", "model": "m", "service_tier": "flex", "request_id": "body"}
    response = answer({"content": "Hi"}, **body)
    assert (response.id, response.model, response.provider) == ("c1", "m", "openai-compatible")
    assert (response.request_id, response.raw["service_tier"]) == ("body", "flex")
    reply = Reply(200, (("x-request-id", "r1"),), json.dumps(response.raw).encode())
    assert parse(ENDPOINT, reply).request_id == "r1"


def test_the_first_candidate_is_the_answer_and_all_are_kept_in_their_order() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    choices: list[Any] = [
        {"index": "odd", "message": {"content": "d"}},
        {"index": 2, "message": {"tool_calls": [call]}, "finish_reason": "stop"},
        {"index": 1, "message": {"content": "b", "reasoning": "t"}, "finish_reason": "length"},
        {"index": 0, "message": {"content": "a"}, "finish_reason": "stop", "logprobs": LOGPROBS},
        "nonsense",
    ]
    response = answer(choices=choices)
    assert (response.text, response.messages) == ("a", (response.candidates[0].message,))
    assert [each.message.text for each in response.candidates] == ["a", "b", "", "d"]
    assert [each.finish_reason for each in response.candidates] == ["stop", "length", "tool_calls", "other"]
    assert [each.raw_finish_reason for each in response.candidates] == ["stop", "length", "stop", None]
    assert response.candidates[1].message.reasoning == "t"
    assert response.candidates[2].message.tool_calls == (ToolCall("c", "f"),)
    assert response.candidates[0].logprobs == response.logprobs != ()
    alone = answer(choices=choices[2:3])
    assert (alone.text, alone.candidates) == ("b", ())


LOGPROBS = {
    "content": [
        {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "a", "logprob": -0.5}, "?"]},
        {"token": None, "logprob": -1, "top_logprobs": None},
        {"token": "c", "logprob": None},
        7,
    ],
    "refusal": None,
}


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (LOGPROBS, (Logprob("a", -0.5, (Logprob("a", -0.5),)), Logprob("", -1.0))),
        ({"content": None, "refusal": [{"token": "No", "logprob": -2}]}, (Logprob("No", -2.0),)),
        ({"tokens": ["a", "b"], "token_logprobs": [-1, None]}, (Logprob("a", -1.0),)),
        ({"content": {}, "tokens": "ab"}, ()),
        (None, ()),
        ("odd", ()),
    ],
)
def test_log_probabilities_of_all_shapes(told: Any, found: tuple[Logprob, ...]) -> None:
    assert answer(choices=[{"message": {"content": "a"}, "logprobs": told}]).logprobs == found


def test_limits_are_told_by_headers() -> None:
    headers = (("x-ratelimit-limit-requests", "500"), ("x-ratelimit-remaining-requests", "499"))
    body = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
    found = parse(ENDPOINT, Reply(200, headers, json.dumps(body).encode())).rate_limits
    assert found == (RateLimit("requests", 500, 499),)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, (3, 2, 0, 0, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 2}, (3, 2, 0, 0, 5)),
        ({"prompt_tokens": 3.0, "completion_tokens": 2}, (3, 2, 0, 0, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}, (3, 2, 1, 0, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 2, "prompt_cache_hit_tokens": 1}, (3, 2, 1, 0, 5)),
        (
            {"prompt_tokens": 3, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}},
            (3, 9, 0, 4, 12),
        ),
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "total_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            (3, 6, 0, 4, 9),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "total_tokens": 386,
                "prompt_tokens_details": {"audio_tokens": 375},
            },
            (384, 2, 0, 0, 386),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "total_tokens": 11,
                "prompt_tokens_details": {"audio_tokens": 7},
            },
            (9, 2, 0, 0, 11),
        ),
    ],
)
def test_usage_counts_in_what_is_counted_apart(told: Wire, usage: tuple[int, ...]) -> None:
    found = answer(usage=told).usage
    counts = (found.input_tokens, found.output_tokens, found.cached_tokens, found.reasoning_tokens, found.total_tokens)
    assert counts == usage
    assert found.reported


@pytest.mark.parametrize("told", [None, {}, [], "many", {"prompt_tokens": None, "completion_tokens": None}])
def test_usage_that_is_not_told_is_unknown(told: Any) -> None:
    assert answer(usage=told).usage == Usage.unknown()


def test_counts_that_are_none_are_missing() -> None:
    found = answer(usage={"prompt_tokens": True, "completion_tokens": -1, "total_tokens": 2.5}).usage
    assert not found.reported
    assert found.missing >= {"input_tokens", "output_tokens", "total_tokens"}


@pytest.mark.parametrize(
    ("told", "cost"),
    [
        ({"cost": 0.00007159}, Decimal("0.00007159")),
        ({"cost": 0}, Decimal(0)),
        ({"cost": "0.002922"}, Decimal("0.002922")),
        ({"cost": {"input_tokens_cost": 1, "total_cost": 0.00528}}, Decimal("0.00528")),
        ({"cost_in_usd_ticks": 2488500}, Decimal("0.00024885")),
        ({"estimated_cost": 0.5}, Decimal("0.5")),
        ({"cost": "much"}, None),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, Decimal("0.02")),
        ({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, Decimal("0.021")),
        ({"cost": 0.02, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.02}}, Decimal("0.02")),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0, "is_byok": True}, None),
        ({"is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, None),
        ({}, None),
    ],
)
def test_cost_is_what_the_provider_says_or_unknown(told: Wire, cost: Decimal | None) -> None:
    assert answer(usage={"prompt_tokens": 1, **told}).cost == cost


@given(body=bodies())
def test_a_response_is_a_value(body: Wire) -> None:
    response = parse(ENDPOINT, Reply(200, (), json.dumps(body).encode()))
    assert pickle.loads(pickle.dumps(response)) == response
    assert hash(response) == hash(parse(ENDPOINT, Reply(200, (), json.dumps(body).encode())))


# What is no answer


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html><head><title>Bad gateway</title></head></html>", "an HTML page, 'Bad gateway'"),
        (b"", "nothing"),
        (b"   ", "nothing"),
        (b"null", "null"),
        (b"[1, 2]", r"\[1, 2\]"),
        (b'"text"', "text"),
        (b'{"id": "c", "choices": [{"message"', "no JSON"),
        (b'{"a":NaN}', "NaN"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"choices":[]}', "no choices"),
        (b'{"choices":{}}', "no choices"),
        (b'{"choices":[7]}', "no choices"),
        (b'{"choices":[{"index":0}]}', "no choices"),
        (b'{"choices":[{"message":{"novel":' + b"[" * 300 + b"]" * 300 + b"}}]}", "cannot be kept"),
    ],
)
def test_what_is_no_answer_is_a_bad_reply_that_says_what_came(body: bytes, says: str) -> None:
    error = failing(body)
    assert isinstance(error, BadReply)
    assert error.status == 200
    assert str(error).count("") < 500
    assert re.search(says, str(error))


def test_no_error_shows_a_key() -> None:
    model = evolve(ENDPOINT, headers=(("x-other-key", Secret("hidden-key")), ("x-none", Secret(""))))
    body = b'{"error": {"message": "Incorrect API key sk-secret, or hidden-key"}}'
    for status, sent in (
        (401, body),
        (200, body),
        (200, b"<p>sk-secret hidden-key"),
        (200, b'{"choices":"sk-secret hidden-key"}'),
    ):
        with pytest.raises(ProviderError) as caught:
            parse(model, Reply(status, (), sent))
        assert "sk-secret" not in str(caught.value)
        assert "hidden-key" not in str(caught.value)
        assert "***" in str(caught.value)


@pytest.mark.parametrize("name", ["api_key", "Access-Token", "sig", "Authorization", "client-secret", "password"])
def test_no_error_shows_a_key_of_the_address(name: str) -> None:
    body = b'{"error": {"message": "hidden-key7 is wrong, and hidden-key8\\/9"}}'
    for query in (
        f"?{name}2=hidden-key7&a=b",
        f"?a=b&x{name}2=hidden-key7#hash",
        f"?{name}2=hidden-key7&key2=hidden-key8/9",
    ):
        with pytest.raises(Misuse, match=r"holds a key \(.*=…\); pass it as api_key=") as refused:
            evolve(ENDPOINT, base_url=f"https://x.example/v1{query.replace('2=', '=')}")
        assert "hidden-key" not in str(refused.value)
        model = evolve(ENDPOINT, base_url=f"https://x.example/v1{query}")
        with pytest.raises(ProviderError) as caught:
            parse(model, Reply(400, (), body))
        assert "hidden-key7" not in str(caught.value)
        assert "*** is wrong" in str(caught.value)
        assert ("hidden-key8" in str(caught.value)) is ("hidden-key8" not in query)
        assert "hidden-key7" not in repr(model)


@pytest.mark.parametrize("key", ["k", "EMPTY", "ollama", "Bearer k"])
def test_what_stands_for_no_key_spoils_no_message(key: str) -> None:
    message = "token EMPTY: ask ollama for a Bearer kind"
    model = evolve(ENDPOINT, api_key=key, headers=(("authorization", Secret(key)),))
    with pytest.raises(ProviderError, match=f"HTTP 401: {message}$"):
        parse(model, Reply(401, (), json.dumps({"error": {"message": message}}).encode()))


@given(body=junk, status=st.sampled_from([200, 200, 400, 500]))
def test_nonsense_is_an_error_of_the_provider_and_nothing_else(body: Any, status: int) -> None:
    assert isinstance(failing(body, status), ProviderError)


@given(message=junk, finish=junk, usage=junk, content=junk, calls=st.lists(junk))
def test_nonsense_inside_an_answer_is_read_or_refused(
    message: Any, finish: Any, usage: Any, content: Any, calls: list[Any]
) -> None:
    for told in (message, {"content": content, "tool_calls": calls, "reasoning_details": calls}):
        body = {"choices": [{"message": told, "finish_reason": finish}], "usage": usage, "model": content}
        with suppress(BadReply):
            parse(ENDPOINT, Reply(200, (), json.dumps(body).encode()))


# Errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (402, RateLimited),
        (403, Unauthorized),
        (404, NotFound),
        (405, BadRequest),
        (408, ProviderError),
        (409, BadRequest),
        (410, NotFound),
        (413, BadRequest),
        (422, BadRequest),
        (429, RateLimited),
        (500, ServerFailed),
        (503, ServerFailed),
        (529, ServerFailed),
    ],
)
def test_a_status_says_whose_fault_it_was(status: int, kind: type[ProviderError]) -> None:
    error = failing({"error": {"message": "No", "code": "why"}}, status, x_request_id="r7")
    assert type(error) is kind
    assert (error.status, error.code, error.request_id, str(error)) == (status, "why", "r7", f"HTTP {status}: No")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"error": {"message": "m", "type": "t"}}, "m"),
        ({"error": "m"}, "m"),
        ({"detail": "m"}, "m"),
        (
            {"detail": [{"loc": ["body", "messages", 0], "msg": "field required"}, "odd"]},
            "body.messages.0: field required; odd",
        ),
        ({"errors": [{"message": "m"}]}, "m"),
        ({"message": "m"}, "m"),
        ([{"error": {"message": "m"}}], "m"),
        ({"error": {"error": {"message": "m"}}}, "m"),
        ({"error": {"message": "m", "metadata": {"raw": "upstream said"}}}, "m (upstream said)"),
        ({"error": {"message": "m", "metadata": {"raw": {}}}}, "m"),
        ({"error": {"code": "odd"}}, "{'error': {'code': 'odd'}}"),
        ({}, "{}"),
        (b"<html><title>Oops</title>", "an HTML page, 'Oops'"),
        (b"plain text", "plain text"),
        (b"x" * 1000, "x" * 200 + "…"),
        (b"", "nothing"),
    ],
)
def test_errors_of_all_shapes_say_what_the_provider_said(body: Any, says: str) -> None:
    assert str(failing(body, 500)) == f"HTTP 500: {says}"


def test_a_page_where_nothing_is_hints_at_the_address() -> None:
    assert "base_url" in str(failing(b"404 page not found", 404))


@pytest.mark.parametrize(
    "error",
    [
        {"code": "context_length_exceeded", "message": "This model's maximum context length is 8192 tokens"},
        {"type": "exceed_context_size_error", "message": "the request exceeds the available context size"},
        {"type": "too_many_prompt_tokens", "message": "The total length of all messages is too long."},
        {"message": "prompt is too long: 210000 tokens > 200000 maximum"},
        {"message": "Please reduce the length of the messages"},
    ],
)
def test_a_prompt_that_does_not_fit_is_told_apart(error: Wire) -> None:
    assert type(failing({"error": error}, 400)) is ContentTooLong
    assert type(failing({"error": error}, 200)) is ContentTooLong


def test_an_account_with_nothing_left_is_not_asked_again() -> None:
    for named in (
        {"code": "insufficient_quota"},
        {"type": "billing_hard_limit_reached"},
        {"code": "insufficient_funds"},
    ):
        error = failing({"error": {"message": "m", **named}}, 429)
        assert (type(error), error.should_retry, transient(error)) == (RateLimited, False, False)
    for named in ({"code": "rate_limit_exceeded"}, {"type": "requests"}, {"code": "RESOURCE_EXHAUSTED"}):
        assert transient(failing({"error": {"message": "m", **named}}, 429))
    assert transient(failing({"error": {"code": "insufficient_quota"}}, 429, x_should_retry="true"))


def test_an_error_keeps_what_came_with_it_but_for_keys() -> None:
    found = {"hate": {"filtered": True, "severity": "high"}}
    told = {"message": "sk-secret", "innererror": {"content_filter_result": found, "keys": ["sk-secret!"]}}
    error = failing({"error": told}, 400)
    assert error.details == {
        "error": {"message": "***", "innererror": {"content_filter_result": found, "keys": ("***!",)}}
    }
    assert pickle.loads(pickle.dumps(error)).details == error.details
    odd = failure(evolve(ENDPOINT, api_key='quoted"key'), {"detail": ['a quoted"key', 7]})
    assert odd.details == {"detail": ("a ***", 7)}
    for large in ({"error": {"message": "m", "more": "x" * 20_000}}, "text"):
        assert failing(large, 400).details is None


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"code": 429, "message": "m"}, RateLimited, 429),
        ({"code": "429", "message": "m"}, RateLimited, 429),
        ({"status_code": 400, "code": "tool_use_failed", "message": "m"}, BadRequest, 400),
        ({"code": "insufficient_quota", "message": "m"}, RateLimited, None),
        ({"code": "invalid_api_key", "message": "m"}, Unauthorized, None),
        ({"code": "model_not_found", "message": "m"}, NotFound, None),
        ({"type": "invalid_request_error", "message": "m"}, BadRequest, None),
        ({"type": "overloaded_error", "message": "m"}, ServerFailed, None),
        ({"message": "m"}, ServerFailed, None),
    ],
)
def test_an_error_with_a_good_status_is_an_error(error: Wire, kind: type[ProviderError], status: int | None) -> None:
    found = failing({"error": error})
    assert (type(found), found.status) == (kind, status)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        ({"code": "server_error"}, True),
        ({"type": "overloaded_error"}, True),
        ({"status": "UNAVAILABLE"}, True),
        ({"status": "DEADLINE_EXCEEDED"}, True),
        ({"code": "rate_limit_exceeded", "type": None}, True),
        ({"code": 503}, True),
        ({"code": "insufficient_quota"}, False),
        ({"code": "invalid_prompt"}, False),
        ({"code": "server_error", "type": "context_length_exceeded"}, False),
        ({"code": "image_content_policy_violation"}, False),
        ({"code": "invalid_api_key"}, False),
        ({}, False),
    ],
)
def test_without_a_status_a_code_says_whether_another_try_makes_sense(error: Wire, passes: bool) -> None:
    assert transient(failing({"error": {"message": "m", **error}})) is passes
    assert not transient(failing({"error": {"message": "m", **error}}, x_should_retry="false"))


def test_an_error_of_the_first_candidate_holds_what_came() -> None:
    choice = {"message": {"content": "So far"}, "finish_reason": "error", "error": {"code": 502, "message": "lost"}}
    error = failing({"choices": [choice]})
    assert isinstance(error, ServerFailed)
    assert error.partial.text == "So far"


def test_a_redirect_names_where_it_points_and_no_more() -> None:
    error = failing(b"", 307, location="https://user:pw@elsewhere.example/x?key=1")
    assert "elsewhere.example" in str(error)
    assert "base_url" in str(error)
    assert "pw" not in str(error)
    assert "another place" in str(failing(b"", 304))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "7", "retry_after_ms": "250"}, 0.25),
        ({"retry_after": "3600"}, 3600.0),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:28:30 GMT"}, 0.0),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:30", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "1e300"}, 30 * 24 * 3600.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after_ms": "nan", "retry_after": "1"}, 1.0),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_taken_from_what_makes_sense(headers: dict[str, str], seconds: float | None) -> None:
    assert failing({"error": "slow down"}, 429, **headers).retry_after == seconds


@pytest.mark.parametrize(("told", "found"), [("true", True), ("False", False), ("perhaps", None)])
def test_whether_to_try_again_may_be_said(told: str, found: bool | None) -> None:
    assert failing({"error": "m"}, 500, x_should_retry=told).should_retry is found


def test_numbers_out_of_all_range_are_left_out() -> None:
    tokens = [{"token": "a", "logprob": -(10**400)}, {"token": "b", "logprob": -0.5}]
    choice = {"message": {"content": "ab"}, "finish_reason": "stop", "logprobs": {"content": tokens}}
    body = {"choices": [choice], "usage": {"cost": "1e999999999"}}
    response = parse(ENDPOINT, Reply(200, (), json.dumps(body).encode()))
    assert (response.logprobs, response.cost) == ((Logprob("b", -0.5),), None)


def test_the_shape_of_the_older_completions_is_read() -> None:
    body = {"choices": [{"text": "hi", "finish_reason": "stop"}]}
    assert parse(ENDPOINT, Reply(200, (), json.dumps(body).encode())).text == "hi"

"""What recordings of Chat Completions lack, over real sockets: errors of all kinds, and when to come back.

Streams that break in the middle, in all their shapes, are in `tests/badinput`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from arshai_kit import openai_compatible
from arshai_kit.errors import BadReply, BadRequest, ProviderError, RateLimited, ServerFailed, Unauthorized
from arshai_kit.models import evolve
from arshai_kit.providers import openrouter
from arshai_kit.records import RateLimit
from tests.badinput.ways import DONE, Way, answering, body, chunk, message, model_at, sent, ways

REASONS = {400: "Bad Request", 401: "Unauthorized", 429: "Too Many Requests", 503: "Unavailable", 529: "Overloaded"}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
NOW = "Date: Tue, 01 Jul 2025 10:00:00 GMT"

plain = ways(lambda way: not way.loops)


def failing(status: int, told: Any, *headers: str) -> bytes:
    kind = "text/html" if isinstance(told, bytes) else "application/json"
    return body(told, *headers, status=f"{status} {REASONS[status]}", kind=kind)


def answer(way: Way, text: str = "Hello", *headers: str) -> bytes:
    if not way.streams:
        return body(message({"content": text}), *headers)
    streamed = sent(chunk({"content": text}), chunk({}, "stop"), DONE)
    head, mark, rest = streamed.partition(b"\r\n\r\n")
    return b"\r\n".join([head, *(each.encode() for each in headers)]) + mark + rest


@plain
@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("headers", [("Retry-After: 0",), ("retry-after-ms: 1",), (NOW, f"Retry-After: {NOW[6:]}")])
def test_what_may_pass_is_tried_again(way: Way, status: int, headers: tuple[str, ...]) -> None:
    with answering(failing(status, OVERLOADED, *headers), answer(way)) as server:
        came = way.ask(model_at(server, retry=1))
        assert len(server.heads) == 2
    assert came.error is None
    assert came.response is not None
    assert came.response.text == "Hello"


@plain
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (("Retry-After: 7",), 7.0),
        (("Retry-After: 7.5",), 7.5),
        (("retry-after-ms: 250", "Retry-After: 9"), 0.25),
        ((NOW, "Retry-After: Tue, 01 Jul 2025 10:01:30 GMT"), 90.0),
        ((NOW, "Retry-After: soon"), None),
        (("Retry-After: -1",), None),
        ((), None),
    ],
)
def test_when_to_come_back_is_on_the_error(way: Way, headers: tuple[str, ...], seconds: float | None) -> None:
    for status, kind in ((429, RateLimited), (503, ServerFailed), (529, ServerFailed)):
        with answering(failing(status, OVERLOADED, "x-request-id: req_7", *headers)) as server:
            error = way.ask(model_at(server)).error
        assert type(error) is kind
        assert isinstance(error, ProviderError)
        assert (error.status, error.retry_after, error.request_id) == (status, seconds, "req_7")
        assert (error.code, str(error)) == ("overloaded_error", f"HTTP {status}: Overloaded")


@plain
@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"error": "no such thing"}, "HTTP 400: no such thing"),
        ({"detail": "no such thing"}, "HTTP 400: no such thing"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too many"}]}, "HTTP 400: body.n: too many"),
        ({"error": {"error": {"message": "deep", "code": "x"}}}, "HTTP 400: deep"),
        ([{"error": {"message": "in a list"}}], "HTTP 400: in a list"),
        (b"<html><head><title>400 Bad</title></head>", "HTTP 400: an HTML page, '400 Bad'"),
        (b"", "HTTP 400: nothing"),
        (b"plain words", "HTTP 400: plain words"),
    ],
)
def test_errors_of_all_shapes_come_to_the_same(way: Way, told: Any, says: str) -> None:
    with answering(failing(400, told)) as server:
        error = way.ask(model_at(server)).error
    assert type(error) is BadRequest
    assert str(error) == says


@plain
@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"error": {"message": "slow down", "code": "429"}}, RateLimited),
        ({"error": {"message": "filtered", "code": "content_filter", "status": 400}}, BadRequest),
        ({"error": {"message": "odd"}}, ServerFailed),
        ({"error": {"message": "wrong key", "code": "invalid_api_key"}}, Unauthorized),
        ({"choices": []}, BadReply),
    ],
)
def test_an_error_may_come_with_the_status_of_success(way: Way, told: Any, kind: type[ProviderError]) -> None:
    """As a whole body, whatever was asked for, and for streams as their only event too."""
    acts = [body(told)]
    if way.streams:
        acts.append(sent(b"data: " + json.dumps(told).encode() + b"\n\n", DONE))
    for act in acts:
        with answering(act) as server:
            assert type(way.ask(model_at(server)).error) is kind


@plain
def test_candidates_and_limits_arrive(way: Way) -> None:
    choices = [
        {"index": place, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        for place, text, finish in ((1, "Two", "length"), (0, "One", "stop"))
    ]
    limit = "X-RateLimit-Remaining-Tokens: 7"
    whole = body({"id": "c", "model": "m", "choices": choices}, limit)
    second = b'data: {"choices":[{"index":1,"delta":{"content":"Two"},"finish_reason":"length"}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n" + limit.encode() + b"\r\n\r\n"
    streamed = head + chunk({"content": "One"}) + second + chunk({}, "stop") + DONE
    with answering((lambda peer: peer.send(streamed)) if way.streams else whole) as server:
        response = way.ask(model_at(server, candidates=2)).response
    assert response is not None
    assert response.text == "One"
    assert [(each.message.text, each.finish_reason) for each in response.candidates] == [
        ("One", "stop"),
        ("Two", "length"),
    ]
    assert response.rate_limits == (RateLimit("tokens", remaining=7),)


@plain
def test_openrouter_tells_its_cost_and_breaks_off_behind_a_finish(way: Way) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.00014}
    told = {"error": {"code": 502, "message": "Provider returned error", "metadata": {"raw": "upstream is down"}}}
    good = sent(b": OPENROUTER PROCESSING\n\n", chunk({"content": "Hi"}), chunk({}, "stop", usage=usage), DONE)
    bad = sent(chunk({"content": "Hi"}), chunk({}, "error", **told), DONE)
    if not way.streams:
        good, bad = body({**message({"content": "Hi"}), "usage": usage}), body(told)
    with answering(good, bad) as server:
        model = openrouter("a/b", api_key="sk-or", base_url=f"{server.url}/api/v1", retry=None)
        came, broken = way.ask(model), way.ask(model)
    assert came.response is not None
    assert str(came.response.cost) == "0.00014"
    assert came.response.provider == "openrouter"
    assert type(broken.error) is ServerFailed
    assert str(broken.error) == "HTTP 502: Provider returned error (upstream is down)"


def test_what_may_be_a_key_in_the_address_goes_out_and_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    told = failing(401, {"error": {"message": "hidden77 is no key"}})
    with answering(told) as server:
        model = openai_compatible("m", base_url=f"{server.url}/v1?key-id=hidden77", api_key="", retry=None)
        error = Way("complete", "").ask(model).error
        assert b"POST /v1/chat/completions?key-id=hidden77 " in server.heads[0]
    assert str(error).startswith("HTTP 401: *** is no key")
    assert "hidden77" not in repr(model) + caplog.text + repr(evolve(model, temperature=0))

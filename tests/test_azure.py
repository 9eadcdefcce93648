"""Azure: the same wire at an address of one's own, with a key or a token; what its filters say is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arshai_kit import evolve
from arshai_kit.dialects.chat import CHAT
from arshai_kit.dialects.responses import RESPONSES
from arshai_kit.effects import Now, Random, Request, Secret
from arshai_kit.errors import BadRequest, MissingKey, Misuse
from arshai_kit.models import Ask, Endpoint
from arshai_kit.providers import azure
from arshai_kit.records import user
from tests.wire.agreement import bytes_of, streamed, whole
from tests.wire.test_responses import HERE

ROOT = "https://me.openai.azure.com"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)


def built(model: Endpoint) -> Request:
    return model.dialect.build(model, Ask((user("Hi"),)), False)


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, f"{ROOT}/openai/v1/responses"),
        ({"api": "chat"}, f"{ROOT}/openai/v1/chat/completions"),
        ({"api_version": "preview"}, f"{ROOT}/openai/v1/responses?api-version=preview"),
        ({"api_version": "2025-04-01-preview"}, f"{ROOT}/openai/responses?api-version=2025-04-01-preview"),
        (
            {"api_version": "2024-10-21", "api": "chat"},
            f"{ROOT}/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21",
        ),
        (
            {"api_version": "2025-02-01-preview"},  # the next one began with the Responses API
            f"{ROOT}/openai/deployments/my%20gpt/chat/completions?api-version=2025-02-01-preview",
        ),
        ({"api_version": "2025-03-01-preview"}, f"{ROOT}/openai/responses?api-version=2025-03-01-preview"),
    ],
)
def test_versions_have_their_addresses(options: Any, url: str) -> None:
    for endpoint in (ROOT, f"{ROOT}/", f"{ROOT}/openai", f"{ROOT}/openai/v1/"):
        assert built(azure("my gpt", endpoint=endpoint, api_key="k", **options)).url == url


def test_a_version_from_before_the_responses_api_is_not_asked_for_it() -> None:
    with pytest.raises(Misuse, match="'2024-10-21' has no Responses API: pass api='chat'"):
        azure("gpt", endpoint=ROOT, api_key="k", api="responses", api_version="2024-10-21")


def test_the_address_follows_the_name_and_holds_all_of_it() -> None:
    dated: Any = {"endpoint": ROOT, "api_key": "k", "api": "chat", "api_version": "2024-10-21"}
    found = built(evolve(azure("mine", **dated), name="../a/b?c")).url
    assert found == f"{ROOT}/openai/deployments/..%2Fa%2Fb%3Fc/chat/completions?api-version=2024-10-21"
    with pytest.raises(Misuse, match=r"'\.\.' is no name"):
        built(azure("..", **dated))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("/openai/deployments/gpt/chat/completions?api-version=2024-10-21", ", api_version='2024-10-21'; .* 'gpt'"),
        ("/openai/deployments/gpt", "; the deployment is the first argument: 'gpt'"),
        ("/openai/responses?api-version=preview", ", api_version='preview'"),
        ("/openai/v1/chat/completions", ""),
        ("/openai/v1/?api-version=preview", ", api_version='preview'"),
    ],
)
def test_the_address_of_a_call_is_refused_with_what_to_pass(given: str, told: str) -> None:
    with pytest.raises(Misuse, match=f"pass endpoint='{ROOT}'{told}$"):
        azure("gpt", endpoint=ROOT + given, api_key="k")


def test_the_environment_fills_in_but_for_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", ROOT)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k1")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-02-01")
    model = azure("gpt")
    assert (model.base_url, model.provider, model.dialect) == (f"{ROOT}/openai/v1", "azure", RESPONSES)
    assert dict(built(model).headers)["api-key"] == Secret("k1")
    assert "authorization" not in dict(built(model).headers)
    assert dict(built(azure("gpt", api_key="k2", headers={"X-A": "b"})).headers)["api-key"] == Secret("k2")


def test_an_address_that_is_none_is_called_what_it_was_given_as(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = "is no address; it looks like 'https://NAME.openai.azure.com'"
    with pytest.raises(Misuse, match=f"^endpoint='me.openai.azure.com' {looks}$"):
        azure("gpt", endpoint="me.openai.azure.com", api_key="k")
    with pytest.raises(Misuse, match=r"^endpoint= holds a key \(api-key=…\)"):
        azure("gpt", endpoint=f"{ROOT}?api-key=hush", api_key="k")
    with pytest.raises(Misuse, match=r"^endpoint= holds a user name"):
        azure("gpt", endpoint="https://me:hush@me.example", api_key="k")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "me")
    with pytest.raises(Misuse, match=f"^AZURE_OPENAI_ENDPOINT='me' {looks}$"):
        azure("gpt", api_key="k")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Misuse, match="AZURE_OPENAI_ENDPOINT"):
        azure("gpt", api_key="k")
    with pytest.raises(MissingKey, match="AZURE_OPENAI_API_KEY"):
        azure("gpt", endpoint=ROOT)
    with pytest.raises(Misuse, match="one of them"):
        azure("gpt", endpoint=ROOT, api_key="k", token=lambda: "t")
    assert azure("gpt", endpoint=ROOT, api_key="").api_key is None


def test_a_token_signs_in_the_place_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k1")
    model = azure("gpt", endpoint=ROOT, token=lambda: "entra")
    assert model.api_key is None
    plan = model.ask(Ask((user("Hi"),)), stream=False)
    effect: Any = next(plan)
    while not hasattr(effect, "request"):
        effect = plan.send(0.0 if isinstance(effect, Now | Random) else "entra")
    headers = dict(effect.request.headers)
    assert headers["authorization"] == Secret("Bearer entra")
    assert "api-key" not in headers
    plan.close()


def test_the_oldest_versions_know_the_oldest_name_of_the_limit() -> None:
    def limit(version: str | None) -> set[str]:
        made = azure("gpt", endpoint=ROOT, api_key="k", api="chat", api_version=version, max_tokens=5)
        return {name for name in json.loads(built(made).content) if "max" in name}

    assert limit("2024-06-01") == {"max_tokens"}
    assert limit("2024-10-21") == limit(None) == {"max_completion_tokens"}


# What its filters say


def recorded(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((HERE / f"{name}.json").read_text("utf-8"))["exchanges"]
    return found


def test_what_filters_say_is_kept() -> None:
    model = azure("gpt", endpoint=ROOT, api_key="k")
    response = whole(recorded("azure-0024")[0], model)
    assert [each["source_type"] for each in response.raw["content_filters"]] == ["prompt", "completion"]
    _, response = streamed([bytes_of(recorded("azure-0006")[0])], model)
    assert response.raw["content_filters"][0]["content_filter_results"]["hate"]["filtered"] is False


def test_a_first_chunk_without_choices_keeps_what_filters_say_of_the_prompt() -> None:
    chat = azure("gpt", endpoint=ROOT, api_key="k", api="chat")
    told = [
        {"choices": [], "id": "", "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]},
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    data = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in told) + b"data: [DONE]\n\n"
    _, response = streamed([data], chat)
    assert (response.text, response.id, response.raw["prompt_filter_results"][0]["prompt_index"]) == ("Hi", "c", 0)


def test_a_blocked_prompt_is_an_error_whatever_its_status() -> None:
    chat = azure("gpt", endpoint=ROOT, api_key="k", api="chat")
    error = {"error": {"code": "content_filter", "message": "The prompt was filtered", "status": 400}}
    for model in (chat, azure("gpt", endpoint=ROOT, api_key="k")):
        for status in (200, 400):
            exchange = {"status": status, "body_format": "json", "response_body": error, "response_headers": {}}
            with pytest.raises(BadRequest, match="The prompt was filtered") as caught:
                whole(exchange, model)
            assert caught.value.code == "content_filter"
    assert chat.dialect != CHAT


def test_what_the_filter_found_is_kept_with_the_error() -> None:
    found = {"hate": {"filtered": True, "severity": "high"}}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": found}
    error = {"error": {"code": "content_filter", "message": "No", "status": 400, "innererror": inner}}
    exchange = {"status": 400, "body_format": "json", "response_body": error, "response_headers": {}}
    with pytest.raises(BadRequest) as caught:
        whole(exchange, azure("gpt", endpoint=ROOT, api_key="k"))
    assert caught.value.details["error"]["innererror"]["content_filter_result"] == found

"""A name, an address and a key make a model, or an error that says what is wrong with them."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from inspect import signature
from math import inf, nan
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit import Finished, TextDelta, complete, file, request, stream, user
from arshai_kit.dialects.chat import CHAT
from arshai_kit.effects import Reply, Secret
from arshai_kit.errors import ArshaiError, MissingKey, Misuse
from arshai_kit.models import Capabilities, Endpoint, evolve
from arshai_kit.providers import (
    Options,
    azure,
    azure_embedder,
    gateway,
    gemini,
    gemini_embedder,
    model,
    openai,
    openai_compatible,
    openai_compatible_embedder,
    openai_embedder,
    openrouter,
)
from arshai_kit.providers.embedders import EmbedderOptions
from arshai_kit.providers.gemini import vertex_address
from arshai_kit.providers.named import PROVIDERS
from arshai_kit.records import ToolCall, ToolSpec, assistant, tool_result
from arshai_kit.retry import Retry
from tests.badinput.ways import DONE, answering, body, chunk, message, model_at, sent

BASE = "http://localhost:11434/v1"


def test_all_that_can_be_set() -> None:
    model = openai_compatible(
        "llama",
        base_url=f" {BASE} ",
        api_key="k",
        headers={"X-Title": "app", "X-Api-Key": "hidden"},
        temperature=0,
        stop="END",
        reasoning="low",
        extra={"min_p": 0.1},
        timeout=1.0,
        deadline=2.0,
        retry=None,
        max_body=3,
        capabilities=Capabilities(tools=False),
    )
    assert (model.name, model.base_url, model.provider) == ("llama", BASE, "openai-compatible")
    assert (model.temperature, model.stop, model.reasoning, model.extra) == (0, ("END",), "low", {"min_p": 0.1})
    assert (model.timeout, model.deadline, model.retry, model.max_body) == (1.0, 2.0, None, 3)
    assert model.headers == (("X-Title", "app"), ("X-Api-Key", Secret("hidden")))
    assert "hidden" not in repr(model)


@pytest.mark.parametrize(
    ("given", "variable", "key"),
    [
        ("mine", "theirs", "mine"),
        (Secret(" mine\n"), None, "mine"),
        (None, "theirs\n", "theirs"),
        (None, None, None),
        ("", "theirs", None),
    ],
)
def test_a_key_that_is_given_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: Any, variable: str | None, key: str | None
) -> None:
    monkeypatch.delenv("OPENAI_COMPATIBLE_API_KEY", raising=False)
    if variable is not None:
        monkeypatch.setenv("OPENAI_COMPATIBLE_API_KEY", variable)
    found = openai_compatible("m", base_url=BASE, api_key=given).api_key
    assert (found.reveal() if found else None) == key


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost:8080",
        "ftp://x.example",
        "https://",
        "https://x y.example",
        "http://x:port/v1",
        "http://[1/v1",
        None,
        7,
    ],
)
def test_what_is_no_address_is_refused_with_what_one_looks_like(address: Any) -> None:
    with pytest.raises(Misuse, match=r"https://api\.example\.com/v1"):
        openai_compatible("m", base_url=address)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://user:hush@x.example/v1", "api_key="),
        ("https://hush@x.example/v1", "api_key="),
        ("https://x.example/v1?key=hush", r"\(key=…\); pass it as api_key="),
        ("https://x.example/v1?a=b&subscription%2Dkey=hush", r"\(subscription-key=…\); pass it as api_key="),
        ("https://x.example/v1?access_token=hush&x=1", r"\(access_token=…\); pass it as api_key="),
        ("https://x.example/v1#key=hush", r"\(key=…\); pass it as api_key="),
        ("https://x.example/v1?x-vercel-protection-bypass=hush", r"\(x-vercel-protection-bypass=…\); pass it as"),
        ("https://x.example/v1?jwt=hush", r"\(jwt=…\); pass it as api_key="),
        ("user:hush@x.example/v1", "is no address"),
        ("https://user:hu/hush@x y/v1", "is no address"),
        ("x.example/v1?key=hush", "is no address"),
    ],
)
def test_an_address_holds_no_secret_and_no_error_shows_one(address: str, says: str) -> None:
    plain = openai_compatible("m", base_url=BASE, api_key="")
    makers: list[Callable[[], object]] = [
        lambda: openai_compatible("m", base_url=address, api_key=""),
        lambda: gateway(plain, base_url=address),
        lambda: evolve(plain, base_url=address),
        lambda: openai_embedder("m", base_url=address, api_key="k"),
        lambda: gemini("m", base_url=address, api_key="k"),
    ]
    for make in makers:
        with pytest.raises(Misuse, match=says) as caught:
            make()
        assert "hush" not in str(caught.value)
    with pytest.raises(Misuse) as caught:
        model(f"openai-compatible:m@{address}")
    assert "hush" not in str(caught.value)
    with pytest.raises(Misuse) as caught:
        model(f"opena1:m@{address}")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("query", ["?api-version=1", "?design=1&tokens=3", "?key=", "?keyspace=a"])
def test_an_address_may_say_more(query: str) -> None:
    assert openai_compatible("m", base_url=f"https://x.example/v1{query}").base_url.endswith(query)


@pytest.mark.parametrize("key", ["two words", "tab\tbed", "schlüssel"])
def test_what_no_key_looks_like_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(Misuse, match="copied whole") as caught:
        openai_compatible("m", base_url=BASE, api_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("name", ["", None])
def test_a_model_has_a_name(name: Any) -> None:
    with pytest.raises(Misuse, match="name of the model"):
        openai_compatible(name, base_url=BASE)


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(Misuse, match=r"no option temprature; .*extra=.* temperature"):
        openai_compatible("m", base_url=BASE, temprature=1)  # type: ignore[call-arg]  # that is the point


# OpenRouter


def test_openrouter_is_told_in_its_own_fields() -> None:
    model = openrouter(
        "anthropic/claude-sonnet-4.5",
        api_key="k",
        models=["meta-llama/llama-4-maverick"],
        provider={"order": ["anthropic"], "allow_fallbacks": False},
        plugins=["web", {"id": "file-parser", "pdf": {"engine": "native"}}],
        transforms=(),
        app_name="Desk",
        app_url="https://desk.example",
        headers={"x-a": "b"},
        reasoning="high",
        max_tokens=9,
        extra={"usage": {"include": True}, "models": ["mine"]},
    )
    sent = request(model, user("Read", file("https://x.example/r.pdf")))
    told = json.loads(sent.content)
    assert sent.url == "https://openrouter.ai/api/v1/chat/completions"
    headers = dict(sent.headers)
    assert (headers["http-referer"], headers["x-title"], headers["x-a"]) == ("https://desk.example", "Desk", "b")
    assert headers["authorization"] == Secret("Bearer k")
    assert (told["model"], told["models"], told["max_tokens"]) == ("anthropic/claude-sonnet-4.5", ["mine"], 9)
    assert told["provider"] == {"order": ["anthropic"], "allow_fallbacks": False}
    assert told["plugins"] == [{"id": "web"}, {"id": "file-parser", "pdf": {"engine": "native"}}]
    assert (told["reasoning"], told["transforms"], told["usage"]) == ({"effort": "high"}, [], {"include": True})
    assert told["messages"][0]["content"][1]["file"] == {
        "filename": "r.pdf",
        "file_data": "https://x.example/r.pdf",
    }


def test_openrouter_sends_nothing_of_its_own_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "theirs")
    sent = request(openrouter("a/b"), "Hi")
    assert json.loads(sent.content) == {"model": "a/b", "messages": [{"role": "user", "content": "Hi"}]}
    assert dict(sent.headers)["authorization"] == Secret("Bearer theirs")
    told = json.loads(request(openrouter("a/b", reasoning=2000), "Hi").content)
    assert told["reasoning"] == {"max_tokens": 2000}


@pytest.mark.parametrize(("name", "longest"), [("openai/gpt-5", 39), ("mistralai/small", 9), ("x-ai/grok", 43)])
def test_openrouter_sends_ids_that_the_maker_takes(name: str, longest: int) -> None:
    call = ToolCall("call-cbf8bf3a-0762-4d37-9ab8-2fa7240be181-0", "f", {})
    history = (user("Go!"), assistant(call), tool_result(call, "1"), user("On!"))
    told = json.loads(request(openrouter(name, api_key=""), history).content)["messages"]
    key = told[1]["tool_calls"][0]["id"]
    assert len(key) == longest
    assert told[2]["tool_call_id"] == key


def test_openrouter_wants_a_key_and_names_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    with pytest.raises(MissingKey, match="OPENROUTER_API_KEY"):
        openrouter("a/b")
    assert openrouter("a/b", api_key="").api_key is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"models": "a/b"}, r"models= takes several: \['a/b'\]"),
        ({"models": [7]}, "models= takes names"),
        ({"plugins": {"id": "web"}}, "plugins= takes several"),
        ({"extra": 7}, "extra= takes fields"),
    ],
)
def test_what_openrouter_cannot_take_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Misuse, match=says):
        openrouter("a/b", api_key="", **wrong)


# Who gets what is opaque

SEALED: dict[str, Any] = {
    "responses": {
        "status": "completed",
        "output": [
            {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAAAB", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        ],
    },
    "chat": message({"content": "Hi", "reasoning_details": [{"type": "reasoning.encrypted", "data": "gAAAAAB"}]}),
    "gemini": {
        "candidates": [{"content": {"parts": [{"text": "Hi", "thoughtSignature": "gAAAAAB"}]}, "finishReason": "STOP"}]
    },
}
ELSEWHERE = ("https://gw.example/v1", "https://api.openai.com.example/v1", "http://localhost:4000/v1")


@pytest.mark.parametrize(
    ("make", "homes", "spoken"),
    [
        (openai, ("https://api.openai.com/v1", "https://eu.api.openai.com/v1"), "responses"),
        (partial(openai, api="chat"), ("https://api.openai.com/v1", "https://API.openai.com:443/v1"), "chat"),
        (openrouter, ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/"), "chat"),
        (gemini, ("https://generativelanguage.googleapis.com/v1beta",), "gemini"),
        (
            partial(gemini, token=lambda: "t"),
            tuple(vertex_address("p", place) for place in ("global", "us", "europe-west4")),
            "gemini",
        ),
    ],
)
def test_what_a_host_sealed_goes_back_to_it_and_to_no_other(make: Any, homes: tuple[str, ...], spoken: str) -> None:
    models = [make("m", api_key="k", base_url=url) for url in (*homes, *ELSEWHERE)]
    for asked in models:
        first = asked.dialect.parse(asked, Reply(200, (), json.dumps(SEALED[spoken]).encode()))
        assert first.provider == asked.provider
        reached = [each for each in models if b"gAAAAAB" in request(each, (first, "And now?")).content]
        assert reached == (models[: len(homes)] if asked.base_url in homes else [asked])


def test_two_resources_on_azure_share_nothing_that_is_sealed() -> None:
    one, other = (azure("m", endpoint=f"https://{name}.openai.azure.com", api_key="k") for name in ("east", "west"))
    first = one.dialect.parse(one, Reply(200, (), json.dumps(SEALED["responses"]).encode()))
    assert [b"gAAAAAB" in request(each, (first, "And now?")).content for each in (one, other)] == [True, False]


# Streams that begin with an error

EVENTS: dict[str, tuple[bytes, ...]] = {
    "chat": (chunk({"content": "Hello"}), chunk({}, "stop"), DONE),
    "responses": (
        b'data: {"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hello"}\n\n',
        b'data: {"type":"response.completed","response":{"output":[]}}\n\n',
    ),
    "gemini": (b'data: {"candidates":[{"content":{"parts":[{"text":"Hello"}]},"finishReason":"STOP"}]}\n\n',),
}


@pytest.mark.parametrize(
    ("make", "spoken", "error"),
    [
        (openai, "responses", {"type": "error", "code": "server_error", "message": "m", "param": None}),
        (openai, "responses", {"type": "response.failed", "response": {"error": {"code": "server_error"}}}),
        (openai, "responses", {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}),
        (openrouter, "chat", {"error": {"code": "server_error", "message": "m"}}),
        (openrouter, "chat", {"error": {"type": "overloaded_error", "message": "Overloaded"}}),
        (openrouter, "chat", {"choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "m"}}]}),
        (gemini, "gemini", {"error": {"status": "UNAVAILABLE", "message": "m"}}),
        (gemini, "gemini", [{"error": {"code": 503, "status": "UNAVAILABLE", "message": "m"}}]),
    ],
)
def test_a_stream_that_begins_with_an_error_that_may_pass_is_asked_for_again(
    make: Any, spoken: str, error: Any
) -> None:
    from tenacity import wait_none

    began = [b'data: {"type":"response.created","response":{"id":"r"}}\n\n'] if spoken == "responses" else []
    broken = sent(*began, b"data: " + json.dumps(error).encode() + b"\n\n")
    with answering(broken, broken, sent(*EVENTS[spoken])) as server:
        asked = make("m", api_key="k", base_url=f"{server.url}/v1", retry=Retry(wait=wait_none()))
        *told, last = stream(asked, "Hi")
        assert len(server.heads) == 3
    assert isinstance(last, Finished)
    assert [event.text for event in told if isinstance(event, TextDelta)] == [last.response.text] == ["Hello"]


# Nonsense

TEXTS = ("", " ", "m", "two words", "a\nb", "\x00", "é", "\ud800", "openai:", ":", "a:b", "http://x", "https://[1")
JUNK = st.one_of(
    st.sampled_from((*TEXTS, "chat", "responses", "none", "required")),
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([10**400, -1.5, inf, nan, 1j, Decimal("1.5")]),
    st.sampled_from([b"x", object(), int, len, Ellipsis, Secret(""), Secret("k"), Secret("é"), range(2), {1}, Retry()]),
    st.sampled_from([[], (), {}, [None], [[1]], ["a"], [("a", "b")], {"a": object()}, {1: 2}, {"a": {1}}, {"": ""}]),
    st.sampled_from([Capabilities(), {"x": nan}, {"a\n": "b"}, {"a": "b\r\nc: d"}, {"tools": 5}, {"tools": None}]),
)
MAKERS: tuple[tuple[Callable[..., Any], dict[str, Any], type], ...] = (
    (openai, {"name": "m", "api_key": "k"}, Options),
    (azure, {"deployment": "m", "api_key": "k", "endpoint": "https://me.openai.azure.com"}, Options),
    (gemini, {"name": "m", "api_key": "k"}, Options),
    (openrouter, {"name": "m", "api_key": "k"}, Options),
    (openai_compatible, {"name": "m", "api_key": "k", "base_url": BASE}, Options),
    (gateway, {"model": openai_compatible("m", base_url=BASE, api_key="k")}, dict),
    (openai_embedder, {"name": "m", "api_key": "k"}, EmbedderOptions),
    (azure_embedder, {"deployment": "m", "api_key": "k", "endpoint": "https://me.openai.azure.com"}, EmbedderOptions),
    (gemini_embedder, {"name": "m", "api_key": "k"}, EmbedderOptions),
    (openai_compatible_embedder, {"name": "m", "api_key": "k", "base_url": BASE}, EmbedderOptions),
)


def _arguments(make: Callable[..., Any], options: type) -> list[str]:
    """The names of all that *make* takes."""
    own = [name for name, spot in signature(make).parameters.items() if spot.kind is not spot.VAR_KEYWORD]
    return [*own, *getattr(options, "__annotations__", {})]


@pytest.mark.parametrize(("make", "fine", "options"), [pytest.param(*each, id=each[0].__name__) for each in MAKERS])
def test_whatever_is_passed_makes_a_model_or_an_error_of_ours(
    make: Callable[..., Any], fine: dict[str, Any], options: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")  # or Google would be asked
    names = _arguments(make, options)

    @settings(max_examples=20 * len(names))
    @given(name=st.sampled_from(names), value=JUNK)
    def law(name: str, value: Any) -> None:
        with suppress(ArshaiError):
            found = make(**{**fine, name: value})
            if isinstance(found, Endpoint) and found.token is None:
                request(found, "Hi", tools=[ToolSpec("look")])
                repr(found), hash(found)

    law()


@given(
    text=st.one_of(
        JUNK,
        st.builds(
            "{}{}{}".format,
            st.sampled_from([*PROVIDERS, "x", ""]),
            st.sampled_from(["", ":", "::", " : "]),
            st.sampled_from(TEXTS),
        ),
    )
)
def test_any_text_names_a_model_or_is_refused_by_name(text: Any) -> None:
    with suppress(ArshaiError):
        model(text, api_key="k")


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("local", {"api_key": "k"}, "local has no option api_key; known are temperature, "),
        ("openai:m", {"temprature": 1}, "no option temprature; "),
        ("openai:m", {"name": "n"}, "name= is said by the name already"),
        ("openai-chat:m", {"api": "responses"}, "api= is said by the name already"),
        (f"openai-compatible:m@{BASE}", {"base_url": BASE}, "base_url= is said by the name already"),
    ],
)
def test_options_that_a_name_does_not_take_are_refused(text: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(Misuse, match=says):
        model(text, **options)


# Gateways


def test_a_gateway_adds_its_headers_and_keeps_the_rest() -> None:
    model = openai_compatible("m", base_url=BASE, api_key="k", headers={"X-Team": "a", "y": "z"}, temperature=0)
    reached = gateway(
        model, base_url="https://gw.example/v1", headers={"x-team": "b", "cf-aig-authorization": "Bearer hidden"}
    )
    assert reached.base_url == "https://gw.example/v1"
    assert reached.headers == (("x-team", "b"), ("y", "z"), ("cf-aig-authorization", Secret("Bearer hidden")))
    assert (reached.api_key, reached.temperature) == (Secret("k"), 0)
    assert "hidden" not in repr(reached) + repr(request(reached, "Hi"))
    assert model.headers == (("X-Team", "a"), ("y", "z"))
    assert gateway(model) == model


def test_a_gateway_may_have_a_key_of_its_own() -> None:
    model = evolve(openai_compatible("m", base_url=BASE), token=lambda: "theirs")
    assert (gateway(model, headers={"a": "b"}).token is None, gateway(model).token) == (False, model.token)
    reached = gateway(model, api_key="mine")
    assert (reached.api_key, reached.token) == (Secret("mine"), None)
    assert "authorization" not in dict(request(gateway(reached, api_key=""), "Hi").headers)


@frozen
class Wrapped:
    model: Any


def test_a_wrapper_hands_the_gateway_on() -> None:
    model = openai_compatible("m", base_url=BASE)
    assert gateway(Wrapped(Wrapped(model)), headers={"a": "b"}) == Wrapped(Wrapped(gateway(model, headers={"a": "b"})))


@pytest.mark.parametrize("wrong", ["openai:gpt", Wrapped(None), Wrapped(7)])
def test_a_gateway_stands_before_what_speaks_http(wrong: Any) -> None:
    with pytest.raises(Misuse, match="gateway takes a model that speaks HTTP"):
        gateway(wrong)


def test_each_call_may_have_headers_of_its_own() -> None:
    with answering(body(message({"content": "Hello"}))) as server:
        model = model_at(server)
        assert complete(gateway(model, headers={"x-user": "7"}), "Hi").text == "Hello"
        assert b"x-user: 7" in server.heads[-1]


# Names


KEYS = {
    "OPENAI_API_KEY": "k1",
    "AZURE_OPENAI_API_KEY": "k2",
    "AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com",
    "GEMINI_API_KEY": "k3",
    "OPENROUTER_API_KEY": "k4",
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("openai:gpt-5.6-luna", ("openai", "gpt-5.6-luna")),
        ("openai-chat:gpt-4o", ("openai", "gpt-4o")),
        ("azure:my-gpt", ("azure", "my-gpt")),
        ("gemini:gemini-2.5-flash", ("gemini", "gemini-2.5-flash")),
        ("openrouter:anthropic/claude-sonnet-4.5:nitro", ("openrouter", "anthropic/claude-sonnet-4.5:nitro")),
        ("openai-compatible:llama3.2@http://localhost:1/v1", ("openai-compatible", "llama3.2")),
        ("openai-compatible:a@b:7@http://localhost:1/v1", ("openai-compatible", "a@b:7")),
    ],
)
def test_a_name_makes_a_model(text: str, found: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    made: Any = model(text, temperature=0, retry=None)
    assert (made.provider, made.name) == found
    assert (made.temperature, made.retry) == (0, None)
    assert (made.dialect == CHAT) is (found[0] == "openai-compatible")


def test_every_form_that_is_told_is_known() -> None:
    assert all(provider.form.partition(":")[0] == word for word, provider in PROVIDERS.items())


@pytest.mark.parametrize(
    "text",
    ["", "gpt-4o", "openai:", "openai", "local:", "gmini:pro", "x@http://me:hush@h/v1", "anthropic:claude"],
)
def test_what_names_no_model_is_told_what_does(text: str) -> None:
    with pytest.raises(Misuse, match=r"names no model; there are local, openai:NAME, .*@URL$") as caught:
        model(text)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("openai-compatible:llama3.2", "NAME@URL"),
        ("openai-compatible:m@http://u:hush@h/v1", "user name or password"),
        (7, "named by text"),
    ],
)
def test_names_that_are_not_whole_say_what_lacks(text: Any, says: str) -> None:
    with pytest.raises(Misuse, match=says) as caught:
        model(text)
    assert "hush" not in str(caught.value)


@pytest.mark.needs("local")
def test_the_local_model_has_a_name_too() -> None:
    assert model("local", temperature=0).provider == "local"


# What is changed later


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"headers": 7}, "X-Title"),
        ({"headers": ["X-Title"]}, "X-Title"),
        ({"headers": {"X-Title": 7}}, "'X-Title' holds int"),
        ({"headers": {7: "a"}}, "takes text"),
        ({"api_key": 5}, "api_key= is a string"),
        ({"base_url": "localhost:80"}, "is no address"),
        ({"retry": 1.5}, "retry="),
        ({"timeout": 0}, "timeout="),
    ],
)
def test_what_is_changed_later_is_checked_as_well(change: dict[str, Any], says: str) -> None:
    with pytest.raises(Misuse, match=says):
        evolve(openai_compatible("m", base_url=BASE), **change)


def test_headers_that_are_changed_later_are_kept_secret_too() -> None:
    model = evolve(openai_compatible("m", base_url=BASE, api_key="k"), headers={"X-Api-Key": "hidden", "a": "b"})
    assert model.headers == (("X-Api-Key", Secret("hidden")), ("a", "b"))


@pytest.mark.parametrize(("name", "value"), [("stop", 3), ("wait", 1.0), ("retry", True), ("ceiling", "1")])
def test_what_tenacity_cannot_ask_is_refused_at_once(name: str, value: Any) -> None:
    with pytest.raises(Misuse, match=f"{name}= is"):
        Retry(**{name: value})


def test_a_key_of_the_environment_is_no_local_of_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hush hush")
    with pytest.raises(Misuse, match="OPENAI_API_KEY") as caught:
        openai("gpt-5.6-luna")
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    assert "hush" not in "".join(told)

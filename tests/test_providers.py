"""A name, an address and a key make a model, or an error that says what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from arshai_kit.effects import Secret
from arshai_kit.errors import Misuse
from arshai_kit.models import Capabilities
from arshai_kit.providers import openai_compatible

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


@pytest.mark.parametrize("address", ["https://user:pass@x.example/v1", "https://user@x.example/v1"])
def test_an_address_holds_no_secret(address: str) -> None:
    with pytest.raises(Misuse, match="api_key=") as caught:
        openai_compatible("m", base_url=address)
    assert "pass@" not in str(caught.value)


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

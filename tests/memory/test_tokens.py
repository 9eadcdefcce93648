"""Counting tokens: an estimate whose error is known, and a real tokenizer where there is one."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.errors import Misuse
from arshai_kit.memory.tokens import counting, estimated, estimated_text, tokenizer, total
from arshai_kit.memory.views import Recalled, windowed
from arshai_kit.records import Image, Message, Opaque, Text, Thinking, ToolCall, tool_result, user
from arshai_kit.testing.strategies import messages
from tests.memory.dictionaries import turn

ROOT = Path(__file__).parents[2]
PIECE = 4000


def pieces(text: str) -> list[str]:
    return [text[start : start + PIECE] for start in range(0, len(text) - PIECE // 2, PIECE)]


def prose() -> list[str]:
    return [piece for page in sorted((ROOT / "docs").rglob("*.md")) for piece in pieces(page.read_text("utf-8"))]


def code() -> list[str]:
    return [piece for page in sorted((ROOT / "src").rglob("*.py"))[:40] for piece in pieces(page.read_text("utf-8"))]


def translated(language: str) -> list[str]:
    """What a documentation builder says in *language*, as people have translated it."""
    found = find_spec("sphinx")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "locale" / language / "LC_MESSAGES" / "sphinx.js"
    table = json.loads(path.read_text("utf-8").partition("addTranslations(")[2].rpartition(")")[0])
    words = [each for value in table["messages"].values() for each in ([value] if isinstance(value, str) else value)]
    return ["\n".join(words)]


def ratios(texts: list[str]) -> list[float]:
    """The estimate of each text, as a multiple of what the tokenizer counts."""
    count = tokenizer()
    return [estimated_text(text) / (count(user(text)) - 4) for text in texts]


@pytest.mark.needs("tokens")
@pytest.mark.parametrize(("texts", "low", "high"), [(prose, 0.9, 1.25), (code, 0.95, 1.45)])
def test_the_estimate_is_about_right_for_english_and_for_code(texts: object, low: float, high: float) -> None:
    found = sorted(ratios(texts()))  # type: ignore[operator]
    assert low < sum(found) / len(found) < high
    assert 0.5 < found[0] < found[-1] < 1.8


@pytest.mark.needs("tokens", "docs")
@pytest.mark.parametrize("language", ["de", "es", "fa", "fr", "ja", "ru", "tr", "zh_CN"])
def test_the_estimate_is_about_right_in_other_languages(language: str) -> None:
    for ratio in ratios(translated(language)):
        assert 0.7 < ratio < 1.45


@pytest.mark.needs("tokens")
def test_a_real_tokenizer_counts_as_its_models_do() -> None:
    """Known numbers of a public vocabulary."""
    known = {"hello world": (2, 2), "سلام دنیا": (2, 7), "東京の天気": (4, 6), "": (0, 0)}
    new, old = tokenizer(media=85), tokenizer("cl100k_base")
    assert {text: (new(user(text)) - 4, old(user(text)) - 4) for text in known} == known
    assert new(Message("user", [Image(b"x")])) == 89
    assert new(user("a \ud800 lone surrogate")) > 4
    with pytest.raises(Misuse, match="no 'gpt-5'"):
        tokenizer("gpt-5")  # type: ignore[arg-type]


@pytest.mark.needs("tokens")
def test_a_window_may_be_measured_by_it() -> None:
    said = tuple([each for number in range(9) for each in turn(number)])
    shown = windowed(tokens=40, count=tokenizer())(Recalled("k", said, [user("?")]))
    assert len(shown.messages) == 4
    assert total((*shown.messages, *shown.prompt), tokenizer()) <= 40


def test_without_it_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rs_bpe", None)
    with pytest.raises(ImportError, match=r"arshai-kit\[tokens\]"):
        tokenizer()


@given(st.text(), st.text())
def test_an_estimate_grows_with_its_text(one: str, other: str) -> None:
    whole, parts = estimated_text(one + other), estimated_text(one) + estimated_text(other)
    assert parts - 1 <= whole <= parts
    assert (estimated_text(one) == 0) == (one == "")


@given(st.lists(messages(), max_size=3))
def test_every_message_costs_something(said: list[Message]) -> None:
    assert total(said) == sum(map(estimated, said)) >= 4 * len(said)


def test_all_that_is_sent_is_counted() -> None:
    call = ToolCall("1", "mail", {"to": "ann"})
    parts = [Text("abc"), Thinking("de"), call, Opaque("x", {"a": 1}), Image(b"x")]
    assert counting(len, media=7)(Message("assistant", parts)) == 4 + 3 + 2 + (4 + 4 + len('{"to":"ann"}')) + 7 + 7
    assert counting(len)(tool_result(call, "sent")) == 4 + 4 + 4
    assert counting(len, media=7)(tool_result(call, (Text("ab"), Image(b"x")))) == 4 + 4 + 2 + 7
    assert counting(len)(Message("assistant", [ToolCall("2", "f", broken="{{{")])) == 4 + 4 + 1 + 3

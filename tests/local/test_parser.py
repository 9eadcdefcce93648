"""llama.cpp survives every grammar that gets through the door; run apart, for it would take this process with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arshai_kit.errors import BadSchema
from arshai_kit.local.copying import grounded_grammar, pick_grammar
from arshai_kit.local.grammar import Grammar, gbnf, literals
from arshai_kit.local.shapes import json_grammar
from arshai_kit.records import ToolSpec
from tests.local.parser import crashed
from tests.local.strategies import ASCII, grammars, schemas

pytestmark = pytest.mark.needs("local")


def drawn(source: st.SearchStrategy[Any], make: Callable[[Any], Grammar | None]) -> list[tuple[str, str]]:
    """Grammars made of what *source* draws, with the letters they need; what is refused is left out."""
    found: dict[tuple[str, str], None] = {}

    @settings(database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(source)
    def gather(one: Any) -> None:
        try:
            if (grammar := make(one)) is not None:
                found[gbnf(grammar), literals(grammar)] = None
        except BadSchema:
            return

    gather()
    return list(found)


def called(asked: tuple[Any, str, bool]) -> Grammar | None:
    """The grammar of a choice of one tool."""
    schema, said, none = asked
    return pick_grammar([ToolSpec("look_up", "", {"type": "object", **schema})], said, none=none)


QUESTIONS = st.lists(
    st.sampled_from(["Is", "Oslo,", "23", "-4.50", "(née", '"x\\"', "日本", "?", "1,000.", "€5", "\U00050394"]),
    max_size=30,
)


def test_any_sound_grammar_is_survived() -> None:
    assert not crashed(drawn(grammars(ASCII), lambda grammar: grammar))


def test_the_grammar_of_any_schema_is_survived() -> None:
    texts = drawn(schemas(), json_grammar)
    assert len(texts) > 5
    assert not crashed(texts)


def test_the_grammar_of_any_choice_is_survived() -> None:
    asked = st.tuples(schemas(), QUESTIONS.map(" ".join), st.booleans())
    assert not crashed(drawn(asked, called))


def test_the_grammar_of_any_sentence_is_survived() -> None:
    asked = st.tuples(st.text(max_size=30), st.lists(st.text(max_size=100), max_size=3))
    assert not crashed(drawn(asked, lambda pair: grounded_grammar(*pair)))


def test_the_largest_choice_is_survived() -> None:
    parameters = {"properties": {"for": {"type": "string"}, "n": {"type": "number"}}}
    tools = [ToolSpec(f"look_{at}", "", parameters) for at in range(9)]
    grammar = pick_grammar(tools, " ".join(["1 " + "y" * 60] * 500), none=True)
    assert grammar is not None
    assert len(gbnf(grammar)) > 45_000
    assert not crashed([(gbnf(grammar), literals(grammar))])


@pytest.mark.parametrize("text", ["root ::= root [a]\n", "root ::= nowhere\n", 'root ::= ""*\n', "root ::= (\n"])
def test_what_is_refused_would_have_ended_the_process(text: str) -> None:
    assert crashed([("root ::= [a]\n", ""), (text, "")]).startswith(text)

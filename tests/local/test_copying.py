"""Calls hold nothing but what was said, and sentences no figure from elsewhere."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.errors import BadSchema
from arshai_kit.local.copying import (
    LONGEST_SPAN,
    MOST_WORDS,
    figures,
    form_grammar,
    grounded_grammar,
    pick_grammar,
    spans,
)
from arshai_kit.local.grammar import gbnf
from arshai_kit.records import ToolSpec
from tests.local.gbnf import accepts, read
from tests.local.strategies import walk


def spec(name: str, **properties: Any) -> ToolSpec:
    """A tool whose parameters are all required."""
    return ToolSpec(name, "", {"type": "object", "properties": properties, "required": list(properties)})


INTEGER, NUMBER, STRING = {"type": "integer"}, {"type": "number"}, {"type": "string"}
MULTIPLY, WEATHER = spec("multiply", a=INTEGER, b=INTEGER), spec("weather", city=STRING)


def offered(tools: list[ToolSpec], said: str, *texts: str, none: bool = True) -> list[bool]:
    """Whether each of *texts* may be answered to what was *said*."""
    grammar = pick_grammar(tools, said, none=none)
    assert grammar is not None
    rules = read(gbnf(grammar))
    return [accepts(rules, text) for text in texts]


def test_numbers_come_from_the_question_and_each_once() -> None:
    texts = ['{"a": 23, "b": 17}', '{"a": 17, "b": 23}', '{"a": 23, "b": 23}', '{"a": 2, "b": 17}', '{"a": 23, "b": 5}']
    calls = [f"multiply {text}" for text in texts]
    assert offered([MULTIPLY], "What is 23 times 17?", *calls) == [True, True, False, False, False]
    assert offered([MULTIPLY], "What is 23 times 23?", calls[2], calls[0]) == [True, False]
    assert offered([MULTIPLY], "Square 23!", calls[2]) == [True]


def test_numbers_fit_their_schema() -> None:
    tool = spec("set", level={"type": "integer", "maximum": 9}, factor={"type": "number", "minimum": 0.5})
    calls = ['set {"level": 3, "factor": 7.5}', 'set {"level": 3, "factor": 12}', 'set {"level": 12, "factor": 3}']
    assert offered([tool], "Set 3 to 7.50, not to 12.", *calls) == [True, True, False]


def test_words_come_from_the_question() -> None:
    said = 'What is the weather in New York, or "Oslo"?'
    calls = [f'weather {{"city": "{city}"}}' for city in ("New York", "Oslo", 'York, or \\"Oslo', "Bergen", "ork")]
    assert offered([WEATHER], said, *calls, "none") == [True, True, True, False, False, True]


def test_a_tool_that_cannot_be_filled_is_not_offered() -> None:
    assert pick_grammar([MULTIPLY], "Hello there", none=True) is None
    assert pick_grammar([WEATHER], " ?! ", none=True) is None
    assert offered([MULTIPLY, WEATHER], "Oslo", 'weather {"city": "Oslo"}', "none", none=False) == [True, False]


def test_a_tool_without_parameters() -> None:
    assert offered([ToolSpec("now")], "What time is it?", "now {}", "none") == [True, True]


def test_what_is_no_string_or_number_is_free() -> None:
    tool = spec("light", on={"type": "boolean"}, where={"enum": ["kitchen", "hall"]})
    assert offered([tool], "Light!", 'light {"on": true, "where": "hall"}', 'light {"on": 1, "where": "hall"}') == [
        True,
        False,
    ]


def test_strings_with_a_format_or_a_length_are_copied_where_they_fit() -> None:
    tool = spec(
        "book", day={"type": "string", "format": "date"}, code={"type": "string", "minLength": 5, "maxLength": 6}
    )
    said = "Book 2026-11-23 for AB-123 please, not 2026-13-01."
    assert offered(
        [tool],
        said,
        'book {"day": "2026-11-23", "code": "AB-123"}',
        'book {"day": "2026-13-01", "code": "AB-123"}',
        'book {"day": "2026-11-23", "code": "not"}',
    ) == [True, False, False]


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(BadSchema):
        pick_grammar([spec("find", text={"type": "string", "pattern": "a+"}, of={"not": {}})], "a", none=True)


WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=6), max_size=12)


@given(WORDS.map(" ".join), st.integers())
def test_every_call_copies_a_span(said: str, seed: int) -> None:
    grammar = pick_grammar([WEATHER], said, none=False)
    if grammar is None:
        return
    city = json.loads(walk(grammar, random.Random(seed)).partition(" ")[2])["city"]
    assert city in " ".join(said.split())
    assert len(city.split(" ")) <= LONGEST_SPAN


@given(WORDS.map(" ".join))
def test_every_span_can_be_called(said: str) -> None:
    for span in list(spans(said))[:6]:
        assert offered([WEATHER], said, f"weather {json.dumps({'city': span}, ensure_ascii=False)}") == [True]


def test_of_a_long_question_the_beginning_and_the_end_can_be_copied() -> None:
    said = " ".join(f"w{at}" for at in range(400))
    calls = [f'weather {{"city": "w{at}"}}' for at in (0, MOST_WORDS // 2 - 1, 200, 399)]
    assert offered([WEATHER], said, *calls) == [True, True, False, True]


def test_rules_of_two_tools_stay_apart() -> None:
    point = {"type": "object", "properties": {"x": INTEGER}, "required": ["x"]}
    tools = [ToolSpec(name, "", {"$ref": "#/$defs/p", "$defs": {"p": point}}) for name in ("go", "stay")]
    assert offered(tools, "to 5", 'go {"x": 5}', 'stay {"x": 5}', 'go {"x": 6}') == [True, True, False]


def test_a_form_is_filled_from_what_was_said_where_it_can_be() -> None:
    schema = {
        "type": "object",
        "properties": {"name": STRING, "age": INTEGER, "day": {"type": "string", "format": "date"}},
        "required": ["name", "age", "day"],
    }

    def fits(said: str, results: str, *texts: str) -> list[bool]:
        rules = read(gbnf(form_grammar(schema, said, results)))
        return [accepts(rules, text) for text in texts]

    ada = '{"name": "Ada", "age": %s, "day": "2026-01-02"}'
    assert fits("Ada, 36", "", ada % 36, ada % 37, (ada % 36).replace("Ada", "Bob")) == [True, False, False]
    assert fits("Ada, 36", "40", ada % 40, ada % 36) == [True, False]
    assert fits("Ada, 36", "1.5", ada % 36, ada % 1) == [True, False]
    assert fits("Ada", "", ada % 99) == [True]
    assert fits("Ada on 2026-01-02", "", ada % 2026, (ada % 2026).replace("-02", "-03")) == [True, False]


def test_very_long_words_are_not_copied() -> None:
    assert list(spans(f"see {'x' * 100} now")) == ["see", "now"]
    assert pick_grammar([WEATHER], " ".join(["y" * 60] * 500), none=True) is not None


# Sentences


def grounded(said: str, results: list[str], *texts: str) -> list[bool]:
    """Whether each of *texts* may conclude from *results*."""
    rules = read(gbnf(grounded_grammar(said, results)))
    return [accepts(rules, text) for text in texts]


def test_a_sentence_tells_the_result_and_no_other_figure() -> None:
    told = ["23 times 17 is 391.", "391", "The result — “391” — is right!", "It is 391, well-known (17 × 23)."]
    wrong = [
        "23 times 17 is 392.",
        "It is 3911.",
        "It is 391.5.",
        "It is 1,391.",
        "It is -391.",
        "23 times 17.",
        "x391",
        "",
    ]
    assert grounded("What is 23 times 17?", ["391"], *told) == [True] * 4
    assert grounded("What is 23 times 17?", ["391"], *wrong) == [False] * 8


def test_numbers_written_otherwise_are_figures_too() -> None:
    assert grounded("3?", ["9"], "³ is 9", "3² is 9", "٣ is 9", "½ of it is 9", "3 is 9") == [False] * 4 + [True]


def test_words_are_repeated_as_they_are() -> None:
    assert grounded("Weather?", ["18°C, light rain"], "It is 18°C, light rain.", "It is 18°C.", "Rain.") == [
        True,
        False,
        False,
    ]
    assert grounded("Weather?", ["rain"], "Rain it is.", "There is rain.") == [False, True]


def test_of_a_long_result_one_figure_is_enough() -> None:
    assert grounded("Weather?", ['{"celsius": 18, "sky": "grey"}'], "It is 18 degrees.", "It is grey.", "19") == [
        True,
        False,
        False,
    ]
    assert grounded("Who?", ["Ann\nBob"], "Ann and Bob are.", "Two are: 2") == [True, False]


def test_several_results_come_in_turn() -> None:
    said = ["391 it is, and rain.", "rain, and 391.", "391 only"]
    assert grounded("What?", ["391", "rain"], *said) == [True, False, False]


def test_without_a_result_any_sentence_will_do() -> None:
    assert grounded("At 5?", [], "It failed at 5.", "It failed at 6.") == [True, False]


@given(st.text(max_size=40), st.lists(st.text(max_size=60), max_size=2), st.integers())
def test_no_sentence_invents_a_figure(said: str, results: list[str], seed: int) -> None:
    text = walk(grounded_grammar(said, results), random.Random(seed))
    known = {part for each in (said, *results) for part in re.findall(r"\d+", each)}
    known |= {part for figure in figures("\n".join((said, *results))) for part in re.findall(r"\d+", figure)}
    assert set(re.findall(r"[0-9]+", text)) <= known

"""Nothing that could bring llama.cpp down gets through the one door, and what gets through means what it says."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.errors import BadSchema
from arshai_kit.local.grammar import (
    EMPTY,
    NEVER,
    Alt,
    Chars,
    Grammar,
    Many,
    Ref,
    Seq,
    Text,
    alt,
    but,
    chars,
    gbnf,
    joined,
    literals,
    many,
    maybe,
    pattern,
    seq,
)
from tests.local.gbnf import accepts, read
from tests.local.strategies import grammars, walk


@given(grammars())
def test_whatever_gets_through_is_well_formed(grammar: Grammar) -> None:
    try:
        text = gbnf(grammar)
    except BadSchema:
        return
    read(text)


@given(grammars(), st.integers())
def test_the_text_accepts_what_the_grammar_says(grammar: Grammar, seed: int) -> None:
    try:
        rules = read(gbnf(grammar))
    except BadSchema:
        return
    try:
        said = walk(grammar, random.Random(seed))
    except RecursionError:
        return
    if len(said) < 200:
        assert accepts(rules, said)


@pytest.mark.parametrize(
    ("grammar", "why"),
    [
        (Grammar(Ref("nowhere")), "does not define"),
        (Grammar(Ref("a"), {"a": seq(Ref("a"), "x")}), "left recursive: a"),
        (Grammar(Ref("a"), {"a": seq(maybe("x"), Ref("b")), "b": alt("y", Ref("a"))}), "left recursive: a, b"),
        (Grammar(many("x", 0, 257)), "above 256"),
        (Grammar(many("x", 2000)), "above 256"),
        (Grammar(many(maybe("x"))), "must not be empty"),
        (Grammar(many(seq(Ref("a"), Text(""))), {"a": EMPTY}), "must not be empty"),
        (Grammar(Many(Text(""), 0, 1)), "repetition of nothing"),
        (Grammar(Many(EMPTY, 1, 3)), "repetition of nothing"),
        (Grammar(Many(Text("a"), 0, 0)), "repetition of nothing"),
        (Grammar(Many(Text("a"), 3, 2)), "repetition of nothing"),
        (Grammar(NEVER), "nothing can fit"),
        (Grammar(Chars(())), "nothing can fit"),
        (Grammar(many(many(many("abc", 0, 256), 0, 256), 0, 2)), "too large"),
        (Grammar(Text("\ud800")), "lone surrogate"),
    ],
)
def test_what_would_end_the_process_is_refused(grammar: Grammar, why: str) -> None:
    with pytest.raises(BadSchema, match=why):
        gbnf(grammar)


def test_recursion_that_reads_first_is_allowed() -> None:
    rules = read(gbnf(Grammar(Ref("a"), {"a": seq("(", maybe(Ref("a")), ")")})))
    assert accepts(rules, "((()))")
    assert not accepts(rules, "(()")


def test_repetitions_of_repetitions_are_bracketed() -> None:
    rules = read(gbnf(Grammar(many(many("ab", 2, 2), 1, 2))))
    assert [accepts(rules, "ab" * times) for times in range(6)] == [False, False, True, False, True, False]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_can_be_a_literal(text: str) -> None:
    rules = read(gbnf(Grammar(Text(text))))
    assert accepts(rules, text)
    assert not accepts(rules, text + "x")
    assert set(literals(Grammar(Ref("a"), {"a": Text(text)}))) == set(text)


def test_impossible_parts_vanish_or_spread() -> None:
    assert seq("a", NEVER) == NEVER == many(NEVER, 1, 2)
    assert alt("a", NEVER) == Text("a") == seq("a", many(NEVER)) == many("a", 1, 1)
    assert many("a", 0, 0) == EMPTY == many("", 1, 3)
    assert joined(["a", "b", Ref("c")], "-") == Seq((Text("a-b-"), Ref("c")))
    assert joined([], "-") == EMPTY
    assert alt(alt("a", "b"), "c") == Alt((Text("a"), Text("b"), Text("c")))


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60), min_size=1))
def test_characters_without_others(without: set[int], within: set[int]) -> None:
    left = but(Chars(tuple((code, code) for code in without)), within=Chars(tuple((code, code) for code in within)))
    assert {code for low, high in left.ranges for code in range(low, high + 1)} == within - without


def test_parts_of_parts_are_written_apart() -> None:
    rules = read(
        gbnf(
            Grammar(
                Seq(
                    (Text("a"), EMPTY, Alt((Text("b"), Alt((Text("c"), Seq(())))))),
                )
            )
        )
    )
    assert [accepts(rules, text) for text in ("ab", "ac", "a", "b")] == [True, True, True, False]
    assert gbnf(Grammar(many("a", 1))) == 'root ::= "a"+\n'
    assert gbnf(Grammar(many("a", 3))) == 'root ::= "a"{3,}\n'


def test_a_hyphen_at_the_end_is_itself() -> None:
    assert chars("a-") == Chars(((97, 97), (45, 45)))


@given(grammars(), st.integers())
def test_a_pattern_fits_what_the_node_says(grammar: Grammar, seed: int) -> None:
    try:
        fits = pattern(grammar.root)
        said = walk(grammar, random.Random(seed))
    except (BadSchema, IndexError):
        return
    assert re.fullmatch(fits, said)


def test_a_pattern_of_a_reference_or_of_nothing() -> None:
    with pytest.raises(BadSchema, match="refers to"):
        pattern(Ref("a"))
    assert not re.fullmatch(pattern(NEVER), "")
    assert pattern(Many(Text("a"), 1, None)) == "(?:a){1,}"

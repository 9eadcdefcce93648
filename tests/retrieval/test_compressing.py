"""Passages cut down to a budget, which nothing passes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.errors import Misuse
from arshai_kit.index import Hit, Passage
from arshai_kit.memory.tokens import estimated_text
from arshai_kit.retrieval import compress
from tests.chunking.documents import anything

RAIN = "Rain falls in Rasht. Snow lies in Ardabil. The sun shines in Yazd. Wind blows in Manjil."


def hits(*texts: str) -> list[Hit[Passage]]:
    return [Hit(str(number), text, 1 / number, Passage(number=number)) for number, text in enumerate(texts, 1)]


@given(
    texts=st.lists(anything, max_size=5),
    tokens=st.integers(0, 120),
    question=anything,
    measure=st.sampled_from([len, estimated_text]),
)
def test_nothing_passes_the_budget_and_nothing_is_invented(
    texts: list[str], tokens: int, question: str, measure: object
) -> None:
    given_ = hits(*texts)
    found = compress(given_, tokens=tokens, question=question, by=measure)  # type: ignore[arg-type]  # one of two
    assert sum([measure(each.text) for each in found]) <= tokens  # type: ignore[operator]
    assert [each.id for each in found] == sorted([each.id for each in found])
    for each in found:
        whole = texts[int(each.id) - 1]
        place = 0
        for part in re.split(r"(?:^| )\[…\](?: |$)", each.text) if each.text != whole else [whole]:
            place = whole.index(part, place) + len(part)


def test_the_best_are_whole_and_of_the_others_what_was_asked_for() -> None:
    given_ = hits("It is cold.", RAIN, "Wind and snow make a storm. Nobody knows why.")
    found = compress(given_, tokens=26, question="Where does snow lie?")
    assert [each.text for each in found] == [
        "It is cold.",
        "[…] Snow lies in Ardabil. […]",
        "Wind and snow make a storm. […]",
    ]
    assert found[0] is given_[0]
    assert found[1].fields == given_[1].fields


def test_without_a_question_the_beginning_is_taken() -> None:
    assert [each.text for each in compress(hits(RAIN), tokens=50, by="characters")] == [
        "Rain falls in Rasht. Snow lies in Ardabil. […]"
    ]
    assert compress(hits(RAIN), tokens=5, by="characters") == ()
    assert compress(hits(RAIN), tokens=1000) == tuple(hits(RAIN))


@pytest.mark.parametrize("tokens", [-1, 1.5, True])
def test_a_budget_is_a_whole_number(tokens: int) -> None:
    with pytest.raises(Misuse, match="tokens="):
        compress(hits(RAIN), tokens=tokens)

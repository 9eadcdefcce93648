"""Near-duplicates beside exact likeness, on generated texts."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given

from arshai_kit.chunking import Seen, alike, chunk, duplicates, likeness, near_duplicates, signature
from arshai_kit.documents import Document
from arshai_kit.errors import Misuse
from tests.chunking.documents import anything

VOCABULARY = [f"{first}{second}" for first in "rain wind snow hail".split() for second in range(500)]


def text_of(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(VOCABULARY, k=words))


def changed(text: str, share: float, chance: random.Random) -> str:
    return " ".join([chance.choice(VOCABULARY) if chance.random() < share else word for word in text.split()])


@pytest.mark.parametrize(("words", "most"), [(20, 0.3), (200, 0.12), (2000, 0.08)])
def test_signatures_tell_likeness(words: int, most: float) -> None:
    chance = random.Random(words)
    errors = []
    for share in (0.0, 0.003, 0.01, 0.03, 0.1, 0.2, 1.0) * 5:
        one = text_of(chance, words)
        other = changed(one, share, chance)
        errors.append(alike(signature(one), signature(other)) - likeness(one, other))
    assert max(map(abs, errors)) < most
    assert abs(sum(errors) / len(errors)) < most / 4


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95, 1.0])
def test_as_many_are_found_as_by_comparing_all_with_all(threshold: float) -> None:
    chance = random.Random(5)
    firsts = [text_of(chance, chance.choice([8, 60, 300])) for _ in range(40)]
    texts = [changed(each, chance.choice([0.0, 0.003, 0.02, 0.1]), chance) for each in firsts * 3]
    runs = [duplicates._runs(each) for each in texts]
    kept: list[int] = []
    expected = {}
    for place, own in enumerate(runs):
        near = [other for other in kept if len(own & runs[other]) >= threshold * len(own | runs[other])]
        if near:
            expected[place] = likeness(texts[place], texts[near[0]])
        else:
            kept.append(place)
    found = near_duplicates(texts, threshold=threshold)
    assert {each.key: each.likeness for each in found} == expected
    assert all(each.exact and each.of < each.key for each in found)


def test_texts_that_have_nothing_in_common_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setitem(near_duplicates.__globals__, "_compared", lambda *args: calls.append(args))
    chance = random.Random(9)
    assert near_duplicates([text_of(chance, 40) for _ in range(300)]) == ()
    assert calls == []


def test_long_texts_that_cannot_be_alike_enough_are_told_by_their_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(3)
    start = text_of(chance, 1500)
    monkeypatch.setitem(near_duplicates.__globals__, "likeness", None)
    assert near_duplicates([start, f"{start} {text_of(chance, 1100)}"], threshold=0.9) == ()


def test_signatures_are_the_same_in_every_process() -> None:
    code = "from arshai_kit.chunking import signature; print(signature('Rain falls on the hills. 雨が降る。').hex())"
    seeds = ("1", "2")
    told = {subprocess.check_output([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}) for seed in seeds}
    assert told == {f"{signature('Rain falls on the hills. 雨が降る。').hex()}\n".encode()}


@given(one=anything, other=anything)
def test_likeness_is_a_likeness(one: str, other: str) -> None:
    assert likeness(one, one) == 1 == alike(signature(one), signature(one))
    assert likeness(one, other) == likeness(other, one) <= 1


def test_documents_chunks_and_what_was_kept_are_compared_too() -> None:
    rain = "Rain falls on the hills, and on the roofs of the town below them."
    seen = Seen[str](0.9)
    assert seen.add("a.md", signature(rain)) is None
    assert seen.add("b.md", Document(rain.upper())) == duplicates.Duplicate("b.md", "a.md", 1.0, exact=False)
    assert seen.add("c.md", chunk("Nothing of it.")[0]) is None
    assert [each.key for each in near_duplicates({"one": rain, "two": rain, "none": "", "no": "…"})] == ["two", "no"]


@pytest.mark.parametrize(
    ("texts", "threshold", "told"),
    [([b"123"], 0.9, "512 bytes"), ([4], 0.9, "not int"), ([], 0, "threshold="), ([], True, "threshold=")],
)
def test_what_makes_no_sense_is_refused(texts: list[object], threshold: float, told: str) -> None:
    with pytest.raises(Misuse, match=told):
        near_duplicates(texts, threshold=threshold)

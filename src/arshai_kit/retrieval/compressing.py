"""Passages that fit: the best of them whole, and of the others the sentences that have most to do with the question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import Final, NamedTuple, TypeVar

from attrs import evolve

from arshai_kit.chunking import By, sentences
from arshai_kit.chunking.cutting import measured
from arshai_kit.chunking.sentences import Span
from arshai_kit.chunking.units import Measure
from arshai_kit.errors import Misuse
from arshai_kit.index import Hit
from arshai_kit.index.words import asked, words
from arshai_kit.retrieval.asking import passages_of

__all__ = ["GAP", "compress"]

F = TypeVar("F")

GAP: Final = "[…]"
"""What stands for sentences that are left out."""


class _Sentence(NamedTuple):
    """A sentence: that with a *number* of the passage in a *place*, and how much it is worth."""

    place: int
    number: int
    worth: float


def compress(hits: Iterable[Hit[F]], *, tokens: int, question: str = "", by: By = "tokens") -> tuple[Hit[F], ...]:
    """*hits*, the best first, cut down so that their texts count at most *tokens* together.

    They are kept whole, in their order, for as long as they fit. Of the others those sentences are taken that have most
    words of *question* (rare words count more), the first ones where there is none, and put together as they stood,
    `[…]` for what is left out; a passage of which nothing is left is not there. *by* is what counts, as in `chunk`.
    What `cite` writes around a passage counts some 40 tokens more each.

    >>> hit = Hit("1", "Rain falls in Rasht. Snow lies in Ardabil. The sun shines in Yazd.", 0.9, None)
    >>> [each.text for each in compress([hit], tokens=12, question="Where does snow lie?")]
    ['[…] Snow lies in Ardabil. […]']
    """
    if type(tokens) is not int or tokens < 0:
        raise Misuse(f"tokens= is the most that the passages may count together, a whole number, not {tokens!r}")
    given, measure, left = passages_of(hits), measured(by), tokens
    whole = 0
    for hit in given:
        if (size := measure(hit.text)) > left:
            break
        left, whole = left - size, whole + 1
    cut = _cut([hit.text for hit in given[whole:]], question, measure, left)
    return (*given[:whole], *[evolve(hit, text=text) for hit, text in zip(given[whole:], cut, strict=True) if text])


def _cut(texts: Sequence[str], question: str, measure: Measure, left: int) -> list[str]:
    """Of each of *texts* what is chosen of it, so that all of that counts at most what is *left*."""
    spans = [[*sentences(text)] for text in texts]
    chosen: list[list[int]] = [[] for _ in texts]
    found, sizes = [""] * len(texts), [0] * len(texts)
    for place, number, _ in _ranked(texts, spans, question):
        start, end = spans[place][number]
        if measure(texts[place][start:end]) > left + sizes[place]:
            continue
        numbers = sorted([*chosen[place], number])
        text = _put_together(texts[place], spans[place], numbers)
        if (size := measure(text)) <= left + sizes[place]:
            left += sizes[place] - size
            chosen[place], found[place], sizes[place] = numbers, text, size
    return found


def _ranked(texts: Sequence[str], spans: Sequence[Sequence[Span]], question: str) -> list[_Sentence]:
    """All sentences, the best first: by the words of *question* in them, then in the order in which they stand."""
    wanted = asked(question)
    held = [[frozenset(words(text[start:end])) for start, end in own] for text, own in zip(texts, spans, strict=True)]
    often = Counter(word for own in held for each in own for word in each.intersection(wanted))
    many = sum(map(len, held))
    weights: Mapping[str, float] = {word: log(1 + many / often[word]) for word in wanted if often[word]}
    made = [
        _Sentence(place, number, sum([weights.get(word, 0.0) for word in wanted if word in each]))
        for place, own in enumerate(held)
        for number, each in enumerate(own)
    ]
    return sorted(made, key=lambda each: -each.worth)


def _put_together(text: str, spans: Sequence[Span], numbers: Sequence[int]) -> str:
    """The sentences with these *numbers* as they stood in *text*; what is left out between or around them is marked."""
    parts = list[str]()
    runs = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    for first, last in zip(runs, ends, strict=True):
        if first:
            parts.append(GAP)
        parts.append(text[spans[first][0] : spans[last][1]])
    return " ".join([*parts, *[GAP] * (numbers[-1] + 1 < len(spans))])

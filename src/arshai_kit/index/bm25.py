"""BM25 over an inverted index in memory, number for number as SQLite's FTS5 has it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection
from math import log
from typing import Any, Final

from arshai_kit.index.cosine import numpy

__all__ = ["Words"]

_K1: Final = 1.2
_B: Final = 0.75
_LEAST: Final = 1e-6
"""What a word weighs that more than half of all texts have; FTS5 lets it count for next to nothing, and so do we."""


class Words:
    """Which texts have which words, how often: texts are known by rising numbers, from 0."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[array[int], array[int]]] = {}
        self._texts: Counter[str] = Counter()
        self._lengths: array[int] = array("Q")
        self._alive = bytearray()
        self.live = 0
        self._total = 0

    def __len__(self) -> int:
        return len(self._alive)

    def add(self, words: list[str]) -> None:
        """Add a text of *words* under the next number."""
        number = len(self._alive)
        for word, count in Counter(words).items():
            numbers, counts = self._places.setdefault(word, (array("Q"), array("Q")))
            numbers.append(number)
            counts.append(count)
            self._texts[word] += 1
        self._lengths.append(len(words))
        self._alive.append(1)
        self.live += 1
        self._total += len(words)

    def drop(self, number: int, words: list[str]) -> None:
        """Forget the text *number*, of *words*; its places stay until all is made anew."""
        for word in set(words):
            self._texts[word] -= 1
        self._alive[number] = 0
        self.live -= 1
        self._total -= len(words)

    def scores(self, asked: list[str], among: Collection[int] | None) -> list[tuple[int, float]]:
        """Each text that has one of the words *asked*, of those *among* if it is given, and its score."""
        weights = [(word, self._weight(word)) for word in asked if self._texts[word] > 0]
        if not weights:
            return []
        average = self._total / self.live
        np = numpy()
        scores = self._in_python(weights, average) if np is None else self._in_numpy(np, weights, average)
        return [(number, score) for number, score in scores if among is None or number in among]

    def _weight(self, word: str) -> float:
        count = self._texts[word]
        found = log((self.live - count + 0.5) / (count + 0.5))
        return found if found > 0 else _LEAST

    def _in_python(self, weights: list[tuple[str, float]], average: float) -> list[tuple[int, float]]:
        scores: dict[int, float] = {}
        for word, weight in weights:
            for number, count in zip(*self._places[word], strict=True):
                if self._alive[number]:
                    damped = _K1 * (1 - _B + _B * self._lengths[number] / average)
                    scores[number] = scores.get(number, 0.0) + weight * ((count * (_K1 + 1.0)) / (count + damped))
        return list(scores.items())

    def _in_numpy(self, np: Any, weights: list[tuple[str, float]], average: float) -> list[tuple[int, float]]:
        scores = np.zeros(len(self._alive))
        lengths = np.frombuffer(self._lengths, "u8")
        for word, weight in weights:
            numbers, counts = (np.frombuffer(each, "u8") for each in self._places[word])
            damped = _K1 * (1 - _B + _B * lengths[numbers] / average)
            scores[numbers] += weight * ((counts * (_K1 + 1.0)) / (counts + damped))
        found = np.flatnonzero((scores > 0) & (np.frombuffer(self._alive, "u1") > 0))
        return list(zip(found.tolist(), scores[found].tolist(), strict=True))

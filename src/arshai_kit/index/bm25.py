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
_BITS: Final = 20
_MOST: Final = 2**_BITS - 1
"""A place is one number: that of the text, and in its lowest bits how often the word is there."""
_LEAST: Final = 1e-6
"""What a word weighs that more than half of all texts have; FTS5 lets it count for next to nothing, and so do we."""


class Words:
    """Which texts have which words, how often: texts are known by rising numbers, from 0."""

    def __init__(self) -> None:
        self._places: dict[str, array[int]] = {}
        self._gone: Counter[str] = Counter()
        self._lengths: array[int] = array("Q")
        self._alive = bytearray()
        self.live = 0
        self._total = 0

    def __len__(self) -> int:
        return len(self._alive)

    def add(self, words: list[str]) -> None:
        """Add a text of *words* under the next number."""
        number = len(self._alive) << _BITS
        places = self._places
        for word, count in Counter(words).items():
            if (known := places.get(word)) is None:
                known = places[word] = array("Q")
            known.append(number | min(count, _MOST))
        self._lengths.append(len(words))
        self._alive.append(1)
        self.live += 1
        self._total += len(words)

    def drop(self, number: int, words: list[str]) -> None:
        """Forget the text *number*, of *words*; its places stay until all is made anew."""
        self._gone.update(set(words))
        self._alive[number] = 0
        self.live -= 1
        self._total -= len(words)

    def scores(self, asked: list[str], among: Collection[int] | None) -> list[tuple[int, float]]:
        """Each text that has one of the words *asked*, of those *among* if it is given, and its score."""
        weights = [(word, self._weight(count)) for word in asked if (count := self._texts(word))]
        if not weights:
            return []
        average = self._total / self.live
        np = numpy()
        scores = self._in_python(weights, average) if np is None else self._in_numpy(np, weights, average)
        return [(number, score) for number, score in scores if among is None or number in among]

    def _texts(self, word: str) -> int:
        """How many texts have *word*."""
        return len(self._places.get(word, ())) - self._gone[word]

    def _weight(self, count: int) -> float:
        found = log((self.live - count + 0.5) / (count + 0.5))
        return found if found > 0 else _LEAST

    def _in_python(self, weights: list[tuple[str, float]], average: float) -> list[tuple[int, float]]:
        scores: dict[int, float] = {}
        for word, weight in weights:
            for place in self._places[word]:
                number, count = place >> _BITS, place & _MOST
                if self._alive[number]:
                    damped = _K1 * (1 - _B + _B * self._lengths[number] / average)
                    scores[number] = scores.get(number, 0.0) + weight * ((count * (_K1 + 1.0)) / (count + damped))
        return list(scores.items())

    def _in_numpy(self, np: Any, weights: list[tuple[str, float]], average: float) -> list[tuple[int, float]]:
        scores = np.zeros(len(self._alive))
        lengths = np.frombuffer(self._lengths, "u8")
        for word, weight in weights:
            places = np.frombuffer(self._places[word], "u8")
            numbers, counts = places >> np.uint64(_BITS), (places & np.uint64(_MOST)).astype("f8")
            damped = _K1 * (1 - _B + _B * lengths[numbers] / average)
            scores[numbers] += weight * ((counts * (_K1 + 1.0)) / (counts + damped))
        found = np.flatnonzero((scores > 0) & (np.frombuffer(self._alive, "u1") > 0))
        return list(zip(found.tolist(), scores[found].tolist(), strict=True))

"""The nearest vectors by cosine, exactly: NumPy finds who may be among them, and those are measured in full.

NumPy adds in 32 bits and in an order of its own, so the last digits of equal vectors may differ by where they lie. What
is near enough to matter is therefore measured again, in 64 bits and one by one, and rounded: equal scores are equal, on
every backend and with or without NumPy, and ids decide between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import hypot
from operator import mul
from struct import unpack
from typing import Any, Final, TypeVar

from arshai_kit.errors import Misuse, OtherVectors
from arshai_kit.records.vectors import Vector

__all__ = ["Query", "Units", "best", "numpy"]

R = TypeVar("R", bound=tuple[Any, ...])

_DIGITS: Final = 9
_SPARE: Final = 1000
_FEW: Final = 4
_ERROR: Final = 1.2e-7
"""What each of the numbers of two unit vectors may add to the error of their product, in 32 bits."""


def numpy() -> Any:
    """NumPy, or `None` where it is not installed: the rest is then done in Python, and slower."""
    try:
        import numpy as np
    except ImportError:
        return None
    return np


class Query:
    """A vector that is asked for; it measures others."""

    __slots__ = ("dimensions", "margin", "unit")

    def __init__(self, vector: Any) -> None:
        found = vector if isinstance(vector, Vector) else Vector.of(vector)
        numbers = tuple(found.checked())
        if not numbers:
            raise Misuse("a vector to search by has at least one number")
        length = hypot(*numbers) or 1.0
        self.dimensions = len(numbers)
        self.unit = [each / length for each in numbers]
        self.margin = _ERROR * (self.dimensions + 4)

    def checked(self, dimensions: int, space: str, own: str) -> None:
        """Refuse to ask an index of vectors of another size, or of another *space* than that of this query, *own*."""
        if dimensions and dimensions != self.dimensions:
            raise OtherVectors(
                f"the index holds vectors of {dimensions:,} numbers, and was asked for the neighbours of one of "
                f"{self.dimensions:,}: ask by the model that made them{f', {space}' if space else ''}"
            )
        if dimensions and space and own and space != own:
            raise OtherVectors(f"the index holds vectors of {space}, and was asked for the neighbours of one of {own}")

    def score(self, data: bytes) -> float:
        """The cosine of the vector whose bytes are *data*; 0 where one of the two has no direction."""
        numbers = unpack(f"<{self.dimensions}f", data)
        length = hypot(*numbers)
        return round(sum(map(mul, self.unit, numbers)) / length, _DIGITS) + 0.0 if length else 0.0

    def scores(self, vectors: Sequence[bytes]) -> list[float]:
        """The cosine of each of *vectors*; all at once with NumPy, whose last digits are rounded away as ours are."""
        np = numpy()
        if np is None or len(vectors) < _FEW:
            return [self.score(each) for each in vectors]
        rows = np.frombuffer(b"".join(vectors), "<f4").reshape(len(vectors), self.dimensions).astype("f8")
        lengths = np.sqrt((rows * rows).sum(axis=1))
        lengths[lengths == 0] = 1
        found = (rows * np.asarray(self.unit)).sum(axis=1) / lengths
        return [round(each, _DIGITS) + 0.0 for each in found.tolist()]


def best(scored: Iterable[R], limit: int) -> list[R]:
    """The *limit* best of rows that begin with an id and a score, the best first, ties by id.

    >>> best([("b", 1.0), ("a", 1.0), ("c", 2.0)], 2)
    [('c', 2.0), ('a', 1.0)]
    """
    from heapq import nsmallest

    return nsmallest(limit, scored, key=_order)


def _order(each: tuple[Any, ...]) -> tuple[float, str]:
    return -each[1], each[0]


class Units:
    """Vectors of length 1 under rising numbers, in one block of memory that grows; it needs NumPy."""

    def __init__(self, dimensions: int) -> None:
        self._np = numpy()
        self.dimensions = dimensions
        self.rows = self._np.empty((0, dimensions), "f4")
        self.numbers = self._np.empty(0, "i8")
        self.alive = self._np.empty(0, "?")
        self.size = self.live = 0

    @property
    def last(self) -> int:
        """The highest number that is here, 0 if there is none."""
        return int(self.numbers[self.size - 1]) if self.size else 0

    def add(self, numbers: Sequence[int], data: bytes) -> None:
        """Add the vectors of which *data* are the bytes, under *numbers*, which are higher than any before."""
        np, start, size = self._np, self.size, self.size + len(numbers)
        if size > len(self.rows):
            room = max(size, min(2 * start, start + 65536))
            for name, shape in (("rows", (room, self.dimensions)), ("numbers", (room,)), ("alive", (room,))):
                old = getattr(self, name)
                new = np.empty(shape, old.dtype)
                new[:start] = old[:start]
                setattr(self, name, new)
        self.rows[start:size] = _units(np, data, len(numbers), self.dimensions)
        self.numbers[start:size] = numbers
        self.alive[start:size] = True
        self.size, self.live = size, self.live + len(numbers)

    def drop(self, number: int) -> None:
        """Forget the vector under *number*, if there is one."""
        place = int(self._np.searchsorted(self.numbers[: self.size], number))
        if place < self.size and self.numbers[place] == number and self.alive[place]:
            self.alive[place] = False
            self._shrink(self.live - 1)

    def keep(self, numbers: Any) -> None:
        """Forget all but those under *numbers*."""
        alive = self._np.isin(self.numbers[: self.size], numbers, assume_unique=True)
        self.alive[: self.size] = alive
        self._shrink(int(alive.sum()))

    def _shrink(self, live: int) -> None:
        """Let go of the memory of what was forgotten once it is most of all."""
        self.live = live
        if self.size > 2 * live + _SPARE:
            alive = self.alive[: self.size]
            self.rows, self.numbers = self.rows[: self.size][alive], self.numbers[: self.size][alive]
            self.alive = self._np.ones(live, "?")
            self.size = live

    def near(self, query: Query, limit: int, among: Sequence[int] | None = None) -> list[int]:
        """The numbers of all that may be among the *limit* nearest, of those *among* if it is given."""
        np, unit = self._np, _query(self._np, query)
        rows, numbers, alive = self.rows[: self.size], self.numbers[: self.size], self.alive[: self.size]
        if among is None:
            scores = rows @ unit
            if self.live < self.size:
                numbers, scores = numbers[alive], scores[alive]
        else:
            places = self._places(np.asarray(among, "i8"))
            few = 4 * len(places) < self.size
            numbers, scores = numbers[places], rows[places] @ unit if few else (rows @ unit)[places]
        return Nearest(query, limit, np).add(numbers, scores).found()

    def _places(self, among: Any) -> Any:
        """Where those *among* are that are here."""
        numbers = self.numbers[: self.size]
        places = self._np.searchsorted(numbers, among)
        inside = places < self.size
        places, among = places[inside], among[inside]
        return places[(numbers[places] == among) & self.alive[places]]


class Nearest:
    """Who may be among the nearest, of blocks that come one after the other."""

    def __init__(self, query: Query, limit: int, np: Any) -> None:
        self._np, self._limit, self._margin = np, limit, query.margin
        self._numbers, self._scores = np.empty(0, "i8"), np.empty(0, "f4")

    def add(self, numbers: Any, scores: Any) -> Nearest:
        """See a block."""
        np = self._np
        if len(self._numbers):
            numbers, scores = np.concatenate((self._numbers, numbers)), np.concatenate((self._scores, scores))
        if len(scores) > self._limit:
            least = np.partition(scores, len(scores) - self._limit)[len(scores) - self._limit]
            kept = scores >= least - self._margin
            numbers, scores = numbers[kept], scores[kept]
        self._numbers, self._scores = numbers, scores
        return self

    def found(self) -> list[int]:
        """Their numbers."""
        return self._numbers.tolist()  # type: ignore[no-any-return]  # numbers


def nearest(query: Query, limit: int, blocks: Iterator[tuple[Sequence[int], bytes]]) -> list[int]:
    """The numbers of all that may be among the *limit* nearest in *blocks*: numbers, and the bytes of their vectors."""
    np = numpy()
    seen, unit = Nearest(query, limit, np), _query(np, query)
    for numbers, data in blocks:
        seen.add(np.asarray(numbers, "i8"), _units(np, data, len(numbers), query.dimensions) @ unit)
    return seen.found()


def _query(np: Any, query: Query) -> Any:
    return np.asarray(query.unit, "f4")


def _units(np: Any, data: bytes, count: int, dimensions: int) -> Any:
    """The vectors in *data*, each made as long as 1; what has no direction stays as it is."""
    rows = np.frombuffer(data, "<f4").reshape(count, dimensions)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype="f8"))
    lengths[lengths == 0] = 1
    return (rows / lengths[:, None]).astype("f4")

"""The nearest vectors in a file: those that a process holds, brought up to date by what is new, or read block by block.

The number of an entry is higher than any before it. So what is new has a higher one than all that is held, and where
there are fewer than are held then, some are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, TypeVar

from arshai_kit.index.compiling import Sql
from arshai_kit.index.cosine import Query, Units, best, nearest, numpy
from arshai_kit.index.sqlite_schema import State

if TYPE_CHECKING:
    import sqlite3

__all__ = ["SqliteVectors", "cut"]

T = TypeVar("T")
Row = tuple[int, str, bytes]
"""A number, an id and a vector."""

_BLOCK: Final = 2048
_AT_ONCE: Final = 500


class SqliteVectors:
    """What a process holds of the vectors in a file, at most *cache_bytes* of them; under the lock of its readers."""

    def __init__(self, cache_bytes: int) -> None:
        self._cache_bytes = cache_bytes
        self.forget()

    def forget(self) -> None:
        """Hold none."""
        self._units: Units | None = None
        self._seen = -1

    def nearest(
        self, file: sqlite3.Connection, now: State, query: Query, limit: int, where: Sql
    ) -> list[tuple[int, float]]:
        """The numbers of the nearest of which *where* is true, and their scores."""
        if numpy() is None:
            return _measured(query, limit, _rows(file, where))
        if now.vectors * now.dimensions * 4 > self._cache_bytes:
            self.forget()
            near = nearest(query, limit, _blocks(file, where))
        else:
            near = self._current(file, now).near(query, limit, _among(file, where))
        chosen = (_rows(file, (f"entry in ({', '.join('?' * len(some))})", tuple(some))) for some in cut(near))
        return _measured(query, limit, chain.from_iterable(chosen))

    def _current(self, file: sqlite3.Connection, now: State) -> Units:
        """All vectors, as they are now."""
        units = self._units
        if units is None or units.dimensions != now.dimensions:
            units, self._seen = Units(now.dimensions), -1
        if self._seen != now.changes:
            self._units = None  # unless all goes well
            newer = "select entry, vector from vectors where entry > ? order by entry"
            for numbers, data in _joined(file.execute(newer, (units.last,))):
                units.add(numbers, data)
            if units.live != now.vectors:
                units.keep([number for (number,) in file.execute("select entry from entries")])
        self._units, self._seen = units, now.changes
        return units


def _measured(query: Query, limit: int, rows: Iterable[Row]) -> list[tuple[int, float]]:
    """The numbers of the nearest of *rows*, and their scores."""
    left, found = iter(rows), list[tuple[str, float, int]]()
    while some := list(islice(left, _BLOCK)):
        scores = query.scores([vector for _, _, vector in some])
        found += [(own, score, number) for (number, own, _), score in zip(some, scores, strict=True)]
        found = best(found, limit)
    return [(number, score) for _, score, number in found]


def _rows(file: sqlite3.Connection, where: Sql) -> Iterator[Row]:
    """The vectors of which *where* is true; a cursor, for a generator that an error leaves is closed after its file."""
    condition, parameters = where
    query = f"select entry, id, vector from entries join vectors using (entry) where {condition}"  # noqa: S608
    return file.execute(query, parameters)


def _among(file: sqlite3.Connection, where: Sql) -> list[int] | None:
    """The numbers of the entries of which *where* is true; `None`: it is of all."""
    condition, parameters = where
    if condition == "1":
        return None
    found = file.execute(f"select entry from entries where {condition}", parameters)  # noqa: S608  # parameters only
    return [number for (number,) in found]


def _blocks(file: sqlite3.Connection, where: Sql) -> Iterator[tuple[list[int], bytes]]:
    """The vectors of which *where* is true, some at a time, as a process holds no more of them."""
    condition, parameters = where
    query = f"select entry, vector from vectors join entries using (entry) where {condition}"  # noqa: S608
    return _joined(file.execute("select entry, vector from vectors" if condition == "1" else query, parameters))


def _joined(cursor: sqlite3.Cursor) -> Iterator[tuple[list[int], bytes]]:
    """Numbers and vectors, block by block: the numbers of each, and the bytes of its vectors."""
    while block := cursor.fetchmany(_BLOCK):
        yield [number for number, _ in block], b"".join([vector for _, vector in block])


def cut(values: Sequence[T]) -> Iterator[list[T]]:
    """*values*, so many at a time as SQLite takes parameters.

    >>> [len(some) for some in cut(range(1200))]
    [500, 500, 200]
    """
    left = iter(values)
    while some := list(islice(left, _AT_ONCE)):
        yield some

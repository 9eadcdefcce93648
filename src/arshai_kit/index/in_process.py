"""An index in this process, exact and without anything else: for tests, notebooks, and what fits into memory."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable
from threading import RLock
from typing import Any, Final, TypeVar, overload

from attrs import frozen

from arshai_kit._json import FrozenDict
from arshai_kit.index.bm25 import Words
from arshai_kit.index.compiling import fitted, predicate
from arshai_kit.index.cosine import Query, Units, best, numpy
from arshai_kit.index.facets import counted, facets_of
from arshai_kit.index.fields import Plain, columns, heard, row
from arshai_kit.index.filters import EVERYTHING, Everything, Filter
from arshai_kit.index.giving import at_most, batch_size, entries, question, refuse_all, space_of
from arshai_kit.index.giving import ids as checked
from arshai_kit.index.records import Entry, Hit, Index, Passage, Statistics
from arshai_kit.index.words import asked, words
from arshai_kit.resilience.forks import free_in_forks

__all__ = ["InProcess", "in_memory_index"]

F = TypeVar("F")

_SPARE: Final = 1000
_OVERHEAD: Final = 300
_FILTERS: Final = 8
"""Of so many filters it is kept what they are true of, until something changes: programs ask with the same few."""


@frozen(eq=False)
class _Kept:
    """An entry, what is compared of its fields, and the number under which its words and its vector are found."""

    entry: Entry[Any]
    row: tuple[Plain, ...]
    number: int


class InProcess:
    """What `in_memory_index` asks; threads may share it, and a pickle holds its entries."""

    def __init__(self, fields: type, batch: int, held: Iterable[Entry[Any]] = (), space: str = "") -> None:
        self.fields, self.batch = fields, batch
        columns(fields)
        self._empty()
        self.forked()
        free_in_forks(self)
        if held := tuple(held):
            self.upsert(held, space)

    def forked(self) -> None:
        """Have a lock that nobody holds."""
        self._lock = RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            held = tuple([each.entry for each in self._kept.values()])
            return InProcess, (self.fields, self.batch, held, self._space)

    def _empty(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._numbered: list[_Kept | None] = []
        self._words = Words()
        self._units: Units | None = None
        self._sorted: list[str] | None = None
        self._true_of: dict[Filter, tuple[_Kept, ...]] = {}
        self._dimensions, self._space, self._vectors, self._bytes = 0, "", 0, 0

    # -- the functions of an index --

    def upsert(self, entries_: Iterable[Entry[Any]], space: str = "") -> int:
        """All of them, each in place of what has its id."""
        new = entries(entries_)
        rows = {own: row(self.fields, each.fields) for own, each in new.items()}
        with self._lock:
            self._dimensions, self._space = space_of(new.values(), space, self._dimensions, self._space)
            for own in new:
                self._drop(own)
            for own, each in new.items():
                self._add(each, rows[own])
            self._gather(list(new.values()))
            self._settle()
        return len(new)

    def delete(self, where: Filter, *, everything: bool = False) -> int:
        """What *where* is true of."""
        where = fitted(where, self.fields)
        refuse_all(where, everything)
        with self._lock:
            if isinstance(where, Everything):
                gone = len(self._kept)
                self._empty()
                return gone
            found = [each.entry.id for each in self._found(where)]
            for own in found:
                self._drop(own)
            self._settle()
        return len(found)

    def dense(self, vector: Any, limit: int, where: Filter = EVERYTHING, space: str = "") -> tuple[Hit[Any], ...]:
        """The nearest by cosine."""
        query, limit, where = Query(vector), at_most(limit), fitted(where, self.fields)
        with self._lock:
            query.checked(self._dimensions, self._space, space)
            near = self._near(query, limit, where)
            given = [(each.entry.id, each.entry.vector.data) for each in near if each.entry.vector is not None]
            scores = query.scores([data for _, data in given])
            scored = [(own, score) for (own, _), score in zip(given, scores, strict=True)]
            return self._hits("dense", best(scored, limit))

    def sparse(self, text: str, limit: int, where: Filter = EVERYTHING) -> tuple[Hit[Any], ...]:
        """The best by BM25."""
        limit, where = at_most(limit), fitted(where, self.fields)
        wanted = asked(question(text))
        with self._lock:
            found = self._words.scores(wanted, self._numbers(where))
            ids = [(self._at(number).entry.id, score) for number, score in found]
            return self._hits("sparse", best(ids, limit))

    def get(self, ids: Iterable[str]) -> tuple[Entry[Any], ...]:
        """Those that there are."""
        wanted = checked(ids)
        with self._lock:
            return tuple([self._kept[own].entry for own in wanted if own in self._kept])

    def scan(self, where: Filter = EVERYTHING, after: str = "", limit: int | None = None) -> tuple[Entry[Any], ...]:
        """A page of all, by their ids."""
        limit, where = at_most(self.batch if limit is None else limit), fitted(where, self.fields)
        holds = predicate(where, self.fields)
        page: list[Entry[Any]] = []
        with self._lock:
            if self._sorted is None:
                self._sorted = sorted(self._kept)
            for place in range(bisect_right(self._sorted, after), len(self._sorted)):
                each = self._kept[self._sorted[place]]
                if holds(each.entry.id, each.row):
                    page.append(each.entry)
                    if len(page) == limit:
                        break
        return tuple(page)

    def count(self, where: Filter = EVERYTHING) -> int:
        """How many there are."""
        where = fitted(where, self.fields)
        with self._lock:
            return len(self._kept) if isinstance(where, Everything) else len(self._found(where))

    def statistics(self, facets: Iterable[str] = ()) -> Statistics:
        """How much there is."""
        wanted = facets_of(self.fields, facets)
        with self._lock:
            rows = [each.row for each in self._kept.values()]
            found = {column.name: counted(column, Counter([row[place] for row in rows])) for place, column in wanted}
            dimensions, space = (self._dimensions, self._space) if self._vectors else (0, "")
            return Statistics(len(self._kept), self._vectors, dimensions, space, self._bytes, found)

    def close(self) -> None:
        """Nothing is held but memory, and that for as long as the index is."""

    # -- what is kept --

    def _add(self, entry: Entry[Any], plain: tuple[Plain, ...]) -> None:
        kept = _Kept(entry, plain, len(self._words))
        self._words.add(words(heard(self.fields, plain, entry.text)))
        self._numbered.append(kept)
        self._kept[entry.id] = kept
        self._vectors += entry.vector is not None
        self._bytes += _size(entry)

    def _drop(self, own: str) -> None:
        kept = self._kept.pop(own, None)
        if kept is None:
            return
        self._words.drop(kept.number, words(heard(self.fields, kept.row, kept.entry.text)))
        self._numbered[kept.number] = None
        if self._units is not None:
            self._units.drop(kept.number)
        self._vectors -= kept.entry.vector is not None
        self._bytes -= _size(kept.entry)

    def _gather(self, new: list[Entry[Any]]) -> None:
        """Have the vectors that are *new*, the last of all, among those that NumPy searches."""
        if not self._dimensions or numpy() is None:
            return
        if self._units is None:
            self._units = Units(self._dimensions)
        held = [(self._kept[each.id].number, each.vector.data) for each in new if each.vector is not None]
        self._units.add([number for number, _ in held], b"".join([data for _, data in held]))

    def _settle(self) -> None:
        """Forget whose the vectors were when none is left, and make all anew when most of it is gone."""
        self._sorted = None
        self._true_of.clear()
        if not self._vectors:
            self._dimensions, self._space, self._units = 0, "", None
        if len(self._words) > 2 * self._words.live + _SPARE:
            held, space = tuple([each.entry for each in self._kept.values()]), self._space
            self._empty()
            self.upsert(held, space)

    # -- what is found --

    def _at(self, number: int) -> _Kept:
        kept = self._numbered[number]
        assert kept is not None  # noqa: S101  # only what is alive is found
        return kept

    def _found(self, where: Filter) -> tuple[_Kept, ...]:
        found = self._true_of.get(where)
        if found is None:
            holds = predicate(where, self.fields)
            found = tuple([each for each in self._kept.values() if holds(each.entry.id, each.row)])
            if len(self._true_of) == _FILTERS:
                del self._true_of[next(iter(self._true_of))]
            self._true_of[where] = found
        return found

    def _numbers(self, where: Filter) -> Collection[int] | None:
        return None if isinstance(where, Everything) else {each.number for each in self._found(where)}

    def _near(self, query: Query, limit: int, where: Filter) -> Collection[_Kept]:
        """Those that may be among the nearest; all, where NumPy is not there to tell."""
        if self._units is None:
            return self._found(where)
        among = None if isinstance(where, Everything) else [each.number for each in self._found(where)]
        return [self._at(number) for number in self._units.near(query, limit, among)]

    def _hits(self, name: str, found: list[tuple[str, float]]) -> tuple[Hit[Any], ...]:
        kept = [(self._kept[own].entry, score) for own, score in found]
        return tuple([Hit(each.id, each.text, score, each.fields, FrozenDict({name: score})) for each, score in kept])


def _size(entry: Entry[Any]) -> int:
    """About how many bytes *entry* takes: its text, its words, its vector and its fields."""
    return _OVERHEAD + 2 * len(entry.text) + (2 * len(entry.vector.data) if entry.vector is not None else 0)


@overload
def in_memory_index(*, batch: int | None = None) -> Index[Passage]: ...
@overload
def in_memory_index(fields: type[F], *, batch: int | None = None) -> Index[F]: ...
def in_memory_index(fields: type = Passage, *, batch: int | None = None) -> Index[Any]:
    """An index in this process, for as long as it lives, its entries' fields of the attrs class *fields*.

    Searches are exact; with NumPy (the extra `index`) they are quick, without it they take Python's time. A page of
    `scan` has *batch* entries (by default `ARSHAI_BATCH_SIZE`, or 256).

    >>> from arshai_kit.index import Entry, where
    >>> index = in_memory_index()
    >>> index.upsert([Entry("1", "The Karun is a river.", None, Passage(source="rivers.md"))])
    1
    >>> [hit.text for hit in index.sparse("which river", 3, where(source="rivers.md"))]
    ['The Karun is a river.']
    """
    store = InProcess(fields, batch_size(batch))
    return index_of(store, "in_memory")


def index_of(store: Any, name: str) -> Index[Any]:
    """The record of functions that *store* has."""
    asked = (store.upsert, store.delete, store.dense, store.sparse, store.get, store.scan)
    rest = (store.count, store.statistics, store.close)
    return Index(*asked, *rest, fields=store.fields, name=name, batch=store.batch, backend=store)

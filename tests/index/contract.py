"""What every index promises, said in plain Python, and all that there is to hold against it.

Another backend is one more line in `BACKENDS`: how to open a `Place` of its kind for one test.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from math import hypot, log
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import strategies as st

from arshai_kit.effects import call
from arshai_kit.errors import Misuse, OtherVectors
from arshai_kit.faces import drive
from arshai_kit.index import (
    EVERYTHING,
    Entry,
    Filter,
    Hit,
    Index,
    Passage,
    Statistics,
    every,
    field,
    in_memory_index,
    sqlite_index,
)
from arshai_kit.index.words import words as cut
from arshai_kit.records.vectors import Vector
from tests.index.kinds import IDS, Kinds, Season, filters, holds, kinds

__all__ = ["BACKENDS", "Backend", "Model", "Place", "ask", "operations"]


@frozen
class Place:
    """Where indexes are kept for one test.

    *index* gives a handle on one and the same index, as another process would have one if it is *shared*, else the same
    each time; *fresh* gives an empty one elsewhere. Both take the class of the fields.
    """

    index: Callable[[type], Index[Any]]
    fresh: Callable[[type], Callable[[], Index[Any]]]
    shared: bool = True


@frozen
class Backend:
    """How to *open* a place of its kind in a folder, what a test of it needs, and how near its scores are to ours."""

    name: str
    open: Callable[[Path], AbstractContextManager[Place]]
    needs: tuple[str, ...] = ()
    tolerance: float = 1e-8
    fts5: bool = True  # whether its BM25 is, to the last digits, that of FTS5


@contextmanager
def _in_memory(_folder: Path) -> Iterator[Place]:
    kept: dict[type, Index[Any]] = {}

    def fresh(fields: type) -> Callable[[], Index[Any]]:
        index: Index[Any] = in_memory_index(fields, batch=3)
        return lambda: index

    yield Place(lambda fields: kept.setdefault(fields, in_memory_index(fields)), fresh, shared=False)


@contextmanager
def _in_sqlite(folder: Path, **how: Any) -> Iterator[Place]:
    numbers = count()
    with ExitStack() as stack:

        def opened(name: str, fields: type) -> Index[Any]:
            index: Index[Any] = sqlite_index(
                folder / name, fields, batch=3, patience=120.0, synchronous="normal", **how
            )
            stack.callback(index.close)
            return index

        def fresh(fields: type) -> Callable[[], Index[Any]]:
            name = f"fresh-{next(numbers)}.db"
            return lambda: opened(name, fields)

        yield Place(lambda fields: opened("index.db", fields), fresh)


def _read_anew(folder: Path) -> AbstractContextManager[Place]:
    """One that holds no vectors in memory."""
    return _in_sqlite(folder, cache_bytes=0)


BACKENDS: list[Backend] = [
    Backend("in_memory", _in_memory),
    Backend("sqlite", _in_sqlite),
    Backend("sqlite_uncached", _read_anew, ("numpy",)),
]


def ask(index: Index[Any], name: str, *args: Any, **named: Any) -> Any:
    """What the function *name* of *index* gives, whatever face it has."""
    return drive(call(getattr(index, name), *args, **named))


# -- what is put in, and asked for --

VOCABULARY = {
    "rain": ["rain"],
    "RAIN": ["rain"],
    "Río": ["rio"],
    "OR": ["or"],
    'NEAR("x"': ["near", "x"],
    "it's": ["it", "s"],
    "*": [],
    "Straße": ["strasse"],
    "می\u200cبارد": ["می", "بارد"],
    "नदी": ["नदी"],
    "東京": ["東", "京", "東京"],
    "2020": ["2020"],
    "\0": [],
    "\ud800": [],
    "v2": ["v2"],
}
"""What may stand in a text, and its words; whoever asks for 東京 does not mean each of its letters."""

_texts = st.lists(st.sampled_from(sorted(VOCABULARY)), max_size=6).map(" ".join)
_vectors = st.one_of(
    st.lists(st.integers(-2, 2), min_size=3, max_size=3),
    st.lists(st.sampled_from([0.0, 1e-40, -1e38, 3e38, 0.5, 1.0]), min_size=3, max_size=3),
).map(lambda numbers: Vector.of(tuple(map(float, numbers))))
_entries = st.lists(
    st.builds(Entry, st.sampled_from(IDS), _texts, st.none() | _vectors | _vectors, kinds), min_size=1, max_size=5
)
_limits = st.sampled_from([1, 2, 100, 100])
_facets = st.lists(st.sampled_from(["select", "rowid", "is_", "group", "Group", "season", "time"]), max_size=2)
_filters = filters | st.sampled_from([EVERYTHING, field("is_") == False, field("season").is_none()])  # noqa: E712  # a filter


def operations() -> st.SearchStrategy[tuple[Any, ...]]:
    """Anything that may be done to an index."""
    return st.one_of(
        st.tuples(st.just("upsert"), _entries, st.sampled_from(["", "m", "m", "other"])),
        st.tuples(st.just("upsert"), _entries, st.just("m")),
        st.tuples(st.just("refused"), _entries, st.sampled_from(["size", "nan", "fields", "entry"])),
        st.tuples(st.just("delete"), _filters),
        st.tuples(st.just("dense"), _vectors, _limits, _filters, st.sampled_from(["", "m", "other"])),
        st.tuples(st.just("dense"), _vectors, _limits, st.just(EVERYTHING), st.just("")),
        st.tuples(st.just("sparse"), _texts, _limits, _filters),
        st.tuples(st.just("scan"), _filters),
        st.tuples(st.just("count"), _filters),
        st.tuples(st.just("get"), st.lists(st.sampled_from(IDS), max_size=4)),
        st.tuples(st.just("statistics"), _facets),
        st.tuples(st.just("reopen")),
    )


# -- the model --


def words(text: str) -> list[str]:
    """The words of a text that was made of the vocabulary."""
    return [word for written in text.split(" ") for word in VOCABULARY.get(written, [])]


def cosine(one: Vector, two: Vector) -> float:
    """The cosine, 0 where one has no direction."""
    length = hypot(*one) * hypot(*two)
    return sum([a * b for a, b in zip(one, two, strict=True)]) / length if length else 0.0


class Model:
    """What an index is, in plain Python; *backend* says how near another's scores have to be."""

    def __init__(self, opened: Callable[[], Index[Any]], backend: Backend) -> None:
        self._opened, self._backend = opened, backend
        self._handles = [opened(), opened()]
        self._turn = 0
        self.kept: dict[str, Entry[Kinds]] = {}
        self.space = ""

    @property
    def index(self) -> Index[Any]:
        """A handle, another one each time: what one has written, the other finds."""
        self._turn += 1
        return self._handles[self._turn % 2]

    @property
    def vectors(self) -> list[Entry[Kinds]]:
        """The entries that have one."""
        return [each for each in self.kept.values() if each.vector is not None]

    # -- operations --

    def upsert(self, entries: list[Entry[Kinds]], space: str) -> None:
        given = any(each.vector is not None for each in entries)
        if given and self.vectors and space and self.space and space != self.space:
            with pytest.raises(OtherVectors, match=self.space):
                ask(self.index, "upsert", entries, space)
            return
        assert ask(self.index, "upsert", entries, space) == len({each.id for each in entries})
        if given:
            self.space = space or (self.space if self.vectors else "")
        self.kept.update({each.id: each for each in entries})
        self._settle()

    def refused(self, entries: list[Entry[Kinds]], how: str) -> None:
        """All or none: one that is wrong keeps out all."""
        last = entries[-1]
        wrong: Any = {
            "size": evolve(last, id="another", vector=Vector.of((1.0, 2.0))),
            "nan": evolve(last, id="another", vector=Vector(b"\0\0\xc0\x7f" * 3)),
            "fields": Entry("another", last.text, None, Passage()),
            "entry": ("another", last.text),
        }[how]
        others = [evolve(each, vector=Vector.of((1.0, 2.0, 3.0))) for each in entries]
        with pytest.raises(OtherVectors if how == "size" else Misuse):
            ask(self.index, "upsert", [*others, wrong])

    def delete(self, where: Filter) -> None:
        if where == EVERYTHING:
            with pytest.raises(Misuse, match="everything=True"):
                ask(self.index, "delete", where)
            return
        gone = [own for own, each in self.kept.items() if holds(where, own, each.fields)]
        assert ask(self.index, "delete", where) == len(gone)
        for own in gone:
            del self.kept[own]
        self._settle()

    def dense(self, vector: Vector, limit: int, where: Filter, space: str) -> None:
        if self.vectors and space and self.space and space != self.space:
            with pytest.raises(OtherVectors, match=self.space):
                ask(self.index, "dense", vector, limit, where, space)
            return
        found = ask(self.index, "dense", vector, limit, where, space)
        scored = {
            each.id: cosine(vector, each.vector)
            for each in self.vectors
            if each.vector is not None and holds(where, each.id, each.fields)
        }
        self._agrees(found, scored, limit, "dense", self._backend.tolerance)

    def sparse(self, text: str, limit: int, where: Filter) -> None:
        found = ask(self.index, "sparse", text, limit, where)
        asked = set(words(text)) - ({"東", "京"} if "東京" in text else set())
        scored = {own: score for own, score in self._bm25(sorted(asked)) if holds(where, own, self.kept[own].fields)}
        if self._backend.fts5:
            self._agrees(found, scored, limit, "sparse", self._backend.tolerance)
        else:  # its own weights, but the same matches
            assert {hit.id for hit in found} <= set(scored)
            assert len(found) == min(limit, len(scored))

    def scan(self, where: Filter) -> None:
        wanted = sorted([each for own, each in self.kept.items() if holds(where, own, each.fields)], key=_id)
        found: list[Entry[Any]] = []
        while page := ask(self.index, "scan", where, found[-1].id if found else "", 2):
            assert isinstance(page, tuple)
            assert len(page) <= 2
            found += page
        assert found == wanted == list(every(self.index, where))

    def count(self, where: Filter) -> None:
        wanted = sum(holds(where, own, each.fields) for own, each in self.kept.items())
        assert ask(self.index, "count", where) == wanted

    def get(self, ids: list[str]) -> None:
        assert ask(self.index, "get", ids) == tuple([self.kept[own] for own in ids if own in self.kept])

    def statistics(self, facets: list[str]) -> None:
        found: Statistics = ask(self.index, "statistics", facets)
        dimensions = 3 if self.vectors else 0
        assert (found.entries, found.vectors, found.dimensions) == (len(self.kept), len(self.vectors), dimensions)
        assert found.space == self.space
        assert found.bytes > 0 or not self.kept
        for name in facets:
            values = [_values(getattr(each.fields, name)) for each in self.kept.values()]
            wanted = Counter([value for several in values for value in several])
            assert dict(found.facets[name]) == wanted
            counts = [count for _, count in found.facets[name]]
            assert counts == sorted(counts, reverse=True)

    def reopen(self) -> None:
        for each in self._handles:
            ask(each, "close")
        self._handles[self._turn % 2] = self._opened()

    def check(self) -> None:
        """All that there is, is as it has to be."""
        self.statistics(["Select"])
        self.scan(EVERYTHING)
        self.count(EVERYTHING)
        self.dense(Vector.of((1.0, 2.0, -1.0)), 4, field("is_") != True, "")  # noqa: E712  # a filter
        self.sparse("rain OR", 3, EVERYTHING)
        assert all(found.text in self.kept[found.id].text for found in ask(self.index, "sparse", "a ab é 1 i none", 9))

    # -- what is expected --

    def _settle(self) -> None:
        if not self.vectors:
            self.space = ""

    def _agrees(
        self, found: tuple[Hit[Any], ...], scored: dict[str, float], limit: int, name: str, tolerance: float
    ) -> None:
        """The hits are those that they have to be, each as it is kept; equal scores stand by their ids."""
        assert isinstance(found, tuple)
        wanted = sorted(scored.values(), reverse=True)[:limit]
        assert [hit.score for hit in found] == pytest.approx(wanted, abs=tolerance, rel=tolerance)
        assert [(-hit.score, hit.id) for hit in found] == sorted([(-hit.score, hit.id) for hit in found])
        assert len({hit.id for hit in found}) == len(found)
        for hit in found:
            kept = self.kept[hit.id]
            assert hit == Hit(kept.id, kept.text, hit.score, kept.fields, {name: hit.score})
            assert hit.score == pytest.approx(scored[hit.id], abs=tolerance, rel=tolerance)
        if found:
            left = [own for own in scored if own not in {hit.id for hit in found}]
            tied = [own for own in left if scored[own] == scored[found[-1].id]]
            assert all(own > found[-1].id for own in tied), "of those with the last score, ids decide"

    def _bm25(self, asked: list[str]) -> list[tuple[str, float]]:
        texts = {own: Counter([*words(each.text), *_searched(each.fields)]) for own, each in self.kept.items()}
        average = sum([each.total() for each in texts.values()]) / max(1, len(texts))
        scores: Counter[str] = Counter()
        for word in asked:
            having = [own for own, each in texts.items() if each[word]]
            weight = max(1e-6, log((len(texts) - len(having) + 0.5) / (len(having) + 0.5)))
            for own in having:
                times, length = texts[own][word], texts[own].total()
                scores[own] += weight * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * length / average))  # type: ignore[assignment]
        return list(scores.items())


def _searched(fields: Kinds) -> list[str]:
    """The words of the fields that are searched, which are tested by themselves."""
    return [word for text in (fields.select, *(fields.Group or ())) for word in cut(text)]


def _id(entry: Entry[Any]) -> str:
    return entry.id


def _values(value: Any) -> list[Any]:
    """A value as facets count it."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Season):
        return [value.value]
    return [None if value is None else re.sub("^$", "", value) if isinstance(value, str) else _plain(value)]


def _plain(value: Any) -> Any:
    from arshai_kit.index.filters import where

    told: Any = where(x=value)
    return told.value

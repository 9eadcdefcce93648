"""Searches are exact and say the same everywhere: on every backend, with NumPy and without, alone and among threads."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, assert_type

import anyio
import pytest
from attrs import evolve

from arshai_kit.effects import Plan, call
from arshai_kit.errors import Misuse, OtherVectors
from arshai_kit.index import (
    EVERYTHING,
    Entry,
    Filter,
    Hit,
    Index,
    Passage,
    every,
    field,
    fuse,
    in_memory_index,
    sqlite_index,
    sqlite_vectors,
    where,
)
from arshai_kit.index.cosine import Query, Units
from arshai_kit.index.walking import Walk
from arshai_kit.records.vectors import Vector
from tests.core.worlds import World, everywhere
from tests.index.kinds import Kinds


@contextmanager
def indexes(folder: Path) -> Iterator[dict[str, Index[Any]]]:
    """One of each, all of them empty."""
    found: dict[str, Index[Any]] = {
        "memory": in_memory_index(),
        "sqlite": sqlite_index(folder / "a.db", synchronous="normal"),
        "uncached": sqlite_index(folder / "b.db", cache_bytes=0, synchronous="normal"),
    }
    yield found
    for index in found.values():
        index.close()


def entries(count: int, dimensions: int) -> list[Entry[Passage]]:
    """Many of them, some with the same vector, or with one that points the same way."""
    chance = random.Random(1)
    vectors = [[chance.gauss(0, 1) for _ in range(dimensions)] for _ in range(1 + count // 3)]
    vocabulary = [f"w{each}" for each in range(60)]
    weights = [1 / (1 + each) for each in range(60)]
    return [
        Entry(
            f"{chance.getrandbits(64):016x}",
            " ".join(chance.choices(vocabulary, weights, k=chance.randrange(12))),
            _longer(chance.choice(vectors), chance.choice([1, 1, 2, 8])) if chance.random() < 0.9 else None,
            Passage(source=f"{number % 7}", page=number % 5 or None),
        )
        for number in range(count)
    ]


def _longer(numbers: list[float], times: int) -> Vector:
    return Vector.of([each * times for each in numbers])


def searched(index: Index[Any], dimensions: int) -> list[tuple[Hit[Any], ...]]:
    chance = random.Random(2)
    asked = [EVERYTHING, where(source="3"), field("page") > 2, ~where(page=None) & (field("source") != "1")]
    found = []
    for filter_ in asked:
        for limit in (1, 10, 400):
            found.append(index.dense([chance.gauss(0, 1) for _ in range(dimensions)], limit, filter_))
            found.append(index.sparse(f"w{chance.randrange(9)} w{chance.randrange(50)} w59", limit, filter_))
    return found


def test_every_backend_finds_the_same_with_numpy_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last digit of each score, and equal ones by their ids, wherever their vectors lie."""
    monkeypatch.setattr(sqlite_vectors, "_BLOCK", 100)  # several are read one after the other
    given = entries(900, 12)
    with indexes(tmp_path) as found:
        for index in found.values():
            for start in range(0, len(given), 97):
                index.upsert(given[start : start + 97], "m")
            index.delete(where(source="5"))
            index.upsert(given[100:130], "m")
        told = {name: searched(index, 12) for name, index in found.items()}
        monkeypatch.setitem(sys.modules, "numpy", None)
        told |= {f"{name} without NumPy": searched(index, 12) for name, index in found.items()}
        plain = in_memory_index()
        plain.upsert([each for each in given if each.fields.source != "5" or each in given[100:130]], "m")
        told["made without NumPy"] = searched(plain, 12)
    first = told["memory"]
    assert {name: [other == one for other, one in zip(each, first, strict=True)] for name, each in told.items()} == {
        name: [True] * len(first) for name in told
    }
    ties = [(one.score, one.id < two.id) for hits in first for one, two in pairwise(hits) if one.score == two.score]
    assert len(ties) > 100
    assert all(in_order for _, in_order in ties)


@everywhere
def test_an_index_in_every_world(tmp_path: Path, world: World) -> None:
    """Its functions are plain: a plan calls them, in a worker where something else is under way."""
    with indexes(tmp_path) as found:
        for index in found.values():
            assert world.run(lambda index=index: call(index.upsert, entries(5, 3), "m")) == 5  # type: ignore[misc]
            hits = world.run(lambda index=index: call(index.sparse, "w0 w1 w2", 3))  # type: ignore[misc]
            assert len(hits) == 3
            assert index.count() == 5


def test_everything_is_gone_through_in_every_face_of_an_index() -> None:
    """Whether its functions are plain, async or plans; from sync and from async code; as often as it is begun."""
    index = in_memory_index(batch=4)
    index.upsert(entries(30, 3))
    wanted = sorted([each.id for each in entries(30, 3) if each.fields.source != "2"])

    async def scan(*args: Any) -> list[Entry[Passage]]:
        return list(index.scan(*args))

    def planned(*args: Any) -> Plan[Any]:
        return (yield from call(scan, *args))

    planned.plan = planned  # type: ignore[attr-defined]
    for each in (index, evolve(index, scan=scan), evolve(index, scan=planned)):
        walk = every(each, field("source") != "2")
        assert [entry.id for entry in walk] == [entry.id for entry in walk] == wanted
        for backend in ("asyncio", "trio"):
            assert anyio.run(ids_of, walk, backend=backend) == wanted


async def ids_of(walk: Walk[Passage]) -> list[str]:
    return [entry.id async for entry in walk]


def test_an_index_is_of_its_fields_to_a_type_checker(tmp_path: Path) -> None:
    assert_type(in_memory_index(), Index[Passage])
    assert_type(in_memory_index(Kinds, batch=3), Index[Kinds])
    assert_type(sqlite_index(tmp_path / "a.db", patience=1.0), Index[Passage])
    assert_type(sqlite_index(tmp_path / "a.db", Kinds), Index[Kinds])
    assert_type([each.fields for each in every(in_memory_index(Kinds))], list[Kinds])
    assert_type((field("a") == 1) & ~where(b=2), Filter)
    assert_type(fuse([Hit("a", "", 1.0, Kinds())]), tuple[Hit[Kinds], ...])


def test_what_is_asked_for_wrongly_is_refused(tmp_path: Path) -> None:
    with indexes(tmp_path) as found:
        for index in found.values():
            index.upsert(entries(5, 3))
            for limit in (0, -1, True, 1.0, None):
                with pytest.raises(Misuse, match="limit= is a whole number above zero"):
                    index.sparse("w0", limit)
            assert len(index.dense((1, 2, 3), 2**80)) > 0
            assert len(index.sparse("w0", 2**80)) > 0
            wrong: list[tuple[str, str, tuple[Any, ...]]] = [
                ("has at least one number", "dense", ((), 3)),
                ("made of numbers", "dense", ("abc", 3)),
                ("what is no number", "dense", ((1.0, float("nan"), 2.0), 3)),
                ("by text, not by int", "sparse", (5, 3)),
                ("ids are several texts", "get", ("abc",)),
                ("ids are several texts", "get", ([1],)),
                ("takes entries", "upsert", (entries(1, 3)[0],)),
                ("an entry is an Entry", "upsert", ([Entry("", "text", None, Passage())],)),
                ("an entry is an Entry", "upsert", ([Entry(1, "text", None, Passage())],)),  # type: ignore[arg-type]
                ("an entry is an Entry", "upsert", ([Entry("a", b"text", None, Passage())],)),  # type: ignore[arg-type]
                ("is empty: give None", "upsert", ([Entry("a", "text", Vector(), Passage())],)),
                ("space= is text", "upsert", (entries(1, 3), 5)),
                ("where= is a filter", "count", ("year > 2020",)),
                ("no field 'nope' to count", "statistics", (["nope"],)),
                (r"as in statistics\(\['title'\]\)", "statistics", ("title",)),
                ("where= is a filter", "delete", (None,)),
            ]
            for words, name, args in wrong:
                with pytest.raises(Misuse, match=words):
                    getattr(index, name)(*args)
            with pytest.raises(OtherVectors, match=r"given vectors of several sizes|holds vectors of 3"):
                index.upsert([*entries(3, 3), *entries(3, 4)])
            assert index.count() == 5


def test_vectors_are_taken_as_numbers_too(tmp_path: Path) -> None:
    with indexes(tmp_path) as found:
        for index in found.values():
            index.upsert([Entry("a", "", (1.0, 2.0), Passage())])  # type: ignore[arg-type]
            assert index.get(["a"])[0].vector == Vector.of((1.0, 2.0))
            assert index.dense([2.0, 4.0], 1)[0].score == 1.0


def test_everything_is_deleted_by_who_says_so(tmp_path: Path) -> None:
    with indexes(tmp_path) as found:
        for index in found.values():
            index.upsert(entries(9, 3), "m")
            assert index.upsert([]) == 0
            with pytest.raises(Misuse, match="the empty filter would delete everything"):
                index.delete(where())
            with pytest.raises(Misuse, match="the empty filter"):
                index.delete(EVERYTHING, everything=1)
            assert index.delete(EVERYTHING, everything=True) == 9
            assert (index.count(), index.scan(), index.dense((1, 2, 3), 5)) == (0, (), ())
            assert index.delete(where(source="1")) == 0


# -- in memory --


def test_what_was_replaced_many_times_takes_no_room() -> None:
    index = in_memory_index()
    given = entries(40, 3)
    for _ in range(80):
        index.upsert(given, "m")
    store = index.backend
    assert len(store._words) <= 2 * store._words.live + 1001
    assert index.count() == 40
    assert len(index.dense((1, 2, 3), 100)) == index.statistics().vectors
    assert index.statistics().space == "m"


def test_a_pickle_holds_the_entries() -> None:
    index = in_memory_index(batch=5)
    index.upsert(entries(30, 3), "m")
    again = pickle.loads(pickle.dumps(index))
    assert again.scan(limit=100) == index.scan(limit=100)
    assert again.statistics() == index.statistics()
    assert (again.batch, len(again.scan())) == (5, 5)
    again.delete(EVERYTHING, everything=True)
    assert index.count() == 30
    assert pickle.loads(pickle.dumps(again)).count() == 0


def test_threads_may_share_it() -> None:
    index = in_memory_index()

    def work(name: str) -> None:
        given = [Entry(f"{name}{n}", f"{name} {n}", Vector.of((1.0, n)), Passage(source=name)) for n in range(20)]
        for _ in range(20):
            index.upsert(given)
            assert len(index.dense((1, 2), 100, where(source=name))) == 20
            assert len(index.sparse(name, 100)) == 20
            index.delete(where(source=name, number=1) | (field("source") == name))
        index.upsert(given)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ["rain", "wind", "snow", "hail"]))
    assert index.count() == 80
    assert len(index.dense((1, 1), 100)) == 80


# -- who may be near --


@pytest.mark.needs("numpy")
def test_what_is_forgotten_is_let_go_of() -> None:
    units = Units(2)
    vectors = [Vector.of((1.0, each)) for each in range(3000)]
    units.add(range(3000), b"".join([each.data for each in vectors]))
    units.drop(7)
    units.drop(7)
    units.drop(99_999)
    assert (units.live, units.size, units.last) == (2999, 3000, 2999)
    assert 7 not in units.near(Query((1, 7)), 3000)
    units.keep(list(range(0, 3000, 10)))
    assert (units.live, units.size, units.last) == (300, 300, 2990)
    assert sorted(units.near(Query((1.0, 0.0)), 3, [0, 5, 10, 2990, 5000])) == [0, 10, 2990]
    assert Units(2).near(Query((1, 2)), 3) == []
    assert Units(2).near(Query((1, 2)), 3, [1]) == []


def test_a_filter_asked_before_finds_what_has_come_since_and_not_what_has_gone(tmp_path: Path) -> None:
    """Also one of many that were asked in between."""
    with indexes(tmp_path) as found:
        for index in found.values():
            index.upsert([Entry(str(number), "rain", None, Passage(page=number)) for number in range(12)])
            for page in range(12):
                assert [hit.id for hit in index.sparse("rain", 9, where(page=page))] == [str(page)]
            index.upsert([Entry("3", "rain", None, Passage(page=11)), Entry("x", "rain", None, Passage(page=11))])
            assert [hit.id for hit in index.sparse("rain", 9, where(page=11))] == ["11", "3", "x"]
            assert index.delete(where(page=11)) == 3
            assert index.count(where(page=11)) == index.count(where(page=3)) == 0
            assert [each.id for each in index.scan(where(page=4))] == ["4"]

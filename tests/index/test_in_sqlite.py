"""A file that processes share: who is killed has lost nothing that was acknowledged, and what is not ours is left."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import Factory, frozen
from attrs import field as spot

from arshai_kit.errors import (
    BadRecord,
    ForeignFormat,
    Misuse,
    OtherVectors,
    StoreFull,
    StoreRefused,
    StoreUnreachable,
    TooLarge,
)
from arshai_kit.index import EVERYTHING, Entry, Index, Passage, field, named, sqlite_index, sqlite_schema, where
from arshai_kit.index.in_sqlite import SqliteIndex
from arshai_kit.records.vectors import Vector
from tests.index.writer import group

ROOT = Path(__file__).parents[2]


@contextmanager
def opened(path: Path, fields: type[Any] = Passage, **how: Any) -> Iterator[Index[Any]]:
    index: Index[Any] = sqlite_index(path, fields, **{"synchronous": "normal", **how})
    with closing(index):
        yield index


def some(count: int, text: str = "rain", **fields: Any) -> list[Entry[Passage]]:
    return [
        Entry(f"{text}-{n:05}", f"{text} {n}", Vector.of((1.0, n, 0.5)), Passage(number=n, **fields))
        for n in range(count)
    ]


def ids(found: Any) -> list[str]:
    return [each.id for each in found]


def test_an_index_is_a_file_that_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db", synchronous="full") as index:
        assert not (tmp_path / "k.db").exists()
        index.upsert(some(3), "model/x")
    with opened(tmp_path / "k.db") as index:
        assert ids(index.scan()) == ["rain-00000", "rain-00001", "rain-00002"]
        assert (index.statistics().space, index.statistics().bytes > 4096) == ("model/x", True)
    assert [path.name for path in tmp_path.iterdir()] == ["k.db"]


# -- processes --


@contextmanager
def writing(*args: object) -> Iterator[subprocess.Popen[str]]:
    """A process that writes, ready to be told to begin."""
    command = [sys.executable, "-m", "tests.index.writer", *map(str, args)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_kill_9_loses_no_acknowledged_upsert_and_leaves_none_half_written(tmp_path: Path) -> None:
    """Two write, one of them is killed in the midst; searches by vectors, by words and by fields find the same."""
    path = tmp_path / "k.db"
    with writing(path, "killed", 100_000) as killed, writing(path, "lives", 25) as lives:
        begin(killed)
        begin(lives)
        assert killed.stdout is not None
        acknowledged = [int(killed.stdout.readline()) for _ in range(30)]
        killed.kill()
        acknowledged += [int(each) for each in killed.stdout.read().split()]
        assert lives.stdout is not None
        assert [int(each) for each in lives.stdout.read().split()] == list(range(25))
    with opened(path) as index:
        found = {each.id: each for each in index.scan(where(source="killed"), limit=1_000_000)}
        numbers = sorted({each.fields.number for each in found.values()})
        assert set(numbers) >= {each for each in acknowledged if each % 10 != 9}
        assert not {each for each in acknowledged if each % 10 == 9} & set(numbers)
        for number in numbers:
            rounds = {found[each.id].fields.document for each in group("killed", number)}
            assert len(rounds) == 1
            assert number > acknowledged[-1] or rounds == {"1"}
        assert index.count(where(source="lives")) == 3 * (25 - 2)
        by_words = index.sparse("killed", 1_000_000)
        assert sorted(ids(by_words)) == sorted(found)
        assert sorted(ids(index.dense((1, 2, 3), 1_000_000, where(source="killed")))) == sorted(found)
        assert {hit.text.split()[-1] for hit in by_words} <= {"round0", "round1"}
        assert index.statistics().vectors == index.statistics().entries == index.count() == len(index.scan(limit=10**6))
    check(path)


def check(path: Path) -> None:
    """SQLite and FTS5 find nothing wrong with the file."""
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("pragma integrity_check").fetchall() == [("ok",)]
        file.execute("insert into found (found) values ('integrity-check')")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_opens_the_file_anew(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db") as index:
        index.upsert(some(3))
        index.dense((1, 1, 1), 2)

        def child() -> None:
            index.upsert(some(index.count(), "forked"))
            assert len(index.dense((1, 1, 1), 100)) == 6
            index.close()

        with index.backend._reads._lock, index.backend._writes._lock:  # which nobody will give back in the child
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
        process.join(60)
        assert process.exitcode == 0
        assert len(index.dense((1, 1, 1), 100)) == 6


def test_what_a_fork_inherits_is_neither_used_nor_closed(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db") as index:
        index.upsert(some(3))
        index.backend._writes.forked()
        assert index.upsert(some(4)) == 4
        (inherited,) = index.backend._writes._inherited
        assert inherited.execute("select count(*) from entries").fetchone() == (4,)
        inherited.close()


def test_a_pickle_of_it_is_the_same_index_elsewhere(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db", batch=7, cache_bytes=100, patience=3.0) as index:
        index.upsert(some(3))
        again = pickle.loads(pickle.dumps(index))
        with closing(again):
            assert again.backend == index.backend
            assert (again.batch, again.fields, again.name) == (7, Passage, "sqlite")
            assert again.backend.__reduce__() == index.backend.__reduce__()
            assert again.count() == 3
        with opened(tmp_path / "other.db") as other:
            assert other.backend != index.backend
            assert hash(other.backend) == hash(index.backend)
        assert repr(index.backend) == f"SqliteIndex({str(tmp_path / 'k.db')!r})"


def test_threads_that_write_search_and_delete_at_once(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db", patience=120.0) as index, ThreadPoolExecutor(4) as pool:

        def work(name: str) -> None:
            for round_ in range(10):
                index.upsert(some(5, name, source=name), "m")
                assert len(index.dense((1, 2, 3), 100, where(source=name))) == 5
                assert len(index.sparse(name, 100)) == 5
                if round_ < 9:
                    assert index.delete(where(source=name)) == 5

        list(pool.map(work, ["rain", "wind", "snow", "hail"]))
        assert index.count() == 20
        assert len(index.dense((1, 1, 1), 100)) == 20
    check(tmp_path / "k.db")


def test_a_reader_is_not_held_up_by_who_writes(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db") as index, opened(tmp_path / "k.db") as other:
        index.upsert(some(3))
        inside, over = threading.Event(), threading.Event()

        def slow(file: sqlite3.Connection) -> None:
            file.execute("delete from texts")
            inside.set()
            assert over.wait(60)
            raise ZeroDivisionError

        with ThreadPoolExecutor(1) as pool:
            writes = pool.submit(other.backend._writes.change, slow)
            assert inside.wait(60)
            assert ids(index.sparse("rain", 1)) == ids(other.sparse("rain", 1)) == ["rain-00000"]
            over.set()
            with pytest.raises(ZeroDivisionError):
                writes.result(60)
        assert other.count() == 3


def test_who_finds_the_file_locked_for_too_long_is_told(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    with opened(path, patience=0.05) as index, closing(sqlite3.connect(path, isolation_level=None)) as other:
        index.upsert(some(1))
        other.execute("begin immediate")
        with pytest.raises(StoreUnreachable, match=r"locked by somebody else for 0\.05 s; nothing was written"):
            index.upsert(some(2))
        other.execute("rollback")
        assert index.count() == 1


def test_who_cannot_have_the_file_written_ahead_is_told(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    with opened(path, patience=0.05) as index, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("create table x (y)")
        other.execute("drop table x")
        other.execute("begin")
        other.execute("select * from sqlite_master").fetchall()
        with pytest.raises(StoreUnreachable, match="locked by somebody else"):
            index.count()
        other.execute("rollback")
        assert index.count() == 0


# -- no room, no right, not ours --


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db") as index:
        index.upsert(some(50, "kept"))
        before = index.scan(limit=1000), index.statistics()
        pages = index.backend._writes.read(lambda file: file.execute("pragma page_count").fetchone()[0])
        index.backend._writes.read(lambda file: file.execute(f"pragma max_page_count = {pages + 2}").fetchone())
        with pytest.raises(StoreFull, match=r"no room for .*; nothing was written"):
            index.upsert([*some(25, "kept"), *some(2000, "rain storm " * 20)])
        assert (index.scan(limit=1000), index.statistics()) == before
        assert index.sparse("storm", 5) == ()
        index.backend._writes.read(lambda file: file.execute("pragma max_page_count = 1000000").fetchone())
        assert index.upsert(some(2000)) == 2000
        assert len(index.dense((1, 1, 1), 3000)) == 2050
    check(tmp_path / "k.db")


def test_what_is_larger_than_sqlite_takes_is_told(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db") as index:
        index.upsert(some(1))
        index.backend._writes.read(lambda file: file.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000))
        with pytest.raises(TooLarge, match="more bytes than SQLite takes; nothing was written"):
            index.upsert([*some(1), Entry("a", "x" * 20_000, None, Passage())])
        assert index.count() == 1


LIMITED = """
import resource, sys
from arshai_kit.errors import StoreFull
from arshai_kit.index import Entry, Passage, sqlite_index
index = sqlite_index(sys.argv[1])
index.upsert([Entry("first", "kept", None, Passage())])
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    index.upsert([Entry(str(n), "rain " * 100, None, Passage()) for n in range(5000)])
except StoreFull as error:
    print(error)
print(index.count(), index.sparse("kept", 3)[0].id, len(index.sparse("rain", 3)))
"""


def test_a_limit_on_the_size_of_files_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "k.db")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told, found = done.stdout.splitlines()
    assert "a limit on its size is reached" in told
    assert found == "1 first 0"


def test_a_path_that_cannot_be_a_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="it is a folder: give the path of a file in it"):
        sqlite_index(tmp_path).count()
    with pytest.raises(StoreRefused, match=f"there is no folder {tmp_path}/none: make it first"):
        sqlite_index(tmp_path / "none" / "k.db").count()
    with opened(tmp_path / "k.db") as index:
        index.upsert(some(1))
        index.backend._writes.read(lambda file: file.execute("pragma query_only = on"))
        with pytest.raises(StoreRefused, match="have to be writable"):
            index.delete(named("rain-00000"))
        assert index.count() == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreRefused, match="have to be writable"):
            sqlite_index(tmp_path / "k.db").count()
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("path", ["", ":memory:", "file:x?mode=ro", b"bytes", "nul\0", None, 3])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(Misuse, match=r"in_memory_index\(\) needs none"):
        sqlite_index(path)


def test_what_is_no_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: list[dict[str, Any]] = [{"patience": -1}, {"patience": True}, {"cache_bytes": -1}, {"synchronous": "off"}]
    wrong += [{"batch": 0}, {"batch": True}, {"fields": dict}]
    for each in wrong:
        with pytest.raises(Misuse):
            sqlite_index(tmp_path / "k.db", **each)
    monkeypatch.setenv("ARSHAI_BATCH_SIZE", "two")
    with pytest.raises(Misuse, match="ARSHAI_BATCH_SIZE is 'two'; it must be a whole number above zero"):
        sqlite_index(tmp_path / "k.db")
    monkeypatch.setenv("ARSHAI_BATCH_SIZE", "2")
    with opened(tmp_path / "k.db") as index:
        index.upsert(some(5))
        assert (index.batch, len(index.scan()), len(index.scan(limit=4))) == (2, 2, 4)


def test_what_is_not_ours_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    path.write_text("nothing like a database, and long enough to be looked at " * 100)
    with opened(path) as index, pytest.raises(ForeignFormat, match="no file of SQLite: give the index a path"):
        index.upsert(some(1))
    assert path.read_text().startswith("nothing like")
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as file:
        file.execute("create table mine (x)")
    with opened(other) as index, pytest.raises(ForeignFormat, match="belongs to another program"):
        index.upsert(some(1))
    with closing(sqlite3.connect(other)) as file:
        assert file.execute("select name from sqlite_master").fetchall() == [("mine",)]


def test_a_file_of_a_version_to_come_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    with opened(path) as index:
        index.upsert(some(1))
    for change, words in (("pragma user_version = 99", "format 99"), ("update state set words = '99:'", "version 99")):
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            (before,) = file.execute("pragma user_version").fetchone()
            file.execute(change)
        with opened(path) as index, pytest.raises(ForeignFormat, match=f"{words}.*: upgrade arshai_kit"):
            index.count()
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.execute(f"pragma user_version = {before}")


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    with opened(path) as index:
        index.upsert(some(500))
    data = bytearray(path.read_bytes())
    data[8192:-4096] = b"\x55" * len(data[8192:-4096])
    path.write_bytes(data)
    with opened(path) as index, pytest.raises(BadRecord, match="damaged: restore it from a copy, or ingest anew"):
        index.scan(limit=1000)


@pytest.mark.parametrize(
    "change",
    [
        "update vectors set vector = x'00'",
        "delete from state",
        "update entries set f_title = cast(x'ff' as text)",
        "update entries set f_section = 'abc'",
    ],
)
def test_what_somebody_else_has_changed_in_it_is_told(tmp_path: Path, change: str) -> None:
    path = tmp_path / "k.db"
    with opened(path) as index:
        index.upsert(some(3))
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute(change)
    with opened(path) as index, pytest.raises(BadRecord, match="damaged"):
        index.dense((1, 1, 1), 3)


def test_an_sqlite_without_fts5_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_schema, "_TABLES", sqlite_schema._TABLES.replace("using fts5", "using fts5_is_not_here"))
    with opened(tmp_path / "k.db") as index, pytest.raises(Misuse, match="built without FTS5"):
        index.count()


def test_another_error_of_sqlite_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_schema, "_TABLES", "create nonsense")
    with opened(tmp_path / "k.db") as index, pytest.raises(StoreUnreachable, match=r"cannot be used.*syntax error"):
        index.count()


def test_a_file_that_is_emptied_while_it_is_open_is_damaged(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db") as index:
        index.upsert(some(1))
        index.backend._writes.change(lambda file: file.execute("delete from state"))
        with pytest.raises(BadRecord, match="damaged"):
            index.upsert(some(1))


def test_words_that_another_version_found_are_found_anew(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    with opened(path) as index:
        index.upsert([*some(2), Entry("\ud800", "rain of \ud800", None, Passage(title="\udfff half"))])
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("update state set words = '0:'")
        file.execute("update found set words = 'other'")
    with opened(path) as index:
        assert len(index.sparse("rain", 9)) == 3
        assert ids(index.sparse("half", 9)) == ["\ud800"]
        assert index.sparse("other", 9) == ()
    check(path)


# -- another class of fields --


@frozen
class First:
    topic: str = spot(default="", metadata={"indexed": True})
    year: int | None = None


@frozen
class More:
    """The same, and fields with defaults, some of the same letters."""

    topic: str = ""
    year: int | None = None
    Topic: str = spot(default="new", metadata={"indexed": True})
    tags: tuple[str, ...] = Factory(lambda: ("a", "b"))
    seen: bool = spot(default=False, converter=bool)
    rest: dict[str, int] = Factory(lambda: {"x": 1})


@frozen
class Wider:
    topic: str | None = ""
    year: int | None = None


@frozen
class Narrower:
    topic: str = ""
    year: int = 0


@frozen
class Fewer:
    topic: str = ""


@frozen
class Other:
    topic: str = ""
    year: str | None = None


@frozen
class Needy:
    needed: str
    topic: str = ""
    year: int | None = None


@frozen
class Twice:
    topic: str = ""
    year: int | None = None
    twice: str = Factory(lambda self: self.topic * 2, takes_self=True)


def test_a_field_that_is_new_is_added_with_its_default(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    with opened(path, First) as old:
        old.upsert([Entry("a", "rain", None, First("t", 2020)), Entry("b", "rain", None, First())])
        with opened(path, More) as index:
            assert index.get(["a"]) == (Entry("a", "rain", None, More("t", 2020)),)
            tagged = where(Topic="new", seen=False, topic="t") & field("tags").contains("b")
            assert ids(index.sparse("rain", 3, tagged)) == ["a"]
            index.upsert([Entry("c", "rain", None, More(Topic="other", seen=True))])
            assert index.count(where(seen=True)) == 1
        for name, *args in (("upsert", [Entry("d", "", None, First())]), ("count",), ("delete", where(year=1))):
            with pytest.raises(
                ForeignFormat, match=r"changed by another program.*start this one anew|not there in First"
            ):
                getattr(old, name)(*args)
    with opened(path, More) as index:
        assert index.count() == 3
    check(path)


def test_a_field_may_become_one_that_may_be_none(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    with opened(path, First) as index:
        index.upsert([Entry("a", "rain", None, First("t"))])
    with opened(path, Wider) as index:
        index.upsert([Entry("b", "rain", None, Wider(None))])
        assert [each.fields.topic for each in index.scan()] == ["t", None]


@frozen
class Heard:
    """As `First`, but the words of its topic are searched."""

    topic: str = spot(default="", metadata={"searched": True})
    year: int | None = None


def test_the_words_of_a_field_are_searched_if_its_class_says_so(tmp_path: Path) -> None:
    """Also of what was written before it said so; whoever has opened the file with the other class is told."""
    path = tmp_path / "k.db"
    with opened(path, First) as old:
        old.upsert([Entry("a", "rain", None, First("Ahvaz"))])
        assert old.sparse("ahvaz", 3) == ()
        with opened(path, Heard) as index:
            index.upsert([Entry("b", "rain", None, Heard("Shiraz"))])
            assert ids(index.sparse("ahvaz", 3)) == ["a"]
            assert index.sparse("shiraz", 3)[0].text == "rain"
            index.upsert([Entry("b", "rain", None, Heard("Yazd"))])
            assert ids(index.sparse("shiraz yazd", 3)) == ["b"]
        with pytest.raises(ForeignFormat, match=r"changed by another program .* \(words of 1:topic\)"):
            old.sparse("rain", 3)
    with opened(path, First) as old:
        assert old.sparse("ahvaz", 3) == ()
    check(path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (Narrower, "'year' as integer or None, which is integer there in Narrower: give it back"),
        (Fewer, "'year' as integer or None, which is not there in Fewer"),
        (Other, "'year' as integer or None, which is text or None there"),
        (Needy, "has no field 'needed', and Needy has no default for it: give it one"),
        (Twice, "no default for it"),
    ],
)
def test_a_class_that_the_file_does_not_fit_is_refused(tmp_path: Path, fields: type, words: str) -> None:
    path = tmp_path / "k.db"
    with opened(path, First) as index:
        index.upsert([Entry("a", "rain", None, First("t"))])
    before = path.read_bytes()
    with opened(path, fields) as index, pytest.raises(ForeignFormat, match=words):
        index.count()
    assert path.read_bytes() == before
    with opened(path, First) as index:
        assert index.count() == 1


def test_a_class_without_defaults_fits_a_file_without_entries(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db", First) as index:
        assert index.count() == 0
    with opened(tmp_path / "k.db", Needy) as index:
        index.upsert([Entry("a", "rain", None, Needy("n"))])
        assert index.scan()[0].fields == Needy("n")


# -- vectors --


def test_an_index_that_is_emptied_takes_vectors_of_another_model(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db") as index:
        index.upsert(some(3), "one/model")
        assert len(index.dense((1, 1, 1), 9)) == 3
        with pytest.raises(OtherVectors, match=r"one/model, and was given some of two/model: empty it"):
            index.upsert(some(3, "more"), "two/model")
        with pytest.raises(OtherVectors, match=r"3 numbers, and was asked for the neighbours of one of 2.*one/model"):
            index.dense((1, 1), 3)
        with pytest.raises(OtherVectors, match=r"holds vectors of one/model, and was asked .* one of two/model"):
            index.dense((1, 1, 1), 3, EVERYTHING, "two/model")
        assert index.delete(EVERYTHING, everything=True) == 3
        index.upsert([Entry("a", "x", Vector.of((1.0, 0.0)), Passage())], "two/model")
        assert ids(index.dense((1, 1), 9)) == ["a"]
        assert index.statistics().dimensions == 2


def test_the_backend_is_what_it_is_called(tmp_path: Path) -> None:
    with opened(tmp_path / "k.db") as index:
        assert isinstance(index.backend, SqliteIndex)
        index.close()
        index.close()
        assert index.count() == 0


def test_a_file_that_somebody_else_makes_while_it_is_looked_at_is_nobody_elses(tmp_path: Path) -> None:
    """Between any two looks at it."""
    for moment in range(1, 4):
        path = tmp_path / f"{moment}.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.execute("pragma journal_mode = wal")
            sqlite_schema.prepared(_Followed(file, moment, sqlite_index(path)), Passage, str(path))  # type: ignore[arg-type]
            assert file.execute("select entries from state").fetchone() == (0,)


class _Followed:
    """A connection after so many looks of which somebody else makes the file."""

    def __init__(self, file: sqlite3.Connection, moment: int, index: Index[Passage]) -> None:
        self._file, self._left, self._index = file, moment, index

    def execute(self, statement: str, *args: Any) -> sqlite3.Cursor:
        found = self._file.execute(statement, *args)
        if statement.startswith(("pragma", "select")):
            self._left -= 1
            if self._left == 0:
                self._index.count(EVERYTHING)
                self._index.close()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

"""A file that processes share: who is killed has lost nothing that was acknowledged, and what is not ours is left."""

from __future__ import annotations

import gc
import multiprocessing
import pickle
import random
import re
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

from arshai_kit.errors import BadRecord, ForeignFormat, Misuse, StoreFull, StoreUnreachable
from arshai_kit.memory import Conversation, Memory, Note, in_sqlite, sqlite_memory
from arshai_kit.memory.sqlite_schema import STEPS, prepared
from arshai_kit.records import Message, assistant, user

ROOT = Path(__file__).parents[2]


@contextmanager
def opened(path: Path, **how: Any) -> Iterator[Memory]:
    memory = sqlite_memory(path, **how)
    with closing(memory.backend):
        yield memory


@contextmanager
def writing(*args: object) -> Iterator[subprocess.Popen[str]]:
    """A process that writes, ready to be told to begin."""
    command = [sys.executable, "-m", "tests.memory.writer", *map(str, args)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert lines(process, 1) == ["ready"]
            yield process
        finally:
            process.kill()


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """The next *count* lines that *process* prints."""
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def rest(process: subprocess.Popen[str]) -> list[str]:
    """What *process* prints until it ends."""
    assert process.stdout is not None
    return process.stdout.read().split()


def turns(said: tuple[Message, ...]) -> list[tuple[str, int]]:
    """Who said which number; each question has its answer behind it."""
    assert [message.role for message in said] == ["user", "assistant"] * (len(said) // 2)
    return [(asked.text, int(answered.text)) for asked, answered in zip(said[::2], said[1::2], strict=True)]


# -- processes --


def test_kill_9_loses_no_acknowledged_append(tmp_path: Path) -> None:
    """Two write, one of them is killed in the midst; what it has acknowledged is there, each once and in order."""
    path = tmp_path / "m.db"
    with writing(path, "killed", 100_000) as killed, writing(path, "lives", 40) as lives:
        begin(killed)
        begin(lives)
        acknowledged = [int(each) for each in lines(killed, 30)]
        killed.kill()
        acknowledged += [int(each) for each in rest(killed)]
        assert [int(each) for each in rest(lives)] == list(range(40))
    with opened(path) as memory:
        found = turns(memory.load("k").messages)
        numbers = [number for who, number in found if who == "killed"]
        assert numbers[: len(acknowledged)] == acknowledged == list(range(len(acknowledged)))
        assert len(numbers) <= len(acknowledged) + 1  # what was not said to be there may be, whole
        assert numbers == list(range(len(numbers)))
        assert [number for who, number in found if who == "lives"] == list(range(40))
        memory.append("k", [user("after"), assistant("0")])
        assert turns(memory.load("k").messages)[-1] == ("after", 0)


def test_the_turn_of_who_was_killed_ends_by_itself(tmp_path: Path) -> None:
    waiting = threading.Event()
    with writing(tmp_path / "m.db", "dead", 1, "hold") as dead, opened(tmp_path / "m.db") as memory:
        begin(dead)
        assert lines(dead, 1) == ["0.0"]
        dead.kill()
        assert memory.enter is not None
        for _ in range(3000):
            if memory.enter("k", "next", 60.0) == 0.0:
                return
            waiting.wait(0.01)
    pytest.fail("it never ended")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_opens_the_file_anew(tmp_path: Path) -> None:
    with opened(tmp_path / "m.db") as memory:
        memory.append("k", [user("before")])

        def child() -> None:
            memory.append("k", [user(f"{len(memory.load('k').messages)} in the fork")])
            memory.backend.close()

        with memory.backend._lock:  # which nobody will give back in the child
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
        process.join(60)
        assert process.exitcode == 0
        memory.append("k", [user("after")])
        assert [message.text for message in memory.load("k").messages] == ["before", "1 in the fork", "after"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_beside_threads_that_write_and_read_holds_up_nobody(tmp_path: Path) -> None:
    """SQLite has locks of its own, which a child would inherit from whichever thread held them."""
    with opened(tmp_path / "m.db", synchronous="normal", patience=120.0) as memory, ThreadPoolExecutor(3) as pool:
        memory.append("k", [user("before")])
        over = threading.Event()

        def work(number: int) -> None:
            while not over.is_set():
                memory.append(f"{number}", [user("x")])
                memory.load("k")
                memory.forget(f"{number}")

        working = [pool.submit(work, number) for number in range(3)]
        try:
            children = []
            for _ in range(15):
                children.append(multiprocessing.get_context("fork").Process(target=memory.load, args=("k",)))
                children[-1].start()
                children[-1].join(60)
        finally:
            over.set()
        assert [child.exitcode for child in children] == [0] * 15
        assert [each.result(60) for each in working] == [None] * 3


# -- what is forgotten --


def on_disk(folder: Path) -> bytes:
    return b"".join([path.read_bytes() for path in folder.iterdir()])


def grow(memory: Memory, seed: int) -> None:
    """Many conversations that grow beside one another, so that SQLite moves what is in them from page to page."""
    draw = random.Random(seed)
    for number in range(400):
        own = draw.randrange(30)
        said = f"MARK-{own}-KRAM " + "x" * draw.choice([5, 50, 500, 3000, 9000])
        memory.append(f"MARK-{own}-KRAM", [user(said)], f"MARK-{own}-KRAM {number}")
        if not number % 4:
            assert memory.note is not None
            memory.note(f"MARK-{own}-KRAM", f"MARK-{own}-KRAM {number % 5}", said)


def left(folder: Path) -> set[int]:
    """Whose words are in the files of *folder*."""
    return {int(own) for own in re.findall(rb"MARK-(\d+)-KRAM", on_disk(folder))}


@pytest.mark.parametrize("seed", [0, 4])
def test_no_copy_of_what_was_forgotten_is_left_on_any_page(tmp_path: Path, seed: int) -> None:
    with opened(tmp_path / "m.db", synchronous="normal") as memory:
        grow(memory, seed)
        assert left(tmp_path) == set(range(30))
        memory.backend.forget_all([f"MARK-{own}-KRAM" for own in range(0, 30, 2)])
        assert left(tmp_path) == set(range(1, 30, 2))
        memory.forget("MARK-1-KRAM")
        assert left(tmp_path) == set(range(3, 30, 2))
        assert all(memory.load(f"MARK-{own}-KRAM").messages for own in range(3, 30, 2))
        with pytest.raises(Misuse, match="keys"):
            memory.backend.forget_all("MARK-3-KRAM")


def test_who_still_reads_what_was_forgotten_is_told_of(tmp_path: Path) -> None:
    """It holds the log, and with it the words; later they are gone."""
    with opened(tmp_path / "m.db", patience=0.2) as memory:
        memory.append("k", [user("MARK-1-KRAM")])
        with closing(sqlite3.connect(tmp_path / "m.db", isolation_level=None)) as reader:
            reader.execute("begin")
            reader.execute("select count(*) from records").fetchall()
            for _ in range(2):
                with pytest.raises(StoreUnreachable, match=r"is forgotten, but .*clean\(\) tries again"):
                    memory.forget("k")
            assert memory.load("k") == Conversation()
            assert left(tmp_path) == {1}
        memory.backend.clean()
        assert left(tmp_path) == set()


def test_what_who_was_killed_has_forgotten_is_overwritten_by_the_next(tmp_path: Path) -> None:
    with opened(tmp_path / "m.db") as memory:
        memory.append("k", [user("MARK-1-KRAM")])
        memory.backend._changed(lambda file: in_sqlite._forgotten(file, [b"k"]))  # and no more than that
    with opened(tmp_path / "m.db") as memory:
        memory.append("other", [user("MARK-2-KRAM")])
        memory.forget("nobody")
        assert left(tmp_path) == {2}


def test_what_was_replaced_is_overwritten_when_the_file_is_written_anew(tmp_path: Path) -> None:
    with opened(tmp_path / "m.db") as memory:
        version = memory.append("k", [user("MARK-1-KRAM")])
        memory.replace("k", [user("MARK-2-KRAM")], version)
        memory.backend.clean()
        assert left(tmp_path) == {2}
        memory.backend.clean()
        assert memory.load("k").messages == (user("MARK-2-KRAM"),)


def test_of_what_is_forgotten_meanwhile_somebody_is_left_to_see_to(tmp_path: Path) -> None:
    with opened(tmp_path / "m.db") as memory, opened(tmp_path / "m.db") as other:
        for key in ("a", "b"):
            memory.append(key, [user("MARK-1-KRAM")])
        cut = memory.backend._cut

        def late(until: float) -> None:
            cut(until)
            other.backend._changed(lambda file: in_sqlite._forgotten(file, [b"b"]))

        memory.backend._cut = late
        memory.forget("a")
        assert other.backend._asked(in_sqlite._marked) > 0
        other.forget("b")
        assert left(tmp_path) == set()
        assert other.backend._asked(in_sqlite._marked) == 0


def test_the_key_of_who_died_in_its_turn_goes_with_the_next_turn_of_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000_000.0]
    monkeypatch.setattr(in_sqlite, "time", lambda: now[0])
    with opened(tmp_path / "m.db") as memory:
        assert memory.enter is not None
        memory.append("MARK-1-KRAM", [user("Hello")])
        memory.enter("MARK-1-KRAM", "dead", 60.0)
        memory.forget("MARK-1-KRAM")
        now[0] += 61
        memory.enter("other", "alive", 60.0)
        rows = memory.backend._asked(lambda file: file.execute("select key from turns").fetchall())
        assert rows == [(b"other",)]


# -- opening and closing --


def test_a_path_is_where_it_was_when_the_memory_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(Path("m.db")) as memory:
        memory.append("k", [user("Hello")])
        memory.backend.close()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert memory.load("k").messages == (user("Hello"),)


def test_a_file_that_nobody_closed_is_closed_without_a_word(tmp_path: Path) -> None:
    memory = sqlite_memory(tmp_path / "m.db")
    memory.append("k", [user("Hello")])
    del memory
    gc.collect()
    assert not (tmp_path / "m.db-wal").exists()


def test_what_is_closed_is_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path / "m.db") as memory:
        memory.append("k", [user("Hello")])
        memory.backend.close()
        memory.backend.close()
        assert memory.load("k").messages == (user("Hello"),)
        again = pickle.loads(pickle.dumps(memory.backend))
        assert again == memory.backend
        assert hash(again) == hash(memory.backend)
        with closing(again):
            assert again.load("k") == memory.load("k")


def test_many_make_one_file_at_once(tmp_path: Path) -> None:
    for number in range(5):
        path, start = tmp_path / f"{number}.db", threading.Barrier(6)

        def make(name: int, path: Path = path, start: threading.Barrier = start) -> None:
            with opened(path, patience=120.0) as memory:
                start.wait(60)
                memory.append("k", [user(f"{name}")])

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(make, range(6)))
        with opened(path) as memory:
            assert len(memory.load("k").messages) == 6


@pytest.mark.parametrize("path", ["", ":memory:", "file:m.db?mode=memory", b"m.db", 3, None])
def test_a_path_is_that_of_a_file(path: Any) -> None:
    with pytest.raises(Misuse, match="path"):
        sqlite_memory(path)


@pytest.mark.parametrize(
    "how", [{"max_bytes": 0}, {"max_bytes": 1.5}, {"patience": -1}, {"patience": True}, {"synchronous": "off"}]
)
def test_what_cannot_work_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(Misuse, match=f"{next(iter(how))}="):
        sqlite_memory("m.db", **how)


# -- formats --


def test_a_file_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    """By whoever comes first of many; what it holds stays."""
    path = tmp_path / "m.db"
    with closing(prepared(str(path), 30.0, STEPS[:1])) as file:
        file.execute("insert into conversations (key, version, bytes) values (?, 7, 40)", (b"k",))
        file.execute("insert into records values (1, 7, ?)", (b'[1,{"role":"user","text":"old"}]',))
        file.execute("insert into ids values (1, ?)", (b"id",))
        file.execute("insert into notes values (1, ?, 6, ?)", (b"n", b'[1,"noted"]'))
        file.execute("update counter set value = 7")
        assert file.execute("pragma user_version").fetchone() == (1,)
    start = threading.Barrier(4)

    def enter(number: int) -> bool:
        with opened(path, patience=120.0) as memory:
            start.wait(60)
            assert memory.enter is not None
            return bool(memory.enter("k", f"{number}", 60.0) == 0.0)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(enter, range(4))) == 1
    with opened(path) as memory:
        assert memory.load("k") == Conversation((user("old"),), 7)
        assert memory.noted is not None
        assert memory.noted("k", "n") == Note("noted", 6)
        assert memory.append("k", [user("again")], "id") == 7
        assert memory.append("k", [user("new")]) == 8


def foreign(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.executescript(script)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("create table invoices (number integer)", "another program"),
        ("pragma application_id = 7", "another program"),
        ("pragma user_version = 3", "another program"),
        ("pragma application_id = 1095912269; pragma user_version = 99", "upgrade"),
    ],
)
def test_a_file_that_is_not_ours_to_read_is_left_as_it_is(tmp_path: Path, script: str, why: str) -> None:
    path = tmp_path / "m.db"
    foreign(path, script)
    before = path.read_bytes()
    with opened(path) as memory:
        for _ in range(2):
            with pytest.raises(ForeignFormat, match=why):
                memory.append("k", [user("Hello")])
    assert path.read_bytes() == before


def test_what_is_no_file_of_sqlite_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100, "utf-8")
    before = path.read_bytes()
    with opened(path) as memory, pytest.raises(ForeignFormat, match="no file of SQLite"):
        memory.load("k")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (b'[1,{"role":"user","te', BadRecord),
        (b'[1,{"role":"robot","text":"hi"}]', BadRecord),
        (b"\xff\xfe", BadRecord),
        ('[1,{"role":"user","te', BadRecord),
        (b'[2,{"role":"user","words":["hi"]}]', ForeignFormat),
        (b'{"role":"user"}', ForeignFormat),
    ],
)
def test_a_record_that_cannot_be_read_is_told_and_left_as_it_is(
    tmp_path: Path, record: bytes | str, error: type[Exception]
) -> None:
    with opened(tmp_path / "m.db") as memory:
        for key in ("k", "neighbour"):
            memory.append(key, [user("Hello")])
            memory.append(key, [user("Hello")])
        file = memory.backend._connection()
        file.execute("update records set record = ? where conversation = 1 and place = 2", (record,))
        for _ in range(2):
            with pytest.raises(error, match="'k'"):
                memory.load("k")
        assert memory.load("neighbour").messages == (user("Hello"),) * 2
        assert file.execute("select count(*) from records where record = ?", (record,)).fetchone() == (1,)
        memory.forget("k")
        assert memory.load("k") == Conversation()


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with opened(path) as memory:
        for number in range(50):
            memory.append(f"{number}", [user("x" * 1000)])
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    with opened(path) as memory, pytest.raises(BadRecord, match="damaged"):
        memory.load("7")


# -- who is in the way --


def test_a_file_that_stays_locked_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with opened(path, patience=0.05) as memory:
        version = memory.append("k", [user("Hello")])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin immediate")
            with pytest.raises(StoreUnreachable, match=r"locked by somebody else for 0\.05 s"):
                memory.append("k", [user("lost")])
            assert memory.load("k").version == version  # who reads waits for nobody
            other.execute("rollback")
        assert memory.append("k", [user("kept")]) > version
        assert memory.load("k").messages == (user("Hello"), user("kept"))


@pytest.mark.parametrize("how", ["immediate", "exclusive"])
def test_a_file_that_is_locked_while_it_is_opened_is_told(tmp_path: Path, how: str) -> None:
    path = tmp_path / "m.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other, opened(path, patience=0.05) as memory:
        other.execute(f"begin {how}")
        with pytest.raises(StoreUnreachable, match="locked"):
            memory.load("k")
        other.execute("rollback")
        assert memory.load("k") == Conversation()


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with pytest.raises(sqlite3.OperationalError):
        prepared(str(path), 30.0, ("create table half (way integer); no sql",))
    with opened(path) as memory:
        assert memory.append("k", [user("Hello")]) == 1
        assert repr(memory.backend) == f"SqliteStore({str(path)!r})"


def test_a_full_disk_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    with opened(tmp_path / "m.db") as memory:
        version = memory.append("k", [user("Hello")])
        file = memory.backend._connection()
        (pages,) = file.execute("pragma page_count").fetchone()
        file.execute(f"pragma max_page_count = {pages}")
        with pytest.raises(StoreFull, match="full: make room"):
            memory.append("k", [user("x" * 100_000)])
        assert memory.load("k") == Conversation((user("Hello"),), version)
        memory.forget("k")
        assert memory.load("k") == Conversation()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with opened(tmp_path / "nowhere" / "m.db") as memory, pytest.raises(StoreUnreachable, match="nothing was written"):
        memory.append("k", [user("Hello")])


def test_a_change_that_fails_half_way_has_not_happened(tmp_path: Path) -> None:
    with opened(tmp_path / "m.db") as memory:
        version = memory.append("k", [user("Hello")])
        file = memory.backend._connection()
        file.execute("create trigger full before insert on ids begin select raise(abort, 'the disk is full'); end")
        with pytest.raises(StoreUnreachable, match="the disk is full"):
            memory.append("k", [user("lost")], "id")
        assert memory.load("k") == Conversation((user("Hello"),), version)
        file.execute("drop trigger full")
        assert memory.append("k", [user("kept")], "id") == version + 1


@pytest.mark.parametrize("jump", [-100_000.0, 100_000.0])
def test_a_clock_that_jumps_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """Forward, a turn ends too early, which does no harm; back, it does not last for a day."""
    now = [1_000_000.0]
    monkeypatch.setattr(in_sqlite, "time", lambda: now[0])
    with opened(tmp_path / "m.db") as memory:
        assert memory.enter is not None
        assert memory.enter("k", "a", 60.0) == 0.0
        assert memory.enter("k", "b", 60.0) > 0
        now[0] += 1
        assert memory.enter("k", "b", 60.0) > 0
        now[0] += jump
        seen = [memory.enter("k", "b", 60.0)]
        now[0] += 12  # whoever waited before the jump has gone, as far as anybody can tell
        assert 0.0 in [*seen, memory.enter("k", "b", 60.0)]


def test_who_waits_writes_seldom(tmp_path: Path) -> None:
    with opened(tmp_path / "m.db") as memory:
        assert memory.enter is not None
        memory.enter("k", "a", 60.0)
        memory.enter("k", "b", 60.0)
        file = memory.backend._connection()
        before = file.total_changes
        assert all(memory.enter("k", "b", 60.0) > 0 for _ in range(20))
        assert file.total_changes == before

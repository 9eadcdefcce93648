"""What a process keeps: the latest that was used, within its limits and its time, at a cost that does not grow."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import threading
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.errors import Misuse
from arshai_kit.memory import Conversation, in_memory
from arshai_kit.memory.in_process import Held, InProcess
from arshai_kit.memory.leases import GRACE, Turns
from arshai_kit.records import Image, Message, ToolCall, assistant, user


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def store(**how: Any) -> tuple[InProcess, Clock]:
    clock = Clock()
    return InProcess(clock=clock, **how), clock


# -- limits --


def test_what_was_used_longest_ago_gives_way() -> None:
    """Reading is using, and so are notes."""
    kept, _ = store(max_conversations=3)
    for key in "abc":
        kept.append(key, [user(key)])
    kept.load("a")
    kept.note("b", "n", 1)
    kept.append("d", [user("d")])
    assert [key for key in "abcd" if kept.load(key).messages] == ["a", "b", "d"]
    assert kept.held.dropped == 1
    assert len(kept) == 3


@given(
    operations=st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.sampled_from(["append", "load", "replace", "note", "forget", "wait"]),
            st.integers(0, 3000),
        ),
        max_size=30,
    )
)
def test_it_never_holds_more_than_it_may_and_counts_right(operations: list[tuple[str, str, int]]) -> None:
    kept, clock = store(max_conversations=4, max_bytes=30_000, ttl=100, cleanup_interval=30)
    for key, what, size in operations:
        match what:
            case "append":
                kept.append(key, [user("x" * size)], f"{size}")
            case "replace":
                kept.replace(key, [user("x" * size)], kept.load(key).version)
            case "note":
                kept.note(key, f"{size % 3}", "x" * size)
            case "wait":
                clock.now += size / 50
            case _:
                getattr(kept, what)(key)
        held = kept.held
        assert held.conversations <= 4
        assert held.bytes <= 30_000
        everything = list(kept._kept.values())
        assert held.bytes == sum(each.bytes for each in everything)
        assert held.messages == sum(len(each.messages) for each in everything)
        assert held.notes == sum(len(each.notes) for each in everything)
        assert all(each.bytes > sum(len(message.text) for message in each.messages) for each in everything)
    for key in "abcdef":
        kept.forget(key)
    assert kept.held == Held(dropped=kept.held.dropped, expired=kept.held.expired)


def test_bytes_are_about_those_that_python_takes() -> None:
    """Large text, pictures and arguments count."""
    kept, _ = store()
    call = ToolCall("c", "look", {"words": ["x" * 10_000, {"deep": "y" * 10_000}]})
    kept.append("k", [user("ä" * 10_000, Image(b"z" * 10_000)), assistant(call)])
    assert 4 * 10_000 < kept.held.bytes < 5 * 10_000


# -- time --


def test_a_conversation_has_its_time_from_when_it_was_last_used() -> None:
    kept, clock = store(ttl=100, cleanup_interval=1000)
    for key in "abc":
        kept.append(key, [user(key)])
    clock.now = 60
    kept.load("a")
    kept.append("b", [user("again")])
    clock.now = 110
    assert [len(kept.load(key).messages) for key in "abc"] == [1, 2, 0]
    clock.now = 209
    assert [len(kept.load(key).messages) for key in "ab"] == [1, 2]
    clock.now = 309
    assert kept.append("a", [user("new")]) > 3
    assert kept.load("a").messages == (user("new"),)
    assert kept.noted("b", "n").version == 0
    assert kept.held.expired == 3


def test_what_nobody_uses_any_more_is_let_go_in_time() -> None:
    """A few at a time, by whoever comes: nobody pays for all."""
    kept, clock = store(ttl=100, cleanup_interval=30)
    for number in range(1000):
        kept.append(f"{number}", [user("x")])
    clock.now = 99
    kept.load("other")
    assert len(kept) == 1000
    clock.now = 200
    before = 1000
    for _ in range(16):
        kept.load("other")
        assert before - len(kept) <= 64
        before = len(kept)
    assert len(kept) == 0
    assert kept.held == Held(expired=1000)


def test_a_clock_that_stands_still_or_goes_back_loses_nothing() -> None:
    kept, clock = store(ttl=100)
    clock.now = 500
    kept.append("k", [user("x")])
    clock.now = 0
    assert kept.load("k").messages


# -- cost --


class Counting(OrderedDict[str, Any]):
    """A table that counts how often it is looked into, and refuses to be looked through."""

    looks = 0

    def get(self, *args: Any) -> Any:
        self.looks += 1
        return super().get(*args)

    def _no(self, *_: Any) -> Any:
        raise AssertionError("an operation looks through all that is kept")

    values = keys = _no


@pytest.mark.parametrize("many", [10, 20_000])
def test_the_cost_of_a_turn_does_not_grow_with_the_number_of_conversations(many: int) -> None:
    """Counted, not timed: the same calls of Python functions, whatever is kept beside it."""
    kept, _ = store(max_conversations=many, ttl=1e6, cleanup_interval=1e6)
    for number in range(many):
        kept.append(f"{number}", [user("x")])
    kept._kept = Counting(kept._kept)
    calls = 0

    def counted(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        for key in ("5", "new"):
            kept.enter(key, "id", 60.0)
            kept.load(key)
            kept.append(key, [user("x"), assistant("y")], "turn")
            kept.leave(key, "id")
    finally:
        sys.setprofile(before)
    assert kept._kept.looks == 4
    assert calls < 400
    assert len(kept) == many


# -- defaults and refusals --


def test_defaults_come_from_the_environment_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARSHAI_MAX_MEMORY_MB", raising=False)
    monkeypatch.delenv("ARSHAI_CLEANUP_INTERVAL", raising=False)
    first = in_memory().backend
    assert (first.max_bytes, first.cleanup_interval, first.ttl) == (1024 * 2**20, 300, float("inf"))
    monkeypatch.setenv("ARSHAI_MAX_MEMORY_MB", "0.5")
    monkeypatch.setenv("ARSHAI_CLEANUP_INTERVAL", " 7 ")
    assert first.max_bytes == 1024 * 2**20
    second = in_memory().backend
    assert (second.max_bytes, second.cleanup_interval) == (2**19, 7)
    third = in_memory(max_bytes=float("inf"), cleanup_interval=1).backend
    assert (third.max_bytes, third.cleanup_interval) == (float("inf"), 1)


@pytest.mark.parametrize("name", ["ARSHAI_MAX_MEMORY_MB", "ARSHAI_CLEANUP_INTERVAL"])
@pytest.mark.parametrize("text", ["much", "0", "-1", "nan"])
def test_an_environment_that_says_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(Misuse, match=name):
        in_memory()


@pytest.mark.parametrize("name", ["max_conversations", "max_bytes", "ttl", "cleanup_interval"])
@pytest.mark.parametrize("value", [0, -1, True, "1", float("nan")])
def test_a_limit_is_a_number_above_zero(name: str, value: Any) -> None:
    with pytest.raises(Misuse, match=f"{name}="):
        in_memory(**{name: value})


def test_a_pickle_holds_the_limits_and_nothing_else() -> None:
    kept, _ = store(max_conversations=7, ttl=60)
    kept.append("k", [user("secret")])
    again = pickle.loads(pickle.dumps(kept))
    assert (again.max_conversations, again.ttl, len(again)) == (7, 60, 0)
    assert b"secret" not in pickle.dumps(kept)
    assert bool(again)
    assert repr(kept) == "InProcess(1 conversations)"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_has_a_copy_and_a_lock_of_its_own() -> None:
    kept, _ = store()
    kept.append("k", [user("before")])

    def child() -> None:
        assert kept.load("k").messages == (user("before"),)
        kept.append("k", [user("in the fork")])

    with kept._lock:  # which nobody will give back in the child
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
    process.join(60)
    assert process.exitcode == 0
    assert kept.load("k") == Conversation((user("before"),), 1)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_has_none_of_the_turns_of_its_parent() -> None:
    """Nobody in the child would give them back."""
    kept, _ = store()
    assert kept.enter("k", "a thread of the parent", 900.0) == 0.0

    def child() -> None:
        assert kept.enter("k", "child", 900.0) == 0.0

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert kept.enter("k", "another", 900.0) > 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_for_who_is_in_the_midst_of_something() -> None:
    """What a thread holds, such as a lock of SQLite, is held in the child for ever."""
    kept, _ = store()
    busy, asked, over = threading.Event(), threading.Event(), list[str]()

    class Told:
        """A lock that tells when somebody else asks for it."""

        def __init__(self, lock: Any) -> None:
            self.lock = lock

        def acquire(self, **how: Any) -> bool:
            asked.set()
            return bool(self.lock.acquire(**how))

        def release(self) -> None:
            self.lock.release()

    lock = kept._lock
    kept._lock = Told(lock)  # type: ignore[assignment]

    def work() -> None:
        with lock:
            busy.set()
            asked.wait(60)
            over.append("done")

    worker = threading.Thread(target=work)
    worker.start()
    assert busy.wait(60)
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(0 if over else 1))
    process.start()
    asked.set()
    worker.join(60)
    process.join(60)
    assert process.exitcode == 0


# -- turns --


def test_who_has_gone_from_the_line_holds_up_nobody() -> None:
    turns = Turns()
    assert turns.enter("k", "a", 60, now=0.0) == 0.0
    for who in ("gone", "also gone", "b"):
        assert turns.enter("k", who, 60, now=0.0) > 0
    turns.leave("k", "a")
    assert turns.enter("k", "b", 60, now=1.0) > 0
    assert turns.enter("k", "b", 60, now=GRACE) > 0
    assert turns.enter("k", "b", 60, now=GRACE + 1.0) == 0.0
    turns.leave("k", "b")
    assert len(turns) == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=40))
def test_nobody_speaks_beside_another_and_nobody_overtakes(asked: list[tuple[str, bool]]) -> None:
    turns, line = Turns(), list[str]()
    for who, leaves in asked:
        if leaves:
            turns.leave("k", who)
            line = [each for each in line if each != who]
            continue
        line += [] if who in line else [who]
        assert (turns.enter("k", who, 60, now=0.0) == 0.0) is (line[0] == who)
    assert len(turns) == (1 if line else 0)


def test_messages_are_not_copied_for_each_reader() -> None:
    kept, _ = store()
    kept.append("k", [user("x")] * 100)
    assert kept.load("k").messages is kept.load("k").messages
    assert all(type(each) is Message for each in kept.load("k").messages)

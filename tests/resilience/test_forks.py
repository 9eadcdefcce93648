"""A forked child waits for nobody who is not there: for no lock, and for no place that its parent's calls have."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakValueDictionary

import pytest

from arshai_kit import complete
from arshai_kit.cost import Spend
from arshai_kit.resilience import (
    Balance,
    Budget,
    Circuit,
    CircuitRules,
    Ledger,
    MemoryCache,
    Quota,
    SqliteCache,
    balanced,
    breaker,
    budgeted,
    cached,
    forks,
    limited,
)
from arshai_kit.resilience.flights import Seat
from arshai_kit.resilience.ledgers import Ticket
from tests.resilience.toys import ASK, Toy

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
]


@contextmanager
def held(*locks: Any) -> Iterator[None]:
    """Another thread holds *locks*."""
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            holding.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holding.wait(60)
        yield
    finally:
        done.set()
        thread.join()


def in_a_child(work: Callable[[], None], *locks: Any) -> None:
    """Have *work* done in a child that is forked while another thread holds *locks*."""
    complete(Toy(), "Hi")  # what is imported late is imported
    with held(*locks):
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
    child.join(60)
    code = child.exitcode
    child.kill()
    child.join()
    assert code == 0


def test_a_quota() -> None:
    quota = Quota(requests_per_minute=3, concurrent=1)
    for key in ("under way", "in line"):
        quota.enter(key, 0)

    def child() -> None:
        assert (quota.running, quota.waiting) == (0, 0)
        model = limited(Toy(), quota, wait=False)
        for _ in range(2):  # what began within the minute counts
            assert complete(model, "Hi").text == "It is me."
        assert quota.enter("one more", 0)[2] == "requests_per_minute"
        quota.settle("under way", None, (), None)

    in_a_child(child, quota._lock)
    assert (quota.running, quota.waiting) == (1, 1)


def test_a_circuit() -> None:
    now = [0.0]
    circuit = Circuit(CircuitRules(failures=1), clock=lambda: now[0])
    circuit.settle("a", circuit.enter("a")[1], went=False)
    now[0] += 100
    assert circuit.enter("tries")[0] == "probe"

    def child() -> None:
        assert complete(breaker(Toy(), circuit), "Hi").text == "It is me."
        assert circuit.state == "closed"

    in_a_child(child, circuit._lock)
    assert circuit.state == "half-open"


def test_a_budget() -> None:
    budget, ticket = Budget(tokens=1000), Ticket()
    budget.ledger.reserve(ticket, (0, ""), None, Spend(900), budget.most)

    def child() -> None:
        assert budget.reserved() == Spend()
        assert complete(budgeted(Toy(max_tokens=50), budget, unknown="allow"), "Hi").text == "It is me."
        spent = budget.spent()
        budget.ledger.settle(ticket, Spend(900))  # as its parent does
        assert (budget.spent(), budget.reserved()) == (spent, Spend())

    in_a_child(child, budget.ledger._lock)
    assert budget.reserved() == Spend(900)


def test_a_balance() -> None:
    balance = Balance((1.0, 1.0), by="least_busy")
    balance.enter("under way", ())

    def child() -> None:
        assert complete(balanced(Toy(), Toy(name="other"), balance=balance), "Hi").text == "It is me."

    in_a_child(child, balance._lock)


def test_caches(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_LONGEST", 0.01)  # who is at the file keeps at it
    memory, file = MemoryCache(max_bytes=2000), SqliteCache(tmp_path / "answers.db")
    memory.put("k", "kept", 0.0)
    caches: tuple[Any, ...] = memory, file
    seats = [Seat(cached(Toy(), cache, key=lambda *_: "k").key_of(ASK)) for cache in caches]
    assert [cache.flights.board(seat) for cache, seat in zip(caches, seats, strict=True)] == [False, False]

    def child() -> None:
        assert memory.get("k", 0.0) == "kept"
        for cache in caches:
            model = cached(Toy(), cache, key=lambda *_: "k")
            assert complete(model, "Hi").text == "It is me."
            assert str(cache.flights) == "Flights(0 under way)"
        assert memory.bytes <= 2000
        file.close()

    in_a_child(child, memory._lock, file._lock, memory.flights._lock, file.flights._lock)
    file.close()


def test_a_fork_waits_for_who_is_in_sqlite(tmp_path: Any) -> None:
    """SQLite has locks of its own, which its thread would hold in the child for ever."""
    file = SqliteCache(tmp_path / "answers.db")
    inside, forked = threading.Event(), threading.Event()
    done: list[str] = []

    def at_it() -> None:
        with file._lock:
            inside.set()
            forked.wait(0.2)
            done.append("left")

    thread = threading.Thread(target=at_it)
    thread.start()
    assert inside.wait(60)
    child = os.fork()
    if not child:
        os._exit(0 if done == ["left"] else 1)
    forked.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    with file._lock:  # and is given back
        pass
    file.close()


def test_each_state_is_told_that_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a child does it, but here: nothing is under way, and what was counted stays."""
    monkeypatch.setattr(forks, "_living", WeakValueDictionary())
    quota, balance, circuit = (
        Quota(tokens_per_minute=9, concurrent=1),
        Balance((1.0,)),
        Circuit(CircuitRules(failures=1)),
    )
    quota.enter("a", 4)
    circuit.enter("a")
    balance.enter("a", ())
    ledger, memory, file, ticket = Ledger(), MemoryCache(), SqliteCache("nowhere"), Ticket()
    run = Toy
    ledger.reserve(ticket, (0, ""), None, Spend(5), Spend(9, None))
    ledger.reserve(Ticket(), (0, ""), run, Spend(5), Spend(9, None))
    memory.put("k", "kept", 0.0)
    memory.flights.board(Seat("k"))
    gone = Quota(concurrent=1)
    states: list[Any] = [quota, balance, circuit, ledger, memory, memory.flights, file, file.flights]
    for state in (*states, gone):
        forks.free_in_forks(state)
    del gone, state
    locks = [state._lock for state in states]
    assert len(forks._living) == len(states)
    forks._forked()
    assert all(state._lock is not lock for state, lock in zip(states, locks, strict=True))
    assert (quota.running, quota._spent, len(balance._members[0].busy)) == (0, 4, 0)
    assert ledger.held((0, "")) == ledger.held((0, ""), run) == (Spend(), Spend())
    assert (memory.get("k", 0.0), str(memory.flights)) == ("kept", "Flights(0 under way)")

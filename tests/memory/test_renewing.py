"""A turn that lasts is renewed, one that has ended is not, one whose process was killed holds up nobody for long."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from attrs import evolve

from arshai_kit import TextDelta, aio, stream, using
from arshai_kit.effects import Plan, Step, Where
from arshai_kit.errors import StoreUnreachable
from arshai_kit.faces import drive
from arshai_kit.memory import Conversation, Memory, in_memory, remembering, sqlite_memory, taking
from arshai_kit.memory.renewing import Renewals, renewals
from arshai_kit.resilience import deadline
from tests.core.worlds import World, everywhere, on_both
from tests.memory.backends import Store
from tests.memory.redis_parts import LONG, patient
from tests.memory.test_remembering import free, last


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Renewals]:
    """Those of this test, which look all the time."""
    found = Renewals(at_once=60.0, every=0.01)
    monkeypatch.setattr(taking, "renewals", lambda: found)
    yield found
    patient(lambda: not found, "what has ended is renewed")


class Spy:
    """A memory that notes for how long turns are asked for, and may be kept from renewing them."""

    def __init__(self, memory: Memory) -> None:
        self.asked: list[float] = []
        self.goes, self.came = threading.Event(), threading.Event()
        self.goes.set()
        self.memory = evolve(memory, enter=self.enter, begin=None, end=None)
        self._memory = memory

    def enter(self, key: str, own: str, seconds: float) -> Any:
        self.asked.append(seconds)
        if len(self.asked) > 3:
            self.came.set()
        if len(self.asked) > 1:
            assert self.goes.wait(LONG)
        return drive(self._memory.asked(self._memory.enter, key, own, seconds))  # type: ignore[arg-type]  # it has one


@everywhere
def test_a_turn_is_renewed_while_it_lasts(store: Store, world: World, quick: Renewals) -> None:
    memory = store.memory()
    spy = Spy(memory)

    def slow(_: Any) -> str:
        if memory.in_memory:  # it has no life beyond its process
            return "in memory"
        assert spy.came.wait(LONG)
        assert ask_for(memory, "k") > 0.0
        return "at last"

    response = world.run(lambda: remembering(slow, spy.memory).plan("Hi", key="k"))
    assert free(memory)
    assert [message.text for message in drive(memory.asked(memory.load, "k")).messages] == ["Hi", response.text]
    if memory.in_memory:
        assert spy.asked == [900.0]
    else:
        assert max(spy.asked) == 60.0


def ask_for(memory: Memory, key: str) -> float:
    """What somebody else is told who asks for the turn of *key*."""
    pause: float = drive(memory.asked(memory.enter, key, "another", 1.0))  # type: ignore[arg-type]
    drive(memory.asked(memory.leave, key, "another"))  # type: ignore[arg-type]
    return pause


@pytest.mark.parametrize("fails", [False, True])
def test_a_turn_that_ends_while_it_is_renewed_is_given_back(store: Store, quick: Renewals, *, fails: bool) -> None:
    memory = store.memory()
    if memory.in_memory:
        return
    spy = Spy(memory)

    def slow(_: Any) -> str:
        spy.goes.clear()
        patient(lambda: len(spy.asked) > 1, "it is not renewed")
        if fails:
            raise ZeroDivisionError
        return "Well."

    chat = remembering(slow, spy.memory)
    if fails:
        with pytest.raises(ZeroDivisionError):
            chat("Hi", key="k")
    else:
        chat("Hi", key="k")
    spy.goes.set()  # only now is the turn taken anew
    assert free(memory)
    assert len(drive(memory.asked(memory.load, "k")).messages) == (0 if fails else 2)


def test_a_turn_that_is_taken_anew_before_its_end_is_known_is_given_back(tmp_path: Path, quick: Renewals) -> None:
    memory = sqlite_memory(tmp_path / "kept.db")
    spy = Spy(memory)

    def leave(key: str, own: str) -> None:
        memory.leave(key, own)  # type: ignore[misc]  # it has one
        if not spy.goes.is_set():
            spy.goes.set()
            patient(lambda: turns(memory), "it is not taken anew")

    def slow(_: Any) -> str:
        spy.goes.clear()
        patient(lambda: len(spy.asked) > 1, "it is not renewed")
        return "Well."

    remembering(slow, evolve(spy.memory, leave=leave))("Hi", key="k")
    assert free(memory)
    memory.backend.close()


@pytest.mark.parametrize("gone", [False, True])
def test_a_turn_is_given_back_though_that_is_cancelled_at_first(tmp_path: Path, *, gone: bool) -> None:
    """As an event loop that is about to end does it to whatever it runs."""
    memory, fails = sqlite_memory(tmp_path / "kept.db"), [ZeroDivisionError(), asyncio.CancelledError()]
    told = threading.Event()

    def leave(key: str, own: str) -> None:
        if gone:
            told.set()
            raise StoreUnreachable("away")
        if fails:
            raise fails.pop()
        memory.leave(key, own)  # type: ignore[misc]  # it has one

    def speaks(_: Any) -> Iterator[str]:
        yield "Well"
        yield ", well."

    with stream(remembering(speaks, evolve(memory, leave=leave)), "Hi", key="k") as events:
        assert next(event for event in events if isinstance(event, TextDelta)).text == "Well"
    if gone:  # then its time ends by itself
        assert told.wait(LONG)
        memory.backend._changed(lambda file: file.execute("update turns set until = 0"))
    assert free(memory)
    assert len(fails) == (2 if gone else 0)
    memory.backend.close()


@on_both
def test_a_turn_that_is_given_to_who_has_gone_is_given_back(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its question was on the way when it was cancelled, and came after the word that it waits no longer."""
    memory, asked = sqlite_memory(tmp_path / "kept.db"), threading.Event()
    left, entered = threading.Event(), threading.Event()
    monkeypatch.setattr(taking, "_LATE", (0.01, 0.01))

    def enter(key: str, own: str, seconds: float) -> float:
        asked.set()
        assert left.wait(LONG)
        pause: float = memory.enter(key, own, seconds)  # type: ignore[misc]  # it has one
        entered.set()
        return pause

    def leave(key: str, own: str) -> None:
        assert not left.is_set() or entered.wait(LONG)
        memory.leave(key, own)  # type: ignore[misc]
        left.set()

    chat = remembering(last, evolve(memory, enter=enter, leave=leave, begin=None, end=None))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(aio.run, chat, "Hi", key="k"))
            await anyio.to_thread.run_sync(asked.wait, LONG)
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert entered.wait(LONG)
    assert free(memory)
    assert memory.load("k").messages == ()
    memory.backend.close()


def turns(memory: Memory) -> list[Any]:
    """The rows of those who have or want a turn."""
    found: list[Any] = memory.backend._asked(lambda file: file.execute("select id from turns").fetchall())
    return found


def test_a_turn_that_only_a_layer_gives_is_not_renewed(tmp_path: Path, quick: Renewals) -> None:
    memory = sqlite_memory(tmp_path / "kept.db")
    seen: list[int] = []

    def instead(effect: Step[Any], _: Where) -> Plan[Any]:
        yield from ()
        return (0.0, Conversation()) if effect.name == "begin" else None

    def look(_: Any) -> str:
        seen.append(len(quick))
        return "Well."

    with using(layers=[{Step: instead}]):
        remembering(look, memory)("Hi", key="k")
    remembering(look, memory)("Hi", key="k")
    assert seen == [0, 1]
    memory.backend.close()


@pytest.mark.parametrize(("lease", "asked"), [(900.0, 90.0), (5.0, 5.0)])
def test_a_turn_is_taken_for_no_longer_than_it_may_last(tmp_path: Path, lease: float, asked: float) -> None:
    memory = sqlite_memory(tmp_path / "kept.db")
    spy = Spy(memory)
    remembering(last, spy.memory, lease=lease)("Hi", key="k")
    own = Spy(in_memory())
    remembering(last, own.memory, lease=lease)("Hi", key="k")
    assert (spy.asked, own.asked) == ([asked], [lease])
    assert len(renewals()) == 0
    memory.backend.close()


def test_what_is_held_is_renewed_until_it_is_let_go_or_its_time_is_over() -> None:
    found, looks = Renewals(at_once=5.0, every=0.01), dict[str, list[float]](often=[], thrice=[], briefly=[])
    often, briefly = threading.Event(), threading.Event()

    def renew(name: str, seconds: float) -> bool:
        looks[name].append(seconds)
        if len(looks["often"]) > 5:
            often.set()
        return name != "thrice" or len(looks[name]) < 3

    found.hold("often", 900.0, lambda seconds: renew("often", seconds))
    found.hold("thrice", 900.0, lambda seconds: renew("thrice", seconds))
    found.hold("briefly", 0.05, lambda seconds: renew("briefly", seconds))
    assert often.wait(LONG)
    patient(lambda: len(found) == 1, "what is over is held")
    found.let_go("often")
    patient(lambda: not found._looks, "a thread looks after nothing")
    assert len(looks["thrice"]) >= 3  # of two at the same time, one may be late
    assert max([*looks["often"], *looks["thrice"]]) == 5.0
    assert all(0 < each <= 0.05 for each in looks["briefly"])
    found.hold("again", 900.0, lambda _: briefly.set() or True)  # type: ignore[func-returns-value]
    assert briefly.wait(LONG)
    found.forked()
    assert len(found) == 0


KILLED = """
import sys
from arshai_kit.memory import remembering, sqlite_memory, taking
from arshai_kit.memory.renewing import Renewals
found = Renewals(at_once=1.0, every=0.1)
taking.renewals = lambda: found
memory, seen = sqlite_memory(sys.argv[1]), []
enter = memory.backend.enter
def noted(*args):
    seen.append(args)
    if len(seen) == 5:
        print("renewed", flush=True)
    return enter(*args)
memory.backend.enter = noted
from attrs import evolve
remembering(lambda said: sys.stdin.read(), evolve(memory, enter=noted))("Hi", key="k")
"""


def test_a_process_that_was_killed_holds_up_nobody_for_long(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "renewed\n"
        child.send_signal(signal.SIGKILL)
    memory = sqlite_memory(path)
    assert deadline(remembering(last, memory), LONG)("Hello", key="k").text == "1:Hello"
    memory.backend.close()

"""Generators that tools are: whoever leaves one early closes it, in every world, and never waits long for that."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from arshai_kit import ToolCall, ToolProgress, _adrive, _drive, _steps, openai_compatible, run_tools, stream, tool
from arshai_kit._flight import left_behind
from arshai_kit._steps import AsyncSteps, Steps
from arshai_kit.effects import Call, Now, Plan, Start, side_by_side
from arshai_kit.errors import RunError
from arshai_kit.faces import AsyncStream, Stream, drive
from arshai_kit.scope import using
from arshai_kit.testing import scripted
from arshai_kit.tools import answered, toolbox
from tests.core.worlds import World, everywhere, listening
from tests.transport.server import SOON, eventually

MODEL = openai_compatible("toy", base_url="http://127.0.0.1:9/v1", api_key="")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """After each test, no worker is busy for nobody."""
    yield
    eventually(lambda: left_behind() == 0)


class Counting:
    """Tools that count, each as a generator that is kept alive: only who closes it ends it. *closed* is who was."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.entered: list[str] = []
        self.closed: list[str] = []
        self.shielded = True
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)

    def keep(self, steps: Any) -> Any:
        """Hold *steps*, as a cache or a traceback does."""
        self.kept.append(steps)
        return steps

    def sync(self) -> Any:
        """Count for ever."""
        return self.keep(self._sync())

    def later(self) -> Any:
        """Count for ever, and close with care."""
        return self.keep(self._later())

    def busy(self) -> Any:
        """Count one, and work on."""
        return self.keep(self._busy())

    def later_busy(self) -> Any:
        """Count one, and wait."""
        return self.keep(self._later_busy())

    def _sync(self) -> Iterator[int]:
        try:
            self.entered.append("sync")
            self.begun.release()
            yield from range(1_000_000)
        finally:
            self.closed.append("sync")

    async def _later(self) -> AsyncIterator[int]:
        try:
            self.entered.append("later")
            self.begun.release()
            for number in range(1_000_000):
                yield number
                await anyio.lowlevel.checkpoint()
        finally:
            with anyio.CancelScope(shield=self.shielded):
                await anyio.sleep(0.001)  # who closes it lets it finish; who cancels it in a step does so if shielded
            self.closed.append("later")

    def _busy(self) -> Iterator[int]:
        try:
            self.entered.append("busy")
            yield 1
            self.go.wait(SOON)
            yield 2
        finally:
            self.closed.append("busy")

    async def _later_busy(self) -> AsyncIterator[int]:
        try:
            self.entered.append("later_busy")
            yield 1
            await anyio.sleep_forever()
        finally:
            self.closed.append("later_busy")


@pytest.fixture
def counting() -> Iterator[Counting]:
    made = Counting()
    yield made
    made.go.set()


def leave(world: World, plan: Callable[[], Plan[Any]], names: set[str]) -> None:
    """Leave the stream of *plan* once all tools of these *names* have told something."""

    def heard(event: Any) -> bool:
        if isinstance(event, ToolProgress):
            names.discard(event.call.name)
        return not names

    async def main() -> None:
        async with AsyncStream(plan()) as events:
            async for event in events:
                if heard(event):
                    break

    if world.backend:
        anyio.run(main, backend=world.backend)
        return
    with Stream(plan()) as events:
        for event in events:
            if heard(event):
                break


def streaming(*tools: Any) -> Plan[Any]:
    return stream.plan(MODEL, "Count!", tools=tools)


def script(*names: str) -> Any:
    return scripted([ToolCall(name, name) for name in names])


@listening
@pytest.mark.parametrize("name", ["sync", "later"])
@pytest.mark.parametrize("timeout", [None, SOON])
def test_a_generator_is_closed_when_its_stream_is_left(
    world: World, name: str, timeout: float | None, counting: Counting
) -> None:
    counting.shielded = False
    with script(name):
        leave(world, lambda: streaming(tool(getattr(counting, name), timeout=timeout)), {name})
    assert counting.closed == [name]


@listening
def test_generators_side_by_side_are_closed_when_their_stream_is_left(world: World, counting: Counting) -> None:
    """Idle or in a step; a step that blocks cannot be broken off, and who performs it closes."""
    names = ("sync", "later", "busy", "later_busy")
    with script(*names):
        leave(world, lambda: streaming(*[getattr(counting, name) for name in names]), set(names))
    assert {"later", "later_busy"} <= set(counting.closed)
    counting.go.set()
    eventually(lambda: sorted(counting.closed) == sorted(names))


@everywhere
@pytest.mark.parametrize("name", ["sync", "later", "busy", "later_busy"])
def test_a_generator_that_overruns_is_closed(world: World, name: str, counting: Counting) -> None:
    made = tool(getattr(counting, name), timeout=0.05)
    ran = world.run(lambda: answered(ToolCall("1", name), toolbox([made])))
    assert str(ran.error).startswith("TimeoutError: ")
    counting.go.set()
    eventually(lambda: counting.closed == counting.entered)  # it may have overrun before it began


class OverBudget(RunError):
    """Meant for the user."""


@everywhere
def test_generators_are_closed_when_their_run_fails(world: World, counting: Counting) -> None:
    def beside() -> Plan[Any]:
        box = toolbox([counting.sync, counting.later])
        return (yield from side_by_side([answered(ToolCall(name, name), box) for name in box]))

    def plan() -> Plan[Any]:
        yield from Start(beside())
        for _ in range(2):
            yield from Call(counting.begun.acquire, timeout=SOON)
        raise OverBudget("no more")

    with pytest.raises(OverBudget):
        world.run(plan)
    assert "later" in counting.closed
    eventually(lambda: sorted(counting.closed) == ["later", "sync"])


@everywhere
@pytest.mark.parametrize("name", ["sync", "later"])
def test_a_generator_that_is_always_quick_ends_with_its_time_too(world: World, name: str, counting: Counting) -> None:
    """No step takes long, all of them do: here the clock goes on by a second whenever it is read."""
    seconds = iter(range(100))

    def now(_: Any, __: Any) -> Plan[int]:
        yield from ()
        return next(seconds)

    made = tool(getattr(counting, name), timeout=5.0)
    with using(layers=[{Now: now}]):
        ran = world.run(lambda: answered(ToolCall("1", name), toolbox([made])))
    assert ran.error == f"TimeoutError: {name} took longer than 5 s"
    assert ran.seconds == 7
    assert counting.closed == [name]


@everywhere
def test_a_generator_that_ends_is_closed_by_its_end(world: World) -> None:
    closed = []

    def short() -> Iterator[int]:
        yield 1
        closed.append("short")

    async def later() -> AsyncIterator[int]:
        yield 1
        closed.append("later")

    box = toolbox([short, later])
    for name in box:
        assert world.run(lambda: answered(ToolCall("1", name), box)).result == "1"  # noqa: B023
    assert closed == ["short", "later"]


# -- what goes wrong while a generator is closed --


@listening
@pytest.mark.parametrize("error", [ValueError("cannot"), SystemExit(3)])
@pytest.mark.parametrize("kind", ["sync", "later"])
def test_what_goes_wrong_in_the_end_is_logged(
    world: World, error: BaseException, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def sync() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise error

    async def later() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise error

    made = tool(sync if kind == "sync" else later, timeout=SOON)  # in a worker, not in the caller's thread
    with caplog.at_level(logging.ERROR, "arshai_kit.background"), script(kind):
        leave(world, lambda: streaming(made), {kind})
        eventually(lambda: caplog.records)
    (record,) = caplog.records
    assert record.getMessage() == f"{kind} failed while it was closed"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@listening
@pytest.mark.parametrize("kind", ["sync", "later"])
def test_nobody_waits_long_for_an_end(world: World, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_steps, _drive, _adrive):
        monkeypatch.setattr(module, "PATIENCE", 0.02)
    go, ended = threading.Event(), threading.Event()

    def sync() -> Iterator[int]:
        try:
            yield 1
        finally:
            go.wait(SOON)
            ended.set()

    async def later() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()

    made = tool(sync if kind == "sync" else later, timeout=SOON)
    with script(kind):
        leave(world, lambda: streaming(made), {kind})
    if kind == "sync":
        assert not ended.is_set()
        assert left_behind() == 1
    go.set()
    assert ended.wait(SOON)


@listening
def test_a_generator_that_goes_on_when_it_is_cancelled_is_closed_all_the_same(world: World) -> None:
    closed = []

    async def stubborn() -> AsyncIterator[int]:
        try:
            yield 1
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                yield 2
        finally:
            closed.append("stubborn")

    def idle() -> Iterator[int]:
        while True:
            yield 1

    with script("stubborn", "idle"):
        leave(world, lambda: streaming(stubborn, tool(idle, timeout=SOON)), {"stubborn", "idle"})
    eventually(lambda: closed == ["stubborn"])


# -- whose thread it is --


def test_the_callers_thread_closes_what_it_has_stepped_through() -> None:
    """As a database connection wants it."""
    seen = []

    def here() -> Iterator[int]:
        try:
            yield 1
        finally:
            seen.append(threading.current_thread())

    with script("here"):
        leave(World(), lambda: streaming(here), {"here"})
    assert seen == [threading.current_thread()]


def test_the_shared_loop_does_not_wait_for_itself() -> None:
    """An async function that closes the stream of sync code."""
    closed = threading.Event()

    async def counts() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.set()

    with script("counts"):
        events = Stream(streaming(counts))
        next(event for event in events if isinstance(event, ToolProgress))

        async def close() -> None:
            events.close()

        drive(iter(Call(close)))
    assert closed.wait(SOON)


def test_without_a_loop_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the process: the loops that it was stepped through in have closed it."""

    async def counts() -> AsyncIterator[int]:
        yield 1

    monkeypatch.setattr(_drive, "shared_loop", lambda: None)
    assert _drive._closing(AsyncSteps(counts())).is_set()


def test_a_generator_is_closed_once() -> None:
    told: list[str] = []
    steps = Steps(iter_of("x"))
    assert steps() == (False, "x")
    steps.left = lambda: told.append("closed")
    assert not steps.over
    steps.close()
    steps.close()
    assert steps.over
    assert set(told) == {"closed"}
    assert steps() == (True, None)
    once: list[Any] = []
    steps = Steps(ending(once))
    steps()
    steps.close()
    steps.close()
    assert once == ["over"]
    alone = Steps(iter_of("x"))
    alone.close()
    assert alone.over


def ending(once: list[Any]) -> Iterator[int]:
    try:
        yield 1
    finally:
        once.append("over")


def iter_of(text: str) -> Iterator[str]:
    yield from text


def test_a_tool_that_is_a_generator_still_answers() -> None:
    with scripted(ToolCall("1", "iter_of", {"text": "ab"}), "b"):
        assert run_tools(MODEL, "Spell!", [iter_of]).tool_runs[0].result == "b"

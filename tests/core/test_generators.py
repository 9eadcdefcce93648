"""Generators that tools are: whoever leaves one early closes it, in every world, and never waits long for that."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, nullcontext, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from arshai_kit import (
    TextDelta,
    ToolCall,
    ToolProgress,
    _adrive,
    _drive,
    _steps,
    _threads,
    aio,
    complete,
    openai_compatible,
    run,
    run_tools,
    stream,
    tool,
)
from arshai_kit._flight import left_behind
from arshai_kit._steps import AsyncSteps, Steps
from arshai_kit.effects import Call, Now, Plan, Sleep, Start, side_by_side
from arshai_kit.errors import RunError
from arshai_kit.faces import AsyncStream, Stream, drive
from arshai_kit.scope import Limits, current, using
from arshai_kit.testing import recorded, replayed, scripted
from arshai_kit.tools import answered, toolbox
from tests.core.worlds import World, everywhere, listening, on_both
from tests.transport.server import SOON, eventually

MODEL = openai_compatible("toy", base_url="http://127.0.0.1:9/v1", api_key="")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Before each test and after it, no worker is busy for nobody."""
    eventually(lambda: left_behind() == 0)
    yield
    eventually(lambda: left_behind() == 0)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who closes is held up by a busy machine for longer than a moment."""
    for module in (_steps, _drive, _adrive):
        monkeypatch.setattr(module, "PATIENCE", SOON)


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


def all_of(names: set[str]) -> Callable[[Any], bool]:
    """Whether all tools of these *names* have told something."""

    def heard(event: Any) -> bool:
        if isinstance(event, ToolProgress):
            names.discard(event.call.name)
        return not names

    return heard


def leave(world: World, plan: Callable[[], Plan[Any]], heard: Callable[[Any], bool]) -> None:
    """Leave the stream of *plan* once what it told has been *heard*."""

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
        leave(world, lambda: streaming(tool(getattr(counting, name), timeout=timeout)), all_of({name}))
    assert counting.closed == [name]


@listening
def test_generators_side_by_side_are_closed_when_their_stream_is_left(world: World, counting: Counting) -> None:
    """Idle or in a step; a step that blocks cannot be broken off, and who performs it closes."""
    names = ("sync", "later", "busy", "later_busy")
    with script(*names):
        leave(world, lambda: streaming(*[getattr(counting, name) for name in names]), all_of(set(names)))
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
@pytest.mark.parametrize(("second", "told"), [(4.9995, "slow took longer than 5 s"), (4.998, "not so soon")])
def test_a_timer_that_rings_a_tick_early_is_no_time_out_of_its_own(world: World, second: float, told: str) -> None:
    """The clocks of timers and of the day differ a little; what a generator says long before its time is its own."""
    seconds = iter([0.0, 0.0, 0.0, second, second])

    def now(_: Any, __: Any) -> Plan[float]:
        yield from ()
        return next(seconds)

    def slow() -> Iterator[int]:
        raise TimeoutError("not so soon")
        yield 1

    with using(layers=[{Now: now}]):
        ran = world.run(lambda: answered(ToolCall("1", "slow"), toolbox([tool(slow, timeout=5.0)])))
    assert ran.error == f"TimeoutError: {told}"


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
        leave(world, lambda: streaming(made), all_of({kind}))
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
        leave(world, lambda: streaming(made), all_of({kind}))
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
        leave(world, lambda: streaming(stubborn, tool(idle, timeout=SOON)), all_of({"stubborn", "idle"}))
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
        leave(World(), lambda: streaming(here), all_of({"here"}))
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


# -- what an async generator holds over a `yield` --


class Holding:
    """Async generators that tell two words, and hold something meanwhile; *left* tells who has let go of it."""

    def __init__(self) -> None:
        self.left: list[str] = []

    async def streaming(self, prompt: str) -> AsyncIterator[Any]:
        """Hold the stream of a model."""
        async with aio.stream(MODEL, prompt) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    yield event.text[:3]
                    yield event.text[3:]
        self.left.append("streaming")

    async def failing(self, prompt: str) -> AsyncIterator[str]:
        """Hold a deadline that raises."""
        with anyio.fail_after(SOON):
            for word in ("one", "two"):
                await anyio.lowlevel.checkpoint()
                yield word
        self.left.append("failing")

    async def moving(self, prompt: str) -> AsyncIterator[str]:
        """Hold a deadline."""
        with anyio.move_on_after(SOON):
            for word in ("one", "two"):
                await anyio.lowlevel.checkpoint()
                yield word
        self.left.append("moving")

    async def grouping(self, prompt: str) -> AsyncIterator[str]:
        """Hold a task, which does something for each step."""
        send, receive = anyio.create_memory_object_stream[str]()
        async with send, receive, anyio.create_task_group() as group:
            group.start_soon(self._feed, send)
            yield await receive.receive()
            yield await receive.receive()
        self.left.append("grouping")

    async def using(self, prompt: str) -> AsyncIterator[str]:
        """Hold a scope."""
        async with using(limits=Limits(max_threads=3)):
            for word in ("one", "two"):
                await anyio.lowlevel.checkpoint()
                assert current().limits == Limits(max_threads=3)
                yield word
        self.left.append("using")

    async def _feed(self, send: Any) -> None:
        for word in ("one", "two"):
            await send.send(word)


holding = pytest.mark.parametrize("shape", ["streaming", "failing", "moving", "grouping", "using"])


def told_by(shape: str) -> Any:
    """What the model answers those who ask it."""
    return scripted(*["onetwo"] * (shape == "streaming"))


@everywhere
@holding
def test_an_agent_holds_what_it_has_entered_over_its_steps(world: World, shape: str) -> None:
    made = Holding()
    with told_by(shape):
        assert world.run(lambda: run.plan(getattr(made, shape), "Go!")) == "onetwo"
    assert made.left == [shape]


@everywhere
@holding
def test_a_tool_holds_what_it_has_entered_over_its_steps(world: World, shape: str) -> None:
    made = Holding()
    box = toolbox([tool(getattr(made, shape), timeout=SOON)])
    with told_by(shape):
        ran = world.run(lambda: answered(ToolCall("1", shape, {"prompt": "Go!"}), box))
    assert (ran.result, ran.error, made.left) == ("two", None, [shape])


@listening
@holding
def test_what_is_held_is_let_go_when_the_stream_is_left(
    world: World, shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of it, and without a word about it."""
    made, ended = Holding(), threading.Event()

    async def desk(prompt: str) -> AsyncIterator[str]:
        try:
            async with aclosing(getattr(made, shape)(prompt)) as words:
                async for word in words:
                    yield word
        finally:
            ended.set()

    def first(event: Any) -> bool:
        return isinstance(event, TextDelta)

    with told_by(shape), caplog.at_level(logging.ERROR):
        leave(world, lambda: stream.plan(desk, "Go!"), first)
        leave(world, lambda: stream.plan(made.failing, "Go!"), first)
    assert ended.is_set()
    assert made.left == []
    assert caplog.records == []


@everywhere
def test_a_step_that_overruns_lets_go_of_what_is_held(world: World) -> None:
    """If it has begun, in its time."""
    begun, left = threading.Event(), threading.Event()

    async def slow() -> AsyncIterator[str]:
        begun.set()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                yield "one"
                await anyio.sleep_forever()
        finally:
            left.set()

    while not begun.is_set():
        ran = world.run(lambda: answered(ToolCall("1", "slow"), toolbox([tool(slow, timeout=0.05)])))
        assert str(ran.error).startswith("TimeoutError: ")
    assert left.wait(SOON)


@everywhere
@pytest.mark.parametrize("library", [True, False])
def test_a_deadline_that_passes_between_steps_ends_the_next_one(world: World, library: bool) -> None:
    """Whoever waits for a step is not cancelled by what the generator holds."""

    async def late() -> AsyncIterator[str]:
        with anyio.fail_after(SOON) as scope:
            yield "one"
            scope.cancel()
            yield "two"
            await anyio.sleep_forever()

    async def native() -> AsyncIterator[str]:
        async with asyncio.timeout(SOON) as timeout:
            yield "one"
            timeout.reschedule(0.0)
            yield "two"
            await anyio.sleep_forever()

    if not library and world.backend == "trio":
        pytest.skip("the deadline is of the other library")
    made = late if library else native

    def plan() -> Plan[Any]:
        steps = AsyncSteps(made())
        first, second = (yield from Call(steps)), (yield from Call(steps))
        yield from Sleep(0.01)
        with pytest.raises(TimeoutError) if made is native else nullcontext():
            assert (yield from Call(steps)) == (True, None)
        return first, second, (yield from Call(steps))

    assert world.run(plan) == ((False, "one"), (False, "two"), (True, None))


@everywhere
@pytest.mark.parametrize("error", [ValueError("cannot"), StopIteration(), asyncio.CancelledError()])
def test_what_a_generator_raises_is_the_answer(world: World, error: BaseException) -> None:
    async def broken(_prompt: str) -> AsyncIterator[str]:
        with anyio.move_on_after(SOON):
            yield "one"
            await anyio.lowlevel.checkpoint()
            raise error

    with pytest.raises((ValueError, RuntimeError)):
        world.run(lambda: run.plan(broken, "Go!"))
    assert world.run(lambda: run.plan(Holding().failing, "Go!")) == "onetwo"


@everywhere
@pytest.mark.parametrize("stepped", [True, False])
def test_a_scope_that_is_left_open_is_the_fault_of_who_has_entered_it(world: World, stepped: bool) -> None:
    """Whoever waits is told, and the loop that others share goes on."""
    kept = []

    async def steps(_prompt: str) -> AsyncIterator[str]:
        kept.append(anyio.CancelScope())
        kept[0].__enter__()
        yield "one"

    async def once(_prompt: str) -> str:
        kept.append(anyio.CancelScope())
        kept[0].__enter__()
        return "one"

    with pytest.raises((RuntimeError, ExceptionGroup)) as told:
        world.run(lambda: run.plan(steps if stepped else once, "Go!"))
    error = told.value
    while isinstance(error, ExceptionGroup):  # of the task group around a run in the caller's loop
        error = error.exceptions[0]
    assert "cancel scope" in str(error).lower()
    assert world.run(lambda: run.plan(Holding().moving, "Go!")) == "onetwo"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_shared_loop_that_has_died_is_replaced() -> None:
    loop = _threads.shared_loop()
    assert loop is not None
    _threads.soon(loop.home, loop.home.stop)
    loop.runner.join(SOON)
    assert run(Holding().grouping, "Go!") == "onetwo"
    assert _threads.shared_loop() is not loop


@everywhere
@pytest.mark.parametrize("kind", ["sync", "later"])
def test_what_a_generator_asks_is_part_of_its_own_answer(world: World, kind: str, tmp_path: Path) -> None:
    """It is recorded with it, and asked no more when it is replayed."""

    def sync(prompt: str) -> Iterator[str]:
        yield complete(MODEL, prompt).text

    async def later(prompt: str) -> AsyncIterator[str]:
        yield (await aio.complete(MODEL, prompt)).text

    agent = sync if kind == "sync" else later
    if kind == "sync" and world.backend:
        pytest.skip("a blocking call has no place in an event loop")
    with recorded(tmp_path / "kept.jsonl"), scripted("Hello"):
        assert world.run(lambda: run.plan(agent, "Go!")) == "Hello"
    with replayed(tmp_path / "kept.jsonl"):
        assert world.run(lambda: run.plan(agent, "Go!")) == "Hello"


# -- who closes an async generator, and when --


class Ending:
    """An async generator that takes a while to end; *closed* says that it could."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.go = anyio.Event()

    async def idle(self) -> AsyncIterator[int]:
        """Tell numbers, never waiting."""
        try:
            for number in range(1_000):
                yield number
        finally:
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            self.closed.append("idle")

    async def waiting(self) -> AsyncIterator[int]:
        """Tell one number, and the next when it is time."""
        try:
            yield 1
            await self.go.wait()
            yield 2
        finally:
            self.closed.append("waiting")


@on_both
@pytest.mark.parametrize("ticks", range(8))
def test_a_step_that_is_cancelled_cuts_only_what_it_has_begun(backend: str, ticks: int) -> None:
    """A generator that is idle, before its step or after it, ends as if nobody had asked."""

    async def main() -> None:
        ending = Ending()
        steps = AsyncSteps(ending.idle())
        async with anyio.create_task_group() as group:
            steps.group = group
            assert await steps() == (False, 0)
            async with anyio.create_task_group() as asking:
                asking.start_soon(_ask_on, steps)
                for _ in range(ticks):
                    await anyio.lowlevel.checkpoint()
                asking.cancel_scope.cancel()
            await steps.aclose()
            assert ending.closed == ["idle"]

    anyio.run(main, backend=backend)


@on_both
def test_an_end_that_cannot_be_cut_is_not_waited_for(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_steps, "PATIENCE", 0.01)

    async def main() -> None:
        go = anyio.Event()

        async def shielded() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                with anyio.CancelScope(shield=True):
                    await go.wait()

        steps = AsyncSteps(shielded())
        async with anyio.create_task_group() as group:
            steps.group = group
            await steps()
            with anyio.fail_after(SOON):
                await steps.aclose()
            assert not steps.over
            go.set()
        assert steps.over

    anyio.run(main, backend=backend)


async def _ask_on(steps: AsyncSteps) -> None:
    while not (await steps())[0]:
        await anyio.lowlevel.checkpoint()


@on_both
def test_a_generator_is_closed_behind_the_step_that_is_under_way(backend: str) -> None:
    """Who closes it does not wait for that, and whoever has asked gets the answer; then there are no more."""

    async def main() -> None:
        ending, told = Ending(), []
        steps = AsyncSteps(ending.waiting())

        async def ask() -> None:
            told.append(await steps())

        async with anyio.create_task_group() as group:
            steps.group = group
            await steps()
            async with anyio.create_task_group() as asking:
                asking.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                await steps.aclose()
                assert (told, ending.closed) == ([], [])
                ending.go.set()
        assert (told, ending.closed) == ([(False, 2)], ["waiting"])
        assert await steps() == (True, None)

    anyio.run(main, backend=backend)


@on_both
@pytest.mark.parametrize("stepped", [0, 1])
def test_an_async_generator_is_closed_once(backend: str, stepped: int) -> None:
    """However many close it at the same time, all of them wait for its end."""

    async def main() -> None:
        ending = Ending()
        steps = AsyncSteps(ending.idle())

        async def close() -> None:
            await steps.aclose()
            assert steps.over

        async with anyio.create_task_group() as group:
            steps.group = group
            for _ in range(stepped):
                await steps()
            async with anyio.create_task_group() as closing:
                for _ in range(3):
                    closing.start_soon(close)
            await steps.aclose()
        assert ending.closed == ["idle"] * stepped

    anyio.run(main, backend=backend)


def test_what_a_generator_does_that_nobody_has_asked_is_cancelled_with_it() -> None:
    """A deadline of its own has woken it while it was idle."""
    closed: list[str] = []

    async def main() -> None:
        woken, deadlines = anyio.Event(), []

        async def late() -> AsyncIterator[int]:
            try:
                async with asyncio.timeout(SOON) as timeout:
                    deadlines.append(timeout)
                    yield 1
            except TimeoutError:
                woken.set()
                await anyio.sleep_forever()
            finally:
                closed.append("late")

        steps = AsyncSteps(late())
        async with anyio.create_task_group() as group:
            steps.group = group
            assert await steps() == (False, 1)
            deadlines[0].reschedule(0.0)
            await woken.wait()
            with anyio.fail_after(SOON):
                await steps.aclose()

    asyncio.run(main())
    assert closed == ["late"]


def test_a_loop_that_ends_is_not_held_up_by_a_generator_that_will_not() -> None:
    """Its stream has been forgotten; the loop cancels all tasks that are left, and waits for them."""
    closed, over = [], threading.Event()

    async def stubborn(_prompt: str) -> AsyncIterator[str]:
        try:
            while True:
                with suppress(asyncio.CancelledError):
                    yield "one"
        finally:
            closed.append("stubborn")

    async def main() -> None:
        events = await AsyncStream(stream.plan(stubborn, "Go!")).__aenter__()
        assert await anext(events) == TextDelta("one")
        kept.append(events)

    def runs() -> None:
        asyncio.run(main())
        over.set()

    kept: list[Any] = []
    threading.Thread(target=runs, daemon=True).start()
    assert over.wait(SOON)
    assert closed == ["stubborn"]


@listening
def test_a_group_that_takes_too_long_to_end_is_cut_without_a_word(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (_steps, _drive, _adrive):
        monkeypatch.setattr(module, "PATIENCE", 0.01)
    ended = threading.Event()

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)

    async def grouping(_prompt: str) -> AsyncIterator[str]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
                await anyio.lowlevel.checkpoint()
                yield "one"
        finally:
            ended.set()

    with caplog.at_level(logging.ERROR):
        leave(world, lambda: stream.plan(grouping, "Go!"), lambda event: isinstance(event, TextDelta))
        assert ended.wait(SOON)
    assert caplog.records == []


@everywhere
@pytest.mark.parametrize("library", [True, False])
def test_what_fails_beside_an_idle_generator_is_told_by_its_next_step(world: World, library: bool) -> None:
    if not library and world.backend == "trio":
        pytest.skip("the group is of the other library")

    async def fails() -> None:
        raise KeyError("beside")

    async def anyios() -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            yield "one"
            group.start_soon(fails)
            yield "two"
            await anyio.sleep_forever()

    async def asyncios() -> AsyncIterator[str]:
        async with asyncio.TaskGroup() as group:
            yield "one"
            group.create_task(fails())
            yield "two"
            await anyio.sleep_forever()

    def plan() -> Plan[Any]:
        steps = AsyncSteps(anyios() if library else asyncios())
        told = (yield from Call(steps)), (yield from Call(steps))
        yield from Sleep(0.01)
        with pytest.raises(ExceptionGroup) as caught:
            yield from Call(steps)
        assert isinstance(caught.value.exceptions[0], KeyError)
        return told, (yield from Call(steps))

    assert world.run(plan) == (((False, "one"), (False, "two")), (True, None))

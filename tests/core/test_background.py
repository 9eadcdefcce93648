"""What runs in the background: who owns it, who waits for it, and who is told when it fails."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio

from arshai_kit import _threads
from arshai_kit._drive import in_background
from arshai_kit._threads import Background
from arshai_kit.effects import Call, Emit, Halt, Plan, Request, Send, Sleep, Spawn, side_by_side
from arshai_kit.faces import AsyncStream, Stream, adrive, drive
from arshai_kit.records import BackgroundFailed, TextDelta, ToolCall
from arshai_kit.scope import background_tasks, current, drain, using
from tests.core.worlds import World, everywhere, listening, on_both
from tests.transport.server import SOON, Peer, eventually, reply, serving

CALL = ToolCall("1", "log")


def failed(error: Exception) -> BackgroundFailed:
    return BackgroundFailed(CALL, f"{type(error).__name__}: {error}")


def spawning(*effects: Any, name: str = "log") -> Plan[str]:
    """Spawn plans of one effect each, and go on."""
    for effect in effects:
        yield from Spawn(name, lambda effect=effect: iter(effect), failed)  # type: ignore[misc]
    return "went on"


@pytest.fixture(autouse=True)
def _a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test leaves in the background of the process is not the next one's."""
    monkeypatch.setattr(_threads._process, "background", Background())


@everywhere
def test_nobody_waits_for_what_is_spawned_but_the_end_of_its_block(world: World) -> None:
    go, done = threading.Event(), threading.Event()

    def logging_tool() -> None:
        go.wait(SOON)
        done.set()

    with using():
        assert world.run(lambda: spawning(Call(logging_tool))) == "went on"
        (task,) = background_tasks()
        assert (task.name, done.is_set()) == ("log", False)
        assert 0 <= task.seconds < SOON
        go.set()
    assert done.is_set()
    assert background_tasks() == ()


@everywhere
def test_without_a_block_it_belongs_to_the_process(world: World) -> None:
    go = threading.Event()
    world.run(lambda: spawning(Call(go.wait, SOON)))
    assert [task.name for task in background_tasks()] == ["log"]
    assert _threads.process_background().tasks() != ()
    go.set()
    assert drive(drain(SOON)) == ()


@everywhere
def test_drain_waits_no_longer_than_told_and_says_what_still_runs(world: World) -> None:
    go = threading.Event()

    def plan() -> Plan[Any]:
        yield from spawning(Call(go.wait, SOON), name="slow")
        left = yield from drain(0.01)
        yield from Call(go.set)
        return [task.name for task in left], (yield from drain()), (yield from drain(SOON))

    assert world.run(plan) == (["slow"], (), ())


@everywhere
def test_the_innermost_block_owns_it(world: World) -> None:
    go = threading.Event()
    with using() as outer, using(tags={"a": 1}):
        world.run(lambda: spawning(Call(go.wait, SOON)))
        assert len(background_tasks()) == 1
        assert outer._background.tasks() == ()
        go.set()


def test_once_its_block_has_ended_the_process_owns_it() -> None:
    go = threading.Event()
    with using():
        stream = Stream(spawning(Call(go.wait, SOON)))
    list(stream)
    assert len(_threads.process_background().tasks()) == 1
    go.set()
    assert drive(drain(SOON)) == ()


def test_what_is_spawned_just_as_its_block_ends_is_not_forgotten() -> None:
    """Another thread ends the block after its owner was looked up."""
    go, block = threading.Event(), Background()
    block.end()
    in_background(block, Spawn("late", lambda: iter(Call(go.wait, SOON))), copy_context(), lambda _: None)
    assert block.tasks() == ()
    assert [task.name for task in _threads.process_background().tasks()] == ["late"]
    go.set()
    assert drive(drain(SOON)) == ()


@on_both
def test_once_its_async_block_has_ended_the_process_owns_it(backend: str) -> None:
    go = threading.Event()

    async def main() -> None:
        async with using():
            scope = current()
        from arshai_kit.scope import enter

        enter(scope)
        await adrive(spawning(Call(go.wait, SOON)))

    anyio.run(main, backend=backend)
    assert len(_threads.process_background().tasks()) == 1
    go.set()
    assert drive(drain(SOON)) == ()


@listening
@pytest.mark.parametrize(
    "error", [KeyError("k"), SystemExit(3), Halt(KeyError("k"))], ids=lambda error: type(error).__name__
)
def test_a_failure_is_told_to_an_open_stream_and_logged_and_raised_nowhere(
    world: World, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise error

    def plan() -> Plan[None]:
        yield from spawning(Call(fails))
        yield from drain(SOON)
        yield from Sleep(0.05)

    with using():
        events = world.events(plan)
    told = "KeyError: 'k'" if not isinstance(error, SystemExit) else "RuntimeError: SystemExit(3)"
    assert events == [BackgroundFailed(CALL, told)]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("arshai_kit.background", logging.ERROR)
    assert record.exc_info
    assert "log failed" in record.getMessage()


@listening
def test_a_failure_is_told_while_the_stream_is_busy_with_other_things(world: World) -> None:
    def fails() -> None:
        raise KeyError("k")

    def plan() -> Plan[None]:
        yield from spawning(Call(fails))
        yield from drain(SOON)
        for _ in range(5):
            yield from Emit((TextDelta("x"),))
            yield from Call(len, "")
        yield from Sleep(0.05)

    with using():
        events = world.events(plan)
    assert BackgroundFailed(CALL, "KeyError: 'k'") in events
    assert events.count(TextDelta("x")) == 5


@listening
def test_a_failure_is_told_though_an_exchange_has_all_the_attention(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """While one is alone with the server, nobody looks at the queue; afterwards somebody does."""
    told = threading.Event()

    def failing(error: Exception) -> BackgroundFailed:
        told.set()
        return failed(error)

    def behave(peer: Peer) -> None:
        if peer.request():
            told.wait(SOON)
            block._background.wait(SOON)
            peer.send(reply(b"x"))

    with serving(behave) as server, using() as block:

        def plan() -> Plan[None]:
            yield from Spawn("log", lambda: iter(Call(int, "x")), failing)
            yield from Send(Request("GET", server.url))
            yield from Emit((TextDelta("after"),))
            yield from Call(len, "")

        events = world.events(plan)
    assert sorted(events, key=repr) == [failed(ValueError(str(caplog.records[0].exc_info[1]))), TextDelta("after")]  # type: ignore[index]


@listening
def test_a_failure_is_told_while_everybody_waits(world: World) -> None:
    waiting, told = threading.Event(), threading.Event()

    def fails() -> None:
        waiting.wait(SOON)
        raise KeyError("k")

    def waits() -> None:
        waiting.set()
        told.wait(SOON)

    def plan() -> Plan[None]:
        yield from spawning(Call(fails))
        yield from side_by_side([iter(Call(waits)), iter(Sleep(0))])

    async def main() -> None:
        async with AsyncStream(plan()) as events:
            async for event in events:
                assert event == failed(KeyError("k"))
                told.set()

    with using():
        if world.backend:
            anyio.run(main, backend=world.backend)
        else:
            for event in Stream(plan()):
                assert event == failed(KeyError("k"))
                told.set()
    assert told.is_set()


@listening
def test_news_that_nobody_has_heard_are_dropped_with_the_stream(world: World) -> None:
    told = threading.Event()

    def failing(error: Exception) -> BackgroundFailed:
        told.set()
        return failed(error)

    def plan() -> Plan[None]:
        yield from Spawn("log", lambda: iter(Call(int, "x")), failing)
        yield from Emit((TextDelta("first"),))
        yield from Call(len, "")

    async def main() -> None:
        async with AsyncStream(plan()) as events:
            await anext(events)
            await anyio.to_thread.run_sync(told.wait, SOON)
            await anyio.sleep(0.05)

    with using():
        if world.backend:
            anyio.run(main, backend=world.backend)
        else:
            with Stream(plan()) as stream:
                next(stream)
                assert told.wait(SOON)
                threading.Event().wait(0.05)


@everywhere
def test_a_failure_after_the_end_is_only_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()

    def fails() -> None:
        go.wait(SOON)
        raise KeyError("k")

    with using():
        world.run(lambda: spawning(Call(fails)))
        go.set()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_failure_of_a_spawn_that_tells_no_event_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with using():
        assert list(Stream(iter(Spawn("log", lambda: iter(Call(int, "x")))))) == []
    assert len(caplog.records) == 1


@everywhere
def test_a_failure_that_cannot_be_told_is_logged_all_the_same(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def untold(_: Exception) -> BackgroundFailed:
        raise KeyError("no words")

    def plan() -> Plan[None]:
        yield from Spawn("log", lambda: iter(Call(int, "x")), untold)

    with using():
        world.run(plan)
    assert [record.getMessage() for record in caplog.records] == [
        "log: its failure could not be told",
        "log failed in the background",
    ]


@everywhere
def test_a_plan_that_cannot_be_made_fails_in_the_background(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with using():
        assert world.run(lambda: iter(Spawn("log", lambda: 1 / 0))) is None  # type: ignore[arg-type, return-value]
    assert len(caplog.records) == 1


@everywhere
def test_what_overruns_the_drain_of_its_block_is_logged_by_name_and_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    go = threading.Event()
    with using(drain=0.01) as block:
        world.run(lambda: spawning(Call(go.wait, SOON), Call(go.wait, SOON)))
    assert block._background.left_behind == 2
    assert [record.getMessage() for record in caplog.records] == ["left behind in the background: log, log"]
    go.set()


@everywhere
def test_what_is_spawned_sees_what_its_plan_sees(world: World) -> None:
    seen: list[Any] = []

    async def noting() -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(dict(current().tags))

    with using(tags={"user": "u"}):
        world.run(lambda: spawning(Call(noting), Call(lambda: seen.append(dict(current().tags)))))
        drive(drain(SOON))
    assert seen == [{"user": "u"}] * 2


@everywhere
def test_the_background_may_spawn_too_and_do_things_side_by_side(world: World) -> None:
    done: list[str] = []

    def second() -> Plan[None]:
        yield from side_by_side([iter(Call(done.append, "c")), iter(Call(done.append, "d"))])

    def first() -> Plan[None]:
        yield from Call(done.append, "a")
        yield from Spawn("second", second)
        yield from Call(done.append, "b")

    with using():
        world.run(lambda: iter(Spawn("first", first)))
    assert sorted(done) == ["a", "b", "c", "d"]


@everywhere
def test_spawning_in_company_is_like_spawning_alone(world: World) -> None:
    done: list[int] = []
    with using():
        plans = [spawning(Call(done.append, number)) for number in range(3)]
        outcomes = world.run(lambda: side_by_side(plans))
    assert [outcome.unwrap() for outcome in outcomes] == ["went on"] * 3
    assert sorted(done) == [0, 1, 2]


def test_sync_code_runs_async_functions_in_the_background_on_the_shared_loop() -> None:
    seen: list[Any] = []

    async def noting() -> None:
        seen.append(threading.get_ident())

    with using():
        drive(spawning(Call(noting)))
    loop = _threads.shared_loop()
    assert loop is not None
    assert seen == [loop.thread]


@on_both
def test_async_code_in_a_plain_block_runs_the_background_elsewhere(backend: str) -> None:
    seen: list[Any] = []

    async def noting() -> None:
        seen.append(threading.get_ident())

    async def main() -> None:
        with using():
            await adrive(spawning(Call(noting)))

    anyio.run(main, backend=backend)
    loop = _threads.shared_loop()
    assert loop is not None
    assert seen == [loop.thread]


@on_both
def test_an_async_block_runs_the_background_on_its_own_loop(backend: str) -> None:
    seen: list[Any] = []

    async def main() -> None:
        bell = anyio.Event()

        async def bound() -> None:
            bell.set()  # works in the loop that made it only
            await anyio.sleep(0.01)
            seen.append((sniffio.current_async_library(), threading.get_ident()))

        async with using():
            await adrive(spawning(Call(bound)))
            assert len(background_tasks()) == 1
            await bell.wait()
        assert background_tasks() == ()

    anyio.run(main, backend=backend)
    assert seen == [(backend, threading.get_ident())]


@on_both
def test_an_async_block_waits_for_a_sync_run_below_it_too(backend: str) -> None:
    go, done = threading.Event(), threading.Event()

    def tool() -> None:
        go.wait(SOON)
        done.set()

    async def main() -> None:
        async with using():
            await anyio.to_thread.run_sync(lambda: drive(spawning(Call(tool))))
            assert len(background_tasks()) == 1
            go.set()
        assert done.is_set()

    anyio.run(main, backend=backend)


@on_both
def test_what_overruns_an_async_block_is_cancelled_and_named(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    cancelled: list[bool] = []

    async def hangs() -> None:
        try:
            await anyio.sleep(60)
        finally:
            cancelled.append(True)

    async def main() -> float:
        started = monotonic()
        async with using(drain=0.02):
            await adrive(spawning(Call(hangs)))
            await anyio.sleep(0.01)
        return monotonic() - started

    assert anyio.run(main, backend=backend) < SOON
    assert cancelled == [True]
    assert "left behind in the background: log" in caplog.text


@on_both
def test_an_async_block_ends_as_soon_as_the_last_has_ended(backend: str) -> None:
    """Nobody looks every few milliseconds: whoever ends last says so, from a thread too."""

    async def main() -> None:
        go = threading.Event()
        async with using(drain=SOON):
            await adrive(spawning(Call(anyio.sleep, 0.01), Call(go.wait, SOON)))
            go.set()

    started = monotonic()
    anyio.run(main, backend=backend)
    assert monotonic() - started < SOON / 2


@on_both
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_an_exit_in_the_background_of_a_loop_is_told_and_breaks_nothing(
    backend: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def exits() -> None:
        raise error

    async def main() -> list[Any]:
        async with using(), AsyncStream(and_drain(spawning(Call(exits)))) as events:
            return [event async for event in events]

    assert anyio.run(main, backend=backend) == [BackgroundFailed(CALL, f"RuntimeError: {error!r}")]
    assert len(caplog.records) == 1


def and_drain(plan: Plan[Any]) -> Plan[None]:
    yield from plan
    yield from drain(SOON)


@on_both
@pytest.mark.parametrize("leaving", ["error", "cancelled", "in the drain"])
def test_leaving_an_async_block_early_cancels_its_background(backend: str, leaving: str) -> None:
    cancelled: list[bool] = []

    async def main() -> str:
        go = anyio.Event()

        async def hangs() -> None:
            try:
                await go.wait()
                if leaving != "error":
                    scope.cancel()
                await anyio.sleep(600)
            finally:
                cancelled.append(True)

        with anyio.CancelScope() as scope:
            try:
                async with using(drain=0.02 if leaving == "error" else 600):
                    await adrive(spawning(Call(hangs)))
                    go.set()
                    if leaving == "error":
                        raise KeyError("mine")
                    if leaving == "cancelled":
                        await anyio.sleep(600)
            except KeyError as error:
                return str(error)
        return "cancelled" if scope.cancelled_caught else "not"

    assert anyio.run(main, backend=backend) == ("'mine'" if leaving == "error" else "cancelled")
    assert cancelled == [True]


def test_the_background_outlives_a_loop_that_ends() -> None:
    go, done = threading.Event(), threading.Event()

    def tool() -> None:
        go.wait(SOON)
        done.set()
        raise KeyError("nobody is left to be told")

    asyncio.run(adrive_in_task(spawning(Call(tool))))
    go.set()
    assert done.wait(SOON)
    eventually(lambda: background_tasks() == ())


async def adrive_in_task(plan: Plan[Any]) -> Any:
    return await asyncio.create_task(adrive_coroutine(plan))


async def adrive_coroutine(plan: Plan[Any]) -> Any:
    return await adrive(plan)


@everywhere
def test_no_thread_to_be_had_is_an_error_of_who_spawns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_threads._process, "workers", _threads.Workers())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with using(), pytest.raises(RuntimeError, match="can't start"):
        world.run(lambda: spawning(Call(len, "")))
    with using(), pytest.raises(RuntimeError, match="can't start"):
        world.run(lambda: unwrapped(side_by_side([spawning(Call(len, "")), spawning(Call(len, ""))])))


def unwrapped(plan: Plan[Any]) -> Plan[Any]:
    outcomes = yield from plan
    return [outcome.unwrap() for outcome in outcomes]


def told_to(background: Background, tell: Callable[[], object]) -> None:
    background.when_done(tell)


def test_whoever_waits_is_told_once_and_at_once_if_nothing_runs() -> None:
    background, told = Background(), []
    told_to(background, lambda: told.append("at once"))
    number = background.add("x")
    told_to(background, lambda: told.append("later"))
    assert told == ["at once"]
    background.remove(number)
    background.remove(number)
    assert told == ["at once", "later"]

"""Foreign functions, sync and async, from every world: how they are called, bounded, timed, and how they fail."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio
import trio

from arshai_kit import _flight
from arshai_kit._adrive import adrive
from arshai_kit._flight import is_async, left_behind
from arshai_kit._threads import shared_loop
from arshai_kit.effects import Call, Effect, Emit, Halt, Instant, Now, Plan, Random, Sleep, Start, call, side_by_side
from arshai_kit.errors import Misuse
from arshai_kit.faces import Stream, drive
from arshai_kit.records import TextDelta
from arshai_kit.scope import Limits, using
from tests.core.worlds import World, everywhere, heard, on_both
from tests.transport.server import SOON, eventually


@pytest.fixture(autouse=True)
def _nothing_is_left() -> None:
    """No worker is still busy for nobody, who would be counted here."""
    eventually(lambda: left_behind() == 0)


async def awaited(value: int = 1) -> int:
    await anyio.lowlevel.checkpoint()
    return value


class AsyncObject:
    """Its calls and one of its methods are async."""

    async def __call__(self, value: int) -> int:
        return value

    async def method(self, value: int) -> int:
        return value

    def plain(self, value: int) -> int:
        return value


class Object:
    """A callable."""

    def __call__(self, value: int) -> int:
        return value


class Awaitable:
    """Can be awaited, and is no coroutine."""

    def __await__(self) -> Iterator[Any]:
        return awaited(7).__await__()


def both(*effects: Any) -> Callable[[], Plan[Any]]:
    """The effects side by side, so that none is alone."""

    def plan() -> Plan[Any]:
        outcomes = yield from side_by_side([iter(effect()) for effect in effects])
        return [outcome.unwrap() for outcome in outcomes]

    return plan


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (awaited, True),
        (partial(partial(awaited), 1), True),
        (AsyncObject(), True),
        (partial(AsyncObject()), True),
        (AsyncObject().method, True),
        (AsyncObject().plain, False),
        (Object(), False),
        (len, False),
        (lambda: awaited(), False),
        (int, False),
    ],
)
def test_async_functions_are_known_by_what_they_are(function: Any, expected: bool) -> None:
    assert is_async(function) is expected


@everywhere
def test_whatever_is_to_be_awaited_is_awaited(world: World) -> None:
    made = (
        lambda: Call(awaited, 7),
        lambda: Call(partial(awaited, value=7)),
        lambda: Call(AsyncObject(), 7),
        lambda: Call(AsyncObject().method, 7),
        lambda: Call(Object(), 7),
        lambda: Call(lambda: awaited(7)),
        lambda: Call(lambda: awaited(7)).within(SOON),
        lambda: Call(Awaitable),
    )

    def alone() -> Plan[Any]:
        answers = []
        for make in made:
            answers.append((yield from make()))
        return answers

    assert world.run(alone) == [7] * len(made)
    assert world.run(both(*made)) == [7] * len(made)


@everywhere
def test_a_generator_that_a_function_returns_is_data(world: World) -> None:
    def generator() -> Iterator[Effect[Any]]:
        yield Now()

    async def async_generator() -> AsyncIterator[int]:
        yield 3

    def plan() -> Plan[Any]:
        first, second = (yield from Call(generator)), (yield from Call(async_generator))
        value = yield from Call(anext, second)
        over = yield from Call(anext, second, "over")
        return list(first), value, over

    assert world.run(plan) == ([Now()], 3, "over")


@everywhere
def test_calling_what_carries_a_plan_runs_the_plan(world: World) -> None:
    def inner() -> Plan[str]:
        yield from Now()
        return "run"

    def function() -> None: ...

    function.plan = inner  # type: ignore[attr-defined]  # as every public function does
    assert world.run(lambda: call(function)) == "run"
    assert world.run(lambda: call(len, "abc")) == 3


# Errors


class Unusual(BaseException):
    """No ordinary error."""


async def raises_awaited(error: BaseException) -> None:
    await anyio.lowlevel.checkpoint()
    raise error


def raises(error: BaseException) -> None:
    raise error


def returns_what_raises(error: BaseException) -> Any:
    return raises_awaited(error)


FAILING = [raises, raises_awaited, returns_what_raises]


@everywhere
@pytest.mark.parametrize("function", FAILING)
@pytest.mark.parametrize("company", [False, True])
def test_an_error_is_the_plans_to_answer(world: World, function: Any, company: bool) -> None:
    def failing() -> Plan[str]:
        try:
            yield from Call(function, KeyError("k"))
        except KeyError as error:
            return f"caught {error}"
        return "nothing"

    def plan() -> Plan[Any]:
        if not company:
            return (yield from failing())
        outcomes = yield from side_by_side([failing(), iter(Sleep(0.01))])
        return outcomes[0].unwrap()

    assert world.run(plan) == "caught 'k'"


@everywhere
@pytest.mark.parametrize("function", FAILING)
@pytest.mark.parametrize("company", [False, True])
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), Unusual()], ids=lambda error: type(error).__name__
)
def test_an_exit_comes_out_bare_and_enters_no_plan(
    world: World, function: Any, company: bool, error: BaseException
) -> None:
    seen: list[Any] = []

    def calling() -> Plan[None]:
        try:
            yield from Call(function, error)
        except BaseException as raised:
            seen.append(type(raised))
            raise

    def plan() -> Plan[None]:
        try:
            yield from side_by_side([calling(), iter(Sleep(60))] if company else [calling()])
        except BaseException as raised:
            seen.append(type(raised))
            raise

    with pytest.raises(type(error)) as raised:
        world.run(plan)
    assert raised.value is error
    assert seen == [GeneratorExit, GeneratorExit]


@everywhere
def test_a_plan_that_exits_ends_the_run_though_others_have_been_answered(world: World) -> None:
    def exits() -> Plan[None]:
        yield from Now()
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        world.run(lambda: side_by_side([exits(), iter(Now()), iter(Now())]))


@everywhere
@pytest.mark.parametrize("company", [False, True])
def test_a_tool_may_halt_the_run(world: World, company: bool) -> None:
    cause = OSError()

    def halting() -> None:
        error = KeyError("halted")
        error.__cause__ = cause
        raise Halt(error)

    def plan() -> Plan[None]:
        try:
            yield from side_by_side([iter(Call(halting)), *([iter(Sleep(60))] if company else [])])
        except Exception:
            pytest.fail("no plan sees it")

    with pytest.raises(KeyError, match="halted") as raised:
        world.run(plan)
    assert raised.value.__cause__ is cause


def cancelled_in_trio() -> BaseException:
    """What trio raises where it cancels; nobody else may make one."""

    async def main() -> BaseException:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                caught = error
        return caught

    return trio.run(main)


@everywhere
@pytest.mark.parametrize("make", [asyncio.CancelledError, cancelled_in_trio, GeneratorExit])
def test_a_function_that_cancels_itself_has_failed(world: World, make: Callable[[], BaseException]) -> None:
    """Its caller has not been cancelled, whoever performs it: the caller's thread or task, a worker, another loop."""
    error = make()

    def cancels() -> None:
        raise error

    async def later() -> None:
        raise error

    def told(function: Callable[[], Any]) -> Plan[Any]:
        try:
            yield from Call(function)
        except RuntimeError as error:
            return str(error), error.__cause__ is None

    def plan() -> Plan[Any]:
        alone = yield from told(cancels)
        beside = yield from side_by_side([told(cancels), told(cancels)])
        return alone, *[outcome.unwrap() for outcome in beside]

    assert world.run(plan) == (("Call(cancels) cancelled itself", False),) * 3
    if not isinstance(error, trio.Cancelled if world.backend != "trio" else ()):
        assert world.run(lambda: told(later))[0] == "Call(later) cancelled itself"


@everywhere
def test_an_error_that_a_plan_has_answered_is_not_told_with_a_later_one(world: World) -> None:
    def plan() -> Plan[None]:
        with suppress(KeyError):
            yield from Call(raises, KeyError("answered"))
        raise ValueError("later")

    with pytest.raises(ValueError, match="later") as raised:
        world.run(plan)
    assert raised.value.__context__ is None


@everywhere
def test_stop_iteration_of_a_function_is_no_end_of_the_plan(world: World) -> None:
    def plan() -> Plan[Any]:
        try:
            yield Call(next, iter(()))
        except (StopIteration, RuntimeError) as error:
            return type(error)

    assert world.run(plan) is StopIteration


class Unknown(Effect[None]):
    """An effect that nobody performs."""


@everywhere
def test_what_cannot_be_performed_is_told_to_the_plan(world: World) -> None:
    def caught(effect: Effect[Any]) -> Plan[Any]:
        try:
            yield from effect
        except Exception as error:
            return error

    def plan() -> Plan[Any]:
        alone = [(yield from caught(Unknown())), (yield from caught(Sleep("x")))]  # type: ignore[arg-type]
        beside = yield from side_by_side([caught(Unknown()), caught(Sleep("x"))])  # type: ignore[arg-type]
        return [type(error) for error in (*alone, *[outcome.unwrap() for outcome in beside])]

    assert world.run(plan) == [Misuse, TypeError, Misuse, TypeError]


@everywhere
def test_waiting_for_what_nobody_answers_is_misuse(world: World) -> None:
    from arshai_kit.effects import Handle, Join

    with pytest.raises(Misuse, match="nobody will answer"):
        world.run(lambda: iter(Join((Handle("/never started"),))))


# Time


@everywhere
def test_a_sync_function_that_overruns_is_left_behind_and_counted(world: World) -> None:
    go, before = threading.Event(), left_behind()

    def plan() -> Plan[Any]:
        try:
            yield from Call(go.wait, SOON).within(0.02)
        except TimeoutError as error:
            counted = left_behind() - before
            return str(error), counted, (yield from Call(awaited, 5))

    assert world.run(plan) == ("wait took longer than 0.02 s", 1, 5)
    assert left_behind() == before + 1
    go.set()
    eventually(lambda: left_behind() == before)


@everywhere
def test_an_async_function_that_overruns_is_cancelled(world: World) -> None:
    """Whoever has no time before it begins does not begin: hence once more, until one has."""
    begun, cancelled = threading.Event(), threading.Event()

    async def hangs() -> None:
        begun.set()
        try:
            await anyio.sleep(600)
        finally:
            cancelled.set()

    def plan() -> Plan[Any]:
        for turn in count():
            with pytest.raises(TimeoutError, match=r"hangs took longer than 0\.01 s"):
                yield from Call(hangs).within(0.01)
            if turn and begun.is_set():
                break
        with pytest.raises(TimeoutError):
            yield from Call(lambda: hangs()).within(0.01)

    before = left_behind()
    world.run(plan)
    assert cancelled.wait(SOON)
    eventually(lambda: left_behind() <= before)


@everywhere
def test_a_late_answer_is_nobodys_answer(world: World) -> None:
    """Not even of the task that asked, which meanwhile waits for something else."""
    late, done = threading.Event(), threading.Event()

    def overrunning() -> str:
        late.wait(SOON)
        done.set()
        return "late"

    async def in_time() -> str:
        late.set()
        await anyio.to_thread.run_sync(done.wait, SOON)
        await anyio.sleep(0.01)
        return "in time"

    def plan() -> Plan[Any]:
        with pytest.raises(TimeoutError):
            yield from Call(overrunning).within(0.01)
        return (yield from Call(in_time))

    assert world.run(plan) == "in time"


@everywhere
def test_what_a_late_function_returns_to_be_awaited_is_not_left_open(world: World) -> None:
    late, returned = threading.Event(), threading.Event()

    def overrunning() -> Any:
        late.wait(SOON)
        try:
            return awaited()
        finally:
            returned.set()

    def plan() -> Plan[Any]:
        with pytest.raises(TimeoutError):
            yield from Call(overrunning).within(0.01)
        late.set()
        yield from Call(returned.wait, SOON)
        yield from Sleep(0.02)

    world.run(plan)  # a coroutine that was never awaited would warn, and fail this test
    returned.clear()

    def ends_first() -> Plan[Any]:
        yield from Start(iter(Call(overrunning)))
        yield from Sleep(0.01)

    late.clear()
    world.run(ends_first)
    late.set()
    assert returned.wait(SOON)
    eventually(lambda: left_behind() == 0)


@everywhere
def test_what_came_to_be_awaited_when_its_time_was_up_is_not_left_behind(world: World) -> None:
    """The worker has long done its part, and the consumer was busy meanwhile."""
    returned = threading.Event()

    def function() -> Any:
        returned.set()
        return anyio.sleep_forever()

    def overruns() -> Plan[Any]:
        with pytest.raises(TimeoutError):
            yield from Call(function).within(0.02)

    def busy() -> Plan[Any]:
        yield from Sleep(0)
        assert returned.wait(SOON)
        threading.Event().wait(0.05)

    before = left_behind()
    world.run(lambda: side_by_side([overruns(), busy()]))
    assert left_behind() == before


@everywhere
def test_timers_ring_in_their_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a thousandth of a second whenever it is read, however long anything takes."""
    ticks = count(1)
    clock = SimpleNamespace(time=time.time, monotonic=lambda: next(ticks) / 1000)
    monkeypatch.setattr(_flight, "time", clock)
    order: list[float] = []

    def sleeping(seconds: float) -> Plan[None]:
        yield from Sleep(seconds)
        order.append(seconds)

    world.run(lambda: side_by_side([sleeping(each) for each in (0.06, 0.02, 0.04, 0.0, -1.0)]))
    assert order == [0.0, -1.0, 0.02, 0.04, 0.06]


@everywhere
def test_a_timer_rings_though_answers_never_cease(world: World) -> None:
    def busy() -> Plan[None]:
        while True:
            yield from Call(awaited)

    def plan() -> Plan[str]:
        yield from Start(busy())
        yield from Start(busy())
        yield from Sleep(0.02)
        return "rang"

    assert world.run(plan) == "rang"


@everywhere
def test_an_answer_comes_though_timers_never_cease(world: World) -> None:
    def busy() -> Plan[None]:
        while True:
            yield from Sleep(0)

    def plan() -> Plan[int]:
        yield from Start(busy())
        return (yield from Call(awaited, 5).within(SOON))

    assert world.run(plan) == 5


@everywhere
@pytest.mark.parametrize("seconds", [1e300, float("inf"), float("nan")])
def test_a_time_beyond_all_bounds_is_no_trouble(world: World, seconds: float) -> None:
    def plan() -> Plan[str]:
        yield from Start(iter(Sleep(seconds)))
        yield from Call(awaited).within(seconds if seconds > 1 else None)
        return "done"

    assert world.run(plan) == "done"


@everywhere
def test_the_clock_tells_the_time_of_day_and_never_goes_back(world: World) -> None:
    def plan() -> Plan[Any]:
        first = yield from Now()
        yield from Sleep(0.01)
        return first, (yield from Now()), (yield from Random()), (yield from Random())

    first, second, one, other = world.run(plan)
    assert abs(first - time.time()) < SOON
    assert second - first >= 0.009
    assert 0 <= one < 1
    assert one != other


# How many at a time, and where


@everywhere
def test_so_many_functions_of_a_run_are_called_at_a_time(world: World) -> None:
    lock, running, most, meeting = threading.Lock(), [0], [0], threading.Barrier(2)

    def busy(_: int) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        meeting.wait(SOON)  # none is alone
        with lock:
            running[0] -= 1

    with using(limits=Limits(max_threads=3)):
        outcomes = world.run(lambda: side_by_side([iter(Call(busy, number)) for number in range(16)]))
    assert [outcome.error for outcome in outcomes] == [None] * 16
    assert 1 < most[0] <= 3


@everywhere
def test_async_functions_need_no_thread(world: World) -> None:
    """All of them are under way at once, however few threads there may be."""
    begun: list[int] = []

    async def waiting(number: int) -> int:
        begun.append(number)
        while len(begun) < 16:  # noqa: ASYNC110  # an event belongs to one loop
            await anyio.sleep(0.001)
        return number

    with using(limits=Limits(max_threads=1)):
        outcomes = world.run(lambda: side_by_side([iter(Call(waiting, number)) for number in range(16)]))
    assert [outcome.unwrap() for outcome in outcomes] == [*range(16)]


@everywhere
def test_functions_left_behind_do_not_count_and_cancelled_ones_pass_on_their_turn(world: World) -> None:
    go = threading.Event()

    def overrunning() -> Plan[str]:
        try:
            yield from Call(go.wait, SOON).within(0.02)
        except TimeoutError:
            return "overran"
        return "in time"

    def cancelled() -> Plan[None]:
        yield from Start(iter(Call(int)), "never gets its turn")
        yield from Start(iter(Call(int)), "nor does this")
        yield from Sleep(0.001)

    def plan() -> Plan[Any]:
        plans = [overrunning(), cancelled(), iter(Call(int, 5)), iter(Call(int, 6))]
        return [outcome.unwrap() for outcome in (yield from side_by_side(plans))]

    try:
        with using(limits=Limits(max_threads=1)):
            assert world.run(plan) == ["overran", None, 5, 6]
    finally:
        go.set()


@pytest.mark.parametrize("tools", ["sync", "async"])
def test_runs_in_tools_of_runs_never_wait_for_each_other_for_ever(tools: str) -> None:
    def leaf(number: int) -> int:
        time.sleep(0.001)
        return number

    async def aleaf(number: int) -> int:
        await anyio.sleep(0.001)
        return number

    def inner() -> Plan[Any]:
        outcomes = yield from side_by_side([iter(Call(leaf if tools == "sync" else aleaf, each)) for each in range(4)])
        return sum(outcome.unwrap() for outcome in outcomes)

    def outer() -> Plan[Any]:
        outcomes = yield from side_by_side([iter(Call(lambda: drive(inner()))) for _ in range(40)])
        return [outcome.unwrap() for outcome in outcomes]

    assert drive(outer()) == [6] * 40
    assert anyio.run(lambda: adrive(outer())) == [6] * 40


def test_async_functions_in_sync_code_share_one_loop() -> None:
    async def where() -> Any:
        return asyncio.get_running_loop(), threading.get_ident()

    def plan() -> Plan[Any]:
        outcomes = yield from side_by_side([iter(Call(where)) for _ in range(4)])
        return {outcome.unwrap() for outcome in outcomes}

    with Stream(iter(Emit((TextDelta(""),)))):
        pass
    first, second = drive(plan()), drive(plan())
    loop = shared_loop()
    assert loop is not None
    assert first == second == {(loop.home, loop.thread)}


@on_both
def test_async_functions_in_async_code_run_in_its_loop(backend: str) -> None:
    async def where() -> Any:
        return sniffio.current_async_library(), threading.get_ident()

    assert anyio.run(lambda: adrive(both(lambda: Call(where))()), backend=backend) == [(backend, threading.get_ident())]


@on_both
def test_sync_functions_in_async_code_do_not_hold_up_the_loop(backend: str) -> None:
    go = threading.Event()

    async def main() -> Any:
        async with anyio.create_task_group() as group:
            result: list[Any] = []

            async def waiting() -> None:
                result.append(await adrive(iter(Call(go.wait, SOON))))

            group.start_soon(waiting)
            await anyio.sleep(0.01)
            go.set()
        return result

    assert anyio.run(main, backend=backend) == [True]


@on_both
def test_a_sync_function_in_async_code_may_run_a_loop_of_its_own(backend: str) -> None:
    """What it runs in knows nothing of the loop that it was called from."""

    async def main() -> Any:
        return [await awaited(3), sniffio.current_async_library()]

    def own() -> Any:
        return anyio.run(main, backend="trio"), anyio.run(main), asyncio.run(main()), trio.run(main)

    def nested() -> Any:
        return drive(iter(Call(main)))

    found = anyio.run(lambda: adrive(both(lambda: Call(own), lambda: Call(nested))()), backend=backend)
    assert found == [([3, "trio"], [3, "asyncio"], [3, "asyncio"], [3, "trio"]), [3, "asyncio"]]


@pytest.mark.parametrize("function", [awaited, lambda: awaited()])
def test_a_blocking_run_in_the_shared_loop_says_why_it_cannot_wait_for_it(function: Any) -> None:
    async def blocks() -> Any:
        return drive(iter(Call(function)))

    with pytest.raises(Misuse, match="aio"):
        drive(iter(Call(blocks)))


def test_a_function_that_blocks_the_shared_loop_holds_up_nobody_but_those_who_need_it() -> None:
    go = threading.Event()

    async def blocks() -> None:
        go.wait(SOON)

    def plan() -> Plan[str]:
        yield from Start(iter(Call(blocks)))
        yield from Sleep(0.01)
        with pytest.raises(TimeoutError):
            yield from Call(awaited).within(0.01)
        return "not held up"

    try:
        assert drive(plan()) == "not held up"
    finally:
        go.set()


@everywhere
def test_no_thread_to_be_had_is_an_error_of_the_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def plan() -> Plan[Any]:
        outcomes = yield from side_by_side([iter(Call(len, "abc")), iter(Call(len, "ab"))])
        return [str(outcome.error) for outcome in outcomes]

    from arshai_kit import _threads

    monkeypatch.setattr(_threads._process, "workers", _threads.Workers())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert world.run(plan) == ["can't start new thread"] * 2


def test_the_last_of_many_is_called_right_here_once_it_is_alone() -> None:
    threads: list[int] = []

    def late() -> Plan[None]:
        yield from Call(lambda: threads.append(threading.get_ident()))

    def early() -> Plan[None]:
        return
        yield

    drive(side_by_side([late(), early()]))
    assert threads == [threading.get_ident()]


@on_both
def test_events_come_though_other_plans_are_still_at_work(backend: str) -> None:
    go = threading.Event()

    def speaking() -> Plan[None]:
        yield from Call(awaited)
        yield from Emit((TextDelta("already"),))
        yield from Call(go.set)

    def plan() -> Plan[None]:
        yield from side_by_side([speaking(), iter(Call(go.wait, SOON))])

    assert TextDelta("already") in list(Stream(plan()))
    go.clear()
    assert TextDelta("already") in anyio.run(lambda: heard(plan()), backend=backend)


# -- in place --


@everywhere
def test_a_state_in_memory_is_asked_in_place(world: World) -> None:
    """Also while others are under way, and what it raises is the plan's to answer."""
    asked: list[threading.Thread] = []

    def ask(value: int) -> int:
        asked.append(threading.current_thread())
        return 10 // value

    def one(value: int) -> Plan[int]:
        try:
            return (yield from Instant(ask, value))
        except ZeroDivisionError:
            return -1

    def plan() -> Plan[list[int]]:
        alone = yield from one(5)
        return [alone, *[each.unwrap() for each in (yield from side_by_side([one(2), one(0), one(1)]))]]

    assert world.run(plan) == [2, 5, -1, 10]
    assert len(set(asked)) == 1
    assert asked[0] is threading.main_thread()


@on_both
def test_who_is_cancelled_is_not_entered_later(backend: str) -> None:
    """Whenever it is cancelled: a state is entered before the plan ends, or never."""
    inside: set[int] = set()

    def plan(key: int) -> Plan[None]:
        try:
            yield from Instant(inside.add, key)
            yield from Sleep(60.0)
        finally:
            inside.discard(key)

    async def main() -> None:
        for turns in range(8):
            async with anyio.create_task_group() as group:
                for key in range(4):
                    group.start_soon(adrive, plan(key))
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            assert not inside

    anyio.run(main, backend=backend)


def test_what_is_asked_in_place_says_so() -> None:
    assert repr(Instant(len, "abc")) == "Instant(len)"

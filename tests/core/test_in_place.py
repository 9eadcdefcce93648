"""What a run awaits or calls by itself, when it is alone, is answered as what it gives to a task or a worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from inspect import CORO_CLOSED, getcoroutinestate
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.effects import Call, Emit, Here, Plan, Spawn, Step, call, side_by_side
from arshai_kit.faces import AsyncStream, adrive
from arshai_kit.records import Notice, TextDelta
from arshai_kit.scope import using
from tests.core.worlds import WORLDS, World, everywhere, on_both, watched

SOON = 30.0
spoken: ContextVar[str] = ContextVar("spoken", default="nothing")


# Async functions, as strange as they come


async def at_once() -> str:
    return "at once"


async def later() -> str:
    await anyio.lowlevel.checkpoint()
    return "later"


async def wrong() -> str:
    await anyio.lowlevel.checkpoint()
    raise KeyError("wrong")


async def a_group() -> str:
    told: list[int] = []

    async def tell(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        told.append(number)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(tell, number)
    return f"{len(told)} told"


async def a_failing_group() -> str:
    async with anyio.create_task_group() as group:
        group.start_soon(wrong)
        await anyio.sleep_forever()
    return "never"


async def too_late() -> str:
    with anyio.move_on_after(0):
        await anyio.sleep_forever()
    await anyio.lowlevel.checkpoint()
    return "went on"


async def sees_and_says() -> str:
    seen = spoken.get()
    await anyio.lowlevel.checkpoint()
    spoken.set("by the function")
    return seen


async def tells_a_false_end() -> str:
    await anyio.lowlevel.checkpoint()
    raise GeneratorExit


async def cancels_itself() -> str:
    this = asyncio.current_task()
    assert this is not None
    this.cancel()
    await asyncio.sleep(0)
    return "never"


async def cancels_itself_last() -> str:
    this = asyncio.current_task()
    assert this is not None
    this.cancel()
    return "it was too late"


async def thinks_better_of_it() -> str:
    try:
        return await cancels_itself()
    except asyncio.CancelledError:
        return "rather not"


async def is_timed_out() -> str:
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(SOON)
    except TimeoutError:
        await asyncio.sleep(0)
        return "timed out"
    return "never"


async def a_group_of_asyncio() -> str:
    async with asyncio.TaskGroup() as group:
        group.create_task(wrong())
        await asyncio.sleep(SOON)
    return "never"


ANYWHERE = (at_once, later, wrong, a_group, a_failing_group, too_late, sees_and_says, tells_a_false_end)
ASYNCIO = (cancels_itself, thinks_better_of_it, is_timed_out, a_group_of_asyncio)


def plain() -> str:
    """Functions that are none of these, as a run calls them."""
    seen = spoken.get()
    spoken.set("by the function")
    return seen


def plainly_wrong() -> str:
    raise LookupError("plainly")


def gives_what_is_to_be_awaited() -> Awaitable[str]:
    return later()


PLAIN = (plain, plainly_wrong, gives_what_is_to_be_awaited)


# The law


def attempt(effect: Call[Any]) -> Plan[str]:
    """What comes of *effect*, told in words."""
    try:
        found = yield from effect
    except BaseExceptionGroup as errors:
        found = sorted(map(repr, errors.exceptions))
    except Exception as error:  # whatever it is, it is to be the same
        found = repr(error)
    yield from Emit((TextDelta(f"{found} "),))
    return f"{found}, and {spoken.get()} was said"


def several(functions: list[Callable[[], Any]], how: Callable[[Any], Call[Any]]) -> Plan[list[str]]:
    """Each of *functions* in turn, some of them in steps, asked for in the way that *how* says."""
    spoken.set("by the plan")
    found = []
    for number, function in enumerate(functions):
        if number % 2:
            found.append((yield from Step("agent", f"step {number}", None, partial(attempt, how(function)))))
        else:
            found.append((yield from attempt(how(function))))
    return found


def by_others(function: Callable[[], Any]) -> Call[Any]:
    """A call that is timed is nobody's to perform in place."""
    return Call(function).within(SOON)


@pytest.mark.parametrize("world", [pytest.param(world, id=world.name) for world in WORLDS])
@given(data=st.data())
def test_what_is_performed_in_place_is_as_what_others_perform(world: World, data: st.DataObject) -> None:
    kinds = (*ANYWHERE, *PLAIN, *(() if world.backend == "trio" else ASYNCIO))
    functions = data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    with watched() as in_place:
        one = world.run(lambda: several(functions, Call))
    with watched() as elsewhere:
        other = world.run(lambda: several(functions, by_others))
    assert one == other
    assert in_place.seen == elsewhere.seen
    if world.listening:
        assert world.events(lambda: several(functions, Call)) == world.events(lambda: several(functions, by_others))


@everywhere
def test_alone_and_in_company_are_the_same(world: World) -> None:
    functions = (*ANYWHERE, *(() if world.backend == "trio" else ASYNCIO))

    def beside() -> Plan[list[str]]:
        spoken.set("by the plan")
        outcomes = yield from side_by_side([attempt(Call(function)) for function in functions])
        return [outcome.unwrap() for outcome in outcomes]

    assert world.run(beside) == world.run(lambda: several(list(functions), Call))


# In whose task


@on_both
def test_an_async_function_that_is_alone_takes_no_task_of_its_own(backend: str) -> None:
    async def main() -> None:
        this = anyio.get_current_task().id

        async def here() -> int:
            await anyio.lowlevel.checkpoint()
            return anyio.get_current_task().id

        def plan() -> Plan[tuple[Any, ...]]:
            alone = yield from call(here)
            outcomes = yield from side_by_side([call(here), call(here)])
            return alone, *[outcome.unwrap() for outcome in outcomes]

        alone, one, other = await adrive(plan())
        assert alone == this
        assert len({this, one, other}) == 3

    anyio.run(main, backend=backend)


@on_both
@pytest.mark.parametrize("way", ["scope", "task"])
def test_who_cancels_the_run_cancels_what_it_awaits_and_no_plan_answers_that(backend: str, way: str) -> None:
    if way == "task" and backend == "trio":
        pytest.skip("a task of trio is cancelled by its scopes alone")
    seen: list[str] = []
    waiting: list[anyio.Event] = []

    async def waits() -> None:
        try:
            waiting[0].set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                seen.append("in its own time")

    def plan() -> Plan[None]:
        try:
            yield from Call(waits)
        except Exception:
            seen.append("answered")

    async def by_task() -> None:
        waiting.append(anyio.Event())
        run = asyncio.create_task(adrive(plan()))
        await waiting[0].wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert run.cancelled()

    async def by_scope() -> None:
        waiting.append(anyio.Event())
        with anyio.move_on_after(0.01) as scope:
            await adrive(plan())
        assert scope.cancelled_caught

    anyio.run(by_task if way == "task" else by_scope, backend=backend)
    assert seen == ["in its own time"]


def test_a_function_that_cancels_itself_cancels_nobody_else_and_not_later() -> None:
    def plan() -> Plan[tuple[str, str]]:
        return (yield from Call(cancels_itself_last)), (yield from Call(later))

    async def main() -> tuple[str, str]:
        return await adrive(plan())

    assert asyncio.run(main()) == ("it was too late", "later")


def test_who_cancels_the_run_is_heard_though_the_function_has_cancelled_itself_before() -> None:
    waiting = asyncio.Event()

    async def stubborn() -> None:
        assert await thinks_better_of_it() == "rather not"
        waiting.set()
        await asyncio.sleep(SOON)

    def plan() -> Plan[None]:
        yield from Call(stubborn)

    async def main() -> None:
        run = asyncio.create_task(adrive(plan()))
        await waiting.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())


def test_whatever_a_function_does_to_its_own_task_is_its_own_fault() -> None:
    runs: list[asyncio.Task[str]] = []

    async def both() -> None:
        this = asyncio.current_task()
        assert this is runs[0]
        this.cancel()
        runs[0].cancel()
        await asyncio.sleep(0)

    def plan() -> Plan[str]:
        try:
            yield from Call(both)
        except RuntimeError:
            return "answered"
        return "nothing"

    async def main() -> str:
        runs.append(asyncio.create_task(adrive(plan())))
        return await runs[0]

    assert asyncio.run(main()) == "answered"  # both were its own doing


def test_a_run_that_is_forgotten_closes_what_it_awaits() -> None:
    """As when a loop is thrown away: nobody awaits it any more, and nothing may be awaited."""
    seen: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            seen.append("closed")

    def plan() -> Plan[None]:
        yield from Call(waits)

    async def main() -> None:
        steps = adrive(plan())
        steps.send(None)
        steps.close()

    asyncio.run(main())
    assert seen == ["closed"]


@on_both
def test_what_is_to_be_awaited_is_closed_though_it_comes_when_its_run_is_over(backend: str) -> None:
    """No task was needed until then, so nothing has waited for anything."""
    late, made = threading.Event(), list[Any]()

    def function() -> Any:
        assert late.wait(SOON)
        made.append(anyio.sleep_forever())
        return made[0]

    def plan() -> Plan[None]:
        with pytest.raises(TimeoutError):
            yield from Call(function).within(0.001)

    async def main() -> None:
        await adrive(plan())
        late.set()
        with anyio.fail_after(SOON):
            while not made or getcoroutinestate(made[0]) != CORO_CLOSED:  # noqa: ASYNC110  # no event tells of that
                await anyio.sleep(0.001)

    anyio.run(main, backend=backend)


@on_both
def test_news_of_the_background_are_told_while_a_function_is_awaited(backend: str) -> None:
    """What has something in the background is awaited by a task of its own, so that the run can hear it."""
    told = anyio.Event()

    async def until_told() -> str:
        with anyio.fail_after(SOON):
            await told.wait()
        return "told"

    def fails() -> Plan[None]:
        raise LookupError("in the background")
        yield from Here()

    def plan() -> Plan[str]:
        yield from Spawn("fails", fails, lambda error: Notice("failed", "fails", str(error)))
        return (yield from Call(until_told))

    async def main() -> None:
        async with using(), AsyncStream(plan()) as events:
            async for _ in events:
                told.set()

    anyio.run(main, backend=backend)
    assert told.is_set()

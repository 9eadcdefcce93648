"""The clock: sleeping takes no time, and those who sleep side by side wake in order."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import complete
from arshai_kit.effects import Call, Emit, Now, Plan, Sleep, side_by_side
from arshai_kit.errors import Misuse, TimedOut
from arshai_kit.faces import Stream
from arshai_kit.records import TextDelta
from arshai_kit.testing import clock
from tests.core.worlds import BACKENDS, WORLDS, World, everywhere
from tests.laws.provider import Sent, provider, whole


def sleeping(*naps: float) -> Plan[float]:
    for seconds in naps:
        yield from Sleep(seconds)
    return (yield from Now())


@everywhere
def test_sleeping_takes_no_time_and_moves_the_clock(world: World) -> None:
    began = time.monotonic()
    with clock(start=100.0) as time_here:
        assert world.run(lambda: sleeping(3600, 0, 0.5)) == 3700.5
        assert time_here.now == 3700.5
    assert time.monotonic() - began < 60


@everywhere
def test_side_by_side_the_longest_sleep_counts(world: World) -> None:
    def plan() -> Plan[Any]:
        outcomes = yield from side_by_side([sleeping(5), sleeping(1, 1), sleeping(2, 30), sleeping()])
        return [outcome.unwrap() for outcome in outcomes], (yield from Now())

    with clock(start=0.0):
        assert world.run(plan) == ([5.0, 2.0, 32.0, 0.0], 32.0)


naps = st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=4)


@given(naps, st.sampled_from(WORLDS))
def test_everybody_wakes_when_the_sum_of_the_naps_is_over(plans: list[list[int]], world: World) -> None:
    """And in the order of those times: nobody sees the clock go back."""
    woke: list[tuple[float, int]] = []

    def one(number: int, mine: list[int]) -> Plan[float]:
        for seconds in mine:
            yield from Sleep(seconds)
            woke.append(((yield from Now()), number))
        return (yield from Now())

    def plan() -> Plan[Any]:
        outcomes = yield from side_by_side([one(number, mine) for number, mine in enumerate(plans)])
        return [outcome.unwrap() for outcome in outcomes]

    with clock(start=0.0):
        assert world.run(plan) == [float(sum(mine)) for mine in plans]
    assert [at for at, _ in woke] == sorted(at for at, _ in woke)


def test_a_run_that_is_left_alone_holds_up_nobody() -> None:
    """A stream that nobody reads any more has a sleeper: another run goes on all the same."""

    def told() -> Plan[None]:
        yield from side_by_side([sleeping(1), telling()])

    def telling() -> Plan[None]:
        yield from Sleep(0.5)
        yield from Emit((TextDelta("here"),))

    with clock(start=0.0) as time_here:
        left = Stream(told())
        assert next(left) == TextDelta("here")
        inner = Stream(told())
        assert next(inner) == TextDelta("here")
        inner.close()
        assert list(left) == []
        left.close()
    assert 1.0 <= time_here.now <= 2.0


@everywhere
def test_what_runs_in_the_world_is_not_waited_for(world: World) -> None:
    def plan() -> Plan[Any]:
        called, slept = yield from side_by_side([Call(sum, [1, 2]).__iter__(), sleeping(60)])
        return called.unwrap(), slept.unwrap()

    with clock(start=0.0):
        assert world.run(plan) == (3, 60.0)


def test_the_clock_can_be_moved() -> None:
    with clock(start=0.0) as time_here:
        time_here.advance(5)
        assert (yielded := Stream(_now())).__class__ is Stream
        assert list(yielded) == [TextDelta("5.0")]
        with pytest.raises(Misuse, match="time does not go back"):
            time_here.advance(-1)
        with pytest.raises(Misuse, match="time does not go back"):
            time_here.advance(float("nan"))


def _now() -> Plan[None]:
    yield from Emit((TextDelta(str((yield from Now()))),))


def test_retries_wait_no_time_and_deadlines_are_on_this_clock() -> None:
    """Half an hour of waiting that the provider asked for, and a deadline that passes: all in an instant."""
    with provider() as toy:
        busy = whole({"error": {"message": "busy"}}, 429, ("retry-after", "100"))
        fine = whole({"choices": [{"index": 0, "message": {"content": "fine"}, "finish_reason": "stop"}]})
        toy.answers(busy, busy, fine, busy, busy)
        with clock(start=0.0) as time_here:
            assert complete(toy.model(deadline=600), "Hello").text == "fine"
            assert time_here.now == 200.0
            with pytest.raises(Exception, match="busy"):
                complete(toy.model(deadline=150), "Hello")
            assert time_here.now == 300.0


def test_a_deadline_that_has_passed_on_this_clock_has_passed() -> None:
    with provider() as toy:
        toy.answering = lambda _: Sent([b"{}"])
        with clock() as time_here:
            slow = toy.model(deadline=1e-9)
            before = time_here.now
            with pytest.raises(TimedOut):
                complete(slow, "Hello")
            assert time_here.now == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_kinds_of_with_work(backend: str) -> None:
    from arshai_kit._adrive import adrive

    async def main() -> float:
        async with clock(start=0.0) as outer:
            await adrive(sleeping(1))
            with clock(start=50.0) as inner:
                await adrive(sleeping(1))
            return outer.now + inner.now

    assert anyio.run(main, backend=backend) == 52.0

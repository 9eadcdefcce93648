"""What a run made goes with it, and does not wait for the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from arshai_kit._adrive import adrive
from arshai_kit._flight import Flight
from arshai_kit.effects import Call, Emit, Here, Join, Plan, Start, side_by_side
from arshai_kit.machine import OVER, Machine
from arshai_kit.records import TextDelta
from tests.core.worlds import on_both


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def one() -> Plan[int]:
    yield Emit((TextDelta("one"),))
    return 1


def both() -> Plan[int]:
    here = yield from Here()
    handles = []
    for number in range(2):
        handles.append((yield from Start(one(), number, here)))
    yield from Join(tuple(handles))
    return sum(handle.outcome.unwrap() for handle in handles if handle.outcome)


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("plan", [one, both])
def test_a_machine_is_no_cycle(plan: type) -> None:
    machine = Machine(plan())
    what, _, outcome = machine.turn()
    assert (what, outcome.unwrap()) == (OVER, 1 if plan is one else 2)
    gone = weakref.ref(machine)
    del machine
    assert gone() is None


@on_both
def test_a_call_that_was_answered_is_no_cycle(backend: str) -> None:
    """What cancels it is its own, and is let go with the answer."""

    async def main() -> None:
        async def soon(number: int) -> int:
            await anyio.lowlevel.checkpoint()
            return number

        def plan() -> Plan[list[int]]:
            return [each.unwrap() for each in (yield from side_by_side([iter(Call(soon, n)) for n in range(3)]))]

        gc.disable()
        try:
            assert await adrive(plan()) == [0, 1, 2]
            left = [each.effect for each in gc.get_objects() if type(each) is Flight]  # others' too, of other threads
            assert not [each for each in left if getattr(each, "function", None) is soon]
        finally:
            gc.enable()

    anyio.run(main, backend=backend)

"""What a run made goes with it, and does not wait for the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from arshai_kit.effects import Emit, Here, Join, Plan, Start
from arshai_kit.machine import OVER, Machine
from arshai_kit.records import TextDelta


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

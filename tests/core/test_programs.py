"""One program, every world: the same effects, path by path, and the same result or the same error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anyio
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.effects import Call, Emit, Join, Layer, Now, Plan, Random, Sleep, Start, Step, Where, side_by_side
from arshai_kit.records import TextDelta
from arshai_kit.scope import using
from tests.core.worlds import WORLDS, World, watched

Program = Sequence[Any]
"""Statements, each a tuple of what it is and what it needs."""


class Broken(Exception):
    """What a program raises."""


def told(value: int) -> int:
    if value == 13:
        raise Broken("thirteen")
    return value


async def awaited(value: int) -> int:
    await anyio.sleep(value / 10_000)
    return told(value)


class Object:
    """A callable that is async."""

    async def __call__(self, value: int) -> int:
        return await awaited(value)


class Bound:
    """Has a method that is async."""

    async def method(self, value: int) -> int:
        return await awaited(value)


def gives_an_awaitable(value: int) -> Any:
    return awaited(told(value))


async def hangs(value: int) -> int:
    await anyio.sleep(60)
    return value


FUNCTIONS: dict[str, Callable[[int], Any]] = {
    "sync": told,
    "async": awaited,
    "object": Object(),
    "bound": Bound().method,
    "partial": partial(awaited),
    "awaitable": gives_an_awaitable,
}


def plan_of(program: Program) -> Plan[list[Any]]:
    """What *program* does, as a plan; the result tells all that came of it."""
    results: list[Any] = []
    for what, *rest in program:
        results.append((yield from STATEMENTS[what](*rest)))
    return results


def calling(name: str, value: int) -> Plan[Any]:
    return (yield from Call(FUNCTIONS[name], value))


def overrunning() -> Plan[str]:
    try:
        yield from Call(hangs, 1).within(0.01)
    except TimeoutError as error:
        return str(error)
    return "in time"


def sleeping(milliseconds: int) -> Plan[None]:
    yield from Sleep(milliseconds / 1000)


def chancing() -> Plan[bool]:
    return 0 <= (yield from Random()) < 1 < (yield from Now())


def telling(text: str) -> Plan[None]:
    yield from Emit((TextDelta(text),))


def stepping(kind: str, name: str, program: Program) -> Plan[Any]:
    return (yield from Step(kind, name, None, lambda: plan_of(program)))


def beside(limit: int | None, programs: Sequence[Program]) -> Plan[Any]:
    outcomes = yield from side_by_side(map(plan_of, programs), limit=limit)
    return [repr(outcome) for outcome in outcomes]


def starting(key: Any, program: Program, meanwhile: Program) -> Plan[Any]:
    """Start one program, do another, and join: whatever goes wrong meanwhile waits until then."""
    handle = yield from Start(plan_of(program), key)
    result: Any = None
    error: Exception | None = None
    try:
        result = yield from plan_of(meanwhile)
    except Exception as raised:
        error = raised
    outcomes = yield from Join((handle, handle))
    if error is not None:
        raise error
    return result, repr(outcomes)


def trying(program: Program) -> Plan[Any]:
    try:
        return (yield from plan_of(program))
    except Exception as error:
        return f"caught {error!r}"


def raising() -> Plan[Any]:
    raise Broken("raised")
    yield


STATEMENTS: dict[str, Callable[..., Plan[Any]]] = {
    "call": calling,
    "overrun": overrunning,
    "sleep": sleeping,
    "chance": chancing,
    "tell": telling,
    "step": stepping,
    "beside": beside,
    "start": starting,
    "try": trying,
    "raise": raising,
}

simple = st.one_of(
    st.tuples(st.just("call"), st.sampled_from(sorted(FUNCTIONS)), st.integers(0, 20) | st.just(13)),
    st.tuples(st.just("sleep"), st.integers(0, 3)),
    st.tuples(st.just("tell"), st.sampled_from("abc")),
    st.sampled_from([("chance",), ("overrun",), ("raise",), ("chance",)]),
)


def compound(program: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(program, max_size=3)
    return st.one_of(
        st.tuples(
            st.just("step"), st.sampled_from(["agent", "tool", "cached"]), st.sampled_from(["a", "b/c", "d#1"]), some
        ),
        st.tuples(st.just("beside"), st.none() | st.integers(1, 3), st.lists(some, max_size=4)),
        st.tuples(st.just("start"), st.none() | st.sampled_from(["left", 0, (1, "x")]), some, some),
        st.tuples(st.just("try"), some),
    )


statements = st.recursive(simple, compound, max_leaves=12)


def passing(effect: Any, where: Where) -> Plan[Any]:
    """A handler that looks at the time and passes on."""
    yield from Now()
    return (yield from effect)


def caching(step: Step[Any], where: Where) -> Plan[Any]:
    """A handler that answers some steps itself, and does others twice."""
    if step.kind == "cached":
        return f"cached {step.name}"
    if step.name == "b/c":
        yield from trying([])
        yield from step
    return (yield from step)


LAYERS: tuple[Layer, ...] = ({Step: passing, Call: passing}, {Step: caching, Emit: passing}, {Call: passing})


def outcome(world: World, program: Program, layers: Sequence[Layer]) -> tuple[Any, Any]:
    """What came of *program* in *world*: a result or an error, and what was asked and answered on the way."""
    with using(layers=layers), watched() as watching:
        try:
            result: Any = world.run(lambda: plan_of(program))
        except Exception as error:
            result = repr(error)
    return result, watching.seen


@given(st.lists(statements, min_size=1, max_size=4), st.sampled_from([(), LAYERS, LAYERS[:1]]))
def test_one_program_does_the_same_in_every_world(program: Program, layers: Sequence[Layer]) -> None:
    first, *others = [outcome(world, program, layers) for world in WORLDS]
    for world, other in zip(WORLDS[1:], others, strict=True):
        assert other == first, world.name


@given(st.lists(statements, min_size=1, max_size=4))
def test_events_of_one_path_come_in_one_order(program: Program) -> None:
    """Across paths, the order is that of delivery, which is each world's own."""

    def by_path(world: World) -> Any:
        paths: dict[str, list[Any]] = {}
        told: list[Any] = []

        def telling_all() -> Plan[None]:
            try:
                yield from plan_of(program)
            except Broken:
                told.append("broken")

        for event in world.events(telling_all):
            paths.setdefault(event.path, []).append(event)
        return {path: sorted(map(repr, events)) for path, events in paths.items()}, told

    first, *others = [by_path(world) for world in WORLDS if world.listening]
    assert others == [first, first]

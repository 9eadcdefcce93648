"""The faces of a plan, runs that a world of one's own replays, and the rarer turns of the drivers."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
import threading
from collections.abc import Generator, Iterator
from typing import Any, assert_type, cast, get_type_hints

import anyio
import anyio.lowlevel
import pytest
from attrs import evolve

from arshai_kit import _drive
from arshai_kit.effects import (
    Call,
    Emit,
    Halt,
    Now,
    Open,
    Outcome,
    Plan,
    Random,
    Read,
    Request,
    Spawn,
    Start,
    call,
    side_by_side,
)
from arshai_kit.faces import (
    AsyncStream,
    Awaiting,
    AwaitingStream,
    Stream,
    Streaming,
    adrive,
    awaiting,
    awaiting_stream,
    blocking,
    drive,
    streaming,
)
from arshai_kit.records import BackgroundFailed, Finished, TextDelta, ToolCall
from arshai_kit.scope import current, drain, enter, leave, using
from tests.core.test_leaving import STREAMING, noting
from tests.core.worlds import World, everywhere, listening, on_both
from tests.transport.server import SOON

# Faces


@blocking
def doubled(number: int, *, more: int = 0) -> Plan[int]:
    """Twice *number*."""
    yield from Now()
    return 2 * number + more


@streaming
def told(text: str) -> Plan[None]:
    """Tell *text*."""
    yield from Emit((TextDelta(text),))


async_doubled: Awaiting[Any, int] = awaiting(doubled)
async_told: AwaitingStream[Any] = awaiting_stream(told)


@pytest.mark.parametrize(
    ("face", "name", "doc"),
    [
        (doubled, "doubled", "Twice"),
        (told, "told", "Tell"),
        (async_doubled, "doubled", "Twice"),
        (async_told, "told", "Tell"),
    ],
)
def test_a_face_looks_like_its_plan(face: Any, name: str, doc: str) -> None:
    assert face.__name__ == face.__qualname__ == name
    assert face.__module__ == __name__
    assert face.__doc__.startswith(doc)
    assert name in repr(face)
    assert inspect.signature(face).parameters == inspect.signature(face.plan).parameters
    assert inspect.isgeneratorfunction(face.plan)


def test_a_face_says_what_its_call_gives() -> None:
    def evaluated(number: int) -> None: ...

    def bare(number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        yield

    def foreign() -> Any: ...

    evaluated.__annotations__ = {"number": int, "return": Plan[str]}
    foreign.__annotations__ = {"return": Iterator}
    for face, given in (
        (doubled, "int"),
        (async_doubled, "int"),
        (told, Stream),
        (async_told, AsyncStream),
        (blocking(cast("Any", evaluated)), str),
        (blocking(foreign), Iterator),
        (blocking(bare), inspect.Signature.empty),
        (blocking(cast("Any", lambda: None)), inspect.Signature.empty),
    ):
        assert inspect.signature(face).return_annotation == given
        assert face.__annotations__.get("return", inspect.Signature.empty) == given
    assert get_type_hints(async_doubled) == {"number": int, "more": int, "return": int}
    assert doubled.plan.__annotations__["return"] == "Plan[int]"


@pytest.mark.parametrize("face", [doubled, told, async_doubled, async_told])
def test_a_face_is_pickled_by_its_name(face: Any) -> None:
    """What comes out is the face itself, wherever it is kept and whatever it is called there."""
    assert pickle.loads(pickle.dumps(face)) is face
    assert copy.deepcopy(face) is face


def test_a_face_tells_in_which_world_it_runs() -> None:
    assert repr(doubled) == "<function doubled>"
    assert repr(async_doubled) == repr(async_doubled) == "<async function doubled>"
    assert repr(told) == "<function told>"
    assert repr(async_told) == "<async function told>"


@on_both
def test_both_faces_drive_one_plan(backend: str) -> None:
    async def main() -> Any:
        async with async_told("x") as events:
            return await async_doubled(4, more=1), [event async for event in events]

    assert (doubled(4, more=1), list(told("x"))) == anyio.run(main, backend=backend) == (9, [TextDelta("x")])
    assert async_doubled.plan is doubled.plan
    assert async_told.plan is told.plan


@everywhere
def test_a_face_called_in_a_plan_is_its_plan_and_no_run_of_its_own(world: World) -> None:
    def plan() -> Plan[Any]:
        yield from call(told, "once")
        return (yield from call(doubled, 4)), (yield from call(async_doubled, 5, more=1))

    assert world.run(plan) == (8, 11)
    if world.listening:
        assert world.events(plan) == [TextDelta("once")]


def test_a_method_may_have_a_plan_too() -> None:
    class Agent:
        """Asks with a name."""

        def asked(self, name: str) -> Plan[str]:
            """Tell *name*."""
            yield from Now()
            return name

    assert repr(Streaming(Agent().asked)) == "<function asked>"
    assert blocking(Agent().asked)("x") == "x"


class Desk:
    """Answers with its *name*; both faces of what it does are its methods."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Desk) and self.name == other.name

    __hash__ = None  # type: ignore[assignment]  # a face of it needs none

    @blocking
    def asked(self, prompt: str, *, loud: bool = False) -> Plan[str]:
        """Answer *prompt*."""
        yield from Emit((TextDelta(prompt),))
        return f"{self.name}: {prompt.upper() if loud else prompt}"

    @streaming
    def told(self, prompt: str) -> Plan[str]:
        """Tell *prompt*."""
        return (yield from self.asked.plan(prompt))

    asked_later = awaiting(asked)
    told_later = awaiting_stream(told)


@on_both
def test_a_face_in_a_class_is_a_method(backend: str) -> None:
    desk = Desk("desk")

    async def main() -> Any:
        async with desk.told_later("x") as events:
            return await desk.asked_later("x", loud=True), [event async for event in events]

    assert (assert_type(desk.asked("x", loud=True), str), list(desk.told("x"))) == ("desk: X", [TextDelta("x")])
    assert anyio.run(main, backend=backend) == ("desk: X", [TextDelta("x")])
    assert Desk.asked(desk, "x") == drive(desk.asked.plan("x")) == drive(call(desk.asked_later, "x")) == "desk: x"
    assert drive(Desk.told_later.plan(desk, "x")) == "desk: x"


@pytest.mark.parametrize("name", ["asked", "told", "asked_later", "told_later"])
def test_a_method_says_what_it_takes(name: str) -> None:
    face, whole = getattr(Desk("desk"), name), getattr(Desk, name)
    assert list(inspect.signature(whole).parameters)[:2] == ["self", "prompt"]
    assert list(inspect.signature(face).parameters) == list(inspect.signature(whole).parameters)[1:]
    assert face.__doc__ == whole.__doc__
    for each in (face, whole):
        assert f"{each.__name__}{inspect.signature(each)}" in pydoc.plain(pydoc.render_doc(each))
    assert face.__doc__ in pydoc.plain(pydoc.render_doc(Desk))
    again = pickle.loads(pickle.dumps(face))
    assert (type(again), again.plan.__self__, again.plan.__func__) == (type(face), Desk("desk"), whole.plan)


# Worlds of one's own


class Replaying:
    """A world in which nothing happens: the runs are told what came of them."""

    def recorder(self) -> None:
        """Nobody writes."""

    def replay(self, machine: Any) -> Generator[tuple[Any, ...], None, Outcome[Any]]:
        """Answer whatever the plan asks with 5, and tell its events."""
        what, task, payload = machine.turn()
        while what != "over":
            if what == "events":
                yield payload
                what, task, payload = machine.turn()
            else:
                what, task, payload = machine.turn(task, 5)
        return payload  # type: ignore[no-any-return]  # the machine ends with an Outcome


@everywhere
def test_a_world_of_ones_own_drives_in_place_of_the_real_one(world: World) -> None:
    def plan() -> Plan[Any]:
        first = yield from Call(len, "five")
        yield from Emit((TextDelta("x"),))
        return first, (yield from Random())

    token = enter(evolve(current(), world=Replaying()))
    try:
        assert world.run(plan) == (5, 5)
        if world.listening:
            assert world.events(plan) == [TextDelta("x")]
        with pytest.raises(KeyError):
            world.run(halting)
    finally:
        leave(token)


def halting() -> Plan[None]:
    raise Halt(KeyError("halted"))
    yield


@everywhere
def test_what_a_function_drives_is_part_of_its_own_answer_and_not_of_the_recording(world: World) -> None:
    class Noting:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def recorder(self) -> Any:
            return lambda path, effect, value, error: self.seen.append(path)

        def replay(self, machine: Any) -> None: ...

    noting_world = Noting()
    token = enter(evolve(current(), world=noting_world))
    try:
        assert world.run(lambda: iter(Call(lambda: drive(iter(Call(len, "abc")))))) == 3
        assert world.run(lambda: unwrapped([iter(Call(nested)), iter(Call(nested))])) == [3, 3]
    finally:
        leave(token)
    assert sorted(noting_world.seen) == ["/#0/call:nested#0", "/#1/call:nested#0", "/call:<lambda>#0"]


async def nested() -> int:
    return await adrive(iter(Call(len, "abc")))


def unwrapped(plans: list[Plan[Any]]) -> Plan[list[Any]]:
    outcomes = yield from side_by_side(plans)
    return [outcome.unwrap() for outcome in outcomes]


CALL = ToolCall("1", "log")


@listening
def test_news_of_the_background_come_before_the_last_event(world: World) -> None:
    """And a recording knows where: a replay tells them in the same place."""
    from arshai_kit.records import Response, assistant

    last = Finished(Response((assistant("done"),)))
    recorded: list[Any] = []

    class Noting:
        def recorder(self) -> Any:
            return lambda path, effect, value, error: recorded.append(value) if effect is None else None

        def replay(self, machine: Any) -> None: ...

    def plan() -> Plan[None]:
        yield from Spawn("log", lambda: iter(Call(int, "x")), lambda error: BackgroundFailed(CALL, "failed"))
        yield from Call(drain_here)
        yield from Emit((TextDelta("x"),))
        yield from Emit((last,))

    def drain_here() -> None:
        drive(drain(SOON))

    with using():
        token = enter(evolve(current(), world=Noting()))
        try:
            events = world.events(plan)
        finally:
            leave(token)
    if BackgroundFailed(CALL, "failed") in events:  # on trio, the news may reach the loop after the end
        assert events.index(BackgroundFailed(CALL, "failed")) < events.index(last)
        assert recorded == [(BackgroundFailed(CALL, "failed"),)]
    assert events[-1] == last


# The rarer turns


@everywhere
def test_what_is_left_alone_with_its_wish_is_served_like_one_that_always_was(world: World) -> None:
    """It had company when it asked, and has none when every plan waits."""
    with noting(STREAMING) as hangup:

        def lonely() -> Plan[bytes]:
            channel = yield from Open(hangup.request)
            return (yield from Read(channel))

        def brief() -> Plan[bytes]:
            return b""
            yield

        assert world.run(lambda: unwrapped([lonely(), brief()])) == [b"first", b""]


@everywhere
def test_a_function_is_called_once_even_if_it_gives_something_to_await(world: World) -> None:
    calls: list[int] = []

    async def later() -> str:
        return "later"

    def gives() -> Any:
        calls.append(1)
        return later()

    def brief() -> Plan[str]:
        return "brief"
        yield

    assert world.run(lambda: unwrapped([iter(Call(gives)), brief()])) == ["later", "brief"]
    assert world.run(lambda: iter(Call(gives))) == "later"
    assert calls == [1, 1]


def test_when_the_process_ends_and_has_no_loop_async_functions_run_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python 3.12 starts no thread then."""
    monkeypatch.setattr(_drive, "shared_loop", lambda: None)

    async def where() -> int:
        await anyio.lowlevel.checkpoint()
        return threading.get_ident()

    assert drive(iter(Call(where))) == threading.get_ident()
    assert drive(unwrapped([iter(Call(where)), iter(Call(len, "abc"))])) == [threading.get_ident(), 3]


def test_when_the_process_ends_and_has_no_worker_functions_are_called_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from arshai_kit import _threads

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(_threads._process, "workers", _threads.Workers())
    monkeypatch.setattr(_threads._process, "loop", None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert _threads.shared_loop() is None
    assert drive(unwrapped([iter(Call(threading.get_ident)) for _ in range(2)])) == [threading.get_ident()] * 2


@everywhere
def test_a_stream_opened_for_a_task_that_is_gone_is_closed_with_the_run(world: World) -> None:
    """Its answer is there already when its plan is cancelled."""
    with noting(STREAMING) as hangup:

        def plan() -> Plan[None]:
            yield from Start(iter(Open(hangup.request)))
            # Nothing looks at the queue while this is at work, and its end is the end of the run.
            yield from Call(hangup.asked.acquire, timeout=SOON)
            raise KeyError("k")

        def once_more() -> Plan[None]:
            with pytest.raises(KeyError):
                yield from unwrapped([plan()])
            yield from Call(hangup.done.acquire, timeout=SOON)

        world.run(once_more)


@on_both
def test_a_run_that_is_cancelled_before_it_has_waited_closes_what_it_has(backend: str) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await adrive(iter(Call(anyio.sleep, 60)))
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with AsyncStream(iter(Call(anyio.sleep, 60))) as events:
                await anext(events)

    anyio.run(main, backend=backend)


def test_a_request_that_nobody_can_send_is_the_plans_to_answer() -> None:
    from arshai_kit.errors import Misuse

    with using(client=type("Client", (), {"send": lambda self: None})()), pytest.raises(Misuse):
        drive(iter(Open(Request("GET", "http://localhost"))))
    with Stream(halting()) as events, pytest.raises(KeyError):
        next(events)

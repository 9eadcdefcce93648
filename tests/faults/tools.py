"""Tools that misbehave: whatever they do becomes a result that the model is told, or ends the run as Python would."""

from __future__ import annotations

import _thread
import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

import anyio
import anyio.lowlevel

from arshai_kit.errors import Exhausted, Misuse, RateLimited, ServerFailed
from arshai_kit.tools import background, tool
from tests.faults.models import asks
from tests.faults.rows import MIB, Answers, Expected, Fails, Row, Scene
from tests.faults.server import hello, status
from tests.faults.ways import Came
from tests.transport.server import SOON, eventually

__all__ = ["ROWS"]

Making = Callable[[Came], Any]
"""Makes a tool called `act`; what it did goes into `Came.ran`."""

CALLED = asks(("call_1", "act", {}))


def row(name: str, make: Making, *words: str, expected: Expected | None = None, **more: Any) -> Row:
    """A tool as *make* makes it, of which the model is told *words*, and nothing that is long."""

    def check(scene: Scene) -> None:
        if words:
            result = scene.server.seen[1].content["messages"][-1]
            assert (result["role"], result["tool_call_id"]) == ("tool", "call_1")
            assert all(word in result["content"] for word in words), result["content"][:200]
            assert len(result["content"]) < 110_000

    found = Answers(requests=2) if expected is None else expected
    more = {"only": "tools", "before": False, "check": check, **more}
    return Row(name, (CALLED, hello), found, tools=lambda came: [make(came)], **more)


def both(name: str, act: Callable[[Came], Any], *words: str, **more: Any) -> tuple[Row, Row]:
    """The same tool, blocking and to be awaited."""

    def blocking(came: Came) -> Any:
        return tool(lambda: act(came), name="act")

    def awaited(came: Came) -> Any:
        async def acts() -> Any:
            await anyio.lowlevel.checkpoint()
            return act(came)

        return tool(acts, name="act")

    return row(f"{name}, blocking", blocking, *words, **more), row(f"{name}, awaited", awaited, *words, **more)


def raises(name: str, error: Callable[[], BaseException], *words: str, **more: Any) -> tuple[Row, Row]:
    """A tool that raises."""

    def act(_: Came) -> Any:
        raise error()

    return both(name, act, *words, **more)


def returns(name: str, value: Callable[[], Any], *words: str, **more: Any) -> tuple[Row, Row]:
    """A tool that returns."""
    return both(name, lambda _: value(), *words, **more)


# -- what is raised --


class _Mute(Exception):  # it says nothing
    def __str__(self) -> str:
        raise RuntimeError("I do not say")


class _Own(BaseException):
    """What is no `Exception`."""


def _deep() -> Any:
    return _deep()


def _recursing(_: Came) -> Any:
    return _deep()


RAISED = (
    *raises("a tool that raises", lambda: ValueError("no such city"), "ValueError: no such city"),
    *raises("a tool that raises 10 MB", lambda: ValueError("x" * 10 * MIB), "ValueError: xxx", "characters]"),
    *raises("a tool whose error says nothing", lambda: ValueError(), "ValueError"),
    *raises("a tool whose error cannot be told", lambda: _Mute(), "_Mute"),
    *raises("a tool that raises a group", lambda: ExceptionGroup("all", [ValueError("a")]), "ExceptionGroup: all"),
    *raises("a tool that raises the end of an iterator", lambda: StopIteration(7), "StopIteration"),
    *raises("a tool that raises a surrogate", lambda: ValueError("\ud800"), "ValueError"),
    *raises("a tool that runs out of memory", lambda: MemoryError(), "MemoryError"),
    *raises(
        "a tool that raises an error of ours", lambda: RateLimited("slow down", status=429), "RateLimited: slow down"
    ),
    *raises("a tool that raises a time-out", lambda: TimeoutError("late"), "TimeoutError: late"),
    *raises("a tool that is misused", lambda: Misuse("not so"), "Misuse: not so"),
    *both("a tool that recurses without end", _recursing, "RecursionError"),
    *raises("a tool that raises what is no exception", lambda: _Own("x"), expected=Fails(_Own, "x")),
)

EXITED = (
    *raises("a tool that exits", lambda: SystemExit(3), expected=Fails(SystemExit, "3")),
    *both("a tool that exits its thread", lambda _: _thread.exit(), expected=Fails(SystemExit)),
    *both("a tool that exits by sys", lambda _: sys.exit("over"), expected=Fails(SystemExit, "over")),
    *raises("a tool that interrupts", lambda: KeyboardInterrupt("^C"), expected=Fails(KeyboardInterrupt)),
)
"""Only these leave a run as they are: they are meant for the program, and no model is told of them."""


# -- what is returned --


class _Odd:
    def __repr__(self) -> str:
        raise RuntimeError("I do not show")

    def __iter__(self) -> Iterator[int]:
        raise RuntimeError("I do not tell")


def _ring() -> Any:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def _deep_list() -> Any:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


RETURNED = (
    *returns("a tool that returns 10 MB", lambda: "x" * 10 * MIB, "xxx", "… [cut: 100,000 of 10,485,760 characters]"),
    *returns("a tool that returns 10 MB of JSON", lambda: ["x" * MIB] * 10, "xxx", "characters]"),
    *returns("a tool that returns nothing", lambda: None, "done"),
    *returns("a tool that returns no words", lambda: "", ""),
    *returns("a tool that returns an object", lambda: object(), "not JSON"),
    *returns("a tool that returns a lock", lambda: threading.Lock(), "not JSON"),
    *returns("a tool that returns a function", lambda: _deep, "not JSON"),
    *returns("a tool that returns a type", lambda: dict, "not JSON"),
    *returns("a tool that returns what cannot be shown", lambda: _Odd(), "not JSON"),
    *returns("a tool that returns itself again and again", _ring, "not JSON"),
    *returns("a tool that returns 100,000 levels", _deep_list, "nested too deeply"),
    *returns("a tool that returns NaN", lambda: {"x": float("nan")}, "x: nan cannot be written as JSON"),
    *returns("a tool that returns a number of 10,000 digits", lambda: 10**10_000, "not JSON"),
    *returns("a tool that returns a surrogate", lambda: "\ud800", "\ud800"),
    *returns("a tool that returns a surrogate in JSON", lambda: {"\ud800": "\udfff"}, "udfff"),
    *returns("a tool that returns a NUL", lambda: "a\x00b", "a\x00b"),
    *returns("a tool that returns bytes", lambda: b"\xff" * MIB, "////", "characters]"),
    *returns("a tool that returns keys that are no text", lambda: {(1, 2): 3}, "keys are t"),
    *returns("a tool that returns an error", lambda: ValueError("mine"), "not JSON"),
)


# -- what never returns --


def _hanging(came: Came) -> Any:
    over = threading.Event()
    came.ran.append("begun")
    _OVER.append(over)
    over.wait(SOON)
    return None


_OVER: list[threading.Event] = []


def _let_go(scene: Scene) -> None:
    """Let who hangs go, and see that the model was told."""
    while _OVER:
        _OVER.pop().set()
    _overran(scene)


def _overran(scene: Scene) -> None:
    """The model was told that it was the tool's own time."""
    told = scene.server.seen[1].content["messages"][-1]["content"]
    assert f"took longer than {0.1 * scene.came.pace:g} s" in told


def _awaiting_for_ever(came: Came) -> Any:
    async def act() -> None:
        came.ran.append("begun")
        try:
            await anyio.sleep_forever()
        finally:
            came.ran.append("ended")

    return tool(act, name="act", timeout=0.1 * came.pace)


def _ended(scene: Scene) -> None:
    assert scene.came.ran[:1] == ["begun"]
    eventually(lambda: scene.came.ran == ["begun", "ended"])
    _overran(scene)


def _stubborn(came: Came) -> Any:
    async def act() -> None:
        try:
            await anyio.sleep_forever()
        except BaseException:
            came.ran.append("not yet")
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
            raise

    return tool(act, name="act", timeout=0.1 * came.pace)


def _dripping(came: Came) -> Any:
    def act() -> Iterator[int]:
        while True:
            threading.Event().wait(0.01)
            yield 1

    return tool(act, name="act", timeout=0.1 * came.pace)


def _dripping_awaited(came: Came) -> Any:
    async def act() -> AsyncIterator[int]:
        while True:
            await anyio.sleep(0.01)
            yield 1

    return tool(act, name="act", timeout=0.1 * came.pace)


def _breaking(_: Came) -> Any:
    def act() -> Iterator[Any]:
        yield object()
        raise ValueError("broke")

    return tool(act, name="act")


HANGING = tuple(
    [
        row(name, make, hurried=True, check=check)
        for name, make, check in (
            (
                "a tool that hangs, blocking",
                lambda came: tool(lambda: _hanging(came), name="act", timeout=0.1 * came.pace),
                _let_go,
            ),
            ("a tool that hangs, awaited", _awaiting_for_ever, _ended),
            ("a tool that is slow to end", _stubborn, _overran),
            ("a generator without end, blocking", _dripping, _overran),
            ("a generator without end, awaited", _dripping_awaited, _overran),
        )
    ]
)
BREAKING = (row("a generator that breaks", _breaking, "ValueError: broke"),)


# -- who cancels itself --


def _cancelled_task(_: Came) -> Any:
    async def act() -> None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # trio has no such thing
            raise asyncio.CancelledError from None
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    return tool(act, name="act")


def _cancelled_scope(_: Came) -> Any:
    async def act() -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(1)
        return "cancelled, and well"

    return tool(act, name="act")


CANCELLED = (
    row("a tool that cancels its task", _cancelled_task, "cancelled itself"),
    row("a tool that cancels its own scope", _cancelled_scope, "cancelled, and well"),
    *raises("a tool that raises that it was cancelled", lambda: asyncio.CancelledError("mine"), "cancelled itself"),
    *raises("a tool whose future was cancelled", lambda: CancelledError(), "CancelledError"),
)


# -- who runs in the background --


def _crashing(_: Came) -> Any:
    def act() -> None:
        raise ValueError("in the background")

    return background(act)


def _crashing_awaited(_: Came) -> Any:
    async def act() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("in the background")

    return background(act)


def _exiting(_: Came) -> Any:
    def act() -> None:
        raise SystemExit(3)

    return background(act)


BACKGROUND = (
    row("a background tool that crashes, blocking", _crashing, "has been started in the background"),
    row("a background tool that crashes, awaited", _crashing_awaited, "has been started in the background"),
    row("a background tool that exits", _exiting, "has been started in the background"),
)


# -- beside others --


def _one_of_three(came: Came) -> Sequence[Any]:
    def act() -> None:
        raise ValueError("broke")

    def good(number: int) -> int:
        """Give it back."""
        came.ran.append(str(number))
        return number

    return [act, good]


def _others_are_told(scene: Scene) -> None:
    results = scene.server.seen[1].content["messages"][-3:]
    told = [each["content"] for each in results]
    assert told == ["1", "Error: ValueError: broke", "2"], told


THREE = asks(("call_1", "good", {"number": 1}), ("call_2", "act", {}), ("call_3", "good", {"number": 2}))

BESIDE = (
    Row(
        "a tool that breaks beside others",
        (THREE, hello),
        Answers(requests=2),
        only="tools",
        before=False,
        tools=_one_of_three,
        check=_others_are_told,
    ),
    Row(
        "a tool that breaks before the model does",
        (THREE, status(503)),
        Fails(ServerFailed, "503", requests=4, has={"partial": lambda partial: len(partial.tool_runs) == 3}),
        only="tools",
        before=False,
        tools=_one_of_three,
    ),
    Row(
        "a tool that breaks for ever",
        (CALLED,),
        Fails(Exhausted, requests=10, has={"bound": "max_rounds"}),
        only="tools",
        before=False,
        tools=_one_of_three,
    ),
)

ROWS = (*RAISED, *EXITED, *RETURNED, *HANGING, *BREAKING, *CANCELLED, *BACKGROUND, *BESIDE)

"""Who leaves a run leaves nothing open: no connection, no tool, no call without its result; and can always go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from textwrap import dedent
from time import monotonic
from typing import Any

import anyio
import pytest

from arshai_kit import (
    Message,
    Response,
    TextDelta,
    ToolCallDelta,
    ToolFinished,
    aio,
    run_tools,
    stream,
    tool,
    user,
)
from arshai_kit._flight import left_behind
from arshai_kit.completion import run
from arshai_kit.errors import Exhausted, StreamIncomplete, TimedOut
from arshai_kit.faces import blocking
from arshai_kit.models import Endpoint
from arshai_kit.records import Event, ToolResult, close_open_calls
from arshai_kit.resilience import deadline
from tests.core.test_processes import rests
from tests.core.worlds import BACKENDS, World, everywhere, listening
from tests.resilience.strict import FIRST_CLOSED, HALF, TEXT, Strict, heard, strict
from tests.transport.server import SOON, at_some_pace, eventually

WORLDS = ("", *BACKENDS)
in_each_world = pytest.mark.parametrize("backend", WORLDS, ids=["sync", *BACKENDS])


@pytest.fixture
def provider() -> Iterator[Strict]:
    """A provider that takes no history with an open call."""
    with strict() as living:
        yield living


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    eventually(lambda: left_behind() == 0)
    yield
    eventually(lambda: left_behind() == 0)


def add(number: int) -> int:
    """Add one."""
    return number + 1


def look(number: int) -> str:
    """Look something up."""
    return f"found {number}"


TOOLS = (add, look)


def leaving(backend: str, model: Endpoint, enough: Callable[[Event], object], tools: Sequence[Any]) -> list[Event]:
    """The events of a run up to the first that is *enough*, when its stream is left."""
    told: list[Event] = []
    options: Any = {"tools": tools, "eager": True}
    if backend:
        anyio.run(_leaving, told, model, enough, options, backend=backend)
        return told
    with stream(model, "Go on.", **options) as events:
        for event in events:
            told.append(event)
            if enough(event):
                break
    return told


async def _leaving(told: list[Event], model: Endpoint, enough: Callable[[Event], object], options: Any) -> None:
    """The same, its scope cancelled while it waits for what comes next."""
    with anyio.CancelScope() as scope:
        async with aio.stream(model, "Go on.", **options) as events:
            async for event in events:
                told.append(event)
                if enough(event):
                    scope.cancel()


# -- the connection, and what was started --


def of_text(event: Event) -> bool:
    """The second piece of a text has come."""
    return isinstance(event, TextDelta) and event.text == "see."


def of_a_call(event: Event) -> bool:
    """A call has begun, and is not whole."""
    return isinstance(event, ToolCallDelta)


def noted(enough: Callable[[Event], object], since: list[float]) -> Callable[[Event], bool]:
    """*enough*, and the time when it was goes into *since*."""

    def asked(event: Event) -> bool:
        if enough(event):
            since.append(monotonic())
        return bool(since)

    return asked


@in_each_world
@pytest.mark.parametrize(("enough", "held"), [(of_text, TEXT), (of_a_call, (HALF,))], ids=["text", "a call"])
def test_the_server_sees_that_a_reply_is_left(
    provider: Strict, backend: str, enough: Any, held: Any, record_property: Any
) -> None:
    ran: list[int] = []

    def add(number: int) -> None:
        """Never run: its arguments are not whole."""
        ran.append(number)

    provider.holds_on(*held)
    since: list[float] = []
    leaving(backend, provider.model(), noted(enough, since), [add])
    record_property("seconds", provider.saw_it_leave(since[0]))
    assert not ran
    assert len(provider.asked) == 1


@in_each_world
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_reply_is_left_while_an_eager_tool_runs(
    provider: Strict, backend: str, kind: str, record_property: Any
) -> None:
    """An async tool is cancelled; a sync one is left behind, and counted, for nothing can end it."""
    begun, ended, go = threading.Event(), threading.Event(), threading.Event()

    async def waits(number: int) -> None:
        """Work for ever."""
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    def blocks(number: int) -> None:
        """Work for long."""
        begun.set()
        go.wait(SOON)
        ended.set()

    provider.holds_on(*FIRST_CLOSED)
    provider.then = begun, TEXT[1]
    since: list[float] = []
    tools = [tool(waits if kind == "async" else blocks, name="add"), look]
    leaving(backend, provider.model(), noted(of_text, since), tools)
    record_property("seconds", provider.saw_it_leave(since[0]))
    if kind == "sync":
        assert left_behind() == 1
        assert not ended.is_set()
        go.set()
    assert ended.wait(SOON)


# -- what was told so far goes on --


def goes_on(provider: Strict, told: Sequence[Message]) -> Response:
    """What comes of going on with *told*, which the provider refuses if a call in it has no result."""
    response = run_tools(provider.model(), (user("Go on."), *told, user("Well?")), TOOLS)
    assert response.text == "All done."
    return response


@in_each_world
def test_a_run_that_is_left_anywhere_has_a_history_that_goes_on(provider: Strict, backend: str) -> None:
    """After its first event, its second, and so on: what was told is never lost, nor a call left open."""
    provider_text: list[str] = []
    for place in range(1, 100):
        seen: list[Event] = []

        def enough(event: Event, seen: list[Event] = seen, place: int = place) -> bool:
            seen.append(event)
            return len(seen) == place

        told = leaving(backend, provider.model(), enough, TOOLS)
        closed = close_open_calls(heard(told))
        assert close_open_calls(closed) is closed
        results = [event.call.id for event in told if isinstance(event, ToolFinished)]
        given = [part.id for message in closed for part in message.parts if isinstance(part, ToolResult)]
        assert set(results) <= set(given)
        provider_text.append("".join(message.text for message in closed))
        goes_on(provider, closed)
        if len(told) < place:
            break
    assert place > 20
    assert provider_text[-1] == "Round 0.Round 1.All done."


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_is_cancelled_in_a_tool_has_a_history_that_goes_on(provider: Strict, backend: str) -> None:
    """One tool of the two has answered: its result stays, and the other is told to have been interrupted."""
    told: list[Event] = []

    async def look(number: int) -> None:
        """Never come back."""
        await anyio.sleep_forever()

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with aio.stream(provider.model(), "Go on.", tools=[add, look]) as events:
                async for event in events:
                    told.append(event)
                    if isinstance(event, ToolFinished):
                        scope.cancel()

    anyio.run(main, backend=backend)
    closed = close_open_calls(heard(told))
    assert [message.role for message in closed] == ["assistant", "tool", "tool"]
    results = {part.name: part for message in closed for part in message.parts if isinstance(part, ToolResult)}
    assert results["add"].content == "1"
    assert results["look"].is_error
    assert goes_on(provider, closed).tool_runs


# -- an interrupt --

CHILD = """
import sys, threading
import anyio
from arshai_kit import TextDelta, ToolCallDelta, ToolStarted, openai_compatible, run_tools, stream, user
from arshai_kit.records import close_open_calls
from tests.resilience.strict import heard

model = openai_compatible("toy-1", base_url=sys.argv[1], api_key="", retry=None)
place, ended, told = sys.argv[2], threading.Event(), []

async def awaited(number: int) -> str:
    print("at it", flush=True)
    try:
        await anyio.sleep_forever()
    finally:
        ended.set()

def blocked(number: int) -> str:
    print("at it", flush=True)
    threading.Event().wait(60)

def quick(number: int) -> int:
    return number + 1

from arshai_kit import tool
slow = {"async": awaited, "sync": blocked}.get(place, quick)
tools = [tool(quick, name="add"), tool(slow, name="look")]
try:
    if place == "whole":
        print("at it", flush=True)
        run_tools(model, "Go on.", tools)
    for event in stream(model, "Go on.", tools=tools):
        told.append(event)
        if place == "text" and getattr(event, "text", "") == "see.":
            print("at it", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.stdin.readline()
if place == "async":
    assert ended.wait(20)
closed = close_open_calls(heard(told))
again = run_tools(model, (user("Go on."), *closed, user("Well?")), [tool(quick, name="add"), tool(quick, name="look")])
print([message.role for message in closed], again.text, flush=True)
"""

ROLES: dict[str, list[str]] = {
    "text": ["assistant"],
    "whole": [],
    "async": ["assistant", "tool", "tool"],
    "sync": ["assistant", "tool", "tool"],
}


@pytest.mark.parametrize("place", ROLES)
def test_an_interrupt_of_a_run_by_blocking_does_the_same(provider: Strict, place: str, record_property: Any) -> None:
    """In a text, in a whole reply, in a tool that waits and in one that blocks: all is closed, and it goes on."""
    if place in ("text", "whole"):
        provider.holds_on(*(TEXT if place == "text" else ()))
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", dedent(CHILD), provider.model().base_url, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "at it\n", child.communicate()
        if place in ("text", "whole"):
            assert provider.holding.acquire(timeout=SOON)
        rests(child)
        since = monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n", child.communicate()
        if place in ("text", "whole"):
            record_property("seconds", provider.saw_it_leave(since))
        out, err = child.communicate("\n", timeout=SOON)
    assert (out, err, child.returncode) == (f"{ROLES[place]} All done.\n", "", 0)


# -- what bounds a run --

BOUNDS: Sequence[tuple[dict[str, Any], str]] = (
    ({"max_rounds": 1}, "max_rounds"),
    ({"max_tool_calls": 1}, "max_tool_calls"),
    ({"max_total_tokens": 150}, "max_total_tokens"),
    ({"max_cost": "0.000001"}, "max_cost"),
)


@everywhere
@pytest.mark.parametrize(("bounds", "bound"), BOUNDS, ids=[bound for _, bound in BOUNDS])
def test_a_bounded_run_says_its_bound_and_goes_on(
    provider: Strict, world: World, bounds: dict[str, Any], bound: str
) -> None:
    from arshai_kit.cost import Price, Prices, priced

    model = priced(provider.model(), Prices({"toy-1": Price(input=1, output=1)}))
    face: Any = stream if world.listening else run_tools
    with pytest.raises(Exhausted) as out:
        world.run(lambda: face.plan(model, "Go on.", tools=TOOLS, **bounds))
    assert out.value.bound == bound
    partial = out.value.partial
    assert close_open_calls(partial.messages) is partial.messages
    assert len(partial.tool_runs) == 2 * len(provider.asked)
    assert goes_on(provider, partial.messages).text == "All done."


@everywhere
def test_a_run_that_runs_out_of_time_says_so_and_goes_on(provider: Strict, world: World) -> None:
    """The second reply stands still."""
    face: Any = stream if world.listening else run_tools

    def late(pace: float) -> Response:
        provider.holds_on(*TEXT, at=1)
        with pytest.raises(TimedOut, match="deadline") as out:
            world.run(lambda: face.plan(provider.model(deadline=0.15 * pace), "Go on.", tools=TOOLS))
        assert len(provider.asked) == provider.at + 1, "the first reply was late"
        provider.saw_it_leave(monotonic())
        partial: Response = out.value.partial
        assert len(partial.tool_runs) == 2
        assert partial.text == ("Let me see." if world.listening else "Round 0.")
        return partial

    assert goes_on(provider, at_some_pace(late).messages).text == "All done."


@everywhere
def test_an_agent_that_runs_out_of_time_says_so_and_goes_on(provider: Strict, world: World) -> None:
    """The whole run has so much time: the first round is kept, and what the second one had begun to say."""

    def desk(prompt: str) -> Any:
        return (yield from run_tools.plan(provider.model(), prompt, TOOLS))

    face: Any = stream if world.listening else run

    def late(pace: float) -> Response:
        provider.holds_on(*TEXT, at=1)
        with pytest.raises(TimedOut) as out:
            world.run(lambda: face.plan(deadline(blocking(desk), 0.3 * pace), "Go on."))
        assert len(provider.asked) == provider.at + 1, "the first reply was late"
        provider.saw_it_leave(monotonic())
        partial: Response = out.value.partial
        assert len(partial.tool_runs) == 2
        return partial

    assert goes_on(provider, at_some_pace(late).messages).text == "All done."


@listening
def test_what_ran_before_a_reply_was_cut_is_kept_and_goes_on(provider: Strict, world: World) -> None:
    """Call and result stay together, though the call that came next was not whole and has not run."""
    done, ran = threading.Event(), []

    def add(number: int) -> int:
        """Add one."""
        done.set()
        return number + 1

    def look(number: int) -> None:
        """Never run: its arguments were cut."""
        ran.append(number)

    provider.cuts_off(*FIRST_CLOSED, after=done)
    with pytest.raises(StreamIncomplete) as out:
        world.run(lambda: stream.plan(provider.model(), "Go on.", tools=[add, look], eager=True))
    assert not ran
    partial = out.value.partial
    assert [(run.call.name, run.result) for run in partial.tool_runs] == [("add", "2")]
    goes_on(provider, partial.messages)

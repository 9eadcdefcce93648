"""Closing is cancelling: nothing runs on when a stream is left, and no history has a call without its result."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from traceback import walk_tb
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import Message, ToolCall, aio, openai_compatible, run_tools, stream, using
from arshai_kit.errors import BadReply, Exhausted, RateLimited, ScriptError
from arshai_kit.models import Ask
from arshai_kit.records import ToolResult
from arshai_kit.testing import clock, scripted
from tests.core.worlds import BACKENDS, WORLDS, World, listening
from tests.laws.test_streaming import TOOLS, Toy, answers, rounds, said
from tests.laws.wired import wired
from tests.test_completion import DONE, chunk
from tests.transport.server import SOON, Peer, serving


def whole(messages: Sequence[Message]) -> bool:
    """Whether every call has its result behind it, once, and in the order of the calls."""
    asked = [call.id for message in messages for call in message.tool_calls]
    told = [part.id for message in messages for part in message.parts if isinstance(part, ToolResult)]
    return asked == told


SILENT = tuple(world for world in WORLDS if not world.listening)


@given(rounds, said, st.sampled_from(SILENT), st.booleans())
def test_the_history_of_a_run_has_a_result_for_every_call(turns: Any, last: str, world: World, eager: bool) -> None:
    with scripted(*answers(turns, last)) as script:
        response = world.run(lambda: run_tools.plan(Toy(), "Go!", TOOLS, eager=eager))
    assert whole(response.messages)
    assert all(whole(ask.messages) for ask in script.asked)


@given(rounds.filter(bool), said, st.integers(1, 3), st.none() | st.integers(0, 5), st.sampled_from(SILENT))
def test_a_run_that_ran_out_goes_on_from_what_it_has(
    turns: Any, last: str, max_rounds: int, most: int | None, world: World
) -> None:
    """Every call has its result, those that did not run too; the next run takes the history as it is."""
    script: list[Any] = answers(turns, last)
    partial = None
    with suppress(ScriptError), scripted(*[_again(script, number) for number in range(max_rounds)]):
        try:
            world.run(lambda: run_tools.plan(Toy(), "Go!", TOOLS, max_rounds=max_rounds, max_tool_calls=most))
        except Exhausted as error:
            partial = error.partial
    if partial is not None:
        assert whole(partial.messages)
        with scripted(last) as script_after:
            assert run_tools(Toy(), ("Go!", partial), TOOLS).text == last
        assert whole(script_after.asked[0].messages)


def _again(script: Sequence[Any], number: int) -> Any:
    """The answer with *number*; a run that has its last answer is not asked for more."""
    return lambda _: script[number] if number < len(script) else "enough"


@given(rounds, st.integers(0, 3), st.sampled_from(WORLDS))
def test_a_run_that_failed_has_a_result_for_every_call_so_far(turns: Any, place: int, world: World) -> None:
    script: list[Any] = [*answers(turns[:place], "")[:-1], RateLimited("slow down", status=429)]
    with scripted(*script), pytest.raises(RateLimited) as caught:
        world.run(lambda: run_tools.plan(Toy(), "Go!", TOOLS))
    partial = caught.value.partial
    assert whole(partial.messages) if len(script) > 1 else partial is None


# -- leaving early --


class Slow:
    """A tool that ends when it is cancelled, and says so."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    async def __call__(self) -> AsyncIterator[int]:
        """Work for ever, step by step."""
        self.begun += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.ended += 1
        yield 1


def slowly(slow: Slow) -> Any:
    async def work() -> str:
        """Work for ever."""
        async for _ in slow():
            return "done"
        return "never"

    return work


CALLS = (ToolCall("", "add", {"a": 1, "b": 2}), ToolCall("", "work"), ToolCall("", "work"))


@pytest.mark.parametrize("backend", BACKENDS)
@given(place=st.integers(0, 12))
def test_who_leaves_a_stream_early_leaves_no_tool_running(backend: str, place: int) -> None:
    slow = Slow()

    async def main() -> None:
        async with aio.stream(Toy(), "Go!", tools=[*TOOLS, slowly(slow)]) as events:
            with anyio.move_on_after(0.05):  # there is no next event while the tools work
                for _ in range(place):
                    await anext(events)
        assert slow.begun == slow.ended

    with suppress(ScriptError), scripted(CALLS):  # who leaves at once has not asked for anything
        anyio.run(main, backend=backend)
    assert slow.begun == slow.ended


def test_who_leaves_a_sync_stream_early_leaves_no_async_tool_running() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        """Work for ever."""
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    def watch() -> bool:
        """See that the others work."""
        return begun.wait(10)

    calls = (ToolCall("", "work"), ToolCall("", "watch"))
    with scripted(calls), stream(Toy(), "Go!", tools=[work, watch]) as events:
        while type(next(events)).__name__ != "ToolFinished":
            assert not ended.is_set()
    assert ended.wait(10)


def test_who_leaves_early_is_not_asked_again() -> None:
    """The model is not asked for the next round, though a tool's answer was on its way."""
    asked: list[Ask] = []

    def more(ask: Ask) -> Any:
        asked.append(ask)
        return ToolCall("", "add", {"a": 1, "b": 2})

    def first() -> Iterator[str]:
        with scripted(more), stream(Toy(), "Go!", tools=TOOLS) as events:
            for event in events:
                yield type(event).__name__
                if type(event).__name__ == "ToolFinished":
                    return

    assert list(first())[-1] == "ToolFinished"
    assert len(asked) == 1


# -- what failed is let go --


@listening
def test_the_connection_of_an_attempt_that_failed_is_closed_before_the_next(world: World) -> None:
    """A provider that goes on with its reply would else serve two."""
    closed = threading.Event()

    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        if peer.number == 0:
            peer.send(b'data: {"error": {"message": "busy", "code": 503}}\n\n')
            peer.hung_up()
            closed.set()
        else:
            assert closed.wait(SOON / 2)
            peer.send(chunk({"content": "Fine."}) + chunk({}, "stop") + DONE)

    with serving(behave) as server, clock():
        model = openai_compatible("toy", base_url=server.url, api_key="")
        assert world.run(lambda: stream.plan(model, "Well?")).text == "Fine."


@pytest.mark.parametrize("begin", [b"{", b" "], ids=["a whole reply", "before its begin"])
def test_what_is_too_large_does_not_live_as_long_as_its_error(begin: bytes) -> None:
    """An error may be kept for long, and its traceback holds what the plans held."""
    model = openai_compatible("toy", base_url="http://127.0.0.1:9/v1", api_key="", max_body=1_000_000)
    with using(layers=[wired([begin * 10_000] * 200)]), pytest.raises(BadReply, match="max_body=") as caught:
        list(stream(model, "Well?"))
    frames = [frame for frame, _ in walk_tb(caught.value.__traceback__) if frame.f_code.co_name != "on_read"]
    held = [value for frame in frames for value in frame.f_locals.values() if "models" in frame.f_code.co_filename]
    parts = [part for value in held for part in (value if isinstance(value, list | tuple) else [value])]
    assert sum(len(part) for part in parts if isinstance(part, bytes)) <= 3 * 10_000  # the first read and the last

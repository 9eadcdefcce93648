"""The twelve ways of asking, watched: none takes longer than it may, and none leaves a task behind."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from time import monotonic
from typing import Any

import anyio
import pytest
from attrs import define, frozen

from arshai_kit import Finished, aio, complete, run_tools, stream
from arshai_kit.models import Model
from tests.badinput import ways as asking
from tests.transport.server import SOON

__all__ = ["PROMPT", "WAYS", "Came", "Way", "within"]

PROMPT = "What is the weather in Oslo?"


@define
class Came(asking.Came):
    """What came of a question, how many tasks the event loop had more than before, and how slow all was to be."""

    tasks: int = 0
    pace: float = 1.0


@frozen
class Way(asking.Way):
    """How a model is asked."""

    def asks(
        self,
        came: Came,
        model: Model,
        *,
        times: int = 1,
        between: Callable[[], None] = lambda: None,
        tools: Sequence[Any] | None = None,
        run: Mapping[str, Any] | None = None,
    ) -> None:
        """Fill *came* with what comes of asking *model*, the last time of so many *times*; any error is kept."""
        options: dict[str, Any] = {"tools": (_weather(came),) if tools is None else tools} if self.loops else {}
        options |= (run or {}) if self.loops else {}
        try:
            if self.backend:
                anyio.run(self._main, came, model, times, between, options, backend=self.backend)
                return
            for turn in range(times):
                if turn:
                    _again(came, between)
                self._blocking(came, model, options)
        except BaseException as error:  # whatever it is, the row decides
            came.error = error

    async def _main(
        self, came: Came, model: Model, times: int, between: Callable[[], None], options: dict[str, Any]
    ) -> None:
        before = len(anyio.get_running_tasks())
        try:
            for turn in range(times):
                if turn:
                    _again(came, between)
                await self._asked_here(came, model, options)
        except Exception as error:
            came.error = error
        came.tasks = await _left(before)

    def _blocking(self, came: Came, model: Model, options: dict[str, Any]) -> None:
        if self.streams:
            with stream(model, PROMPT, **options) as events:
                for event in events:
                    _heard(came, event)
        else:
            came.response = (run_tools if self.loops else complete)(model, PROMPT, **options)

    async def _asked_here(self, came: Came, model: Model, options: dict[str, Any]) -> None:
        if self.streams:
            async with aio.stream(model, PROMPT, **options) as events:
                async for event in events:
                    _heard(came, event)
        else:
            asked: Any = aio.run_tools if self.loops else aio.complete
            came.response = await asked(model, PROMPT, **options)


async def _left(before: int) -> int:
    """How many tasks there are more than *before*, once those that are ending have ended."""
    until = monotonic() + SOON
    while (left := len(anyio.get_running_tasks()) - before) > 0 and monotonic() < until:  # noqa: ASYNC110
        await anyio.sleep(0.005)
    return left


def _weather(came: Came) -> Callable[[str], str]:
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        came.ran.append(city)
        return f"rain in {city}"

    return weather


def _heard(came: Came, event: Any) -> None:
    came.events.append(event)
    if isinstance(event, Finished):
        came.response = event.response


def _again(came: Came, between: Callable[[], None]) -> None:
    """Forget what came, for it is asked again."""
    came.events.clear()
    came.ran.clear()
    came.response = None
    between()


def within(seconds: float, act: Callable[[], None]) -> None:
    """Do *act* in a thread of its own; what is not over after so many *seconds* fails, and tells where it hangs."""
    raised: list[BaseException] = []

    def kept() -> None:
        try:
            act()
        except BaseException as error:  # raised again below
            raised.append(error)

    thread = threading.Thread(target=copy_context().run, args=(kept,), daemon=True, name="row")
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        frame = sys._current_frames()[thread.ident or 0]
        pytest.fail(f"not over after {seconds:g} s; it hangs here:\n{''.join(traceback.format_stack(frame))}")
    if raised:
        raise raised[0]


MODES = ("complete", "stream", "tools", "tools-stream")
WAYS = tuple(
    Way(mode, backend)
    for mode in ("complete", "stream", "tools", "tools-stream")
    for backend in ("", "asyncio", "trio")
)

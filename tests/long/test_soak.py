"""Thousands of calls, streams, tool rounds, faults and streams that are left: nothing grows.

All of them together, in all worlds at a time, last as many seconds as ARSHAI_SOAK says: half an hour in `tox -e long`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from arshai_kit import TextDelta, aio, complete, run_tools, stream
from arshai_kit._threads import workers
from arshai_kit.errors import ArshaiError
from arshai_kit.models import Endpoint
from tests.long.conftest import Held, Toy
from tests.long.serve import WORDS

pytestmark = pytest.mark.long

TIMES = 2000
WARM = 300
MIB = 1024 * 1024
SAID = "".join(WORDS)

BEHAVIOURS = ("call", "stream", "left", "tools", "tools-stream", "cut", "busy")


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


async def adouble(number: int) -> int:
    """Double a number."""
    return 2 * number


def once(toy: Toy, behaviour: str) -> Callable[[], None]:
    """What is done again and again, by blocking."""
    model: Endpoint = toy.model({"call": "talk", "stream": "talk", "left": "talk"}.get(behaviour, behaviour[:5]))

    def act() -> None:
        match behaviour:
            case "call":
                assert complete(model, "Go!").text == SAID
            case "stream":
                *_, final = stream(model, "Go!")
                assert final.response.text == SAID  # type: ignore[union-attr]  # it is the last
            case "left":
                with stream(model, "Go!") as events:
                    next(event for event in events if isinstance(event, TextDelta))
            case "tools":
                assert len(run_tools(model, "Go!", [double]).tool_runs) == 2
            case "tools-stream":
                *_, final = stream(model, "Go!", tools=[double], eager=True)
                assert len(final.response.tool_runs) == 2  # type: ignore[union-attr]  # it is the last
            case "cut" | "busy":
                with suppress(ArshaiError):
                    list(stream(evolved(model), "Go!"))
                    raise AssertionError("there is no answer")

    return act


def evolved(model: Endpoint) -> Endpoint:
    """*model*, asked once."""
    from arshai_kit.models import evolve

    return evolve(model, retry=None)


async def aonce(model: Endpoint, behaviour: str) -> None:
    """What is done again and again, by awaiting."""
    match behaviour:
        case "call":
            assert (await aio.complete(model, "Go!")).text == SAID
        case "left":
            async with aio.stream(model, "Go!") as events:
                while not isinstance(await anext(events), TextDelta):
                    pass
        case "tools":
            assert len((await aio.run_tools(model, "Go!", [adouble, double_too])).tool_runs) == 2
        case "cut" | "busy":
            with suppress(ArshaiError):
                async with aio.stream(evolved(model), "Go!") as events:
                    async for _ in events:
                        pass
                raise AssertionError("there is no answer")
        case _:
            tools: dict[str, Any] = {"tools": [adouble, double_too], "eager": True} if "tools" in behaviour else {}
            async with aio.stream(model, "Go!", **tools) as events:
                async for event in events:
                    last = event
            assert last.response.messages  # type: ignore[union-attr]  # it is the last


async def double_too(number: int) -> int:
    """Double a number."""
    return 2 * number


def nothing_grew(before: Held, after: Held) -> None:
    """As many threads and files as before; what more there is of the rest is what allocators and caches play with."""
    assert after.threads <= before.threads
    assert after.files <= before.files + 1
    assert after.objects - before.objects < TIMES / 2
    assert after.memory - before.memory < 4 * MIB


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_by_blocking(toy: Toy, behaviour: str, record_property: Callable[[str, Any], None]) -> None:
    act = once(toy, behaviour)
    for _ in range(WARM):
        act()
    before, began = Held.now(), time.process_time()
    for _ in range(TIMES):
        act()
    took = time.process_time() - began
    after = Held.now()
    told(record_property, f"sync {behaviour}", before, after, took)
    nothing_grew(before, after)
    assert not workers().left_behind
    assert toy.counts()["connections"] <= 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_by_awaiting(toy: Toy, behaviour: str, backend: str, record_property: Callable[[str, Any], None]) -> None:
    model = toy.model({"call": "talk", "stream": "talk", "left": "talk"}.get(behaviour, behaviour[:5]))

    async def main() -> None:
        for _ in range(WARM):
            await aonce(model, behaviour)
        tasks, before, began = _tasks(), Held.now(), time.process_time()
        for _ in range(TIMES):
            await aonce(model, behaviour)
        took = time.process_time() - began
        after = Held.now()
        told(record_property, f"{backend} {behaviour}", before, after, took)
        nothing_grew(before, after)
        assert _tasks() <= tasks

    anyio.run(main, backend=backend)
    assert toy.counts()["connections"] <= 3


def _tasks() -> int:
    return len(anyio.get_running_tasks())


def told(record: Callable[[str, Any], None], name: str, before: Held, after: Held, took: float) -> None:
    """Print a line of the evidence."""
    grown = f"{(after.memory - before.memory) / 1024:+.0f} KiB, {after.objects - before.objects:+d} objects"
    line = f"{name}: {TIMES} times, {took / TIMES * 1e6:.0f} µs of CPU each, {grown}"
    record("soak", line)
    print(line)


def lasting(seconds: float, *options: str) -> Any:
    """What came of so many seconds of everything, in a process of its own."""
    command = [sys.executable, "-m", "tests.long.lasting", "--seconds", str(seconds), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_everything_for_as_long_as_is_asked(record_property: Callable[[str, Any], None]) -> None:
    seconds = float(os.environ.get("ARSHAI_SOAK") or 60)
    came = lasting(seconds)
    record_property("soak", came)
    print(f"{seconds:.0f} s of everything: {came}")
    assert (came["too much"], came["wrong"]) == ([], [])


def test_a_leak_would_be_seen() -> None:
    """Of each kind of thing a little is kept on purpose, in a soak of the fewest cycles."""
    came = lasting(5, "--leak")
    assert {told.partition(":")[0] for told in came["too much"]} == {"threads", "files", "objects", "memory", "tasks"}
    assert came["wrong"] == []

"""Whatever can be done with a model, for as long as one likes: `python -m tests.long.lasting --seconds 60`.

In cycles: conversations with tools and faults, streams that are left, runs that are cancelled or come too late, and
background tasks that end well or badly, at the same time by blocking and on event loops of asyncio and trio that live
as long as the process. After each cycle everything rests, and what the process holds is noted. The last line printed is
what has grown, as JSON. *--leak* leaks on purpose, to show that it would be seen.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from attrs import asdict, define, field, frozen
from benchmarks import loadserver
from benchmarks.load import Tally, talk, talk_by_blocking, unlike
from benchmarks.talks import TURNS

from arshai_kit import (
    TextDelta,
    aio,
    openai_compatible,
    run_tools,
    stream,
    using,
)
from arshai_kit._threads import workers
from arshai_kit.errors import ArshaiError
from arshai_kit.models import evolve
from arshai_kit.tools import background, background_tasks, drain
from tests.long.conftest import Held, Toy, provided

TALKS = 6
"""Conversations of a world in a cycle."""
ODD = 12
"""Runs of a world in a cycle that end in another way."""
CYCLES = 9
"""At least so many cycles."""
MANNER = "0.01_0.03_{seed}"
MOST: Mapping[str, float] = {"threads": 2, "files": 4, "objects": 2000, "memory": 2 * 1024 * 1024, "tasks": 0}
"""What more a process may hold at the end: what idle connections, workers and allocators play with."""


@frozen
class Places:
    """Where the models are: of the conversations, and those that behave as they are told."""

    talking: Any
    toy: Toy


# What is done again and again


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


async def adouble(number: int) -> int:
    """Double a number."""
    return 2 * number


def failing(number: int) -> NoReturn:
    """Fail, where nobody waits."""
    raise ValueError(number)


async def hanging(number: int) -> None:
    """Come to no end."""
    await anyio.sleep_forever()


def named(function: Callable[..., Any]) -> Any:
    """*function*, under the name that the toy calls."""
    from arshai_kit import tool

    return tool(function, name="double")


def odd(places: Places, number: int) -> str:
    """A run that ends in its own way, by blocking; its kind."""
    slow, tools = places.toy.model("slow"), places.toy.model("tools")
    match number % 5:
        case 0:
            with stream(slow, "Go!") as events:
                next(event for event in events if isinstance(event, TextDelta))
            return "left"
        case 1:
            with suppress(ArshaiError):
                run_tools(evolve(slow, deadline=0.03), "Go!", ())
            return "late"
        case 2:
            assert len(run_tools(tools, "Go!", [background(named(double))]).tool_runs) == 2
            return "background"
        case 3:
            with using():
                run_tools(tools, "Go!", [background(named(failing))])
            return "background that fails"
        case _:
            with suppress(ArshaiError):
                list(stream(evolve(places.toy.model("cut"), retry=None), "Go!", tools=[double], eager=True))
            return "cut"


async def aodd(places: Places, number: int) -> str:
    """The same, by awaiting."""
    slow, tools = places.toy.model("slow"), places.toy.model("tools")
    match number % 6:
        case 0:
            async with aio.stream(slow, "Go!") as events:
                while not isinstance(await anext(events), TextDelta):
                    pass
            return "left"
        case 1:
            with anyio.move_on_after(0.03):
                await aio.run_tools(slow, "Go!", ())
            return "cancelled in an exchange"
        case 2:
            with anyio.move_on_after(0.03):
                async with aio.stream(tools, "Go!", tools=[named(hanging)], eager=True) as events:
                    async for _ in events:
                        pass
            return "cancelled in a tool"
        case 3:
            async with using():
                await aio.run_tools(tools, "Go!", [background(named(adouble))])
            return "background"
        case 4:
            await aio.run_tools(tools, "Go!", [background(named(failing))])
            return "background that fails"
        case _:
            with suppress(ArshaiError):
                await aio.complete(evolve(places.toy.model("busy"), retry=None), "Go!")
            return "busy"


# Worlds


@define
class Done:
    """What was done, and what went wrong."""

    counts: Counter[str] = field(factory=Counter)
    wrong: list[str] = field(factory=list)

    def talked(self, world: str, tally: Tally, numbers: Sequence[int]) -> None:
        """Note conversations, which must be what they must be."""
        self.counts[f"{world}: turns"] += len(numbers) * TURNS
        self.counts[f"{world}: streams lost in their middle"] += tally.errors.total()
        self.wrong += [*tally.wrong, *unlike(tally, numbers)]


def by_blocking(threads: ThreadPoolExecutor, places: Places, done: Done) -> None:
    """A cycle in threads."""
    tally, numbers = Tally(), range(TALKS)
    talks = [threads.submit(talk_by_blocking, places.talking, number, tally) for number in numbers]
    odds = [threads.submit(odd, places, number) for number in range(ODD)]
    for each in talks:
        each.result()
    done.counts.update(f"sync: {each.result()}" for each in odds)
    done.talked("sync", tally, numbers)


async def by_awaiting(world: str, first: int, places: Places, done: Done) -> None:
    """A cycle in tasks."""
    tally, numbers = Tally(), range(first, first + TALKS)

    async def one(number: int) -> None:
        done.counts[f"{world}: {await aodd(places, number)}"] += 1

    async with anyio.create_task_group() as group:
        for number in numbers:
            group.start_soon(talk, places.talking, number, tally)
        for number in range(ODD):
            group.start_soon(one, number)
    done.talked(world, tally, numbers)


@define
class Soak:
    """The worlds, which live as long as it does."""

    places: Places
    threads: ThreadPoolExecutor
    portals: Mapping[str, BlockingPortal]
    done: Done = field(factory=Done)
    hoard: list[Any] = field(factory=list)

    def cycle(self) -> None:
        """Do everything once, everywhere at the same time."""
        running = [
            portal.start_task_soon(by_awaiting, world, 1000 * (1 + place), self.places, self.done)
            for place, (world, portal) in enumerate(self.portals.items())
        ]
        by_blocking(self.threads, self.places, self.done)
        for each in running:
            each.result()
        left = drain(5)
        if left or background_tasks() or workers().left_behind:
            self.done.wrong.append(f"still running: {left} {background_tasks()} {workers().left_behind}")

    def held(self) -> dict[str, float]:
        """What the process holds at rest."""
        tasks = sum(portal.call(_tasks) for portal in self.portals.values())
        return {**asdict(Held.now()), "tasks": tasks}

    def leak(self) -> None:
        """Keep of everything so much that the fewest cycles show it; an hour shows the hundredth part."""
        self.hoard += [random.randbytes(16 * 1024) for _ in range(64)]
        self.hoard += [[] for _ in range(2000)]
        for _ in range(3):
            self.hoard += socket.socketpair()
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        for portal in self.portals.values():
            self.hoard.append(portal.start_task_soon(anyio.sleep_forever))


async def _tasks() -> int:
    return len(anyio.get_running_tasks())


@contextmanager
def soaking(seed: int) -> Iterator[Soak]:
    """All parts, with both servers."""
    with (
        provided() as toy,
        loadserver.running() as address,
        ThreadPoolExecutor(2 * TALKS) as threads,
        start_blocking_portal("asyncio") as one,
        start_blocking_portal("trio") as other,
    ):
        base_url = f"{address}/{MANNER.format(seed=seed)}/v1"
        places = Places(openai_compatible("load", base_url=base_url, api_key="k"), toy)
        soak = Soak(places, threads, {"asyncio": one, "trio": other})
        try:
            yield soak
        finally:
            for each in soak.hoard:
                if hasattr(each, "cancel"):
                    each.cancel()


# What has grown


def grown(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What was held more at the end: the median of the last third against that of the middle one.

    The first third is warm-up. A median of many samples is not moved by the odd one that was taken while an idle
    connection was about to be closed, but it is by whatever grows with each cycle.
    """
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    return {name: _median(last, name) - _median(middle, name) for name in MOST}


def _median(samples: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.median(each[name] for each in samples)


def too_much(growth: Mapping[str, float]) -> list[str]:
    """What has grown more than it may."""
    return [f"{name}: {more:+,.0f}" for name, more in growth.items() if more > MOST[name]]


def soaked(seconds: float, *, leak: bool) -> dict[str, Any]:
    """What came of doing everything for *seconds*."""
    logging.getLogger("arshai_kit.background").disabled = True  # it tells of each failure, thousands of them
    until = time.monotonic() + seconds
    samples: list[Mapping[str, float]] = []
    with soaking(seed=int(time.time())) as soak:
        began = time.process_time()
        while time.monotonic() < until or len(samples) < CYCLES:
            soak.cycle()
            samples.append(soak.held())
            if leak:
                soak.leak()
        cpu = time.process_time() - began
        growth, done = grown(samples), soak.done
    first, last = samples[len(samples) // 3], samples[-1]
    figures = {"cycles": len(samples), "cpu": cpu, "done": done.counts, "from": first, "to": last}
    return {**figures, "grown": growth, "too much": too_much(growth), "wrong": done.wrong[:20]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--leak", action="store_true")
    given = parser.parse_args()
    print(json.dumps(soaked(given.seconds, leak=given.leak)))

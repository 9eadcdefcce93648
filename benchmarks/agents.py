"""What a combinator of agents costs, in bare Python calls: `python -m benchmarks.agents [--quick] [--rounds 15]`.

The agents are functions that give back what they are given, so that nothing but the combinator is measured. *Alone* is
a call of the combinator, with all that a run takes; *inside* is the same one in a run that goes on anyhow.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from attrs import frozen

from arshai_kit import parallel, pipe, route, run
from arshai_kit.agents import approve, guard, insist
from arshai_kit.effects import Plan
from arshai_kit.faces import drive
from arshai_kit.memory import in_memory, remembering
from arshai_kit.resilience import fallback
from benchmarks.measure import SAMPLE_NS, Ratio, Sampler, Work, batch, enough, median, ratio, sampler, taken
from benchmarks.table import markdown, measured_on, publish

AT_MOST = 15
INSIDE = 20
"""So often a combinator is called in one run, for what it costs inside of it."""
HEAD = ("what", "bare calls, inside a run", "alone", "times `f` inside", "inside", f"at most {AT_MOST}")
BARE, INNER, ALONE, PLAIN = "bare", "inner", "alone", "plain"


def echo(_: Any) -> str:
    """An agent that costs nothing."""
    return "Hello"


def fine(_: Any) -> str:
    """Whatever is checked will do."""
    return ""


def first(_: Any) -> str:
    """The first one is to answer."""
    return "a"


@frozen
class Combined:
    """A combination of agents, and what makes the further arguments of each call."""

    name: str
    agent: Any
    options: Callable[[], Mapping[str, Any]] = dict

    def alone(self) -> Any:
        """A call."""
        return run(self.agent, "x", **self.options())

    def inside(self) -> Plan[None]:
        """The same, several times in one run."""
        for _ in range(INSIDE):
            yield from run.plan(self.agent, "x", **self.options())


def combinations() -> Iterator[Combined]:
    """What is measured, a function alone first; in the memory, each turn is the first one of its conversation."""
    numbers = count()
    yield Combined("`f`, a function", echo)
    yield Combined("`pipe(f)`", pipe(echo))
    yield Combined("`pipe(f, g)`", pipe(echo, echo))
    yield Combined("`parallel(f, g)`", parallel(echo, echo))
    yield Combined("`route(chooser, {…})`", route(first, {"a": echo, "b": echo}))
    yield Combined("`fallback(f, g)`", fallback(echo, echo))
    yield Combined("`insist(f, check)`", insist(echo, fine))
    yield Combined("`guard(f, before=check)`", guard(echo, before=fine))
    yield Combined("`guard(f, after=check)`", guard(echo, after=fine))
    yield Combined("`approve(f, ask)`", approve(echo, fine))
    memory = in_memory(max_conversations=1000)
    yield Combined("`remembering(f, in_memory())`", remembering(echo, memory), lambda: {"key": f"{next(numbers)}"})


def bare() -> Work:
    """Calls of the function itself, each with an argument and a result."""

    def work(times: int) -> int:
        began = time.process_time_ns()
        for _ in range(times):
            echo("x")
        return time.process_time_ns() - began

    return work


def inner(combined: Combined) -> Work:
    """Calls inside of a run, of which the run itself is no part."""
    work = batch(lambda: drive(combined.inside()))
    return lambda times: work(max(1, times // INSIDE))


def measured(combined: Combined, rounds: int, *, quick: bool) -> Mapping[str, Ratio | float]:
    """What *combined* costs, in bare calls and in calls of a function by us."""
    (plain, *_) = combinations()
    works = {BARE: bare(), INNER: inner(combined), ALONE: batch(combined.alone), PLAIN: inner(plain)}
    samplers = {name: _sampled(work, 1 if quick else SAMPLE_NS // 4) for name, work in works.items()}
    found = taken(samplers, rounds)
    return {
        "inside": ratio(found, INNER, BARE),
        "alone": ratio(found, ALONE, BARE),
        "plain": ratio(found, INNER, PLAIN),
        "time": median(found, INNER),
        "bare": median(found, BARE),
    }


def _sampled(work: Work, nanoseconds: int) -> Sampler:
    return sampler(work, max(INSIDE, enough(work, nanoseconds)))


def cells(combined: Combined, found: Mapping[str, Any]) -> tuple[str, ...]:
    """A line of the table."""
    return (
        combined.name,
        *[
            f"{found[name].median:.0f} ({found[name].low:.0f} to {found[name].high:.0f})"
            for name in ("inside", "alone")
        ],
        f"{found['plain'].median:.1f}",
        f"{found['time'] / 1000:.1f} µs",
        "-" if combined.agent is echo else "reached" if found["inside"].median <= AT_MOST else "MISSED",
    )


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit code says nothing about speed, which depends on the machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agents", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--rounds", type=int, default=15, help="samples of each (15)")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    asked = parser.parse_args(given)
    table: list[tuple[str, ...]] = []
    for combined in combinations():
        print(f"{combined.name} …", file=sys.stderr, flush=True)
        found = measured(combined, 2 if asked.quick else max(2, asked.rounds), quick=asked.quick)
        table.append(cells(combined, found))
    publish(f"{markdown(HEAD, table)}\n\nA bare call took {found['bare']:.0f} ns. {measured_on()}\n", asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Many conversations at a time, with tools, streams and faults: `python -m benchmarks.load [--quick] [--world trio]`.

Each run has a server and one client process of its own, with default settings. The exit status says whether every
conversation came to its end as it must have, with no error but those that retries cannot mend, and whether the last of
the runs costs about as much CPU a turn as the first.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import anyio
from attrs import Factory, define, frozen

from arshai_kit import Finished, Message, Response, TextDelta, aio, openai_compatible, run_tools, stream, user
from arshai_kit.errors import ArshaiError
from benchmarks.loadserver import BREAK, more_files, running, unserved
from benchmarks.table import markdown, measured_on
from benchmarks.talks import TURNS, Line, counted, lines, looked_up, question

FAULTS = 0.02
RAMP = 20.0
"""Seconds over which the conversations begin."""
WARM = 20
"""Conversations before those that are measured, with hardly a pause and no faults."""
FLAT = 1.3
LOST = "StreamIncomplete"
"""The only error that may reach a conversation: its stream was cut after something had been told."""
WAITED: ContextVar[list[float] | None] = ContextVar("waited", default=None)


# Conversations


@define
class Tally:
    """What came of the conversations of one process."""

    histories: dict[int, tuple[Message, ...]] = Factory(dict)
    turns: array[float] = Factory(lambda: array("d"))
    errors: Counter[str] = Factory(Counter)
    wrong: list[str] = Factory(list)

    def turn(self, began: float, waited: Sequence[float], response: Response, heard: str | None) -> None:
        """Note a turn: its seconds, the server's, those of waiting for connections, the longest of them, its faults."""
        load = response.raw["load"]
        self.turns.extend(
            (time.monotonic() - began, load["own"], sum(waited), max(waited, default=0.0), load["faults"])
        )
        if heard is not None and heard != response.text:
            self.wrong.append(f"heard {heard!r} and got {response.text!r}")

    def failed(self, error: ArshaiError, what: str) -> None:
        """Note an error; one that is not due ends the conversation."""
        self.errors[type(error).__name__] += 1
        if type(error).__name__ != LOST:
            self.wrong.append(f"{what}: {error!r}")
            raise error

    def rows(self) -> Iterator[tuple[float, ...]]:
        """Each turn that was noted."""
        return zip(*[iter(self.turns)] * 5, strict=True)


def is_streamed(turn: int) -> bool:
    """Three turns of four are streamed; in the others the reply comes as a whole."""
    return turn % 4 != 3


async def talk(model: Any, number: int, tally: Tally) -> None:
    """Hold one conversation, asking a lost turn again, by awaiting."""
    history: tuple[Message, ...] = ()
    for turn in range(TURNS):
        asked = (*history, user(question(number, turn)))
        began, waited, heard = time.monotonic(), _waiting(), None
        while True:
            try:
                if is_streamed(turn):
                    response, heard = await _streamed(model, asked)
                else:
                    response = await aio.run_tools(model, asked, (looked_up, counted))
                break
            except ArshaiError as error:
                tally.failed(error, f"{number}.{turn}")
        history = tally.histories[number] = (*asked, *response.messages)
        tally.turn(began, waited, response, heard)


async def _streamed(model: Any, asked: Sequence[Message]) -> tuple[Response, str]:
    heard = []
    async with aio.stream(model, asked, tools=(looked_up, counted)) as events:
        async for event in events:
            if type(event) is TextDelta:
                heard.append(event.text)
    assert isinstance(event, Finished)
    return event.response, "".join(heard)


def talk_by_blocking(model: Any, number: int, tally: Tally) -> None:
    """The same, by blocking."""
    history: tuple[Message, ...] = ()
    for turn in range(TURNS):
        asked = (*history, user(question(number, turn)))
        began, waited, heard = time.monotonic(), _waiting(), None
        while True:
            try:
                if is_streamed(turn):
                    response, heard = _streamed_by_blocking(model, asked)
                else:
                    response = run_tools(model, asked, (looked_up, counted))
                break
            except ArshaiError as error:
                tally.failed(error, f"{number}.{turn}")
        history = tally.histories[number] = (*asked, *response.messages)
        tally.turn(began, waited, response, heard)


def _streamed_by_blocking(model: Any, asked: Sequence[Message]) -> tuple[Response, str]:
    heard = []
    for event in stream(model, asked, tools=(looked_up, counted)):
        if type(event) is TextDelta:
            heard.append(event.text)
    assert isinstance(event, Finished)
    return event.response, "".join(heard)


def _waiting() -> list[float]:
    waited: list[float] = []
    WAITED.set(waited)
    return waited


async def together(model: Any, count: int, tally: Tally, ramp: float) -> None:
    """Hold *count* conversations at a time, by awaiting."""

    async def one(number: int) -> None:
        await anyio.sleep(ramp * number / count)
        with suppress(ArshaiError):  # it is in the tally
            await talk(model, number, tally)

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)


def in_threads(model: Any, count: int, tally: Tally, ramp: float) -> None:
    """The same, a thread each."""
    from threading import Thread

    def one(number: int) -> None:
        time.sleep(ramp * number / count)
        with suppress(ArshaiError):  # it is in the tally
            talk_by_blocking(model, number, tally)

    threads = [Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def hold(world: str, url: str, count: int, tally: Tally, ramp: float) -> Callable[[], None]:
    """What holds *count* conversations with the model at *url*, once, in *world*."""
    model = openai_compatible("load", base_url=url, api_key="k")
    if world == "sync":
        return lambda: in_threads(model, count, tally, ramp)
    return lambda: anyio.run(together, model, count, tally, ramp, backend=world)


@contextmanager
def noting_waits() -> Iterator[None]:
    """Note how long each exchange waits for a free connection; this looks into the parts, at no cost to speak of."""
    from arshai_kit._transport import awaiting, blocking

    wait, block = awaiting.OwnAsync._take_turn, blocking.SyncTransport._take_turn

    def note(began: float) -> None:
        if (waited := WAITED.get()) is not None:
            waited.append(time.monotonic() - began)

    async def awaited(self: Any, exchange: Any) -> None:
        began = time.monotonic()
        await wait(self, exchange)
        note(began)

    def blocked(self: Any, exchange: Any) -> None:
        began = time.monotonic()
        block(self, exchange)
        note(began)

    awaiting.OwnAsync._take_turn, blocking.SyncTransport._take_turn = awaited, blocked  # type: ignore[method-assign]  # as said
    try:
        yield
    finally:
        awaiting.OwnAsync._take_turn, blocking.SyncTransport._take_turn = wait, block  # type: ignore[method-assign]  # as said


@contextmanager
def noting_collections() -> Iterator[list[float]]:
    """Note how long each full run of the garbage collector keeps everything waiting."""
    pauses: list[float] = []

    def note(phase: str, facts: Mapping[str, int]) -> None:
        if facts["generation"] == 2:
            pauses.append(time.monotonic() - (0 if phase == "start" else pauses.pop()))

    gc.callbacks.append(note)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(note)


# The client process


def client(asked: argparse.Namespace) -> dict[str, Any]:
    """Hold the conversations in this process; what they cost and what came of them."""
    count, tally = asked.talks, Tally()
    more_files(count)
    if asked.gc:
        gc.set_threshold(*map(int, asked.gc.split(",")))
    with noting_waits(), noting_collections() as pauses:
        hold(asked.world, asked.url.format("0.001_0_0"), WARM, Tally(), 0)()
        _seen(asked.url.format("forget"))
        before, cpu, clock, starved = _memory("VmRSS"), time.process_time(), time.monotonic(), unserved()
        pauses.clear()
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory is counted from here
        hold(asked.world, asked.url.format(f"{asked.pace}_{asked.faults}_1"), count, tally, RAMP * asked.pace)()
    cpu, clock, starved = time.process_time() - cpu, time.monotonic() - clock, unserved() - starved
    peak, kept = _memory("VmHWM"), _memory("VmRSS")
    figures = {"cpu": cpu, "wall": clock, "peak": (peak - before) / count, "kept": (kept - before) / count}
    figures |= {"unserved": starved, "collected": sum(pauses), "longest": max(pauses, default=0.0)}
    return {
        **figures,
        "wrong": [*tally.wrong, *unlike(tally, range(count))],
        **dict(told(tally)),
        "errors": tally.errors,
    }


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition(f"{name}:")[2].split()[0])


def unlike(tally: Tally, numbers: Iterable[int]) -> Iterator[str]:
    """Those of the conversations that are not what must have been said, from the first word to the last."""
    for number in numbers:
        due = [line for turn in range(TURNS) for line in lines(number, turn)]
        if [_line(message) for message in tally.histories.get(number, ())] != due:
            yield f"conversation {number} is not what must have been said"


def _line(message: Message) -> Line:
    if message.role == "tool":
        return Line("tool", "".join(str(part.content) for part in message.parts))  # type: ignore[union-attr]  # results
    calls = tuple([(call.name, str(call.arguments["key"])) for call in message.tool_calls])
    return Line(message.role, message.text, calls)


def told(tally: Tally) -> Iterator[tuple[str, Any]]:
    """The figures of all turns: those that met no fault apart, as a fault means a pause before the next attempt."""
    rows = list(tally.rows())
    overhead = [(total - own - waited, faults) for total, own, waited, _, faults in rows]
    yield "turns", len(rows)
    yield "own", shares([own for _, own, _, _, _ in rows])
    yield "waited", shares([longest for _, _, _, longest, _ in rows])
    yield "clean", shares([more for more, faults in overhead if not faults])
    yield "faulted", shares([more for more, faults in overhead if faults])


def shares(values: Sequence[float]) -> tuple[float, ...]:
    """The median, what 95 % and 99 % stay under, and the most.

    >>> shares([3.0, 1.0, 2.0])
    (2.0, 3.0, 3.0, 3.0)
    """
    ordered = sorted(values) or [0.0]
    return (*[ordered[int(len(ordered) * share)] for share in (0.5, 0.95, 0.99)], ordered[-1])


# All runs


@frozen
class Run:
    """So many conversations, with so large a part of the usual delays."""

    talks: int
    pace: float = 1.0

    def taken(self, asked: argparse.Namespace) -> dict[str, Any]:
        """The figures of this run, of the client's and the server's side."""
        with running() as address:
            given = {"url": f"{address}/{{}}/v1", "talks": self.talks, "pace": self.pace}
            given |= {name: getattr(asked, name) for name in ("world", "faults", "gc")}
            options = [f"--{name}={value}" for name, value in given.items()]
            command = [sys.executable, "-m", "benchmarks.load", *options]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)  # noqa: S603  # all ours
            return {**json.loads(done.stdout), "seen": _seen(f"{address}/counts/"), "run": self}


def _seen(url: str) -> Any:
    with urlopen(url, timeout=60) as reply:  # noqa: S310  # it is ours
        return json.loads(reply.read())


def failures(taken: Mapping[str, Any]) -> Iterator[str]:
    """What must not be in a run."""
    seen, run = taken["seen"], taken["run"]
    yield from taken["wrong"]
    yield from seen["wrong"]
    if taken["turns"] != run.talks * TURNS:
        yield f"{taken['turns']} turns of {run.talks * TURNS}"
    if taken["errors"] != {LOST: seen["faults"].get(BREAK, 0)} and (taken["errors"] or seen["faults"].get(BREAK)):
        yield f"errors {taken['errors']}, but the server broke {seen['faults'].get(BREAK, 0)} streams"
    if seen["given_up"]:
        yield f"{seen['given_up']} replies were left before their end"


HEAD = (
    "conversations",
    "turns/s",
    "overhead, ms: p50, p95, p99",
    "longest wait of a turn, s: p50, p99, most",
    "CPU a turn",
    "to the first",
    "peak memory each",
    "errors",
    "client: busy, kept from a CPU",
    "server",
)


def cells(taken: Mapping[str, Any], first: float) -> tuple[str, ...]:
    """A row of the table."""
    seen, run, wall = taken["seen"], taken["run"], taken["wall"]
    clean, waited, errors = taken["clean"], taken["waited"], taken["errors"]
    cost = taken["cpu"] / max(1, taken["turns"])
    return (
        f"{run.talks:,}" if run.pace == 1 else f"{run.talks:,}, delays x {run.pace:g}",
        f"{taken['turns'] / wall:.0f}",
        ", ".join(f"{1000 * share:.1f}" for share in clean[:3]),
        ", ".join(f"{waited[place]:.2f}" for place in (0, 2, 3)),
        f"{1000 * cost:.2f} ms",
        f"{cost / first:.2f}",
        f"{taken['peak'] / 1024:.0f} KiB",
        ", ".join(f"{count} {name}" for name, count in errors.items()) or "none",
        f"{taken['cpu'] / wall:.0%}, {taken['unserved'] / wall:.0%}",
        f"{seen['cpu'] / wall:.0%}, {seen['unserved'] / wall:.0%}",
    )


def details(taken: Mapping[str, Any]) -> str:
    """What a row has no room for."""
    seen, own, faulted = taken["seen"], taken["own"], taken["faulted"]
    faults = ", ".join(f"{count} {name}" for name, count in sorted(seen["faults"].items())) or "none"
    return (
        f"{taken['run'].talks:,} ({taken['wall']:.0f} s): the server took {own[0]:.1f} s a turn (most {own[3]:.1f}); "
        f"{seen['asked']:,} requests, at most {seen['most_at_a_time']:,} at a time; "
        f"its timers were late by {', '.join(f'{1000 * share:.1f}' for share in seen['late'])} ms; faults: {faults}; "
        f"turns that met one took {', '.join(f'{share:.2f}' for share in faulted[:3])} s more (p50, p95, p99); "
        f"full garbage collections {taken['collected'] / taken['wall']:.1%} of the time, the longest "
        f"{1000 * taken['longest']:.0f} ms; kept at the end: {taken['kept'] / 1024:.0f} KiB each."
    )


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--world", choices=("asyncio", "trio", "sync"), default="asyncio")
    parser.add_argument("--sizes", default="100,1000,5000", help="how many conversations, separated by commas")
    parser.add_argument("--pace", type=float, default=1.0, help="the part of the usual delays (1)")
    parser.add_argument("--faults", type=float, default=FAULTS, help="the share of requests that go wrong (0.02)")
    parser.add_argument("--gc", default="", help="thresholds of the client's garbage collector (Python's own)")
    parser.add_argument("--talks", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def runs(asked: argparse.Namespace) -> list[Run]:
    """The runs; the least comes first with as many turns a second as the larger ones, for what a busy loop saves."""
    if asked.quick:
        return [Run(20, 0.02), Run(60, 0.02)]
    sizes = [int(size) for size in asked.sizes.split(",")]
    brisk = [Run(sizes[0], asked.pace * sizes[0] / 1000)] if sizes[0] < 1000 and len(sizes) > 1 else []
    return [*brisk, *[Run(size, asked.pace) for size in sizes]]


def main(given: Sequence[str] | None = None) -> int:
    """Run; whether all was as it must be is the exit code, but a smoke run does not look at the cost."""
    asked = arguments(given)
    if asked.talks:
        print(json.dumps(client(asked)))
        return 0
    taken = []
    for run in runs(asked):
        print(f"{run.talks:,} conversations in {asked.world} …", file=sys.stderr, flush=True)
        taken.append(run.taken(asked))
    costs = [each["cpu"] / max(1, each["turns"]) for each in taken]
    rows = [cells(each, costs[0]) for each in taken]
    bad = [f"{each['run'].talks:,}: {failure}" for each in taken for failure in failures(each)]
    if costs[-1] > FLAT * costs[0] and not asked.quick:
        bad.append(f"a turn costs {costs[-1] / costs[0]:.2f} times as much in the last run as in the first")
    print(f"{asked.world}, {measured_on()}\n\n{markdown(HEAD, rows)}\n")
    print("\n".join(f"- {details(each)}" for each in taken))
    print("\n".join(["", *bad[:20]]) if bad else "\nEvery conversation is complete and right.")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())

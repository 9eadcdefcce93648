"""Whether a turn costs the same however many conversations a memory holds: `python -m benchmarks.conversations`.

    python -m benchmarks.conversations [--quick] [--sizes 10,1000,100000,1000000] [--rounds 9] [--markdown FILE]

Each memory in this process holds so many conversations of two messages. A turn goes on with one of them, by chance,
and is taken back again, so that none grows: *turn* is the whole of it by `remembering`, and *load* only looks.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from arshai_kit import assistant, user
from arshai_kit.memory import Memory, in_memory, remembering
from benchmarks.measure import Figures, Sampler, median, ratio, taken
from benchmarks.table import markdown, measured_on, publish

SAID = (user("Where is the invoice of last March?"), assistant("In your account, under Documents."))
HEAD = ("conversations", "a turn", "to the fewest (quartiles)", "a load", "to the fewest (quartiles)")
EACH = 300
"""So many turns are a sample."""


def filled(size: int) -> Memory:
    """A memory of so many conversations."""
    memory = in_memory(max_bytes=float("inf"))
    for number in range(size):
        memory.append(f"user {number}", SAID)
    return memory


def sampled(memory: Memory, size: int, chance: Random) -> Figures:
    """What a turn and a load cost, of conversations that are drawn from all of them."""
    chat = remembering(lambda _: "Hello.", memory)
    keys = [f"user {chance.randrange(size)}" for _ in range(EACH)]

    def turn(key: str) -> int:
        began = time.process_time_ns()
        chat("Hello?", key=key)
        spent = time.process_time_ns() - began
        memory.replace(key, SAID, memory.load(key).version)
        return spent

    return {"cpu": sum(map(turn, keys)) / EACH, "load": _timed(memory.load, keys) / EACH}


def _timed(act: Callable[[str], Any], keys: Sequence[str]) -> int:
    began = time.process_time_ns()
    for key in keys:
        act(key)
    return time.process_time_ns() - began


def measured(sizes: Sequence[int], rounds: int, *, frozen: bool) -> Sequence[Mapping[str, Figures]]:
    """Samples of all sizes, in turn; what is *frozen* the garbage collector does not look through."""
    chance = Random(7)  # noqa: S311  # which conversation goes on is no secret
    samplers: dict[str, Sampler] = {f"{size:,}": partial(sampled, filled(size), size, chance) for size in sizes}
    gc.collect()
    if frozen:
        gc.freeze()
    for sampler in samplers.values():
        sampler()
    return taken(samplers, rounds)


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit code says nothing about speed, which depends on the machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversations", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--sizes", default="10,1000,100000,1000000", help="how many conversations, the fewest first")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each (9)")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--freeze", action="store_true", help="have the garbage collector pass over what is held")
    asked = parser.parse_args(given)
    sizes = (10, 1000) if asked.quick else tuple([int(size) for size in asked.sizes.split(",")])
    print("filling …", file=sys.stderr, flush=True)
    found = measured(sizes, 2 if asked.quick else max(2, asked.rounds), frozen=asked.freeze)
    names = [f"{size:,}" for size in sizes]
    table = [
        (
            name,
            f"{median(found, name) / 1e3:.0f} µs",
            str(ratio(found, name, names[0])),
            f"{median(found, name, 'load') / 1e3:.2f} µs",
            str(ratio(found, name, names[0], "load")),
        )
        for name in names
    ]
    publish(f"{markdown(HEAD, table)}\n\n{measured_on()}\n", asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

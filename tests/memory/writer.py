"""A program that writes into a memory's file, and says what has been acknowledged: `writer.py PATH NAME COUNT`.

It begins when it is told to, by a line. With the word `hold` behind, it takes the turn and keeps it.
"""

from __future__ import annotations

import sys
import time

from arshai_kit.memory import sqlite_memory
from arshai_kit.records import assistant, user

__all__: list[str] = []


def main(path: str, name: str, count: str, *more: str) -> None:
    """Write *count* turns as *name*, each of them twice, as if a reply had been lost."""
    memory = sqlite_memory(path, patience=120.0)
    print("ready", flush=True)
    sys.stdin.readline()
    if more == ("hold",):
        print(memory.enter and memory.enter("k", name, float(count)), flush=True)
        time.sleep(600)
    for number in range(int(count)):
        for _ in range(2):
            memory.append("k", [user(name), assistant(f"{number}")], f"{name}-{number}")
        print(number, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A program that writes into an index's file, and says what has been acknowledged: `writer.py PATH NAME COUNT`.

It begins when it is told to, by a line. Each upsert has three entries of one group: all of them are there, or none.
"""

from __future__ import annotations

import sys

from arshai_kit.index import Entry, Passage, sqlite_index, where
from arshai_kit.records.vectors import Vector

__all__ = ["group"]


def group(name: str, number: int, round_: int = 0) -> list[Entry[Passage]]:
    """The entries of one upsert; a later *round_* puts others in their places."""
    fields = Passage(source=name, number=number, chunks=3, document=f"{round_}")
    return [
        Entry(f"{name}-{number}-{part}", f"{name} {number} round{round_}", Vector.of((1.0, number, part)), fields)
        for part in range(3)
    ]


def main(path: str, name: str, count: str) -> None:
    """Write *count* groups as *name*, each twice, and delete every tenth again."""
    index = sqlite_index(path, patience=120.0)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(count)):
        for round_ in range(2):
            index.upsert(group(name, number, round_), "testing/writer")
        if number % 10 == 9:
            index.delete(where(source=name, number=number))
        print(number, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

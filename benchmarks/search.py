"""What a search costs, against the same work by hand: `python -m benchmarks.search [--quick] [--markdown FILE]`.

Both sides hold the same passages with vectors of 384 numbers. By hand, the vectors are an array of NumPy, read again
when somebody has written to the file; words are found by FTS5, and what is found becomes a dictionary of its columns.
The embedder of the questions costs next to nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from attrs import field, frozen

from arshai_kit.index import Entry, Index, Passage, in_memory_index, sqlite_index, where
from arshai_kit.records.vectors import Vector
from arshai_kit.retrieval import retrieve
from arshai_kit.retrieval.asking import space
from benchmarks.contest import CONTROL, HAND, KIT
from benchmarks.hashing import DIMENSIONS, Hashed, hashed
from benchmarks.ingest import PARAGRAPH, WORDS, opened
from benchmarks.measure import batch, counts, enough, median, ratio, sampler, taken
from benchmarks.table import HEAD, Line, markdown, measured_on, publish, readable

LIMIT, DEEP = 8, 32
LANGUAGES = ("en", "de", "fa", "fr", "it", "es", "pt", "nl", "sv", "tr")
Search = Callable[[str], Sequence[Any]]
Ways = Mapping[str, Search]


def texts(number: int) -> list[str]:
    """So many passages."""
    chance = random.Random(7)  # noqa: S311  # everyone gets the same
    return [" ".join(chance.choices(WORDS, k=PARAGRAPH)) for _ in range(number)]


def asking() -> Callable[[], str]:
    """Questions of five words, one after the other."""
    chance = random.Random(8)  # noqa: S311  # as above
    made = [" ".join(chance.choices(WORDS, k=5)) for _ in range(50)]
    return partial(next, cycle(made))


# -- by hand --


class ByHand:
    """Passages in a file, and their vectors in an array."""

    def __init__(self, db: sqlite3.Connection, passages: Sequence[str]) -> None:
        self.db = db
        self.version = -1
        vectors, size = hashed(passages).tobytes(), 4 * DIMENSIONS
        marks = ",".join("?" * 15)
        with db:
            for number, text in enumerate(passages):
                vector = vectors[number * size : (number + 1) * size]
                language = LANGUAGES[number % len(LANGUAGES)]
                row = (f"{number:08}", f"{number}.md", "", 0, 0, len(text), None, "[]", "", "", "", language, "", text)
                done = db.execute(f"insert into passages values ({marks})", (*row, vector))  # noqa: S608  # only marks
                db.execute("insert into words (rowid, text) values (?, ?)", (done.lastrowid, text))
        db.row_factory = sqlite3.Row

    def fresh(self) -> None:
        """Read the vectors again if somebody has written."""
        (version,) = self.db.execute("pragma data_version").fetchone()
        if version != self.version:
            rows = self.db.execute("select rowid, vector from passages order by rowid").fetchall()
            self.rows = np.array([row[0] for row in rows])
            self.matrix = np.frombuffer(b"".join([row[1] for row in rows]), "<f4").reshape(len(rows), -1)
            self.version = version

    def near(self, question: str, limit: int, language: str = "") -> list[tuple[int, float]]:
        """The rows that are nearest to *question*, and their cosines."""
        self.fresh()
        matrix, rows = self.matrix, self.rows
        if language:
            found = self.db.execute("select rowid from passages where language = ?", (language,)).fetchall()
            chosen = np.searchsorted(rows, np.array([row[0] for row in found]))
            matrix, rows = matrix[chosen], rows[chosen]
        scores = matrix @ hashed([question])[0]
        best = np.argpartition(scores, -limit)[-limit:]
        best = best[np.argsort(-scores[best])]
        return list(zip(rows[best].tolist(), scores[best].tolist(), strict=True))

    def worded(self, question: str, limit: int) -> list[tuple[int, float]]:
        """The rows that have its words, and their scores."""
        asked = " OR ".join('"{}"'.format(word.replace('"', '""')) for word in question.split())
        told = "select rowid, -rank from words where words match ? order by rank limit ?"
        return [tuple(row) for row in self.db.execute(told, (asked, limit))]

    def hits(self, found: Sequence[tuple[int, float]]) -> list[dict[str, Any]]:
        """What stands in the rows that were *found*."""
        told = f"select rowid, * from passages where rowid in ({','.join('?' * len(found))})"  # noqa: S608  # only marks
        rows = {row[0]: dict(row) for row in self.db.execute(told, [row for row, _ in found])}
        for row in rows.values():
            row["section"] = json.loads(row["section"])
            del row["vector"]
        return [{**rows[row], "score": score} for row, score in found]

    def dense(self, question: str) -> Sequence[Any]:
        """By meaning."""
        return self.hits(self.near(question, LIMIT))

    def filtered(self, question: str) -> Sequence[Any]:
        """By meaning, of one language."""
        return self.hits(self.near(question, LIMIT, "fa"))

    def sparse(self, question: str) -> Sequence[Any]:
        """By words."""
        return self.hits(self.worded(question, LIMIT))

    def hybrid(self, question: str) -> Sequence[Any]:
        """By both, fused by reciprocal rank."""
        scores: dict[int, float] = {}
        for ranking in (self.near(question, DEEP), self.worded(question, DEEP)):
            for rank, (row, _) in enumerate(ranking, 1):
                scores[row] = scores.get(row, 0.0) + 1 / (60 + rank)
        best = sorted(scores.items(), key=lambda each: -each[1])[:LIMIT]
        return self.hits(best)


# -- ours --


@frozen(eq=False, repr=False, kw_only=True)
class Indexed(Passage):
    """Passages that are filtered by their language, for which the file has an index, as that by hand has."""

    language: str = field(default="", metadata={"indexed": True})


def fill(index: Index[Any], passages: Sequence[str]) -> Ways:
    """*index* with the same passages, and its ways."""
    data, size = hashed(passages).tobytes(), 4 * DIMENSIONS
    embedder = Hashed()
    entries = [
        Entry(
            f"{number:08}",
            text,
            Vector(data[number * size : (number + 1) * size]),
            Indexed(source=f"{number}.md", end=len(text), language=LANGUAGES[number % len(LANGUAGES)]),
        )
        for number, text in enumerate(passages)
    ]
    for start in range(0, len(entries), 1000):
        index.upsert(entries[start : start + 1000], space(embedder))
    ask = partial(retrieve, index, embedder=embedder, limit=LIMIT)
    return {
        "dense": partial(ask, mode="dense"),
        "filtered": partial(ask, mode="dense", where=where(language="fa")),
        "sparse": partial(ask, mode="sparse"),
        "hybrid": ask,
    }


def by_hand(hand: ByHand) -> Ways:
    """The same ways by hand."""
    return {"dense": hand.dense, "filtered": hand.filtered, "sparse": hand.sparse, "hybrid": hand.hybrid}


def line(what: str, hand: Search, kit: Search, rounds: int, *, quick: bool) -> Line:
    """One row of the table."""
    works = {name: batch(_asked(search)) for name, search in {HAND: hand, KIT: kit, CONTROL: hand}.items()}
    times = 2 if quick else enough(works[HAND])
    for work in works.values():
        work(times)
    found = taken({name: sampler(work, times) for name, work in works.items()}, rounds)
    control = ratio(found, CONTROL, HAND)
    return Line(
        "search", what, ratio(found, KIT, HAND), 1.2, control, readable("cpu", median(found, HAND)),
        counts=counts(control), pairs=rounds,
    )  # fmt: skip


def _asked(search: Search) -> Callable[[], object]:
    question = asking()
    return lambda: search(question())


def agreed(hand: ByHand, kit: Ways, question: str) -> None:
    """Both sides find the same by meaning: else nothing is compared."""
    theirs = [row["id"] for row in hand.dense(question)]
    assert [hit.id for hit in kit["dense"](question)] == theirs
    assert {hit.fields.language for hit in kit["filtered"](question)} == {"fa"}
    assert len(kit["sparse"](question)) == len(hand.sparse(question)) == LIMIT


def main(given: Sequence[str] | None = None) -> int:
    """Run; the exit code says nothing about speed, which depends on the machine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--entries", type=int, default=10_000, help="passages (10,000)")
    parser.add_argument("--rounds", type=int, default=15, help="samples of each (15)")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    asked = parser.parse_args(given)
    if asked.quick:
        asked.entries, asked.rounds = 200, 2
    passages, lines = texts(asked.entries), []
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory()))
        hand = ByHand(stack.enter_context(opened(place / "hand.db")), passages)
        indexes = {"a file": sqlite_index(place / "kit.db", fields=Indexed), "memory": in_memory_index(fields=Indexed)}
        for where_, index in indexes.items():
            kit = fill(stack.enter_context(closing(index)), passages)
            agreed(hand, kit, "a question that nobody asks")
            for way, search in by_hand(hand).items():
                print(f"{way}, {where_} …", file=sys.stderr, flush=True)
                what = f"{way} search of {asked.entries:,} in {where_}"
                lines.append(line(what, search, kit[way], max(2, asked.rounds), quick=asked.quick))
    publish(f"{markdown(HEAD, [each.cells() for each in lines])}\n\n{measured_on(packages=('numpy',))}\n", asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What `check` takes for borne, on the labelled set: `python -m benchmarks.citing [--quick] [--markdown FILE]`.

Each quote is taken for an answer: beside the passage that it is from, and beside the nearest by words of those that do
not hold it. The first should be borne, the second not, though some passages say the same twice.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.retrieval.labelled import DOCUMENTS, Quote, named, questions, span

from arshai_kit.index import Hit, Index, in_memory_index
from arshai_kit.retrieval import check, ingest, retrieve
from benchmarks.table import markdown, measured_on, publish

THRESHOLDS = (0.5, 0.6, 0.8)
DEEP = 20


def quotes() -> list[Quote]:
    """All that are quoted, each once."""
    return list(dict.fromkeys(quote for each in questions() for need in each.needs for quote in need))


def beside(index: Index[Any], quote: Quote) -> tuple[Hit[Any], Hit[Any]] | None:
    """The passage that holds *quote*, and the nearest by words that does not; nothing where it is in two pieces."""
    hits = retrieve(index, quote.words, mode="sparse", limit=DEEP)
    holding = [hit for hit in hits if named(hit.fields.source) == quote.source and _holds(hit, quote)]
    others = [hit for hit in hits if not _holds(hit, quote)]
    return (holding[0], others[0]) if holding and others else None


def _holds(hit: Hit[Any], quote: Quote) -> bool:
    return span(hit.text, quote.words) != (0, 0)


def rows(index: Index[Any], given: Sequence[Quote]) -> Iterator[tuple[str, ...]]:
    """A row for each threshold."""
    pairs = [(quote, found) for quote in given if (found := beside(index, quote))]
    for threshold in THRESHOLDS:
        borne = [
            [not check(quote.words, [hit], threshold=threshold).unsupported for hit in found] for quote, found in pairs
        ]
        own, other = (sum(each) / len(pairs) for each in zip(*borne, strict=True))
        yield str(threshold), str(len(pairs)), f"{own:.0%}", f"{other:.0%}"


def main(given: Sequence[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.citing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    asked = parser.parse_args(given)
    index = in_memory_index()
    ingest(index, DOCUMENTS, embedder=None, similar=None)
    head = ("threshold", "quotes", "borne by their own passage", "borne by the nearest other")
    table = markdown(head, list(rows(index, quotes()[: 9 if asked.quick else None])))
    publish(f"{table}\n\n{measured_on()}\n", asked)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

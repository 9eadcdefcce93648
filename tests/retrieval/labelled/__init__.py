"""A labelled set for retrieval: documents, questions and what answers them; README.md says how it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import log2
from pathlib import Path
from typing import Any

from attrs import frozen

FOLDER = Path(__file__).parent
DOCUMENTS = FOLDER / "documents"


@frozen
class Quote:
    """Words of a document, by its path below `DOCUMENTS`."""

    source: str
    words: str


@frozen
class Question:
    """What is asked, and what an answer needs: of each need any of its quotes."""

    id: str
    split: str
    kind: str
    text: str
    needs: tuple[tuple[Quote, ...], ...]


def questions(split: str = "") -> tuple[Question, ...]:
    """The questions, all or those of `dev` or `test`."""
    lines = (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple([each for each in map(_question, map(json.loads, lines)) if split in {"", each.split}])


def _question(line: dict[str, Any]) -> Question:
    needs = [tuple([Quote(each["source"], each["quote"]) for each in need]) for need in line["needs"]]
    return Question(line["id"], line["split"], line["kind"], line["question"], tuple(needs))


def span(text: str, words: str) -> tuple[int, int]:
    """Where *words* stand in *text*, by their letters and digits alone: markup may come between.

    >>> span("It is **very** cold.", "is very cold"), span("It is cold.", "hot")
    ((3, 19), (0, 0))
    """
    letters = [re.escape(each) for each in words if each.isalnum()]
    found = re.search(r"[\W_]*".join(letters), text)
    return found.span() if found else (0, 0)


def meets(piece: tuple[int, int], quoted: tuple[int, int]) -> bool:
    """Whether a *piece* of a document holds at least half of what is *quoted* of it.

    >>> meets((0, 10), (5, 15)), meets((0, 9), (5, 15)), meets((0, 9), (0, 0))
    (True, False, False)
    """
    shared = min(piece[1], quoted[1]) - max(piece[0], quoted[0])
    return quoted[1] > quoted[0] and 2 * shared >= quoted[1] - quoted[0]


@frozen
class Places:
    """Where the quotes stand in the documents as they were read."""

    spans: Mapping[Quote, tuple[int, int]]

    def met(self, asked: Question, source: str, piece: tuple[int, int]) -> frozenset[int]:
        """The needs of *asked* that a *piece* of the document *source* meets, by their numbers."""
        return frozenset(
            number
            for number, need in enumerate(asked.needs)
            if any(quote.source == source and meets(piece, self.spans[quote]) for quote in need)
        )


def places(texts: Mapping[str, str]) -> Places:
    """Where the quotes stand in *texts*, the documents by their names; each is found, or no figure means anything."""
    quotes = {quote for each in questions() for need in each.needs for quote in need}
    spans = {quote: span(texts[quote.source], quote.words) for quote in quotes}
    lost = [quote for quote, (start, end) in spans.items() if not start < end]
    assert not lost, lost
    return Places(spans)


def named(source: str) -> str:
    """A path by what of it is below `DOCUMENTS`.

    >>> named(str(DOCUMENTS / "jargon" / "koans.txt"))
    'jargon/koans.txt'
    """
    return Path(source).relative_to(DOCUMENTS).as_posix()


def gains(found: Sequence[frozenset[int]]) -> list[int]:
    """What each rank adds: the needs that it meets, and that no rank above has met.

    >>> gains([frozenset({0}), frozenset({0}), frozenset(), frozenset({0, 1})])
    [1, 0, 0, 1]
    """
    met: set[int] = set()
    added = []
    for each in found:
        added.append(len(each - met))
        met |= each
    return added


def recall(added: Sequence[int], needs: int, k: int) -> float:
    """The share of *needs* that the first *k* ranks meet.

    >>> recall([1, 0, 0, 1], 4, 3)
    0.25
    """
    return sum(added[:k]) / needs


def ndcg(added: Sequence[int], needs: int, k: int = 10) -> float:
    """Discounted cumulative gain of the first *k* ranks, against that of one need at each of the first ranks.

    >>> ndcg([1, 1], 2), ndcg([0, 0, 1], 1), ndcg([2], 2)
    (1.0, 0.5, 1.0)
    """
    best = sum(1 / log2(rank + 1) for rank in range(1, min(needs, k) + 1))
    return min(1.0, sum(gain / log2(rank + 1) for rank, gain in enumerate(added[:k], 1)) / best)


def reciprocal_rank(added: Sequence[int]) -> float:
    """One by the first rank that meets a need.

    >>> reciprocal_rank([0, 1]), reciprocal_rank([0, 0])
    (0.5, 0.0)
    """
    return next((1 / rank for rank, gain in enumerate(added, 1) if gain), 0.0)

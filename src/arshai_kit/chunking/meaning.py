"""Cut where the meaning changes: told by how far what stands behind a place is from what stands before it."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import add
from typing import Any, Final

from attrs import frozen

from arshai_kit._record import Record
from arshai_kit.chunking.cutting import By, Chunking, measured
from arshai_kit.chunking.records import Chunk
from arshai_kit.chunking.sections import wholes
from arshai_kit.chunking.sentences import Span, sentences
from arshai_kit.chunking.units import Measure
from arshai_kit.documents import Document
from arshai_kit.effects import Plan
from arshai_kit.embeddings import embed, similarity
from arshai_kit.errors import Misuse
from arshai_kit.faces import drive

__all__ = ["Semantic", "semantic"]

_LONGEST: Final = 4000
"""So many letters of a block are embedded."""
_LEAST: Final = 8
"""No piece is smaller than this part of a chunk."""


@frozen(eq=False, repr=False)
class Semantic(Record):
    """A chunker that asks an embedder where the meaning changes."""

    embedder: Any
    size: int = 400
    overlap: int = 0
    by: By = "tokens"
    breaks: float = 0.15
    window: int = 3

    def __call__(self, document: Document | str) -> tuple[Chunk, ...]:
        """The chunks of *document*."""
        return drive(self.plan(document))

    def plan(self, document: Document | str) -> Plan[tuple[Chunk, ...]]:
        """What calling it does, as a plan."""
        document = Document(document) if isinstance(document, str) else document
        spans = list(_pieces(document))
        found: Sequence[Any] = ()
        if len(spans) > 1:
            texts = [document.text[start : min(end, start + _LONGEST)] for start, end in spans]
            found = yield from embed.plan(self.embedder, texts, kind="document")
        sizes = _sizes(document.text, spans, measured(self.by))
        cuts = _cuts(_distances([tuple(each) for each in found], self.window), sizes, self.breaks, self.size)
        starts = [0, *[spans[cut][0] for cut in cuts]]
        pieces = tuple(zip(starts, [*starts[1:], len(document.text)], strict=True))
        return Chunking(self.size, self.overlap, self.by, lambda _: pieces)(document)


def semantic(
    embedder: Any,
    *,
    size: int = 400,
    overlap: int = 0,
    by: By = "tokens",
    breaks: float = 0.15,
    window: int = 3,
) -> Semantic:
    """A chunker that cuts where the meaning changes: `semantic(embedder)(document)`, or `.plan(document)` in a plan.

    Every sentence, and every list, table and block of code, is embedded once. Where the mean of the *window* vectors
    before a place is furthest from that of those behind it, there it cuts: at a share of *breaks* of all places, and
    where no less than an eighth of a chunk is left. What is larger than *size* is cut like all else. More text behind a
    document may move all of its cuts.

    >>> from arshai_kit.testing import hashed_embedder
    >>> text = "Rain falls. Rain falls on hills. Rain falls on roofs. My cat eats. My cat eats fish. My cat sleeps."
    >>> [each.text[:4] for each in semantic(hashed_embedder(), size=60, by="characters", breaks=0.2)(text)]
    ['Rain', 'My c']
    """
    if not hasattr(embedder, "embed"):
        raise Misuse(f"semantic() takes an embedder, as local_embedder() makes one, not {type(embedder).__name__}")
    if isinstance(breaks, bool) or not isinstance(breaks, int | float) or not 0 <= breaks <= 1:
        raise Misuse(f"breaks= is a share of the places between sentences, from 0 to 1, not {breaks!r}")
    if type(window) is not int or window < 1:
        raise Misuse(f"window= is how many sentences, a whole number above zero, not {window!r}")
    Chunking(size, overlap, by)  # refuses what is wrong with these
    return Semantic(embedder, size, overlap, by, breaks, window)


def _pieces(document: Document) -> Iterator[Span]:
    """What is compared: the sentences of paragraphs, and other blocks whole; a heading is one with what comes next."""
    start: int | None = None
    end = 0
    for whole in wholes(document):
        if whole.kind == "heading":
            start, end = (whole.start if start is None else start), whole.end
            continue
        spans = sentences(document.text, whole.start, whole.end) if whole.kind == "paragraph" else [whole[:2]]
        for first, last in spans:
            yield (first if start is None else start), last
            start = None
    if start is not None:
        yield start, end


def _sizes(text: str, spans: Sequence[Span], measure: Measure) -> list[int]:
    return [measure(text[start:end]) for start, end in spans]


def _distances(vectors: Sequence[Sequence[float]], window: int) -> list[float]:
    """For each place between two *vectors*, how far those before it are from those behind it: 0 is no difference.

    >>> [round(each, 2) for each in _distances([(1, 0), (1, 0), (0, 1)], 2)]
    [0.29, 1.0]
    """
    return [
        1 - similarity(_sum(vectors[max(0, place - window) : place]), _sum(vectors[place : place + window]))
        for place in range(1, len(vectors))
    ]


def _sum(vectors: Sequence[Sequence[float]]) -> Sequence[float]:
    total = vectors[0]
    for each in vectors[1:]:
        total = tuple(map(add, total, each))
    return total


def _cuts(distances: Sequence[float], sizes: Sequence[int], breaks: float, size: int) -> list[int]:
    """The numbers of the pieces before which it is cut, the furthest places first."""
    before = [*accumulate(sizes, initial=0)]
    cuts = [0, len(sizes)]
    many = round(breaks * len(distances))
    for place in sorted(range(1, len(sizes)), key=lambda each: (-distances[each - 1], each)):
        if len(cuts) == many + 2:
            break
        number = bisect(cuts, place)
        if min(before[place] - before[cuts[number - 1]], before[cuts[number]] - before[place]) * _LEAST >= size:
            cuts.insert(number, place)
    return cuts[1:-1]

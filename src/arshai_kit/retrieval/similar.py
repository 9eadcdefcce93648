"""Documents that are near-copies of others, told from 512 bytes of each: as little is kept while there are many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from arshai_kit.chunking.duplicates import Duplicate, alike, rows_of

__all__ = ["MOST", "Similar"]

MOST: Final = 50_000
"""So many documents are compared; more would take more memory than this is worth."""


class Similar:
    """The signatures of documents, and which of them are alike by at least *threshold*; owned by one plan."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._signatures: dict[str, bytes] = {}
        self.over = False

    def add(self, source: str, signature: bytes) -> None:
        """Compare the document at *source* with the others, once all are there."""
        if len(self._signatures) < MOST:
            self._signatures[source] = signature
        else:
            self.over = True

    def found(self) -> tuple[Duplicate[str], ...]:
        """Each near-copy with the first document that it is like.

        >>> from arshai_kit.chunking.duplicates import signature
        >>> similar = Similar(0.9)
        >>> for source, text in (("a", "It rains here often."), ("b", "It snows."), ("c", "It rains here OFTEN.")):
        ...     similar.add(source, signature(text))
        >>> similar.found()
        (Duplicate('c', of='a', likeness=1.0, exact=False),)
        """
        sources, signatures = list(self._signatures), list(self._signatures.values())
        near: dict[int, set[int]] = {}
        for one, other in _candidates(signatures, self.threshold):
            near.setdefault(one, set()).add(other)
        made = []
        for one in sorted(near):
            likeness = {other: alike(signatures[one], signatures[other]) for other in sorted(near[one])}
            first = next((other for other, like in likeness.items() if like >= self.threshold), None)
            if first is not None:
                made.append(Duplicate(sources[one], sources[first], likeness[first], exact=False))
        return tuple(made)


def _candidates(signatures: Sequence[bytes], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs that have a part of their signatures in common; part after part, so that one alone is in memory."""
    length = len(signatures[0]) if signatures else 0
    wide = 2 * rows_of(threshold)  # of two bytes each
    for start in range(0, length, wide):
        first: dict[bytes, int] = {}
        for place, signature in enumerate(signatures):
            other = first.setdefault(signature[start : start + wide], place)
            if other != place:
                yield place, other

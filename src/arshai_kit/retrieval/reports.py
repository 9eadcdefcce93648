"""What an ingest tells: how far it is, and what has come of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.chunking.duplicates import Duplicate
from arshai_kit.documents import Unreadable
from arshai_kit.records import Usage

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["Progress", "Report"]


def _tuple(value: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value)


@frozen(eq=False, repr=False)
class Progress(Record):
    """How far an ingest is: documents *done*, of *total* if that is known, the last of which is *source*.

    *chunks* is how many have been written, *seconds* how long it has taken so far, *share* what part of all bytes has
    been read, as far as sizes are known.

    >>> now = Progress(30, 120, "a.md", chunks=600, seconds=15.0, share=0.25)
    >>> now.rate, now.left
    (2.0, 45.0)
    """

    done: int
    total: int | None = None
    source: str = ""
    chunks: int = field(default=0, kw_only=True)
    seconds: float = field(default=0.0, kw_only=True)
    share: float | None = field(default=None, kw_only=True)

    @property
    def rate(self) -> float:
        """Documents in a second."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def left(self) -> float | None:
        """How many seconds it will take yet, if it goes on like this; `None`: nobody knows."""
        share = self.share if self.share is not None else self.done / self.total if self.total else None
        return self.seconds * (1 - share) / share if share else None


@frozen(eq=False, repr=False, kw_only=True)
class Report(Record):
    """What has come of an ingest.

    Of so many *documents*, some were *new*, *changed* or *unchanged*, and some have no text (*skipped*). Some could not
    be read (*failed*): what the index had of those, it still has. *gone* are the sources that were taken out of the
    index, for they are no longer there. Written were so many *chunks*; so many were *embedded*, and the vectors of the
    others known. *duplicates* are near-copies among the documents that were read; those that were unchanged are not
    compared. *notices* tell what was left out of documents, each after its source. *usage* and *cost* (US dollars;
    `None`: nobody knows) are those of the embedder.
    """

    documents: int = 0
    chunks: int = 0
    embedded: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: tuple[str, ...] = field(default=(), converter=_tuple)
    skipped: tuple[str, ...] = field(default=(), converter=_tuple)
    failed: tuple[Unreadable, ...] = field(default=(), converter=_tuple)
    duplicates: tuple[Duplicate[str], ...] = field(default=(), converter=_tuple)
    notices: tuple[str, ...] = field(default=(), converter=_tuple)
    usage: Usage = field(factory=Usage)
    cost: Decimal | None = None
    seconds: float = field(default=0.0, eq=False)

"""A chunk: some characters of a document, and where they stand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import field, frozen

from arshai_kit._record import Record

__all__ = ["Chunk"]


def _tuple(value: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value)


@frozen(eq=False, repr=False)
class Chunk(Record):
    """The characters from *start* up to *end* of a document, as they stand there: `document.text[start:end] == text`.

    *number* is its place among the chunks of the document, from 0; *section* are the headings above what it says, the
    outermost first, those that it begins with among them; *page* is the page on which it begins. *size* is what it
    counts, in the unit that was asked for. A chunk that is a part of a table, of code or of what else was too large to
    be kept whole is *cut*; where it begins in the midst of a table, *header* is the head of that, which stands
    elsewhere in the document and counts for nothing in *size*.
    """

    text: str
    start: int
    end: int
    number: int = 0
    section: tuple[str, ...] = field(default=(), converter=_tuple, kw_only=True)
    page: int | None = field(default=None, kw_only=True)
    size: int = field(default=0, kw_only=True)
    cut: bool = field(default=False, kw_only=True)
    header: str = field(default="", kw_only=True)

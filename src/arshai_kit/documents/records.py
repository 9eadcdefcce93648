"""What has been read: a document's text, and the blocks, pages and facts that point into it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from arshai_kit._json import Json, freeze
from arshai_kit._record import Record

__all__ = ["Block", "BlockKind", "Document", "Unreadable"]

BlockKind: TypeAlias = Literal["heading", "paragraph", "list", "table", "code"]


@frozen(eq=False, repr=False)
class Block(Record):
    """A piece of a document's text: its characters from *start* up to *end*; a heading has a *level* from 1."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0


def _tuple(value: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value)


@frozen(eq=False, repr=False)
class Document(Record):
    r"""A document: *text*, and what points into it.

    *source* is the path, as it was found, or the address; *hash* is the SHA-256 of its bytes, in hexadecimal. The
    *blocks* stand in order, do not overlap, and hold every character that is not blank; *pages* are the places in
    *text* where each page begins, none where there are no pages. *created* and *modified* are ISO 8601, *language* is
    a tag such as `en`; all are empty when unknown. *metadata* is whatever else the document says of itself, *notices*
    what was left out of it, and why.

    >>> text = "# Rivers\n\nThe Karun."
    >>> document = Document(text, "rivers.md", blocks=[Block("heading", 0, 8, 1), Block("paragraph", 10, 20)])
    >>> document.section(12), document.page(12)
    (('Rivers',), None)
    """

    text: str
    source: str = ""
    media_type: str = field(default="text/plain", kw_only=True)
    blocks: tuple[Block, ...] = field(default=(), converter=_tuple, kw_only=True)
    pages: tuple[int, ...] = field(default=(), converter=_tuple, kw_only=True)
    title: str = field(default="", kw_only=True)
    author: str = field(default="", kw_only=True)
    created: str = field(default="", kw_only=True)
    modified: str = field(default="", kw_only=True)
    language: str = field(default="", kw_only=True)
    hash: str = field(default="", kw_only=True)
    metadata: Mapping[str, Json] = field(factory=dict, converter=freeze, kw_only=True)
    notices: tuple[str, ...] = field(default=(), converter=_tuple, kw_only=True)

    def section(self, place: int) -> tuple[str, ...]:
        """The headings above the character at *place*, the outermost first."""
        path: list[tuple[int, str]] = []
        for block in self.blocks:
            if block.start > place:
                break
            if block.kind == "heading":
                path = [each for each in path if each[0] < block.level]
                path.append((block.level, self.text[block.start : block.end].strip("#= \t\n")))
        return tuple([title for _, title in path])

    def page(self, place: int) -> int | None:
        """The number, from 1, of the page with the character at *place*."""
        return bisect_right(self.pages, place) or 1 if self.pages else None


@frozen(eq=False, repr=False)
class Unreadable(Record):
    """A document that could not be read: where it is, and what went wrong."""

    source: str
    error: Exception

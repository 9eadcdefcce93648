"""What has been read: a document's text, and the blocks, pages and facts that point into it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from arshai_kit._json import Json, freeze
from arshai_kit._record import Record
from arshai_kit.errors import Misuse

__all__ = ["Block", "BlockKind", "Document", "Found", "Limits", "Unreadable"]

_CLOSING = re.compile(r"[ \t]#+\Z")

BlockKind: TypeAlias = Literal["heading", "paragraph", "list", "table", "code"]


@frozen(eq=False, repr=False)
class Block(Record):
    """A piece of a document's text: its characters from *start* up to *end*; a heading has a *level* from 1."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0


def _heading(text: str) -> str:
    r"""What the heading *text* says, without its marks.

    >>> _heading("## Two rivers ##"), _heading("Two\nrivers\n------"), _heading("# C#")
    ('Two rivers', 'Two rivers', 'C#')
    """
    lines = text.strip().split("\n")
    if len(lines) > 1 and not lines[-1].strip(" \t\r=-"):
        lines.pop()
    elif text.startswith("#"):
        lines = [_CLOSING.sub("", text.rstrip()).lstrip("#")]
    return " ".join(" ".join(lines).split())


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
                path.append((block.level, _heading(self.text[block.start : block.end])))
        return tuple([title for _, title in path])

    def page(self, place: int) -> int | None:
        """The number, from 1, of the page with the character at *place*."""
        return bisect_right(self.pages, place) or 1 if self.pages else None


@frozen(eq=False, repr=False)
class Found(Record):
    """A document that is there, and has not been read: a file at *path*, what lies at *url*, or *data*.

    *source* is what it is called. *size* is in bytes, `None` where nobody has told. A file that was found in a folder
    is read only while it lies *within* that folder.
    """

    source: str
    path: str = field(default="", kw_only=True)
    url: str = field(default="", kw_only=True)
    data: bytes = field(default=b"", kw_only=True, repr=lambda data: f"<{len(data)} bytes>")
    size: int | None = field(default=None, kw_only=True)
    within: str = field(default="", kw_only=True)


@frozen(eq=False, repr=False, kw_only=True)
class Limits(Record):
    """How much is read, before a document is refused with `DocumentTooLarge`.

    *size* is the most bytes that it may have, *unfolded* the most that what is packed in it may unfold to, *text* the
    most characters of its text, *blocks* the most blocks, *pages* the most pages. PDF, DOCX and HTML are read in a
    process of their own, which is ended when it takes longer than *seconds* or needs more than *memory* bytes; where
    not *isolated*, they are read in this one, and these two bound nothing.
    """

    size: int = 100 * 1024 * 1024
    unfolded: int = 400 * 1024 * 1024
    text: int = 50_000_000
    blocks: int = 1_000_000
    pages: int = 20_000
    seconds: float = 60.0
    memory: int = 1024 * 1024 * 1024
    isolated: bool = True

    def __attrs_post_init__(self) -> None:
        for name in ("size", "unfolded", "text", "blocks", "pages", "memory"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise Misuse(f"Limits({name}=…) is a whole number above zero, not {value!r}")
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float) or not 0 < self.seconds < 1e6:
            raise Misuse(f"Limits(seconds=…) is a number of seconds above zero, not {self.seconds!r}")


@frozen(eq=False, repr=False)
class Unreadable(Record):
    """A document that could not be read: where it is, and what went wrong."""

    source: str
    error: Exception

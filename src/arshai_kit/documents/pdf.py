"""PDF as the text of its pages, in the order in which it stands there, with the headings that its outline names.

PDFium reads it: a library in C++, built without its engine for scripts, so that none in a document runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from arshai_kit.documents.building import Builder, iso, one_line
from arshai_kit.documents.records import Document, Limits
from arshai_kit.errors import BadDocument, DocumentTooLarge, need

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

__all__ = ["pdf"]

_HYPHEN: Final = re.compile("[\ufffe\x02\xad]\r?\n?")
_BULLET: Final = re.compile(r"\s*(?:[•◦▪‣●○■–*-]|\(?[0-9]{1,3}[.)])\s")
_ENDS: Final = frozenset(".!?:;…。！？؟۔।")
_SHORT: Final = 0.75
_PASSWORD: Final = 4
_OUTLINE: Final = 5000


def pdf(data: bytes, limits: Limits) -> Document:
    """The PDF in *data* as a document, page by page."""
    with _turn(os.getpid()):
        file = _opened(data)
        try:
            return _document(file, limits)
        finally:
            file.close()


@cache
def _turn(process: int) -> Lock:  # noqa: ARG001  # a fork has its own: whoever held its parent's is not there
    """PDFium is not made for threads: one at a time is in it, or the process ends."""
    return Lock()


def _opened(data: bytes) -> PdfDocument:
    try:
        from pypdfium2 import PdfDocument, PdfiumError
    except ImportError:
        need("pypdfium2", "documents")
    try:
        return PdfDocument(data)
    except PdfiumError as error:
        locked = getattr(error, "err_code", None) == _PASSWORD or "assword" in str(error)
        raise BadDocument("it is locked with a password" if locked else f"it is damaged: {error}") from None


def _document(file: PdfDocument, limits: Limits) -> Document:
    if len(file) > limits.pages:
        raise DocumentTooLarge(f"it has {len(file):,} pages, more than {limits.pages:,}: pages= of Limits")
    builder = Builder(limits.text)
    outline = _outline(file)
    empty = []
    for number in range(len(file)):
        builder.page()
        text = _page(file, number, builder)
        if not text.strip():
            empty.append(number + 1)
        _write(builder, text, outline.get(number, ()))
    if not builder.blocks:
        raise BadDocument(f"there is no text in its {len(file)} pages: pictures of pages are not read")
    if empty:
        builder.notices.append(f"no text on {_listed(empty)}")
    return builder.document("application/pdf", **_told(file))


def _page(file: PdfDocument, number: int, builder: Builder) -> str:
    """The text of one page; a page that is damaged has none, and is told."""
    from pypdfium2 import PdfiumError

    try:
        page = file[number]
        try:
            part = page.get_textpage()
            try:
                text = part.get_text_bounded()
            finally:
                part.close()
        finally:
            page.close()
    except PdfiumError as error:
        builder.notices.append(f"page {number + 1} is damaged: {error}")
        return ""
    return _clean(text)


def _clean(text: str) -> str:
    """*text* with words whole that a line's end divided, and with nothing that is no character."""
    text = _HYPHEN.sub("", text).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return text.encode("utf-8", "replace").decode("utf-8")


def _told(file: PdfDocument) -> dict[str, Any]:
    """What the document says of itself."""
    said = {name: _said(file.get_metadata_value, name) for name in file.METADATA_KEYS}
    kept = {name.lower(): said[name] for name in ("Subject", "Keywords", "Creator", "Producer") if said.get(name)}
    return {
        "title": said.get("Title", ""),
        "author": said.get("Author", ""),
        "created": iso(said.get("CreationDate", "")),
        "modified": iso(said.get("ModDate", "")),
        "metadata": {**kept, "pages": len(file)},
    }


def _said(function: Callable[..., str], *args: str) -> str:
    """What *function* tells, on one line; nothing, where it is no text."""
    try:
        return one_line(_clean(function(*args)))
    except UnicodeDecodeError:
        return ""


def _outline(file: PdfDocument) -> dict[int, list[tuple[str, int]]]:
    """The titles that the outline names, with their levels from 1, by their pages."""
    from pypdfium2 import PdfiumError

    found: dict[int, list[tuple[str, int]]] = {}
    try:
        for count, mark in enumerate(file.get_toc(max_depth=6)):
            place = mark.get_dest()
            page = place.get_index() if place is not None else None
            title = _said(mark.get_title)
            if page is not None and title:
                found.setdefault(page, []).append((title, mark.level + 1))
            if count >= _OUTLINE:
                break
    except (PdfiumError, RecursionError):
        return {}
    return found


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:20])) + (" …" if len(numbers) > 20 else "")
    return f"page {shown}" if len(numbers) == 1 else f"{len(numbers)} pages: {shown}"


# What stands on a page


def _write(builder: Builder, text: str, titles: Sequence[tuple[str, int]]) -> None:
    """Write the lines of a page as headings, where the outline names them, and as paragraphs and lists."""
    lines = [line.strip() for line in text.split("\n")]
    heads = _heads(lines, titles)
    page = _Page(builder, max(map(len, lines), default=0) * _SHORT)
    for number, line in enumerate(lines):
        if number not in heads:
            page.take(line)
        elif (head := heads[number])[0]:
            page.close()
            builder.add("heading", " ".join(lines[number : number + head[1]]), head[0])
    page.close()


class _Page:
    """Lines that are gathered to paragraphs: a new one begins after a sentence that ends early in its line."""

    def __init__(self, builder: Builder, long: float) -> None:
        self.builder, self.long = builder, long
        self.lines: list[str] = []
        self.items = self.ended = False

    def take(self, line: str) -> None:
        """Take the next line."""
        item = bool(_BULLET.match(line))
        if not line or (self.lines and (item != self.items if item else self.ended)):
            self.close()
        if line:
            self.items = item or (self.items and bool(self.lines))
            self.lines.append(line)
            self.ended = line[-1] in _ENDS and len(line) < self.long

    def close(self) -> None:
        """Write what has been gathered."""
        self.builder.add("list" if self.items else "paragraph", "\n".join(self.lines))
        self.lines.clear()
        self.items = self.ended = False


def _heads(lines: Sequence[str], titles: Sequence[tuple[str, int]]) -> dict[int, tuple[int, int]]:
    """The lines that are headings: their levels, and over how many lines they go; (0, 0) for the further lines."""
    found: dict[int, tuple[int, int]] = {}
    begin = 0
    for title, level in titles:
        for number in range(begin, len(lines)):
            if count := _says(lines, number, title):
                found[number] = (level, count)
                found.update((further, (0, 0)) for further in range(number + 1, number + count))
                begin = number + count
                break
    return found


def _says(lines: Sequence[str], number: int, title: str) -> int:
    """How many lines, from *number* on, say *title* and no more, perhaps after a number; 0 if they do not."""
    wanted = _letters(title)
    said = ""
    if (first := _letters(lines[number])).isdecimal() and not wanted.startswith(first):
        return 0  # the number of the page
    for count, line in enumerate(lines[number : number + 3], 1):
        said += _letters(line)
        if said == wanted or (said.endswith(wanted) and said[: -len(wanted)].replace(".", "").isdecimal()):
            return count
        if not line or len(said) > len(wanted) + 12:
            return 0
    return 0


def _letters(text: str) -> str:
    return "".join(text.split()).casefold()

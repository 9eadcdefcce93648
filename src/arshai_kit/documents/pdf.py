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
from arshai_kit.documents.pdf_lines import Line, clean, largest, levels, whole_words, write
from arshai_kit.documents.records import Document, Limits
from arshai_kit.errors import BadDocument, DocumentTooLarge, need

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfTextPage

__all__ = ["pdf"]

_PASSWORD: Final = 4
_OUTLINE: Final = 5000
_UNKNOWN: Final = re.compile("[\ue000-\uf8ff\ufffd]")
_OVER: Final = 8


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
    builder = Builder(limits)
    pages = _pages(file, limits, builder)
    outline = _outline(file)
    sizes = levels(pages)
    for number, lines in enumerate(pages):
        builder.page()
        write(builder, lines, outline.get(number, ()), {} if outline else sizes)
    if not builder.blocks:
        raise BadDocument(f"there is no text in its {len(file)} pages: pictures of pages are not read")
    if empty := [number for number, lines in enumerate(pages, 1) if not any(text for text, _ in lines)]:
        builder.notices.append(f"no text on {_listed(empty)}")
    if len(_UNKNOWN.findall("".join(builder.parts))) * 10 > builder.size:
        builder.notices.append("many of its letters are no known characters: its text is not to be relied on")
    told = _told(file)
    return builder.document("application/pdf", **{**told, "title": told["title"] or largest(pages[0], sizes)})


def _pages(file: PdfDocument, limits: Limits, builder: Builder) -> list[list[Line]]:
    """The lines of every page."""
    pages = []
    left = limits.text
    for number in range(len(file)):
        pages.append(_page(file, number, builder))
        left -= sum(len(text) for text, _ in pages[-1])
        if left < 0:
            raise DocumentTooLarge(f"its text has more than {limits.text:,} characters: text= of Limits")
    return pages


def _page(file: PdfDocument, number: int, builder: Builder) -> list[Line]:
    """The lines of one page; a page that is damaged has none, and is told."""
    from pypdfium2 import PdfiumError

    try:
        page = file[number]
        try:
            part = page.get_textpage()
            try:
                return _lines(part, number, builder)
            finally:
                part.close()
        finally:
            page.close()
    except PdfiumError as error:
        builder.notices.append(f"page {number + 1} is damaged: {error}")
        return []


def _lines(part: PdfTextPage, number: int, builder: Builder) -> list[Line]:
    """The lines of a page, with the sizes of their letters.

    Where a letter stands over the edge, all is taken as it is; where much stands beside the page, which nobody sees,
    only what lies on it, and no sizes are known.
    """
    whole = part.get_text_range()
    seen = part.get_text_bounded()
    if len(whole) > len(seen) + _OVER:
        builder.notices.append(f"left out: {len(whole) - len(seen)} characters beside page {number + 1}")
        return whole_words([(line, 0.0) for line in seen.split("\r\n")])
    sizes = _sizes(part)
    lines = []
    place = 0
    for line in whole.split("\r\n"):
        lines.append((line, sizes(place, line[0]) if line else 0.0))
        place += len(line) + 2
        if not line.isascii():
            place += sum(each > "\uffff" for each in line)
    return whole_words(lines)


def _sizes(part: PdfTextPage) -> Callable[[int, str], float]:
    """Tells how large the letter at a place is; 0, if it is another letter that stands there."""
    from pypdfium2.raw import FPDFText_GetFontSize, FPDFText_GetUnicode

    def size(place: int, letter: str) -> float:
        same = FPDFText_GetUnicode(part, place) == ord(letter)
        return round(float(FPDFText_GetFontSize(part, place)), 1) if same else 0.0

    return size


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
        return one_line(clean(function(*args)))
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
    except PdfiumError:
        return {}
    return found


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:20])) + (" …" if len(numbers) > 20 else "")
    return f"page {shown}" if len(numbers) == 1 else f"{len(numbers)} pages: {shown}"

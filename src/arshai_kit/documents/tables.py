"""CSV and JSON: text as it stands, of which it is known what it is."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from typing import Final

from arshai_kit.documents.records import Block, Document

__all__ = ["comma_separated", "delimiter", "json_text"]

_DELIMITERS: Final = ",;\t|"
_ROWS: Final = 50
_HEAD: Final = 64 * 1024
_LONGEST: Final = 200


def delimiter(text: str, *, least: int = 3) -> str:
    r"""What separates the cells of *text*, if it is a table of at least *least* rows; else nothing.

    >>> delimiter("a;b\n1;2\n3;4\n"), delimiter("Dear Ann,\n\nhow are you?\n")
    (';', '')
    """
    found = {each: width for each in _DELIMITERS if (width := _width(text, each, least)) > 1}
    return max(found, key=lambda each: found[each]) if found else ""


def _width(text: str, mark: str, least: int) -> int:
    """How many cells every row has that *mark* makes; 0 if they differ, or read like prose."""
    rows = _head(text, mark)
    if len(rows) < least or len({len(row) for row in rows}) != 1:
        return 0
    cells = [cell for row in rows for cell in row]
    prose = least > 1 and mark == "," and sum(cell.startswith(" ") for cell in cells) * 2 > len(cells) - len(rows)
    return 0 if prose or max(map(len, cells)) > _LONGEST * 10 else len(rows[0])


def _head(text: str, mark: str) -> list[list[str]]:
    """The first rows of *text*, but for one that may be cut."""
    head = text[:_HEAD]
    try:
        rows = [row for row in csv.reader(_lines(head), delimiter=mark) if row]
    except csv.Error:
        return []
    return rows[: max(min(_ROWS, len(rows) - (len(text) > _HEAD)), 0)]


def _lines(text: str) -> Iterator[str]:
    """Line by line, with their ends, as a file opened for `csv` gives them."""
    return StringIO(text, newline="")


def comma_separated(text: str, mark: str) -> Document:
    r"""*text* as a document of one table, whose cells *mark* separates.

    >>> dict(comma_separated("river,km\nKarun,950\n", ",").metadata)
    {'columns': ('river', 'km'), 'rows': 1, 'delimiter': ','}
    """
    body = text.strip()
    start = text.index(body) if body else 0
    blocks = [Block("table", start, start + len(body))] if body else []
    columns = _head(text, mark)[:1]
    told = {"columns": columns[0] if columns else [], "rows": max(_rows(text, mark) - 1, 0), "delimiter": mark}
    return Document(text, media_type="text/csv", blocks=blocks, metadata=told)


def _rows(text: str, mark: str) -> int:
    try:
        return sum(1 for row in csv.reader(_lines(text), delimiter=mark) if row)
    except csv.Error:  # a cell that is longer than a reader takes
        return text.count("\n")


def json_text(text: str, media_type: str) -> Document:
    """*text* as a document of one piece of code."""
    body = text.strip()
    start = text.index(body) if body else 0
    return Document(text, media_type=media_type, blocks=[Block("code", start, start + len(body))] if body else ())

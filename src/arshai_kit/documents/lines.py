"""Plain text: its lines, its paragraphs and its pages, where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from arshai_kit.documents.building import few
from arshai_kit.documents.records import Block, Document, Limits

__all__ = ["Line", "lined", "paragraphs", "plain", "text_pages"]

_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")

Line = tuple[int, int, str]
"""Where a line starts and ends in the text, and what it says, without its end."""


def lined(text: str, start: int = 0) -> Iterator[Line]:
    r"""The lines of *text*, from the character at *start* on.

    >>> list(lined("one\r\ntwo"))
    [(0, 3, 'one'), (5, 8, 'two')]
    """
    for match in _LINE.finditer(text, start):
        if match.start() < len(text):
            yield match.start(), match.end(1), match[1]


def paragraphs(text: str) -> Iterator[Block]:
    r"""What stands between blank lines.

    >>> [text[each.start:each.end] for text in ["one\n two \n\nthree\n"] for each in paragraphs(text)]
    ['one\n two', 'three']
    """
    begin = end = -1
    for start, stop, line in lined(text):
        if not line or line.isspace():
            if begin >= 0:
                yield Block("paragraph", begin, end)
            begin = -1
            continue
        if begin < 0:
            begin = start + len(line) - len(line.lstrip())
        end = stop - len(line) + len(line.rstrip())
    if begin >= 0:
        yield Block("paragraph", begin, end)


def text_pages(text: str) -> tuple[int, ...]:
    r"""Where the pages of *text* begin, if it has form feeds between them.

    >>> text_pages("one\ftwo\f"), text_pages("one")
    ((0, 4), ())
    """
    last = len(text.rstrip())
    places = [match.end() for match in re.finditer("\f", text) if match.end() < last]
    return (0, *places) if places else ()


def plain(text: str, limits: Limits) -> Document:
    """*text* as a document of paragraphs."""
    blocks = list(islice(paragraphs(text), limits.blocks + 1))
    few(blocks, limits)
    return Document(text, media_type="text/plain", blocks=blocks, pages=text_pages(text))

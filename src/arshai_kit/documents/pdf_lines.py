"""The lines of pages, made into headings, paragraphs and lists: as an outline says, or as large letters tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from arshai_kit.documents.building import Builder, one_line

__all__ = ["Line", "clean", "largest", "levels", "whole_words", "write"]

Line: TypeAlias = tuple[str, float]
"""What a line says, and how large its letters are; 0, where nobody knows."""

_HYPHENS: Final = ("\ufffe", "\x02", "\xad")
_BULLET: Final = re.compile(r"\s*(?:[•◦▪‣●○■–*-]|\(?[0-9]{1,3}[.)])\s")
_LEADERS: Final = re.compile(r"(?:\. ?){4}")
_ENDS: Final = frozenset(".!?:;…。！？؟۔।")
_SHORT: Final = 0.75
_LARGER: Final = 1.12
_LONGEST: Final = 200
_MOST: Final = 0.2
"""More of a document than this is no headings, however large its letters are."""


def clean(text: str) -> str:
    """*text* without what is no character."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def whole_words(lines: Iterable[Line]) -> list[Line]:
    r"""*lines* without blanks around them, and with words whole that a line's end divided.

    >>> whole_words([("moun\xad", 9.0), ("tains rise", 9.0)])
    [('mountains rise', 9.0)]
    """
    found: list[Line] = []
    divided = False
    for said, size in lines:
        text = clean(said).strip()
        before, large = found.pop() if divided else ("", size)
        divided = text.endswith(_HYPHENS)
        for hyphen in _HYPHENS:
            text = text.replace(hyphen, "")
        found.append((before + text, large))
    return found


# Headings


def levels(pages: Iterable[Sequence[Line]]) -> Mapping[float, int]:
    """The levels of headings, by the sizes of their letters; none, where no few lines are larger than the others.

    >>> levels([[("Rivers", 20.0), ("The Karun is the longest of them all.", 10.0)]])
    {20.0: 1}
    """
    sizes: Counter[float] = Counter()
    for lines in pages:
        for text, size in lines:
            sizes[size] += len(text)
    sizes.pop(0.0, None)
    if not sizes:
        return {}
    usual = sizes.most_common(1)[0][0]
    large = sorted((size for size in sizes if size > usual * _LARGER), reverse=True)
    if sum(sizes[size] for size in large) > _MOST * sum(sizes.values()):
        return {}
    return {size: min(level, 6) for level, size in enumerate(large, 1)}


def largest(lines: Sequence[Line], sizes: Mapping[float, int]) -> str:
    """What stands in the largest letters of *lines*, if they are a heading's: the title, on a first page."""
    size = max((size for text, size in lines if size in sizes and _may_head(text)), default=0.0)
    place = next((place for place, line in enumerate(lines) if line[1] == size), 0)
    return one_line(" ".join(text for text, _ in lines[place : place + _run(lines, place)])) if size else ""


def _may_head(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and not _LEADERS.search(text) and any(map(str.isalpha, text))


def _run(lines: Sequence[Line], place: int) -> int:
    """How many lines, from *place* on, are of one size and could be one heading: three at most."""
    size = lines[place][1]
    count = 1
    while count < 3 and place + count < len(lines) and lines[place + count][1] == size:
        if not _may_head(lines[place + count][0]):
            break
        count += 1
    return count


# What stands on a page


def write(
    builder: Builder, lines: Sequence[Line], titles: Sequence[tuple[str, int]], sizes: Mapping[float, int]
) -> None:
    """Write the lines of a page as headings, where *titles* name them or *sizes* tell, as paragraphs and as lists."""
    heads = _heads([text for text, _ in lines], titles) if titles else _large(lines, sizes) if sizes else {}
    page = _Page(builder, max((len(text) for text, _ in lines), default=0) * _SHORT)
    for number, (text, size) in enumerate(lines):
        if number not in heads:
            page.take(text, size)
        elif (head := heads[number])[0]:
            page.close()
            builder.add("heading", " ".join(text for text, _ in lines[number : number + head[1]]), head[0])
    page.close()


class _Page:
    """Lines that are gathered to paragraphs: a new one begins after a sentence that ends early in its line."""

    def __init__(self, builder: Builder, long: float) -> None:
        self.builder, self.long = builder, long
        self.lines: list[str] = []
        self.size = 0.0
        self.items = self.ended = False

    def take(self, line: str, size: float) -> None:
        """Take the next line."""
        item = bool(_BULLET.match(line))
        other = abs(size - self.size) > 0.1 * size > 0 < self.size
        if not line or (self.lines and (item != self.items if item else self.ended or other)):
            self.close()
        if line:
            self.items = item or (self.items and bool(self.lines))
            self.lines.append(line)
            self.size = size
            self.ended = line[-1] in _ENDS and len(line) < self.long

    def close(self) -> None:
        """Write what has been gathered."""
        self.builder.add("list" if self.items else "paragraph", "\n".join(self.lines))
        self.lines.clear()
        self.items = self.ended = False


def _large(lines: Sequence[Line], sizes: Mapping[float, int]) -> dict[int, tuple[int, int]]:
    """The lines that are headings by the size of their letters, as `_heads` tells them."""
    found: dict[int, tuple[int, int]] = {}
    for number, (text, size) in enumerate(lines):
        if number not in found and size in sizes and _may_head(text):
            count = _run(lines, number)
            found[number] = (sizes[size], count)
            found.update((further, (0, 0)) for further in range(number + 1, number + count))
    return found


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

"""What is not to be cut, from blocks down to single letters: a piece that is too large gives way to those inside it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from arshai_kit.chunking.sentences import ITEM, Span, sentences, trimmed

__all__ = [
    "LETTERS",
    "PROSE",
    "RULE",
    "SENTENCES",
    "WORDS",
    "Measure",
    "Rung",
    "Split",
    "Unit",
    "Whole",
    "cut_by",
    "opened",
    "pieces",
]

Measure: TypeAlias = Callable[[str], int]
"""How large a text is."""
Split: TypeAlias = Callable[[str, int, int], Iterator[Span]]
"""The pieces of a text between two places, in order; what is not blank is in one."""


class Rung(NamedTuple):
    """One way to cut: a piece that is larger than its *part* of the size of a chunk is cut by the next rung."""

    split: Split
    part: int = 1


class Whole(NamedTuple):
    """What is kept whole where it fits: a block of a *kind*, of a heading's *level*, and how it is cut where not."""

    start: int
    end: int
    rungs: tuple[Rung, ...]
    kind: str = "paragraph"
    level: int = 0


class Unit(NamedTuple):
    """A piece that no chunk cuts: *size* is that of what stands between the end of the last one and its own.

    *whole* is the number of what it was cut out of, or -1 where it was not.
    """

    start: int
    end: int
    size: int
    whole: int = -1


def opened(
    text: str, wholes: Iterable[tuple[int, Whole]], measure: Measure, size: int, place: int = 0
) -> Iterator[Unit]:
    """The units of *wholes*, each with its number, none larger than *size* but single letters; *place* is before them.

    Each piece is measured once or twice, and so is what is inside of those too large: no letter more often than
    twice for each of the rungs.
    """
    for number, whole in wholes:
        taken = measure(text[place : whole.end])
        if _fits(text, measure, place, (whole.start, whole.end), taken, size):
            yield Unit(whole.start, whole.end, taken)
        else:
            cut = partial(_cut, text, measure, size, number)
            yield from cut(place, (whole.start, whole.end), whole.rungs)
        place = whole.end


def _cut(
    text: str, measure: Measure, size: int, whole: int, place: int, span: Span, rungs: tuple[Rung, ...]
) -> Iterator[Unit]:
    """The units of a *span* that is too large, by the first of *rungs* that cuts it."""
    (split, part), *others = rungs
    left = tuple(others)
    for start, end in split(text, *span):
        if (start, end) == span and left:
            yield from _cut(text, measure, size, whole, place, span, left)
            return
        taken = measure(text[place:end])
        most = size // part
        if not left or _fits(text, measure, place, (start, end), taken, most):
            yield Unit(start, end, taken, whole)
        else:
            yield from _cut(text, measure, size, whole, place, (start, end), left)
        place = end


def _fits(text: str, measure: Measure, place: int, span: Span, taken: int, most: int) -> bool:
    """Whether a *span* counts *most* at most, if it counts *taken* with what is between it and *place*.

    The blanks before a word may be a part of its first token: without them, it may be some more.
    """
    if span[0] == place or taken + _BLANKS <= most:
        return taken <= most
    return measure(text[slice(*span)]) <= most


def _between(separator: re.Pattern[str], text: str, start: int, end: int) -> Iterator[Span]:
    """What stands between the places where *separator* is found; it belongs to what it ends."""
    begin = start
    for found in separator.finditer(text, start, end):
        if (span := trimmed(text, begin, found.end())) is not None:
            yield span
        begin = found.end()
    if (span := trimmed(text, begin, end)) is not None:
        yield span


def _indented(text: str, start: int, end: int) -> Iterator[Span]:
    """The lines of code, with the blanks that they begin with."""
    while start < end:
        stop = text.find("\n", start, end) + 1 or end
        line = text[start:stop].rstrip()
        if line:
            yield start, start + len(line)
        start = stop


def _rows(text: str, start: int, end: int) -> Iterator[Span]:
    """The rows of a table; its head, with the rule below it, is one with the first of them."""
    found = _between(_LINE, text, start, end)
    head = next(found)
    row = next(found, head)
    if RULE.fullmatch(text, *row):
        row = next(found, row)
    yield head[0], row[1]
    yield from found


def _words(count: int, text: str, start: int, end: int) -> Iterator[Span]:
    """Runs of *count* words."""
    run: list[Span] = []
    for found in _WORD.finditer(text, start, end):
        run.append(found.span())
        if len(run) == count:
            yield run[0][0], run[-1][1]
            run = []
    if run:
        yield run[0][0], run[-1][1]


def _letters(count: int, text: str, start: int, end: int) -> Iterator[Span]:
    """Runs of about *count* letters; none ends between a letter and what belongs to it, as far as that is near."""
    while start < end:
        stop = min(start + count, end)
        nearest = min(stop + _NEAR, end)
        while stop < nearest and _belongs(text, start, stop):
            stop += 1
        yield start, stop
        start = stop


def _belongs(text: str, start: int, place: int) -> bool:
    """Whether the character at *place* is of one letter with that before it: an accent, a joined sign, half a flag."""
    here, before = text[place], text[place - 1]
    if here in _JOINING or before == _JOINER or unicodedata.category(here).startswith("M"):
        return True
    if not (_FLAGS[0] <= here <= _FLAGS[1] and _FLAGS[0] <= before <= _FLAGS[1]):
        return False
    first = place - 1
    while first > start and _FLAGS[0] <= text[first - 1] <= _FLAGS[1]:
        first -= 1
    return (place - first) % 2 == 1


def _single(text: str, start: int, end: int) -> Iterator[Span]:  # noqa: ARG001  # one of several ways to cut
    return zip(range(start, end), range(start + 1, end + 1), strict=True)


RULE: Final = re.compile(r"[\s|:+=-]*-[\s|:+=-]*")
"""The line below the head of a table."""
_LINE: Final = re.compile(r"\n")
_JOINER: Final = "\u200d"
_JOINING: Final = frozenset({_JOINER, *map(chr, range(0x1F3FB, 0x1F400))})
_FLAGS: Final = ("\U0001f1e6", "\U0001f1ff")
_NEAR: Final = 32
_BLANKS: Final = 16
_WORD: Final = re.compile(r"\S+")
_FINE: Final = 16
"""Runs of words or letters give way to shorter ones until they are so small a part of a chunk: it is to be filled."""

WORDS: Final[Split] = partial(_words, 1)
LETTERS: Final[Split] = partial(_letters, 8)

_PARAGRAPHS: Final = Rung(partial(_between, re.compile(r"\n[^\S\n]*\n|[\f\u2029]")))
_SENTENCES: Final = Rung(sentences)
_ITEMS: Final = Rung(partial(_between, ITEM))
_LINES: Final = Rung(partial(_between, _LINE))
_CLAUSES: Final = Rung(partial(_between, re.compile(r"[;:,](?=\s)|[；：，、،؛]|\s[–—]\s")))
_BELOW: Final = (
    _CLAUSES,
    Rung(partial(_words, 16), _FINE),
    Rung(WORDS),
    Rung(partial(_letters, 64), _FINE),
    Rung(LETTERS, _FINE),
    Rung(partial(_letters, 1)),
    Rung(_single),
)

PROSE: Final = (_PARAGRAPHS, _SENTENCES, _LINES, *_BELOW)
"""Paragraphs, sentences, lines, clauses, words, letters."""
SENTENCES: Final = (_SENTENCES, _LINES, *_BELOW)

cut_by: Final[Mapping[str, tuple[Rung, ...]]] = MappingProxyType(
    {
        "heading": PROSE,
        "paragraph": PROSE,
        "list": (_ITEMS, _SENTENCES, _LINES, *_BELOW),
        "table": (Rung(_rows), _LINES, *_BELOW),
        "code": (Rung(_indented), *_BELOW),
    }
)
"""How a block of each kind is cut where it is too large."""


def pieces(text: str, start: int, end: int, rungs: tuple[Rung, ...]) -> Iterator[Whole]:
    """What the first of *rungs* makes of the text between two places, each to be kept whole where it fits."""
    for span in rungs[0].split(text, start, end):
        yield Whole(*span, rungs)

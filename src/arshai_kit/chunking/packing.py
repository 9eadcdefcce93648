"""Units into chunks, from left to right: as many as fit, and the last two of them even where they can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from arshai_kit.chunking.sentences import sentences
from arshai_kit.chunking.units import LETTERS, WORDS, Measure, Split, Unit

__all__ = ["Piece", "packed"]

_TRIES: Final = 4
"""How often a chunk is measured anew to see what else fits: its units add up to more than it is, but seldom by half."""
_BACK: Final[tuple[Split, ...]] = (sentences, WORDS, LETTERS)
"""Where what a chunk repeats may begin, the best first."""


class Piece(NamedTuple):
    """What becomes a chunk: the *units* from the first number up to the second, and what it repeats before them."""

    start: int
    end: int
    size: int
    units: tuple[int, int]


def packed(text: str, units: Sequence[Unit], measure: Measure, size: int, overlap: int) -> Iterator[Piece]:
    """*units* in pieces of at most *size*, each of which but the first repeats at most *overlap* of the one before it.

    What a piece is depends on what stands before it, in it, and on the one unit that did not fit; only the last but one
    looks at all that is left. So more text behind *units* changes no piece before the last two.
    """
    left = [*accumulate([unit.size for unit in reversed(units)], initial=0)][::-1]
    rest = (size - overlap) - (size - overlap) // 16  # what is summed may be a little less than what is measured
    before, first = 0, 0
    while first < len(units):
        last, taken = _filled(text, units, measure, first, size - overlap if first else size)
        if last < len(units) and left[last] <= rest:
            earlier = _even(left, first, last, rest)
            if (less := measure(text[units[first].start : units[earlier - 1].end])) <= max(taken, size - overlap):
                last, taken = earlier, less
        piece = Piece(units[first].start, units[last - 1].end, taken, (first, last))
        yield _reaching_back(text, units, measure, before, piece, size, overlap) if overlap and first else piece
        before, first = first, last


def _filled(text: str, units: Sequence[Unit], measure: Measure, first: int, room: int) -> tuple[int, int]:
    """Up to which unit a piece goes on that begins with the *first* and has *room*; and its size."""
    start = units[first].start
    last, taken = first + 1, measure(text[start : units[first].end])
    for _ in range(_TRIES):
        stop = _summed(units, last, room - taken)
        if stop == last:
            break
        found = measure(text[start : units[stop - 1].end])
        while found > room and stop > last:
            stop = (last + stop) // 2
            found = measure(text[start : units[stop - 1].end])
        last, taken = stop, found
    return last, taken


def _summed(units: Sequence[Unit], place: int, free: int) -> int:
    """How far the units from *place* on go into what is *free*, by the sum of their sizes."""
    while place < len(units) and units[place].size <= free:
        free -= units[place].size
        place += 1
    return place


def _even(left: Sequence[int], first: int, last: int, rest: int) -> int:
    """Where to end a piece, at *last* or before, so that it is about as large as the one that takes all behind it."""
    stops = range(last, first, -1)
    fit = [stop for stop in stops if left[stop] <= rest]
    return min(fit, key=lambda stop: abs(left[first] - 2 * left[stop]))


def _reaching_back(
    text: str, units: Sequence[Unit], measure: Measure, before: int, piece: Piece, size: int, overlap: int
) -> Piece:
    """*piece*, which repeats what it may of the one that begins with the unit *before*."""
    end = units[piece.units[0] - 1].end
    starts = _starts(text, units, measure, before, piece.units[0], overlap)
    while starts:
        start = starts[-1]
        if measure(text[start:end]) <= overlap and (taken := measure(text[start : piece.end])) <= size:
            return piece._replace(start=start, size=taken)
        starts = starts[: len(starts) // 2]
    return piece


def _starts(text: str, units: Sequence[Unit], measure: Measure, before: int, first: int, overlap: int) -> list[int]:
    """Where what is repeated may begin, the latest first: whole units, or else a part of the last one."""
    found = _fitting(measure, text, [unit.start for unit in units[before + 1 : first]], units[first - 1].end, overlap)
    unit = units[first - 1]
    for split in _BACK:
        if found:
            break
        starts = [start for start, _ in split(text, unit.start, unit.end) if not text[start].isspace()]
        found = _fitting(measure, text, [each for each in starts if each > units[before].start], unit.end, overlap)
    return found


def _fitting(measure: Measure, text: str, starts: Sequence[int], end: int, free: int) -> list[int]:
    """The last of *starts* from which on what stands before *end* goes into what is *free*, the latest first."""
    found = list[int]()
    for start in reversed(starts):
        free -= measure(text[start:end])
        if free < 0:
            break
        found.append(start)
        end = start
    return found

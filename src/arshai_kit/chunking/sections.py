"""What of a document belongs together: its blocks by sections, by pages, or by pieces that somebody else has found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from attrs import evolve

from arshai_kit.chunking.sentences import Span, trimmed
from arshai_kit.chunking.units import PROSE, RULE, Measure, Unit, Whole, cut_by, opened, pieces
from arshai_kit.documents import Block, Document
from arshai_kit.errors import Misuse

__all__ = ["above", "by_groups", "by_sections", "divided", "header", "places_of", "wholes"]

_SMALL: Final = 2
"""A section that is less than this part of a chunk is joined by the next one."""
_LONGEST: Final = 1000


class Section(NamedTuple):
    """Blocks that share chunks with no others: their *units*, the levels of the first and last heading, if it is one.

    It is *bare* where there is nothing but headings in it.
    """

    units: list[Unit]
    size: int
    level: int
    last: int
    bare: bool


def wholes(document: Document) -> Iterator[Whole]:
    """The blocks of *document*, and the paragraphs of what no block holds."""
    text, place = document.text, 0
    for block in document.blocks:
        if not place <= block.start <= block.end <= len(text):
            raise Misuse(f"the blocks of {document.source!r} do not stand in order within its text: {block!r}")
        yield from pieces(text, place, block.start, PROSE)
        if (span := trimmed(text, block.start, block.end)) is not None:
            yield Whole(*span, cut_by[block.kind], block.kind, block.level)
        place = block.end
    yield from pieces(text, place, len(text), PROSE)


def by_sections(text: str, found: Sequence[Whole], measure: Measure, size: int) -> Iterator[list[Unit]]:
    """The units of each section; a small one shares its chunk with those that come next, unless they stand above it."""
    before: Section | None = None
    for section in _sections(text, found, measure, size):
        if before is None:
            before = section
        elif _is_joined(before, section, size):
            before.units.extend(section.units)
            bare = before.bare and section.bare
            before = Section(before.units, before.size + section.size, before.level, section.last, bare)
        else:
            yield before.units
            before = section
    if before is not None:
        yield before.units


def _sections(text: str, found: Sequence[Whole], measure: Measure, size: int) -> Iterator[Section]:
    place, starts = 0, [number for number, whole in enumerate(found) if whole.kind == "heading"]
    for first, stop in zip([0, *starts], [*starts, len(found)], strict=True):
        blocks = found[first:stop]
        if blocks:
            units = [*opened(text, enumerate(blocks, first), measure, size, place)]
            level = blocks[0].level
            bare = len(blocks) == 1 and blocks[0].kind == "heading"
            yield Section(units, sum([unit.size for unit in units]), level, level, bare)
            place = blocks[-1].end


def _is_joined(before: Section, section: Section, size: int) -> bool:
    if before.bare and section.last > before.last:
        return True
    small = before.size * _SMALL < size and before.size + section.size <= size
    return small and section.level >= before.level


def divided(text: str, found: Iterable[Whole], places: Iterable[int]) -> Iterator[list[Whole]]:
    """The blocks before, between and behind *places*; one that stands across a place is two."""
    bounds = iter((*places, len(text)))
    bound, group = next(bounds), list[Whole]()
    for whole in found:
        left = whole
        while left.end > bound:
            if (span := trimmed(text, left.start, min(left.end, bound))) is not None:
                group.append(left._replace(start=span[0], end=span[1]))
            if group:
                yield group
                group = []
            start, _ = trimmed(text, max(left.start, bound), left.end) or (left.end, left.end)
            left, bound = left._replace(start=start), next(bounds)
        group.append(left)
    if group:
        yield group


def by_groups(text: str, groups: Iterable[Sequence[Whole]], measure: Measure, size: int) -> Iterator[list[Unit]]:
    """The units of each of *groups*."""
    place, number = 0, 0
    for group in groups:
        yield [*opened(text, enumerate(group, number), measure, size, place)]
        place, number = group[-1].end, number + len(group)


def places_of(document: Document, given: Iterable[Any]) -> Iterator[int]:
    """Where the *given* pieces of *document* begin and end: each a pair of places, or a text that is in it."""
    text, place = document.text, 0
    for piece in given:
        match piece:
            case str():
                start = text.find(piece, place)
                start, end = (start, start + len(piece)) if start >= 0 else (text.find(piece), place)
                if start < 0:
                    raise Misuse(f"a piece of a document is a part of its text, and this is not: {piece!r:.80}")
            case (int(start), int(end)) if 0 <= start <= end <= len(text):
                pass
            case _:
                raise Misuse(f"the pieces of a document are texts, or (start, end) within its text, not {piece!r:.80}")
        for each in (start, end):
            if each > place:
                yield (place := each)


def header(text: str, table: Whole) -> str:
    """The first line of a *table*, and the rule below it; nothing where they are longer than a heading should be."""
    first = text.find("\n", table.start, table.end)
    second = text.find("\n", first + 1, table.end)
    if first < 0:
        return ""
    second = second if second >= 0 else table.end
    found = text[table.start : second if RULE.fullmatch(text, first + 1, second) else first].rstrip()
    return found if len(found) <= _LONGEST else ""


def above(document: Document, spans: Iterable[Span]) -> Iterator[tuple[str, ...]]:
    """For each of *spans*, in order, the headings that it stands under; those that it begins with are among them."""
    headings = [block for block in document.blocks if block.kind == "heading"]
    path, number, reached = list[tuple[int, str]](), 0, 0
    for place, end in spans:
        reached = max(place, reached)
        while number < len(headings) and headings[number].start < end:
            block = headings[number]
            if block.start > place and document.text[reached : block.start].strip():
                break
            path = [each for each in path if each[0] < block.level]
            path.append((block.level, _title(document.text[block.start : block.end], block)))
            number, reached = number + 1, max(reached, block.end)
        yield tuple([title for _, title in path])


def _title(text: str, block: Block) -> str:
    """What the heading *block* says, as a document tells it."""
    (title,) = Document(text, blocks=(evolve(block, start=0, end=len(text)),)).section(0)
    return title

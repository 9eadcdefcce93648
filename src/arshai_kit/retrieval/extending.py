"""A passage with what stands around it: its neighbours, or its whole section, put together by where they stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from attrs import evolve

from arshai_kit.effects import Plan, side_by_side
from arshai_kit.index import Entry, Hit, Index, field, where
from arshai_kit.retrieval.asking import asked

__all__ = ["MOST", "extended", "merged"]

MOST: Final = 64
"""The most chunks of a section on either side of one: a document without headings is one section."""
_AT_A_TIME: Final = 8


def merged(entries: Iterable[Entry[Any]]) -> str:
    r"""The text of *entries* of one document, as it stands there: what overlaps is said once.

    Blanks between two chunks belong to neither: as many line breaks stand for them, so that positions still count.

    >>> from arshai_kit.index import Passage
    >>> one, two = Passage(number=0, start=5, end=9), Passage(number=1, start=7, end=12)
    >>> merged([Entry("1", "abcd", None, one), Entry("2", "cdefg", None, two)])
    'abcdefg'
    """
    text, end = "", None
    for entry in sorted(entries, key=lambda each: (each.fields.start, each.fields.end)):
        start = entry.fields.start
        if end is None:
            text, end = entry.text, entry.fields.end
        elif entry.fields.end > end:
            text += "\n" * (start - end) + entry.text[max(0, end - start) :]
            end = entry.fields.end
    return text


def extended(
    index: Index[Any], hits: Sequence[Hit[Any]], *, neighbours: int, parents: int
) -> Plan[tuple[Hit[Any], ...]]:
    """*hits* with what stands around them; those whose texts then meet become one, in the place of the best.

    A hit keeps its id, its scores and what its fields say, but for `start` and `end`, which are those of its text.
    """
    plans = [_around(index, hit, neighbours, parents) for hit in hits]
    outcomes = yield from side_by_side(plans, limit=_AT_A_TIME)
    found = {hit.id: outcome.unwrap() for hit, outcome in zip(hits, outcomes, strict=True)}
    groups: dict[tuple[str, str], list[tuple[Hit[Any], list[Entry[Any]]]]] = {}
    for hit in hits:
        groups.setdefault((hit.fields.source, hit.fields.document), []).append((hit, found[hit.id]))
    told = {hit.id: hit for group in groups.values() for hit in _joined(group)}
    return tuple([told[hit.id] for hit in hits if hit.id in told])


def _around(index: Index[Any], hit: Hit[Any], neighbours: int, parents: int) -> Plan[list[Entry[Any]]]:
    """The entries around *hit*, itself among them, in their order."""
    here, reach = hit.fields, max(neighbours, MOST if parents else 0)
    numbers = (field("number") >= here.number - reach) & (field("number") <= here.number + reach)
    wanted = where(source=here.source, document=here.document) & numbers
    page: Sequence[Entry[Any]] = yield from asked(index, index.scan, wanted, "", 2 * reach + 1)
    by_number = {each.fields.number: each for each in page}
    by_number[here.number] = Entry(hit.id, hit.text, None, here)
    section = here.section[: max(0, len(here.section) - parents + 1)]

    def belongs(number: int) -> bool:
        if number not in by_number:
            return False
        related = by_number[number].fields.section[: len(section)] == section
        return (parents > 0 and bool(related)) or abs(number - here.number) <= neighbours

    first = last = here.number
    while belongs(first - 1):
        first -= 1
    while belongs(last + 1):
        last += 1
    return [by_number[number] for number in range(first, last + 1)]


def _joined(group: list[tuple[Hit[Any], list[Entry[Any]]]]) -> Iterator[Hit[Any]]:
    """The hits of one document: of those that stand in one stretch of it, the best, with the text of the stretch."""
    entries = {each.fields.number: each for _, around in group for each in around}
    for stretch in _stretches(entries):
        best = next(hit for hit, _ in group if hit.fields.number in stretch)
        inside = [entries[number] for number in stretch]
        start = min([each.fields.start for each in inside])
        end = max([each.fields.end for each in inside])
        yield evolve(best, text=merged(inside), fields=evolve(best.fields, start=start, end=end))


def _stretches(numbers: Iterable[int]) -> list[range]:
    """Runs of *numbers* that follow each other.

    >>> _stretches([4, 1, 2, 5])
    [range(1, 3), range(4, 6)]
    """
    runs: list[range] = []
    for number in sorted(numbers):
        if runs and runs[-1].stop == number:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs

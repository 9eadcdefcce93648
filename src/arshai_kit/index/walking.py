"""Everything that an index holds, page by page: never more of it in memory than one page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar

from arshai_kit.effects import Plan, call
from arshai_kit.faces import adrive, drive
from arshai_kit.index.filters import EVERYTHING, Filter
from arshai_kit.index.records import Entry, Index
from arshai_kit.resilience.around import asking

__all__ = ["Walk", "every"]

F = TypeVar("F")


class Walk(Generic[F]):
    """The entries of an index, for `for` or `async for`, as often as it is gone through."""

    def __init__(self, index: Index[F], where: Filter) -> None:
        self._index, self._where = index, where

    def _page(self, after: str) -> Plan[tuple[Entry[F], ...]]:
        index = self._index
        if getattr(index.scan, "plan", None) is None:
            found = yield from asking(index, index.scan, self._where, after)
        else:
            found = yield from call(index.scan, self._where, after)
        return tuple(found)

    def __iter__(self) -> Iterator[Entry[F]]:
        after = ""
        while page := drive(self._page(after)):
            yield from page
            after = page[-1].id

    async def __aiter__(self) -> AsyncIterator[Entry[F]]:
        after = ""
        while page := await adrive(self._page(after)):
            for each in page:
                yield each
            after = page[-1].id


def every(index: Index[F], where: Filter = EVERYTHING) -> Walk[F]:
    """Each entry of *index* of which *where* is true, in the order of their ids; a page of them is read at a time.

    What is written meanwhile is met if its id is still to come.

    >>> from arshai_kit.index import Passage, in_memory_index
    >>> index = in_memory_index(batch=2)
    >>> index.upsert([Entry(id, "", None, Passage()) for id in "cab"])
    3
    >>> [entry.id for entry in every(index)]
    ['a', 'b', 'c']
    """
    return Walk(index, where)

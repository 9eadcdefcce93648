"""What an index is given, checked before anything is written: entries, limits, and whose vectors they are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final

from arshai_kit.errors import Misuse, OtherVectors
from arshai_kit.index.filters import Everything, Filter
from arshai_kit.index.records import Entry
from arshai_kit.records.vectors import Vector

__all__ = ["at_most", "batch_size", "entries", "ids", "question", "refuse_all", "space_of"]

_BATCH: Final = "ARSHAI_BATCH_SIZE"
_USUAL: Final = 256
_MOST: Final = 2**31


def batch_size(given: int | None) -> int:
    """How many entries are written or read at a time: *given*, or as the environment says."""
    text = os.environ.get(_BATCH, "").strip() if given is None else ""
    try:
        size = given if given is not None else int(text or _USUAL)
    except ValueError:
        raise Misuse(f"{_BATCH} is {text!r}; it must be a whole number above zero") from None
    if type(size) is not int or size < 1:
        raise Misuse(f"{'batch=' if given is not None else _BATCH} is a whole number above zero, not {size!r}")
    return size


def at_most(limit: Any) -> int:
    """*limit*, a number of entries to be found."""
    if type(limit) is not int or limit < 1:
        raise Misuse(f"limit= is a whole number above zero, not {limit!r}")
    return min(limit, _MOST)


def question(text: Any) -> str:
    """*text*, words to be found."""
    if not isinstance(text, str):
        raise Misuse(f"words are searched by text, not by {type(text).__name__}")
    return text


def ids(given: Iterable[str]) -> list[str]:
    """What is *given* as ids."""
    found = [given] if isinstance(given, str) else list(given)
    if isinstance(given, str) or not all(isinstance(each, str) for each in found):
        raise Misuse(f"ids are several texts, as in get(['a', 'b']), not {given!r:.80}")
    return found


def entries(given: Iterable[Entry[Any]]) -> dict[str, Entry[Any]]:
    """What is *given* by its ids, the last of each: sound as it is, but for the fields."""
    if isinstance(given, Entry):
        raise Misuse("upsert takes entries, as in upsert([entry]), not one of them")
    found: dict[str, Entry[Any]] = {}
    for each in given:
        if not isinstance(each, Entry) or not isinstance(each.id, str) or not isinstance(each.text, str) or not each.id:
            raise Misuse(
                f"an entry is an Entry(id, text, vector, fields) with text as its id and text, not {each!r:.80}"
            )
        if each.vector is not None:
            vector = each.vector if isinstance(each.vector, Vector) else Vector.of(each.vector)
            if not vector.checked().data:
                raise Misuse(f"the vector of {each.id!r} is empty: give None where there is none")
            each = each if vector is each.vector else Entry(each.id, each.text, vector, each.fields)  # noqa: PLW2901
        found[each.id] = each
    return found


def space_of(given: Iterable[Entry[Any]], space: str, dimensions: int, known: str) -> tuple[int, str]:
    """The size of all vectors of an index, and whose they are, once those *given*, of *space*, are in it.

    There are some of *dimensions* numbers, of the space *known*, or none (0). An empty space is one that nobody told.
    """
    if not isinstance(space, str):
        raise Misuse(f"space= is text, as in 'openai/text-embedding-3-small', not {space!r}")
    sizes = {len(each.vector): each.id for each in given if each.vector is not None}
    if not sizes:
        return dimensions, known
    if dimensions and space and known and space != known:
        raise OtherVectors(f"the index holds vectors of {known}, and was given some of {space}: {_REMEDY}")
    for size, own in sizes.items():
        if size != (dimensions or size) or len(sizes) > 1:
            has = f"holds vectors of {dimensions:,} numbers" if dimensions else "was given vectors of several sizes"
            raise OtherVectors(f"the index {has}, and {own!r} has {size:,}: {_REMEDY}")
    return next(iter(sizes)), space or known


_REMEDY: Final = "empty it (`delete(EVERYTHING, everything=True)`), or use another one; nothing was written"


def refuse_all(filter: Filter, everything: Any) -> None:  # noqa: A002  # what it is
    """Refuse to delete all by a filter that was left empty."""
    if isinstance(filter, Everything) and everything is not True:
        raise Misuse(
            "the empty filter would delete everything: say which, as in delete(where(source='a.md')), "
            "or delete(EVERYTHING, everything=True) to empty the index"
        )

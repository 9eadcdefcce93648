"""How often which value: what `statistics` tells of a field, the most frequent first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from arshai_kit.errors import Misuse
from arshai_kit.index.fields import Column, columns, listed

__all__ = ["counted", "facets_of"]


def facets_of(kind: type, names: Iterable[str]) -> list[tuple[int, Column]]:
    """The fields of *kind* that are named, each with its place."""
    if isinstance(names, str):
        raise Misuse(f"the values of several fields are counted, as in statistics([{names!r}]); {names!r} is one")
    return [_facet(kind, name) for name in names]


def _facet(kind: type, name: str) -> tuple[int, Column]:
    """The field *name* of *kind*, and its place."""
    for place, column in enumerate(columns(kind).values()):
        if column.name == name and column.kind != "json":
            return place, column
    raise Misuse(f"there is no field {name!r} to count the values of; there are {listed(kind)}")


def counted(column: Column, values: Mapping[Any, int]) -> tuple[tuple[Any, int], ...]:
    """The *values* of *column* with how often they are there; of several texts, each by itself.

    >>> counted(Column("tags", "texts"), {("rain", "wind"): 2, ("rain",): 1})
    (('rain', 3), ('wind', 2))
    """
    found: Counter[Any] = Counter()
    for value, count in values.items():
        for each in value if column.kind == "texts" and value is not None else (value,):
            found[each] += count
    return tuple(sorted(found.items(), key=_order))


def _order(each: tuple[Any, int]) -> tuple[Any, ...]:
    value, count = each
    return (-count, value is not None, value) if value is not None else (-count, False)

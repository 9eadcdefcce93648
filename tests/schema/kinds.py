"""Types and their values, drawn together: what the laws of `arshai_kit.schema` are tried on."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypeAlias
from uuid import UUID

import attrs
from hypothesis import strategies as st
from typing_extensions import TypedDict

Typed: TypeAlias = tuple[Any, st.SearchStrategy[Any]]

UserId = NewType("UserId", int)


class Colour(Enum):
    """A colour of the flag."""

    GREEN = "green"
    WHITE = "white"
    RED = "red"


class Size(IntEnum):
    """A size."""

    SMALL = 1
    LARGE = 2


class Mood(StrEnum):
    """A mood."""

    CALM = "calm"
    WILD = "wild"


@attrs.frozen
class AtLeast:
    """Metadata as `annotated_types` writes it."""

    ge: int


numbers = st.floats(allow_nan=False, allow_infinity=False)
offsets = st.timezones() | st.none()
words = st.text(max_size=5)

LEAVES: tuple[Typed, ...] = (
    (str, words),
    (int, st.integers()),
    (float, numbers),
    (bool, st.booleans()),
    (None, st.none()),
    (Any, st.integers() | words | st.lists(st.booleans(), max_size=2)),
    (Literal["a", 1, True] | None, st.sampled_from(["a", 1, None])),
    (Colour, st.sampled_from(Colour)),
    (Size, st.sampled_from(Size)),
    (Mood, st.sampled_from(Mood)),
    (UserId, st.integers()),
    (Annotated[int, AtLeast(3), "three or more"], st.integers(min_value=3)),
    (bytes, st.binary(max_size=5)),
    (dt.datetime, st.datetimes()),
    (dt.date, st.dates()),
    (dt.time, st.times()),
    (dt.timedelta, st.timedeltas()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (UUID, st.uuids()),
    (PurePosixPath, words.map(PurePosixPath)),
)
# Of these no two share a JSON type, so that a union of them is plain.
APART: tuple[Typed, ...] = (
    (None, st.none()),
    (bool, st.booleans()),
    (int, st.integers()),
    (str, words),
    (list[int], st.lists(st.integers(), max_size=3)),
    (dict[str, bool], st.dictionaries(words, st.booleans(), max_size=3)),
)
KEYS: tuple[Typed, ...] = (
    (str, words),
    (int, st.integers()),
    (Colour, st.sampled_from(Colour)),
    (dt.date, st.dates()),
    (UUID, st.uuids()),
)
HASHABLE: tuple[Typed, ...] = (
    (str, words),
    (int, st.integers()),
    (Colour, st.sampled_from(Colour)),
    (tuple[int, str], st.tuples(st.integers(), words)),
)


def unions() -> st.SearchStrategy[Typed]:
    """Unions whose members differ by their JSON type."""

    def joined(members: Sequence[Typed]) -> Typed:
        tp: Any = members[0][0]
        for other, _ in members[1:]:
            tp = tp | other if tp is not None else Optional[other]  # noqa: UP045  # `None | other` is no expression
        return tp, st.one_of([values for _, values in members])

    return st.lists(st.sampled_from(APART), min_size=2, max_size=4, unique_by=lambda each: str(each[0])).map(joined)


def of(generic: Any, *parts: Any) -> Any:
    """A generic type of parts that are known only now."""
    return generic[parts if len(parts) > 1 else parts[0]]


def containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Types made of others."""

    def many(typed: Typed) -> st.SearchStrategy[Typed]:
        lists, tp = st.lists(typed[1], max_size=3), typed[0]
        return st.sampled_from(
            [
                (of(list, tp), lists),
                (of(tuple, tp, ...), lists.map(tuple)),
                (of(Sequence, tp), lists.map(tuple)),
                (of(deque, tp), lists.map(deque)),
                (of(tuple, tp, int), st.tuples(typed[1], st.integers())),
                (of(tuple, tp, tp), st.tuples(typed[1], typed[1])),
            ]
        )

    def sets(typed: Typed) -> st.SearchStrategy[Typed]:
        tp, values = typed
        return st.sampled_from([(of(set, tp), st.sets(values, max_size=3)), (of(frozenset, tp), st.frozensets(values))])

    def maps(key: Typed, typed: Typed) -> Typed:
        return of(Mapping, key[0], typed[0]), st.dictionaries(key[1], typed[1], max_size=3)

    return st.one_of(
        inner.flatmap(many),
        st.sampled_from(HASHABLE).flatmap(sets),
        st.builds(maps, st.sampled_from(KEYS), inner),
        st.lists(inner, min_size=1, max_size=3).flatmap(records),
    )


def records(members: Sequence[Typed]) -> st.SearchStrategy[Typed]:
    """Records of all four kinds with these members, the last of which may be left out."""
    *firsts, last = [(f"field_{n}", tp, values) for n, (tp, values) in enumerate(members)]
    required: dict[str, Any] = {name: tp for name, tp, _ in firsts}
    default = last[2].map(lambda value: (last[0], last[1], value))

    def made(of_last: tuple[str, Any, Any]) -> st.SearchStrategy[Typed]:
        name, tp, value = of_last
        frozen = attrs.make_class(
            "Frozen",
            {n: attrs.field(type=t) for n, t in required.items()} | {name: attrs.field(type=tp, default=value)},
            frozen=True,
            eq=True,
        )
        data = dataclasses.make_dataclass(
            "Data", [*required.items(), (name, tp, dataclasses.field(default_factory=lambda: value))]
        )
        pair = NamedTuple("Pair", [*required.items(), (name, tp)])  # type: ignore[misc]
        pair._field_defaults[name] = value
        shape = TypedDict("Shape", {**required, name: NotRequired[tp]})  # type: ignore[misc]
        values = st.fixed_dictionaries({n: v for n, _, v in firsts}, optional={name: last[2]})
        full = st.fixed_dictionaries({n: v for n, _, v in (*firsts, last)})
        return st.sampled_from(
            [
                (frozen, values.map(lambda members: frozen(**members))),
                (data, values.map(lambda members: data(**members))),
                (pair, full.map(lambda members: pair(**members))),
                (shape, values),
            ]
        )

    return default.flatmap(made)


types = st.recursive(st.one_of(st.sampled_from(LEAVES), unions()), containers, max_leaves=4)
"""A type, with a strategy for its values."""

typed_values = types.flatmap(lambda typed: st.tuples(st.just(typed[0]), typed[1]))
"""A type and one value of it."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)
"""Any JSON document."""

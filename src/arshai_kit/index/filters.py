"""Filters: what fields must be for an entry to be found, as records that any backend can compile.

A filter is a tree of `Everything`, the leaves `Compared`, `Among`, `Contains`, `StartsWith` and `Named`, and `Both`,
`Either` and `Negated` of others. Each is true or false of an entry and never unknown: `~` is the exact opposite. `None`
equals itself alone and is neither less nor more than anything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypeVar

from attrs import field as spot
from attrs import frozen

from arshai_kit._json import Json, freeze
from arshai_kit._record import Record, short
from arshai_kit.errors import Misuse

__all__ = [
    "DEEPEST",
    "EVERYTHING",
    "OPERATORS",
    "Among",
    "Both",
    "Compared",
    "Contains",
    "Either",
    "Everything",
    "Field",
    "Filter",
    "Leaf",
    "Named",
    "Negated",
    "StartsWith",
    "field",
    "fold",
    "named",
    "where",
]

T = TypeVar("T")

Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]

OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

DEEPEST: Final = 100
"""So many levels deep is a filter nested at most."""
_HINT: Final = "combine filters by &, | and ~, each comparison in parentheses: (field('a') == 1) & ~(field('b') > 2)"


class Filter(Record):
    """What is true or false of an entry; made by `where`, `field` and `named`, and combined by `&`, `|` and `~`."""

    __slots__ = ()

    def __and__(self, other: Filter) -> Filter:
        _filter(other)
        parts = [part for each in (self, other) for part in (each.parts if isinstance(each, Both) else (each,))]
        left = [part for part in parts if not isinstance(part, Everything)]
        return Both(left) if len(left) > 1 else left[0] if left else EVERYTHING

    def __or__(self, other: Filter) -> Filter:
        _filter(other)
        parts = [part for each in (self, other) for part in (each.parts if isinstance(each, Either) else (each,))]
        return EVERYTHING if any(isinstance(part, Everything) for part in parts) else Either(parts)

    def __invert__(self) -> Filter:
        return self.part if isinstance(self, Negated) else Negated(self)

    def __rand__(self, other: Any) -> NoReturn:
        raise _none(other)

    __ror__ = __rand__

    def __repr__(self) -> str:
        return fold(self, leaf=_told, both=" & ".join, either=_either, negated=_not)

    def __bool__(self) -> NoReturn:
        raise Misuse(f"a filter is neither true nor false by itself: {_HINT}")


def _filter(value: Any) -> None:
    if not isinstance(value, Filter):
        raise _none(value)


def _none(value: Any) -> Misuse:
    return Misuse(f"{value!r:.80} is no filter: {_HINT}")


def _told(each: Any) -> str:
    """A leaf as it is written in Python."""
    match each:
        case Compared():
            return f"(field({each.field!r}) {each.operator} {short(each.value)})"
        case Among():
            return f"field({each.field!r}).in_({short(each.values)})"
        case Contains():
            return f"field({each.field!r}).contains({short(each.value)})"
        case StartsWith():
            return f"field({each.field!r}).startswith({short(each.value)})"
        case Named():
            return f"named({short(each.ids)[1:-1].rstrip(',')})"
    return "EVERYTHING"


def _either(parts: tuple[str, ...]) -> str:
    return f"({' | '.join(parts)})"


def _not(part: str) -> str:
    return f"~({part})" if " & " in part else f"~{part}"


def _depth(made: Any, _: Any, __: Any) -> None:
    """Refuse what no recursive function would come through; `&` and `|` of many stay flat."""
    level, depth = [made], 0
    while level:
        level = [part for each in level for part in _below(each) if isinstance(part, _NESTING)]
        depth += 1
        if depth > DEEPEST:
            raise Misuse(f"a filter is nested at most {DEEPEST} levels deep")


def _below(value: Any) -> tuple[Filter, ...]:
    return value.parts if isinstance(value, Both | Either) else (value.part,) if isinstance(value, Negated) else ()


def _json(value: Any) -> Json:
    """*value* as JSON: dates as ISO 8601, times in UTC, a member of an enumeration as its value.

    >>> _json(datetime(2020, 1, 1, 3, tzinfo=UTC))
    '2020-01-01T03:00:00.000000+00:00'
    """
    match value:
        case Enum():
            return _json(value.value)
        case datetime():
            return moment(value)
        case date():
            return value.isoformat()
    return freeze(value)


def moment(value: datetime) -> str:
    """*value* as text in UTC, so that what is earlier is less.

    >>> moment(datetime(2020, 1, 1))
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: 2020-01-01 00:00:00 is in no timezone, so it cannot be compared: give it one
    """
    if value.utcoffset() is None:
        raise Misuse(f"{value} is in no timezone, so it cannot be compared: give it one")
    try:
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    except OverflowError:
        raise Misuse(f"{value} is in no year of UTC from 1 to 9999") from None


def _values(values: Iterable[Any]) -> tuple[Json, ...]:
    if isinstance(values, str | bytes):
        raise Misuse(f".in_ takes several values, as in .in_(['a', 'b']), not the text {values!r}")
    return tuple([_json(each) for each in values])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Misuse(f".contains and .startswith take text, not {type(value).__name__}")
    return str(_json(value))


@frozen(eq=False, repr=False)
class Everything(Filter):
    """True of every entry."""


@frozen(eq=False, repr=False)
class Compared(Filter):
    """The value of *field* is equal to, less than, … *value*."""

    field: str
    operator: Operator
    value: Json = spot(converter=_json)


@frozen(eq=False, repr=False)
class Among(Filter):
    """The value of *field* is one of *values*."""

    field: str
    values: tuple[Json, ...] = spot(converter=_values)


@frozen(eq=False, repr=False)
class Contains(Filter):
    """The texts of *field* hold *value* as one of them; of a single text, *value* is a part."""

    field: str
    value: str = spot(converter=_text)


@frozen(eq=False, repr=False)
class StartsWith(Filter):
    """The text of *field* begins with *value*, letter by letter."""

    field: str
    value: str = spot(converter=_text)


@frozen(eq=False, repr=False)
class Named(Filter):
    """The id of the entry is one of *ids*."""

    ids: tuple[str, ...] = spot(converter=_values)


def _filters(parts: Iterable[Filter]) -> tuple[Filter, ...]:
    return tuple(parts)


@frozen(eq=False, repr=False)
class Both(Filter):
    """All of *parts*, two or more, are true."""

    parts: tuple[Filter, ...] = spot(converter=_filters, validator=_depth)


@frozen(eq=False, repr=False)
class Either(Filter):
    """At least one of *parts*, two or more, is true."""

    parts: tuple[Filter, ...] = spot(converter=_filters, validator=_depth)


@frozen(eq=False, repr=False)
class Negated(Filter):
    """*part* is not true."""

    part: Filter = spot(validator=_depth)


_NESTING: Final = (Both, Either, Negated)

Leaf: TypeAlias = Everything | Compared | Among | Contains | StartsWith | Named

EVERYTHING: Final = Everything()
"""True of every entry: what is not filtered."""


class Field:
    """A field by its name, to be compared: `field("year") >= 2020` is a filter."""

    __slots__ = ("name",)
    __hash__ = None  # type: ignore[assignment]  # what compares itself with anything as a filter is in no set

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise Misuse(f"a field has a name, not {name!r}")
        self.name = name

    def __repr__(self) -> str:
        return f"field({self.name!r})"

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return Compared(self.name, "==", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return Compared(self.name, "!=", value)

    def __lt__(self, value: Any) -> Filter:
        return Compared(self.name, "<", value)

    def __le__(self, value: Any) -> Filter:
        return Compared(self.name, "<=", value)

    def __gt__(self, value: Any) -> Filter:
        return Compared(self.name, ">", value)

    def __ge__(self, value: Any) -> Filter:
        return Compared(self.name, ">=", value)

    def in_(self, values: Iterable[Any]) -> Filter:
        """It is one of *values*."""
        return Among(self.name, values)

    def contains(self, value: str) -> Filter:
        """One of its texts is *value*; of a single text, *value* is a part."""
        return Contains(self.name, value)

    def startswith(self, value: str) -> Filter:
        """Its text begins with *value*."""
        return StartsWith(self.name, value)

    def is_none(self) -> Filter:
        """It is `None`."""
        return Compared(self.name, "==", None)

    def _refuse(self, *_: Any) -> NoReturn:
        raise Misuse(
            f"{self!r} is compared first, then combined: {_HINT}; .in_([…]) and .contains(…) ask what is in it"
        )

    __bool__ = __and__ = __rand__ = __or__ = __ror__ = __invert__ = __contains__ = __iter__ = _refuse


def field(name: str, /) -> Field:
    """The field *name*, to be compared by `==`, `!=`, `<`, `<=`, `>`, `>=`, `.in_`, `.contains`, `.startswith`.

    >>> (field("year") >= 2020) & ~field("title").startswith("Draft")
    (field('year') >= 2020) & ~field('title').startswith('Draft')
    """
    return Field(name)


def where(**equals: Any) -> Filter:
    """The entries of which all these fields are equal to these values; `EVERYTHING` without any.

    >>> where(category="technical") & (field("year") >= 2020)
    (field('category') == 'technical') & (field('year') >= 2020)
    """
    found: Filter = EVERYTHING
    for name, value in equals.items():
        found = found & Compared(name, "==", value)
    return found


def named(*ids: str) -> Filter:
    """The entries with these ids.

    >>> named("a", "b")
    named('a', 'b')
    """
    if wrong := [each for each in ids if not isinstance(each, str)]:
        raise Misuse(f"ids are text, not {type(wrong[0]).__name__}: named('a', 'b')")
    return Named(ids)


def fold(
    filter: Filter,  # noqa: A002  # what it is
    *,
    leaf: Callable[[Any], T],
    both: Callable[[tuple[T, ...]], T],
    either: Callable[[tuple[T, ...]], T],
    negated: Callable[[T], T],
) -> T:
    """What becomes of *filter* when each kind of record in it is put as these functions say, the leaves first.

    It is all that a compiler to another language needs.

    >>> told = fold(
    ...     where(a=1) & ~(where(b=2) | where(c=3)),
    ...     leaf=lambda each: f"{each.field} = {each.value}",
    ...     both=" and ".join,
    ...     either=lambda parts: f"({' or '.join(parts)})",
    ...     negated="not {}".format,
    ... )
    >>> told
    'a = 1 and not (b = 2 or c = 3)'
    """

    def put(each: Filter) -> T:
        match each:
            case Both(parts=parts):
                return both(tuple([put(part) for part in parts]))
            case Either(parts=parts):
                return either(tuple([put(part) for part in parts]))
            case Negated(part=part):
                return negated(put(part))
        return leaf(each)

    _filter(filter)
    return put(filter)

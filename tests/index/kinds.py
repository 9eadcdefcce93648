"""Fields of every kind, and what there may be in them: arbitrary records, and arbitrary filters of them."""

from __future__ import annotations

import operator
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum
from functools import reduce
from typing import Any, Literal

from attrs import field as spot
from attrs import frozen
from hypothesis import strategies as st

from arshai_kit.index import EVERYTHING, Filter, field, named, where
from arshai_kit.index.filters import Among, Both, Compared, Contains, Either, Everything, Named, Negated

__all__ = ["IDS", "Kinds", "Season", "filters", "holds", "kinds"]


class Season(Enum):
    WET = "wet"
    DRY = "dry"


@frozen
class Kinds:
    """A field of every kind, some with names that SQL has other uses for."""

    select: str = spot(default="", metadata={"indexed": True, "searched": True})
    Select: str | None = None
    order: int = spot(default=0, metadata={"indexed": True})
    rowid: int | None = None
    real: float = 0.0
    Real: float | int | None = None
    is_: bool = False
    null: bool | None = None
    group: tuple[str, ...] = ()
    Group: tuple[str, ...] | None = spot(default=None, metadata={"searched": True})
    entry: Literal["a", "b", "%"] = "a"
    season: Season | None = None
    day: date | None = None
    time: datetime | None = None
    rest: dict[str, tuple[int, ...]] = spot(factory=dict)


IDS = ["a", "b", "B", "10", "9", "é", "\ud800", "nul\0", "' OR 1=1 --", "%", "_", "🧪", "\uffff"]

HOSTILE = [
    "",
    "a",
    "A",
    "ab",
    "a\0b",
    "a\0",
    "\0",
    "%",
    "_",
    "a%",
    "' OR 1=1 --",
    '"; drop table entries; --',
    "é",
    "e\u0301",
]
HOSTILE += ["\ud800", "\ud7ff", "\ue000", "\U0001f9ea", "Ｆ", "ß", "1", "1.0", "None", "\xff", "İ", "i"]
texts = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=4)
whole = st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
huge = whole | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**400, -(10**400)]) | st.integers(-(2**70), 2**70)
numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 2.0**53, 2.0**63, 5e-324, 1e308]) | st.floats(
    allow_nan=False, allow_infinity=False
)
several = st.lists(texts, max_size=3).map(tuple)
moments = st.datetimes(
    datetime(1, 1, 3),  # noqa: DTZ001  # as hypothesis wants them
    datetime(9999, 12, 29),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


kinds = st.builds(
    Kinds,
    select=texts,
    Select=_maybe(texts),
    order=whole,
    rowid=_maybe(whole),
    real=numbers,
    Real=_maybe(numbers | whole),
    is_=st.booleans(),
    null=_maybe(st.booleans()),
    group=several,
    Group=_maybe(several),
    entry=st.sampled_from(["a", "b", "%"]),
    season=_maybe(st.sampled_from(Season)),
    day=_maybe(st.dates()),
    time=_maybe(moments),
    rest=st.dictionaries(texts, st.lists(huge, max_size=2).map(tuple), max_size=2),
)

_ORDER: dict[str, Any] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_COMPARED = {
    ("select", "Select"): texts,
    ("order", "rowid", "real", "Real"): huge | numbers,
    ("day",): st.dates(),
    ("time",): moments,
}
_EQUAL = {
    **_COMPARED,
    ("is_", "null"): st.booleans(),
    ("group", "Group"): several,
    ("entry",): st.sampled_from(["a", "b", "%"]),
    ("season",): st.sampled_from(Season),
}


def _of(table: dict[tuple[str, ...], st.SearchStrategy[Any]]) -> st.SearchStrategy[tuple[str, st.SearchStrategy[Any]]]:
    return st.sampled_from([(name, values) for names, values in table.items() for name in names])


@st.composite
def _leaves(draw: st.DrawFn) -> Filter:
    match draw(st.sampled_from(["equal", "order", "in", "contains", "prefix", "none", "named", "all"])):
        case "equal":
            name, values = draw(_of(_EQUAL))
            value = draw(_maybe(values))
            return where(**{name: value}) if draw(st.booleans()) else field(name) != value
        case "order":
            name, values = draw(_of(_COMPARED))
            return _compared(draw(st.sampled_from(list(_ORDER))), name, draw(values))
        case "in":
            name, values = draw(_of(_EQUAL))
            return field(name).in_(draw(st.lists(_maybe(values), max_size=4)))
        case "contains":
            return field(draw(st.sampled_from(["select", "Select", "group", "Group"]))).contains(draw(texts))
        case "prefix":
            return field(draw(st.sampled_from(["select", "Select", "entry"]))).startswith(draw(texts))
        case "none":
            return field(draw(_of(_EQUAL))[0]).is_none()
        case "named":
            return named(*draw(st.lists(st.sampled_from(IDS), max_size=4)))
    return EVERYTHING


def _compared(word: str, name: str, value: Any) -> Filter:
    compared: Filter = _ORDER[word](field(name), value)
    return compared


def _combined(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(inner, min_size=1, max_size=4)
    return (
        several.map(lambda parts: reduce(operator.and_, parts))
        | several.map(lambda parts: reduce(operator.or_, parts))
        | inner.map(operator.invert)
    )


filters = st.recursive(_leaves(), _combined, max_leaves=6)


def holds(where: Filter, own: str, fields: Kinds) -> bool:
    """Whether *where* is true of these fields, said once more in plain Python, on the values as they are."""
    match where:
        case Both(parts=parts):
            return all(holds(part, own, fields) for part in parts)
        case Either(parts=parts):
            return any(holds(part, own, fields) for part in parts)
        case Negated(part=part):
            return not holds(part, own, fields)
        case Everything():
            return True
        case Named(ids=ids):
            return own in ids
    return _holds(where, _told(getattr(fields, where.field)))  # type: ignore[attr-defined]


def _holds(where: Any, value: Any) -> bool:
    match where:
        case Compared(operator="==", value=other):
            return bool(value == other)
        case Compared(operator="!=", value=other):
            return bool(value != other)
        case Compared(operator=word, value=other):
            return value is not None and bool(_ORDER[word](value, other))
        case Among(values=values):
            return any(value == other for other in values)
        case Contains(value=other):
            return value is not None and other in value
    return value is not None and value.startswith(where.value)


def _told(value: Any) -> Any:
    """A value as a filter holds it."""
    match value:
        case Season():
            return value.value
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case date():
            return value.isoformat()
    return value

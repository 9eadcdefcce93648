"""A filter held against a class of fields, and compiled: to a function of Python, and to SQL with parameters only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any, Final, TypeAlias

from arshai_kit.errors import Misuse
from arshai_kit.index.fields import Column, Plain, column_name, columns, listed, told
from arshai_kit.index.filters import (
    OPERATORS,
    Among,
    Both,
    Compared,
    Contains,
    Either,
    Everything,
    Filter,
    Named,
    Negated,
    StartsWith,
    fold,
    moment,
)

__all__ = ["Predicate", "Sql", "fitted", "from_sql", "parameter", "predicate", "quoted", "sql", "to_sql"]

Predicate: TypeAlias = Callable[[str, tuple[Plain, ...]], bool]
"""Whether a filter is true of an entry, by its id and its plain row."""

Sql: TypeAlias = tuple[str, tuple[Any, ...]]
"""A condition and its parameters."""

_MANY: Final = 10_000
"""So many values are tested by one filter: SQLite takes 32,766 parameters."""


# -- held against the fields --


def fitted(filter: Filter, kind: type) -> Filter:  # noqa: A002  # what it is
    """*filter*, if it can be asked of fields of *kind*, its dates and times as they are kept; else `Misuse`.

    >>> from arshai_kit.index.filters import where
    >>> from arshai_kit.index.records import Passage
    >>> fitted(where(titel="Rain"), Passage)
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: there is no field 'titel' to filter by; there are source, document, chunks, number, start,
    end, page, section, title, author, created, language, media_type
    """
    if not isinstance(filter, Filter):
        raise Misuse(f"where= is a filter, such as where(title='Rain') or EVERYTHING, not {filter!r:.60}")
    asked = 0

    def leaf(each: Any) -> Filter:
        nonlocal asked
        asked += len(each.values) if isinstance(each, Among) else len(each.ids) if isinstance(each, Named) else 1
        if asked > _MANY:
            raise Misuse(f"a filter tests at most {_MANY:,} values")
        return _leaf(each, kind)

    return fold(filter, leaf=leaf, both=Both, either=Either, negated=Negated)


def _leaf(each: Any, kind: type) -> Filter:
    if isinstance(each, Everything | Named):
        return each
    column = columns(kind).get(each.field)
    if column is None:
        raise Misuse(f"there is no field {each.field!r} to filter by; there are {listed(kind)}")
    if column.kind == "json":
        raise Misuse(f"the field {each.field!r} is kept as JSON, and not filtered by; there are {listed(kind)}")
    match each:
        case Compared():
            return _compared(each, column)
        case Among():
            return Among(each.field, [_fitting(column, value) for value in each.values])
        case Contains() if column.kind not in ("text", "texts"):
            raise Misuse(f"the field {each.field!r} is {told(column)}: .contains is for texts")
        case StartsWith() if column.kind != "text":
            raise Misuse(f"the field {each.field!r} is {told(column)}: .startswith is for text")
    return each  # type: ignore[no-any-return]  # the two that are left


def _compared(each: Compared, column: Column) -> Filter:
    if each.operator not in OPERATORS:
        raise Misuse(f"there is no comparison {each.operator!r}: it is one of {', '.join(OPERATORS)}")
    if each.operator in ("==", "!="):
        return Compared(each.field, each.operator, _fitting(column, each.value))
    if each.value is None or column.kind in ("boolean", "texts"):
        what = "None" if each.value is None else told(column)
        raise Misuse(f"nothing is less or more than {what}: {each.field!r} cannot be compared by {each.operator}")
    return Compared(each.field, each.operator, _fitting(column, each.value, among=False))


def _fitting(column: Column, value: Any, *, among: bool = True) -> Any:
    """*value* as the values of *column* are kept, if it is of their kind."""
    found = value if value is None else _FITTING[column.kind](value)
    if found is _WRONG or (among and column.values and found is not None and found not in column.values):
        hint = "; .in_([…]) takes several" if isinstance(value, tuple) else ""
        raise Misuse(f"the field {column.name!r} is {told(column)}, never {value!r:.60} ({type(value).__name__}){hint}")
    return found


_WRONG: Final = object()


def _of_type(*kinds: type) -> Callable[[Any], Any]:
    return lambda value: value if type(value) in kinds else _WRONG


def _texts(value: Any) -> Any:
    return value if isinstance(value, tuple) and all(isinstance(each, str) for each in value) else _WRONG


def _date(value: Any) -> Any:
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        return _WRONG


def _time(value: Any) -> Any:
    try:
        return moment(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return _WRONG


_FITTING: Final[dict[str, Callable[[Any], Any]]] = {
    "text": _of_type(str),
    "integer": _of_type(int, float),
    "number": _of_type(int, float),
    "boolean": _of_type(bool),
    "texts": _texts,
    "date": _date,
    "time": _time,
}


# -- Python --


def predicate(filter: Filter, kind: type) -> Predicate:  # noqa: A002  # what it is
    """Whether *filter*, which is `fitted`, is true of an entry.

    >>> from arshai_kit.index.filters import field
    >>> from arshai_kit.index.fields import row
    >>> from arshai_kit.index.records import Passage
    >>> late = predicate(field("page") > 3, Passage)
    >>> [late("a", row(Passage, Passage(page=page))) for page in (3, 4, None)]
    [False, True, False]
    """
    places = {name: place for place, name in enumerate(columns(kind))}
    return fold(
        filter,
        leaf=lambda each: _tested(each, places),
        both=_all,
        either=_any,
        negated=_not,
    )


def _all(parts: tuple[Predicate, ...]) -> Predicate:
    if len(parts) == 2:  # the usual case, in half the time
        one, two = parts
        return lambda own, row: one(own, row) and two(own, row)
    return lambda own, row: all(part(own, row) for part in parts)


def _any(parts: tuple[Predicate, ...]) -> Predicate:
    return lambda own, row: any(part(own, row) for part in parts)


def _not(part: Predicate) -> Predicate:
    return lambda own, row: not part(own, row)


def _tested(each: Any, places: dict[str, int]) -> Predicate:
    match each:
        case Everything():
            return lambda _, __: True
        case Named(ids=ids):
            known = frozenset(ids)
            return lambda own, _: own in known
    place = places[each.field]
    match each:
        case Compared(operator=("==" | "!=") as word, value=value):
            compare = OPERATORS[word]
            return lambda _, row: compare(row[place], value)
        case Compared(operator=word, value=value):
            less = OPERATORS[word]
            return lambda _, row: row[place] is not None and less(row[place], value)
        case Among(values=values):
            those = frozenset(values)
            return lambda _, row: row[place] in those
        case Contains(value=value):
            return lambda _, row: row[place] is not None and value in row[place]  # type: ignore[operator]
    return lambda _, row: row[place] is not None and row[place].startswith(each.value)  # type: ignore[union-attr]


# -- SQL --


def sql(filter: Filter, kind: type) -> Sql:  # noqa: A002  # what it is
    """*filter*, which is `fitted`, as a condition of SQLite: never null, and of *filter*'s values none is in its text.

    >>> from arshai_kit.index.filters import where
    >>> from arshai_kit.index.records import Passage
    >>> sql(where(page=3) & ~where(title="' or 1=1 --"), Passage)
    ('("f_page" is ? and not ("f_title" is cast(? as text)))', (3, b"' or 1=1 --"))
    """
    known = columns(kind)
    return fold(
        filter,
        leaf=lambda each: _condition(each, known.get(getattr(each, "field", ""))),
        both=lambda parts: _joined(parts, "and"),
        either=lambda parts: _joined(parts, "or"),
        negated=lambda part: (f"not ({part[0]})", part[1]),
    )


def _joined(parts: tuple[Sql, ...], word: str) -> Sql:
    """*parts* joined two by two, for SQLite takes no chain of more than a thousand."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    (left, first), (right, second) = _joined(parts[:half], word), _joined(parts[half:], word)
    return f"({left} {word} {right})", (*first, *second)


_TRUE: Final[Sql] = ("1", ())
_FALSE: Final[Sql] = ("0", ())


def _condition(each: Any, column: Column | None) -> Sql:
    if column is None:
        return _TRUE if isinstance(each, Everything) else _among('"id"', each.ids, "text")
    name = quoted(column.name)
    match each:
        case Compared(operator=word, value=value):
            return _comparison(name, word, value, column)
        case Among(values=values):
            return _among(name, values, column.kind)
        case Contains(value=value) if column.kind == "texts":
            return f"({name} is not null and instr({name}, ?) > 0)", (b"\xff" + _utf8(value) + b"\xff",)
        case Contains(value=value):
            return f"({name} is not null and instr(cast({name} as blob), ?) > 0)", (_utf8(value),)
    return _prefixed(name, _utf8(each.value))


def _comparison(name: str, word: str, value: Any, column: Column) -> Sql:
    if column.kind in ("integer", "number") and type(value) is int and not -(2**63) <= value < 2**63:
        return _huge(name, word, value, column)
    mark, parameter = to_sql(value, column.kind)
    if word == "==":
        return f"{name} is {mark}", (parameter,)
    if word == "!=":
        return f"{name} is not {mark}", (parameter,)
    return f"({name} is not null and {name} {word} {mark})", (parameter,)


def _huge(name: str, word: str, value: int, column: Column) -> Sql:
    """A comparison with a whole number that SQLite does not have: with the nearest one that it has."""
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    if near == value and column.kind == "number":
        return _comparison(name, word, near, column)
    if word in ("==", "!="):
        return _FALSE if word == "==" else _TRUE
    if math.isfinite(near) and near < value:  # nothing is between the two
        word = "<=" if word in ("<", "<=") else ">"
    else:
        word = "<" if word in ("<", "<=") else ">="
    return f"({name} is not null and {name} {word} ?)", (near,)


def _among(name: str, values: tuple[Any, ...], kind: str) -> Sql:
    rest = [value for value in values if value is not None]
    if kind in ("integer", "number"):
        rest = [each for each in (_same(value) for value in rest) if each is not None]
    marks = [to_sql(value, kind) for value in rest]
    told = f"{name} in ({', '.join([mark for mark, _ in marks])})"
    told = f"({told} or {name} is null)" if None in values else f"({name} is not null and {told})"
    return told, tuple([parameter for _, parameter in marks])


def _same(value: float) -> float | None:
    """*value* as a number that SQLite has, if it has it."""
    if type(value) is not int or -(2**63) <= value < 2**63:
        return value
    try:
        near = float(value)
    except OverflowError:
        return None
    return near if near == value else None


def _prefixed(name: str, start: bytes) -> Sql:
    """Text from *start* up to what comes after all that begins with it; bytes of UTF-8 stand as their letters do."""
    if not start:
        return f"{name} is not null", ()
    after = start[:-1] + bytes([start[-1] + 1])  # no byte of UTF-8 is the highest one
    between = f"({name} is not null and {name} >= cast(? as text) and {name} < cast(? as text))"
    return between, (start, after)


def to_sql(value: Any, kind: str) -> tuple[str, Any]:
    """How *value*, of a column of this *kind*, is written in SQL, and the parameter for it."""
    if value is None:
        return "?", None
    if kind == "texts":
        return "?", texts_to(value)
    return ("cast(? as text)", _utf8(value)) if isinstance(value, str) else ("?", value)


def parameter(value: Any) -> Any:
    r"""What `to_sql` gives as the parameter for *value*; text of plain letters needs no bytes.

    >>> parameter("a"), parameter("é"), parameter(("a",)), parameter(7)
    ('a', b'\xc3\xa9', b'\xffa\xff', 7)
    """
    if isinstance(value, str):
        return value if value.isascii() else _utf8(value)
    return texts_to(value) if isinstance(value, tuple) else value


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def texts_to(texts: tuple[str, ...]) -> bytes:
    r"""*texts* as one piece of bytes, each between two that are in no UTF-8.

    >>> texts_to(("a", "")), texts_from(texts_to(("a", "")))
    (b'\xffa\xff\xff', ('a', ''))
    """
    return b"\xff".join([b"", *map(_utf8, texts), b""]) if texts else b""


def texts_from(data: bytes) -> tuple[str, ...]:
    """The texts of which `texts_to` made *data*."""
    return tuple([each.decode("utf-8", "surrogatepass") for each in data[1:-1].split(b"\xff")]) if data else ()


@cache
def quoted(*names: str) -> str:
    """The column of the field that is last of *names*, quoted; with others before it, what else is named for it.

    >>> quoted("order"), quoted("index", "order")
    ('"f_order"', '"index f_order"')
    """
    *before, name = names
    return '"' + " ".join([*before, column_name(name)]).replace('"', '""') + '"'


def from_sql(kind: type) -> Callable[[Sequence[Any]], Sequence[Plain]]:
    """What makes of the columns of an entry what `row` gives: SQLite has neither booleans nor tuples."""
    read = [(place, _READ[each.kind]) for place, each in enumerate(columns(kind).values()) if each.kind in _READ]

    def plain(values: Sequence[Any]) -> Sequence[Plain]:
        found = list(values)
        for place, of in read:
            if found[place] is not None:
                found[place] = of(found[place])
        return found

    return plain


_READ: Final[dict[str, Callable[[Any], Any]]] = {"boolean": bool, "texts": texts_from}

"""The fields of an index: an attrs class, told as columns of plain values that Python and SQL compare alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from functools import cache
from operator import attrgetter
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import NOTHING, frozen

from arshai_kit._json import dumps, exact, freeze
from arshai_kit._record import Record
from arshai_kit.errors import BadRecord, Misuse
from arshai_kit.index.filters import moment

__all__ = ["Column", "Kind", "Plain", "columns", "heard", "made", "row", "searched"]

Kind: TypeAlias = Literal["text", "integer", "number", "boolean", "texts", "date", "time", "json"]
"""What a column holds: `time` is a moment in UTC, `texts` several texts, `json` what cannot be filtered by."""

Plain: TypeAlias = str | int | float | bool | tuple[str, ...] | None
"""What is kept of a value and compared: dates and times as ISO 8601, a member of an enumeration as its value."""

_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1


@frozen(eq=False, repr=False)
class Column(Record):
    """A field: its *name* on the record, the *kind* of what is kept of it, and whether it may be `None`.

    *values* are all that there may be, of a `Literal` or an enumeration. *indexed* asks a backend to find it quickly;
    the words of one that is *searched* are those of its entry too.
    """

    name: str
    kind: Kind
    nullable: bool = False
    values: tuple[Plain, ...] = ()
    indexed: bool = False
    searched: bool = False
    alias: str = ""
    type: Any = attrs.field(default=None, eq=False, repr=False)

    def plain(self, value: Any) -> Plain:
        """What is kept of *value*."""
        if (value is None and self.nullable) or (type(value) is _EXACT.get(self.kind) and not self.values):
            if type(value) is int and not _LEAST <= value <= _MOST:
                raise Misuse(f"the field {self.name!r} keeps whole numbers of 64 bits, not {value}")
            if type(value) is float and value - value != 0:
                raise Misuse(f"the field {self.name!r} keeps numbers, not {value}")
            return value  # type: ignore[return-value]  # its type was looked at
        found = _PLAIN[self.kind](self, value)
        if found is NOTHING or (self.values and found not in self.values):
            raise Misuse(f"the field {self.name!r} is {told(self)}, and {_short(value)} is not")
        return found  # type: ignore[no-any-return]

    def value(self, plain: Any) -> Any:
        """The value of which *plain* was kept."""
        if plain is None and self.nullable:
            return None
        read = _VALUES.get(self.kind) or (_member if self.values else None)
        return read(self, plain) if read else plain


def _short(value: Any) -> str:
    return f"{value!r:.60} ({type(value).__name__})"


def told(column: Column) -> str:
    """What *column* may be, in words.

    >>> told(Column("page", "integer", nullable=True))
    'a whole number or None'
    """
    words = f"one of {', '.join(map(repr, column.values))}" if column.values else _TOLD[column.kind]
    return f"{words} or None" if column.nullable else words


_TOLD: Final = MappingProxyType(
    {
        "text": "text",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "True or False",
        "texts": "a tuple of texts",
        "date": "a date",
        "time": "a datetime with a timezone",
        "json": "what can be written as JSON",
    }
)
_EXACT: Final[Mapping[str, type]] = MappingProxyType({"text": str, "integer": int, "number": float, "boolean": bool})

_WHOLE: Final[Mapping[str, type]] = MappingProxyType({"text": str, "boolean": bool})
"""Of which nothing is too large, or no number."""


def _member(column: Column, plain: Any) -> Any:
    """The member of an enumeration, or the literal, whose value is *plain*."""
    return column.type(plain) if isinstance(column.type, type) and issubclass(column.type, Enum) else plain


# -- to what is kept --


def _plain_text(_: Column, value: Any) -> Any:
    value = value.value if isinstance(value, Enum) else value
    return str.__str__(value) if isinstance(value, str) else NOTHING


def _plain_integer(column: Column, value: Any) -> Any:
    value = value.value if isinstance(value, Enum) else value
    if not isinstance(value, int) or isinstance(value, bool):
        return NOTHING
    if not _LEAST <= value <= _MOST:
        raise Misuse(f"the field {column.name!r} keeps whole numbers of 64 bits, not {value}")
    return int(value)


def _plain_number(column: Column, value: Any) -> Any:
    if not isinstance(value, float):
        return _plain_integer(column, value)
    return float(value) if value - value == 0 else NOTHING


def _plain_boolean(_: Column, value: Any) -> Any:
    return value if isinstance(value, bool) else NOTHING


def _plain_texts(_: Column, value: Any) -> Any:
    if not isinstance(value, tuple | list) or not all(isinstance(each, str) for each in value):
        return NOTHING
    return tuple([str.__str__(each) for each in value])


def _plain_date(_: Column, value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else NOTHING


def _plain_time(_: Column, value: Any) -> Any:
    return moment(value) if isinstance(value, datetime) else NOTHING


def _plain_json(column: Column, value: Any) -> Any:
    from arshai_kit.schema import Misfit, unstructured

    try:
        return dumps(freeze(unstructured(value, where=column.name))).decode("utf-8", "surrogatepass")
    except (Misfit, Misuse) as error:
        raise Misuse(f"the field {column.name!r} is {told(column)}: {error}") from error


_PLAIN: Final[Mapping[str, Callable[[Column, Any], Any]]] = MappingProxyType(
    {
        "text": _plain_text,
        "integer": _plain_integer,
        "number": _plain_number,
        "boolean": _plain_boolean,
        "texts": _plain_texts,
        "date": _plain_date,
        "time": _plain_time,
        "json": _plain_json,
    }
)


# -- and back --


def _date(_: Column, plain: Any) -> Any:
    return date.fromisoformat(plain)


def _time(_: Column, plain: Any) -> Any:
    return datetime.fromisoformat(plain)


def _structured(column: Column, plain: Any) -> Any:
    from arshai_kit.schema import Misfit, structured

    try:
        found = exact(plain)
        return freeze(found) if column.type in (None, Any) else structured(found, column.type)
    except (Misfit, ValueError) as error:
        raise BadRecord(f"what is kept of the field {column.name!r} does not fit its type: {error}") from error


_VALUES: Final[Mapping[str, Callable[[Column, Any], Any]]] = MappingProxyType(
    {"date": _date, "time": _time, "json": _structured}
)


# -- the class --


@cache
def columns(kind: type) -> Mapping[str, Column]:
    """The fields of the attrs class *kind*, by their names.

    >>> @attrs.frozen
    ... class Note:
    ...     topic: str
    ...     year: int | None = None
    >>> tuple(columns(Note).values())
    (Column('topic', kind='text', alias='topic'), Column('year', kind='integer', nullable=True, alias='year'))
    """
    if not (isinstance(kind, type) and attrs.has(kind)):
        raise Misuse(f"fields= is an attrs class, such as Passage, not {kind!r}")
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise Misuse(
            f"the types of {kind.__name__} cannot be read, {error}: define it at the top of a module"
        ) from error
    spots: tuple[Any, ...] = attrs.fields(kind)
    return MappingProxyType({each.name: _column(each, hints.get(each.name, Any)) for each in spots if each.init})


def _column(each: Any, annotated: Any) -> Column:
    bare, nullable = _without_none(annotated)
    kind, values = _kind(bare)
    nullable = nullable or bare is NoneType
    indexed = bool(each.metadata.get("indexed")) and kind not in ("json", "texts")
    searched = bool(each.metadata.get("searched")) and kind in ("text", "texts")
    shape = annotated if kind == "json" else bare
    return Column(each.name, kind, nullable, values, indexed, searched, each.alias, shape)


def _without_none(annotated: Any) -> tuple[Any, bool]:
    """A type without its `| None`, its annotations and its other names, and whether it had the first."""
    while True:
        if get_origin(annotated) is Annotated:
            annotated = get_args(annotated)[0]
        elif (named := getattr(annotated, "__supertype__", None) or getattr(annotated, "__value__", None)) is not None:
            annotated = named
        else:
            break
    if get_origin(annotated) not in (Union, UnionType):
        return annotated, False
    left = [each for each in get_args(annotated) if each is not NoneType]
    return (_without_none(left[0])[0] if len(left) == 1 else frozenset(left)), len(left) < len(get_args(annotated))


_KINDS: Final[Mapping[Any, Kind]] = MappingProxyType(
    {
        str: "text",
        int: "integer",
        float: "number",
        frozenset((int, float)): "number",
        bool: "boolean",
        tuple[str, ...]: "texts",
        date: "date",
        datetime: "time",
    }
)


def _kind(bare: Any) -> tuple[Kind, tuple[Plain, ...]]:
    """What is kept of a type, and all that there may be of it."""
    values: tuple[Any, ...] = ()
    if get_origin(bare) is Literal:
        values = get_args(bare)
    elif isinstance(bare, type) and issubclass(bare, Enum):
        values = tuple([each.value for each in bare])
    kinds = {type(each) for each in values}
    if len(kinds) == 1 and (only := kinds.pop()) in (str, int, bool):
        return _KINDS[only], values
    try:
        return _KINDS.get(bare, "json"), ()
    except TypeError:  # it has no hash
        return "json", ()


# -- a record --


def row(kind: type, fields: Any) -> tuple[Plain, ...]:
    """What is kept of *fields*, an instance of *kind*, in the order of its columns.

    >>> @attrs.frozen
    ... class Note:
    ...     topic: str
    ...     year: int | None = None
    >>> row(Note, Note("rain")), made(Note, ("rain", 2020))
    (('rain', None), Note(topic='rain', year=2020))
    """
    if not isinstance(fields, kind):
        raise Misuse(f"the fields of this index are a {kind.__name__}, not a {type(fields).__name__}")
    values, known = _read(kind)
    return tuple(
        [
            value if type(value) is whole else column.plain(value)  # type: ignore[misc]  # its type was looked at
            for value, (whole, column) in zip(values(fields), known, strict=True)
        ]
    )


def heard(kind: type, plain: Sequence[Plain], text: str) -> str:
    r"""By whose words an entry is found: the fields that are searched, of which *plain* is kept, and its *text*.

    >>> from arshai_kit.index.records import Passage
    >>> heard(Passage, row(Passage, Passage(title="Rivers", section=["Asia", "Iran"])), "The Karun.")
    'Asia\nIran\nRivers\nThe Karun.'
    """
    parts: list[str] = []
    for place in searched(kind):
        value: Any = plain[place]
        parts += (value,) if isinstance(value, str) else value or ()
    return "\n".join([*parts, text]) if parts else text


@cache
def searched(kind: type) -> tuple[int, ...]:
    """The places of the fields of *kind* that are searched."""
    return tuple([place for place, each in enumerate(columns(kind).values()) if each.searched])


@cache
def _read(kind: type) -> tuple[Callable[[Any], tuple[Any, ...]], tuple[tuple[type | None, Column], ...]]:
    """How all values of a *kind* are read at once; and of each column, values of which type are kept as they are."""
    known = tuple(columns(kind).values())
    names = [column.name for column in known]
    values = attrgetter(*names) if len(names) > 1 else lambda fields: tuple([getattr(fields, name) for name in names])
    return values, tuple([(None if column.values else _WHOLE.get(column.kind), column) for column in known])


def made(kind: type, values: Sequence[Any]) -> Any:
    """The instance of *kind* of which `row` kept *values*."""
    names, read = _made(kind)
    try:
        found = dict(zip(names, values, strict=True))
        for name, column in read:
            found[name] = column.value(found[name])
        return kind(**found)
    except BadRecord:
        raise
    except Exception as error:  # a class of somebody else's may check what it is given
        raise BadRecord(f"what is kept does not make a {kind.__name__}: {error}") from error


@cache
def _made(kind: type) -> tuple[tuple[str, ...], tuple[tuple[str, Column], ...]]:
    """The names that *kind* takes, and the columns of which something else was kept than what they are."""
    known = columns(kind).values()
    read = [(each.alias, each) for each in known if each.values or each.kind in _VALUES]
    return tuple([each.alias for each in known]), tuple(read)


def listed(kind: type) -> str:
    """The fields of *kind* that can be filtered by, for a message.

    >>> @attrs.frozen
    ... class Note:
    ...     topic: str
    ...     more: dict[str, int]
    >>> listed(Note)
    'topic'
    """
    return ", ".join([each.name for each in columns(kind).values() if each.kind != "json"])


def default(kind: type, name: str) -> Any:
    """What is kept of a field of *kind* where nothing is given; `NOTHING` if it has no default of its own."""
    spot: Any = getattr(attrs.fields(kind), name)
    match spot.default:
        case attrs.Factory(factory=factory, takes_self=takes_self):  # type: ignore[misc]  # a function to the type checker
            value = NOTHING if takes_self else factory()
        case value:
            pass
    if value is NOTHING:
        return NOTHING
    return columns(kind)[name].plain(spot.converter(value) if spot.converter else value)


_CAPITAL: Final = re.compile(r"[A-Z]")


def column_name(name: str) -> str:
    """The name of a column for the field *name*: SQL takes capitals for small letters, and has words of its own.

    >>> column_name("select"), column_name("Year"), column_name("year")
    ('f_select', 'f_Y^ear', 'f_year')
    """
    return "f_" + _CAPITAL.sub(r"\g<0>^", name)

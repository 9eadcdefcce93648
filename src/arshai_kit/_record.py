"""What all records share: they print short, and are equal and hashed by what they hold.

attrs would write these methods anew for each class, at three times the cost of importing it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

import attrs
from attrs import NOTHING

__all__ = ["Record", "draft", "short"]

_LONGEST = 80
_DENSE = re.compile(r"[A-Za-z0-9+/_-]{60}")
"""Base64, a key, a hash: long, and nothing that a person reads."""


class Record:
    """A frozen record: only what differs from the default is printed, long text is cut, bytes and base64 are counted.

    >>> @attrs.frozen(eq=False, repr=False)
    ... class Pair(Record):
    ...     left: int
    ...     right: int = 0
    >>> Pair(1), Pair(1, 2), Pair(1) == Pair(1, 0), hash(Pair(1)) == hash(Pair(1, 0))
    (Pair(1), Pair(1, right=2), True, True)
    """

    __slots__ = ()

    def __repr__(self) -> str:
        told: list[str] = []
        for place, spot in enumerate(_spots(type(self))):
            value = getattr(self, spot.name, NOTHING)
            if value is NOTHING:  # it is still being made, and a traceback shows it
                continue
            if spot.repr and not _default(self, spot, value):
                written = spot.repr(value) if callable(spot.repr) else short(value)
                told.append(f"{spot.name}={written}" if place or spot.kw_only else written)
        return f"{type(self).__name__}({', '.join(told)})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        kind: Any = type(self)
        held = _compared(kind)
        return bool(held(self) == held(other))

    def __hash__(self) -> int:
        kind: Any = type(self)
        return hash((kind, _hashed(kind)(self)))


def draft(kind: type[Record]) -> Any:
    """*kind* before it is frozen: made without arguments, set like any object, and done by giving it its `__class__`.

    Nothing is converted or checked. Where all that is known to fit, a record costs a fifth so: a frozen one is made by
    a call for each of its fields.

    >>> @attrs.frozen(eq=False, repr=False)
    ... class Pair(Record):
    ...     left: int
    ...     right: int = 0
    >>> made = draft(Pair)()
    >>> made.left, made.right, made.__class__ = 1, 2, Pair
    >>> made == Pair(1, 2)
    True
    """
    plain = {name: getattr(object, name) for name in ("__init__", "__setattr__", "__delattr__")}
    return type(f"{kind.__name__} in the making", (kind,), {"__slots__": (), **plain})


def _spots(kind: type) -> tuple[Any, ...]:
    """The fields of *kind*; one without any need not be made by attrs."""
    return getattr(kind, "__attrs_attrs__", ())


@cache
def _compared(kind: type) -> Callable[[Any], Any]:
    return _getter([spot.name for spot in _spots(kind) if spot.eq])


@cache
def _hashed(kind: type) -> Callable[[Any], Any]:
    return _getter([spot.name for spot in _spots(kind) if (spot.eq if spot.hash is None else spot.hash)])


def _getter(names: list[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _default(self: Any, spot: Any, value: Any) -> bool:
    match spot.default:
        case attrs.Factory(factory=factory, takes_self=takes_self):  # type: ignore[misc]  # a function to the type checker
            return bool(value == (factory(self) if takes_self else factory()))
        case default:
            return value is default or (type(value) is type(default) and bool(value == default))


def short(value: Any) -> str:
    """*value* as a record shows it: text that is long or dense is cut, or counted."""
    match value:
        case bytes():
            return f"<{len(value):,} bytes>"
        case str():
            return _text(value)
        case dict():
            return _cut(f"{{{', '.join([f'{key!r}: {short(each)}' for key, each in value.items()])}}}", len(value))
        case tuple() if type(value) is tuple:
            inside = ", ".join([short(each) for each in value])
            return _cut(f"({inside},)" if len(value) == 1 else f"({inside})", len(value))
    return repr(value)


def _text(value: str) -> str:
    """*value*, its beginning, or its length when there is nothing to read in it."""
    head, comma, _ = value[:_LONGEST].partition(",")
    if comma and head.startswith("data:"):
        return f"{head + comma!r}… ({len(value):,} characters)"
    if _DENSE.search(value, 0, _LONGEST):
        return f"<{len(value):,} characters>"
    return repr(value) if len(value) <= _LONGEST else f"{value[:_LONGEST]!r}… ({len(value):,} characters)"


def _cut(text: str, size: int) -> str:
    return text if len(text) <= 4 * _LONGEST else f"{text[: 4 * _LONGEST]}… ({size:,} items)"

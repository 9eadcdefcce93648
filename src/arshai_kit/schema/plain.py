"""Values to plain JSON data: what `structured` reads back."""

from __future__ import annotations

import dataclasses
from binascii import b2a_base64
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from enum import Enum
from functools import lru_cache, reduce
from types import MappingProxyType
from typing import Any, Final

import attrs

from arshai_kit.schema.misfit import Misfit, at
from arshai_kit.schema.shapes import is_model, is_named_tuple

__all__ = ["unstructured"]


def unstructured(value: Any, *, where: str = "") -> Any:
    """*value* as `dict`, `list`, `str`, `int`, `float`, `bool` and `None`; `Misfit` says which part cannot be.

    Records become objects (by the names that their constructors take), sets become sorted arrays, dates are ISO 8601,
    bytes are base64, decimals are text.

    >>> from datetime import timedelta
    >>> unstructured({"wait": timedelta(minutes=90), "tags": {"b", "a"}})
    {'wait': 'PT5400S', 'tags': ['a', 'b']}
    >>> unstructured([1, object()], where="result")
    Traceback (most recent call last):
        ...
    arshai_kit.schema.misfit.Misfit: result[1]: an instance of 'object' cannot be written as JSON
    """
    try:
        return _plain(value, (), frozenset())
    except _No as no:
        path, message = no.args
        raise Misfit(reduce(at, path, where), message) from no.__cause__
    except RecursionError:
        raise Misfit(where, "nested too deeply to be written as JSON") from None


class _No(Exception):
    """What cannot be written: the steps that lead to it, and why."""


Path = tuple[Any, ...]


def _plain(value: Any, path: Path, above: frozenset[int]) -> Any:
    cls: Any = type(value)
    if cls in _AS_IS:
        return value
    if write := _LEAVES.get(cls):
        return write(value, path)
    if id(value) in above:
        raise _No(path, "circular: it contains itself")
    inside = above | {id(value)}
    if (names := _names(cls)) is not None:
        return {key: _plain(getattr(value, name), (*path, key), inside) for key, name in names}
    if isinstance(value, Mapping):
        found = {_key(key, path): _plain(each, (*path, key), inside) for key, each in value.items()}
        if len(found) != len(value):
            raise _No(path, "two of its keys would be written alike")
        return found
    if isinstance(value, AbstractSet):
        return sorted((_plain(each, path, inside) for each in value), key=repr)
    if isinstance(value, Collection) and not isinstance(value, str | bytes | bytearray | memoryview):
        return [_plain(each, (*path, index), inside) for index, each in enumerate(value)]
    return _other(value, path)


@lru_cache(maxsize=1024)
def _names(cls: Any) -> tuple[tuple[str, str], ...] | None:
    """The fields of a record that its constructor takes: as they are called in JSON, and on the record."""
    if hasattr(cls, "__attrs_attrs__"):
        return tuple((each.alias or each.name, each.name) for each in attrs.fields(cls) if each.init)
    if dataclasses.is_dataclass(cls):
        return tuple((each.name, each.name) for each in dataclasses.fields(cls) if each.init)
    return tuple((name, name) for name in cls._fields) if is_named_tuple(cls) else None


def _key(key: Any, path: Path) -> str:
    """The text of a mapping's *key*."""
    if type(key) is str:
        return key
    text = str(key) if type(key) is int else _plain(key, path, frozenset())
    if not isinstance(text, str):
        raise _No(path, f"the key {key!r} cannot be written as JSON: keys are text")
    return text


def _other(value: Any, path: Path) -> Any:
    """What is known by a class above its own: a model, an enumeration, a subclass of a plain type."""
    if is_model(type(value)):
        try:
            return value.model_dump(mode="json", by_alias=True)
        except ValueError as error:
            raise _No(path, str(error)) from error
    if isinstance(value, Enum):
        return _plain(value.value, path, frozenset())
    for kind, write in _LEAVES.items():
        if isinstance(value, kind):
            return write(value, path)
    if hasattr(value, "__fspath__"):
        return str(value)
    if type(value).__module__ in ("decimal", "uuid"):
        return _named(value, path)
    raise _No(path, f"an instance of {type(value).__name__!r} cannot be written as JSON")


def _named(value: Any, path: Path) -> str:
    """A decimal or a UUID, which need not be imported to be known."""
    if hasattr(value, "is_finite") and not value.is_finite():
        raise _No(path, f"{value} cannot be written as JSON")
    return str(value)


def _number(value: float, path: Path) -> float:
    if value - value != 0:
        raise _No(path, f"{value} cannot be written as JSON")
    return float(value)


def _duration(value: timedelta) -> str:
    """ISO 8601, in days and seconds: exact, unlike a number of seconds."""
    sign, value = ("-", -value) if value.days < 0 else ("", value)
    fraction = f".{value.microseconds:06}".rstrip("0") if value.microseconds else ""
    days, seconds = (f"{value.days}D" if value.days else ""), f"T{value.seconds}{fraction}S"
    return f"{sign}P{days}{seconds if value.seconds or fraction or not days else ''}"


_AS_IS: Final = frozenset({str, int, bool, type(None)})
_LEAVES: Final[Mapping[type, Callable[[Any, Path], Any]]] = MappingProxyType(
    {
        str: lambda value, _: str.__str__(value),
        bool: lambda value, _: value,
        int: lambda value, _: int(value),
        float: _number,
        type(None): lambda value, _: value,
        bytes: lambda value, _: b2a_base64(value, newline=False).decode(),
        bytearray: lambda value, _: b2a_base64(value, newline=False).decode(),
        datetime: lambda value, _: value.isoformat(),
        date: lambda value, _: value.isoformat(),
        time: lambda value, _: value.isoformat(),
        timedelta: lambda value, _: _duration(value),
    }
)

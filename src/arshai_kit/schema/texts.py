"""Text that stands for a value: dates, numbers, bytes. What is not written exactly as its schema says is refused."""

from __future__ import annotations

import json
import re
from binascii import Error, a2b_base64
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from arshai_kit.schema.misfit import Misfit, unfit
from arshai_kit.schema.shapes import Shape, named, shape

__all__ = ["DECIMAL", "READERS", "wanted"]

DECIMAL: Final = r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"

_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "null": "null",
        "boolean": "true or false",
        "integer": "an integer",
        "number": "a number",
        "string": "a string",
        "array": "an array",
        "tuple": "an array",
        "map": "an object",
        "date-time": "a date and time such as '2026-03-01T09:30:00Z'",
        "date": "a date such as '2026-03-01'",
        "time": "a time such as '09:30:00'",
        "duration": "an ISO 8601 duration such as 'PT1H30M'",
        "decimal": "a number, or one in a string",
        "uuid": "a UUID",
        "bytes": "base64",
        "path": "a path as a string",
    }
)
"""What each kind of `Shape` wants to see, for the one who got it wrong."""

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?([Zz]|[-+][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)?"
_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "date-time": re.compile(f"{_DATE}[Tt ]{_TIME}"),
        "date": re.compile(_DATE),
        "time": re.compile(_TIME),
        "duration": re.compile(
            r"(-?)P(?=.)(?:([0-9]+)W)?(?:([0-9]+)D)?(?:T(?=.)(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+(?:\.[0-9]{1,6})?)S)?)?"
        ),
        "decimal": re.compile(DECIMAL.removesuffix("$")),
        "uuid": re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    }
)


def _matched(kind: str, value: Any) -> re.Match[str]:
    found = _PATTERNS[kind].fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise unfit(_WORDS[kind], value)
    return found


def _iso(kind: str) -> Callable[[Any, Any], Any]:
    def read(value: Any, tp: Any) -> Any:
        _matched(kind, value)
        try:
            return tp.fromisoformat(value.upper())
        except ValueError as error:  # the 30th of February
            raise Misfit("", f"expected {_WORDS[kind]}, got {value!r} ({error})") from None

    return read


def _duration(value: Any, _: Any) -> timedelta:
    sign, weeks, days, hours, minutes, seconds = _matched("duration", value).groups()
    whole, _, fraction = (seconds or "0").partition(".")
    try:
        found = timedelta(
            weeks=int(weeks or 0),
            days=int(days or 0),
            hours=int(hours or 0),
            minutes=int(minutes or 0),
            seconds=int(whole),
            microseconds=int(fraction.ljust(6, "0")),
        )
    except OverflowError:
        raise unfit("a shorter duration", value) from None
    return -found if sign else found


def _decimal(value: Any, tp: Any) -> Any:
    if isinstance(value, str):
        _matched("decimal", value)
        return tp(value)
    if type(value) is int or (type(value) is float and value - value == 0):
        return tp(repr(value))
    raise unfit(_WORDS["decimal"], value)


def _uuid(value: Any, tp: Any) -> Any:
    return tp(_matched("uuid", value)[0])


def _bytes(value: Any, _: Any) -> bytes:
    if isinstance(value, str) and value.isascii():
        try:
            return a2b_base64(value, strict_mode=True)
        except Error:
            pass
    raise unfit(_WORDS["bytes"], value)


def _path(value: Any, tp: Any) -> Any:
    if isinstance(value, str):
        return tp(value)
    raise unfit(_WORDS["path"], value)


READERS: Final[Mapping[str, Callable[[Any, Any], Any]]] = MappingProxyType(
    {
        "date-time": _iso("date-time"),
        "date": _iso("date"),
        "time": _iso("time"),
        "duration": _duration,
        "decimal": _decimal,
        "uuid": _uuid,
        "bytes": _bytes,
        "path": _path,
    }
)
"""For each format, the function from a JSON value and the type to the value of that type."""


def wanted(found: Shape) -> str:
    """What *found* wants to see, in words."""
    while found.kind in ("alias", "narrowed"):
        found = shape(found.parts[0])
    if found.kind == "choice":
        values = [json.dumps(value, ensure_ascii=False) for value, _ in found.parts]
        more = f" (and {len(values) - 30} more)" if len(values) > 30 else ""
        return f"one of {', '.join(values[:30])}{more}" if len(values) > 1 else values[0]
    if found.kind in ("record", "model"):
        return f"an object ({getattr(found.type, '__name__', named(found.type))})"
    return _WORDS.get(found.kind, "something else")

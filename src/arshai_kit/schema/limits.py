"""What `Annotated` adds to a type: words for the schema, keywords for the schema, checks for the value.

The metadata is taken by what it has (`ge gt le lt multiple_of min_length max_length pattern description`), so that
`annotated_types`, pydantic's `Field` and a class of your own do alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from arshai_kit.schema.misfit import Misfit

__all__ = ["checks", "keywords", "words"]


def _multiple(value: Any, step: Any) -> bool:
    if isinstance(value, float) or (isinstance(value, int) and isinstance(step, float)):
        return bool(abs(value / step - round(value / step)) < 1e-9)
    return bool(value % type(value)(str(step)) == 0)  # exact for decimals, too


_NUMBERS: Final = frozenset({"integer", "number", "decimal"})
_BOUNDS: Final[Mapping[str, tuple[str, str, Callable[[Any, Any], bool]]]] = MappingProxyType(
    {
        "ge": ("minimum", "at least", lambda value, bound: value >= bound),
        "gt": ("exclusiveMinimum", "more than", lambda value, bound: value > bound),
        "le": ("maximum", "at most", lambda value, bound: value <= bound),
        "lt": ("exclusiveMaximum", "less than", lambda value, bound: value < bound),
        "multiple_of": ("multipleOf", "a multiple of", _multiple),
    }
)
_LENGTHS: Final[Mapping[str, tuple[str, Callable[[int, int], bool]]]] = MappingProxyType(
    {
        "min_length": ("at least", lambda length, bound: length >= bound),
        "max_length": ("at most", lambda length, bound: length <= bound),
    }
)
_COUNTED: Final[Mapping[str, str]] = MappingProxyType(
    {"string": "Length", "array": "Items", "tuple": "Items", "map": "Properties"}
)


def words(notes: Iterable[Any]) -> str:
    """The description among *notes*: a plain string, or what carries one.

    >>> words(["the city"])
    'the city'
    """
    for note in notes:
        for text in (note, getattr(note, "description", None), getattr(note, "documentation", None)):
            if isinstance(text, str):
                return text
    return ""


def keywords(notes: Iterable[Any], kinds: frozenset[str]) -> dict[str, Any]:
    """The limits among *notes* that JSON Schema can say of a type of these *kinds* (see `shapes.Shape`)."""
    found: dict[str, Any] = {}
    for name, bound in _limits(notes):
        if name in _BOUNDS and kinds & _NUMBERS and type(bound) in (int, float):
            found[_BOUNDS[name][0]] = bound
        elif name in _LENGTHS and bound:
            found |= {f"{name[:3]}{_COUNTED[kind]}": bound for kind in kinds & _COUNTED.keys()}
        elif name == "pattern" and "string" in kinds:
            found[name] = getattr(bound, "pattern", bound)
    return found


def checks(notes: Iterable[Any]) -> tuple[Callable[[Any], None], ...]:
    """For each limit among *notes* a function that raises `Misfit` for a value beyond it."""
    return tuple(map(_check, _limits(notes)))


def _limits(notes: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for note in notes:
        for name in (*_BOUNDS, *_LENGTHS, "pattern"):
            bound = getattr(note, name, None)
            if bound is not None:
                yield name, bound
        inner = getattr(note, "metadata", None)  # where pydantic's `Field` keeps them
        if isinstance(inner, list | tuple):
            yield from _limits(inner)


def _check(limit: tuple[str, Any]) -> Callable[[Any], None]:
    name, bound = limit
    if name in _BOUNDS:
        _, phrase, holds = _BOUNDS[name]
        return lambda value: _bounded(value, bound, phrase, holds)
    if name in _LENGTHS:
        phrase, fits = _LENGTHS[name]
        return lambda value: _counted(value, bound, phrase, fits)
    return lambda value: _matching(value, bound)


def _bounded(value: Any, bound: Any, phrase: str, holds: Callable[[Any, Any], bool]) -> None:
    try:
        held = holds(value, bound)
    except TypeError:  # not of a kind that the bound is about, such as the `None` of an optional number
        return
    if not held:
        raise Misfit("", f"expected {phrase} {bound}, got {value}")


def _counted(value: Any, bound: int, phrase: str, fits: Callable[[int, int], bool]) -> None:
    if hasattr(value, "__len__") and not fits(len(value), bound):
        unit = "characters" if isinstance(value, str) else "items"
        raise Misfit("", f"expected {phrase} {bound} {unit}, got {len(value)}")


def _matching(value: Any, pattern: Any) -> None:
    if isinstance(value, str) and not re.search(pattern, value):
        raise Misfit("", f"expected text that matches {getattr(pattern, 'pattern', pattern)!r}, got {value!r}")

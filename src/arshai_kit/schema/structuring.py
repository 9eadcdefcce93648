"""JSON to types, and, only when something did not fit, what it was and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from arshai_kit.schema.fields import Field, fields
from arshai_kit.schema.hooks import Branch, fitting, hook
from arshai_kit.schema.misfit import Misfit, at, joined
from arshai_kit.schema.shapes import bare, is_array, kind_of, members, shape, takes
from arshai_kit.schema.texts import wanted

__all__ = ["misfit", "structured"]

T = TypeVar("T")


@overload
def structured(value: Any, tp: type[T], *, where: str = "") -> T: ...
@overload
def structured(value: Any, tp: Any, *, where: str = "") -> Any: ...
def structured(value: Any, tp: Any, *, where: str = "") -> Any:
    """*value*, which is JSON data, as a value of the type *tp*; `Misfit` says what does not fit, and where.

    >>> structured({"a": [1, 2.0]}, dict[str, tuple[int, float]])
    {'a': (1, 2.0)}
    >>> structured({"a": [1, "2"]}, dict[str, tuple[int, float]], where="answer")
    Traceback (most recent call last):
        ...
    arshai_kit.schema.misfit.Misfit: answer.a[1]: expected a number, got the string '2'
    """
    made = hook(tp)
    try:
        return made(value, tp)
    except Exception as error:  # a constructor may raise anything
        raise misfit(error, value, tp, where) from error


def misfit(error: Exception, value: Any, tp: Any, where: str) -> Misfit:
    """What exactly does not fit, after *tp* failed to be made of *value* by *error*."""
    try:
        return _found(error, value, tp, where)
    except RecursionError:
        return Misfit(where, "nested too deeply")


def _found(error: Exception, value: Any, tp: Any, path: str) -> Misfit:
    for inner, of, further in _inside(value, tp, path):
        try:
            hook(of)(inner, of)
        except RecursionError:
            raise
        except Exception as inner_error:  # noqa: BLE001  # a constructor may raise anything
            return _found(inner_error, inner, of, further)
    if isinstance(error, RecursionError):
        raise error
    if isinstance(error, Misfit):
        return Misfit(joined(path, error.path), _none_fits(value, tp) or error.message)
    return Misfit(path, str(error) or type(error).__name__)


def _inside(value: Any, tp: Any, path: str) -> Iterator[tuple[Any, Any, str]]:
    """What *value* is made of, as far as its form fits: each part with its type and path."""
    found = bare(tp)
    match found.kind:
        case "array" if is_array(value):
            yield from ((each, found.parts[0], at(path, index)) for index, each in enumerate(value))
        case "tuple" if is_array(value) and len(value) == len(found.parts):
            yield from ((each, of, at(path, n)) for n, (each, of) in enumerate(zip(value, found.parts, strict=True)))
        case "map" if isinstance(value, Mapping):
            yield from ((each, found.parts[1], at(path, str(key))) for key, each in value.items())
        case "record" if isinstance(value, Mapping):
            yield from given(value, fields(found.type), path)
        case "union":
            yield from ((value, each, path) for each in _meant(value, tp))


def given(value: Mapping[str, Any], inside: Iterable[Field], path: str) -> Iterator[tuple[Any, Any, str]]:
    """The members of an object that *inside* knows, each with its type and path."""
    for each in inside:
        if each.name in value and (each.required or value[each.name] is not None):
            yield value[each.name], each.type, at(path, each.name)


def _branches(value: Any, tp: Any) -> list[Branch]:
    """The types of a union that *value* may have been meant to be, by its JSON type."""
    return fitting([Branch(each, hook(each), takes(each)) for each in members(bare(tp).type)], kind_of(value))


def _meant(value: Any, tp: Any) -> tuple[Any, ...]:
    """The one type of a union that *value* was meant to be, where that is plain: by its JSON type, or by its keys."""
    fit = [each.type for each in _branches(value, tp)]
    if len(fit) > 1 and isinstance(value, Mapping):
        likeness = [_likeness(value, each) for each in fit]
        fit = [each for each, like in zip(fit, likeness, strict=True) if like == max(likeness)]
    return tuple(fit) if len(fit) == 1 else ()


def _likeness(value: Mapping[str, Any], tp: Any) -> int:
    """How much the keys of *value* are those of *tp*; a tag (a field with one value only) counts for ten."""
    found = bare(tp)
    if found.kind != "record":
        return 0
    inside = {each.name: bare(each.type) for each in fields(found.type)}
    tags = {name: each.parts[0][0] for name, each in inside.items() if each.kind == "choice" and len(each.parts) == 1}
    keys = sum(1 if name in inside else -1 for name in value)
    return keys + sum(10 if value[name] == tag else -1 for name, tag in tags.items() if name in value)


def _none_fits(value: Any, tp: Any) -> str:
    """Why *value* is none of several types of a union that it might have been; nothing to say for other types."""
    fit = _branches(value, tp) if bare(tp).kind == "union" else []
    reasons = []
    for each in fit if len(fit) > 1 else ():
        try:
            each.made(value, each.type)
        except Exception as error:  # noqa: BLE001  # a constructor may raise anything
            reasons.append(f"{wanted(shape(each.type))} ({_found(error, value, each.type, '')})")
    return f"fits none of: {'; '.join(reasons)}" if reasons else ""

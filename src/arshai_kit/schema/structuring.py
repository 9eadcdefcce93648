"""JSON to types, and, only when something did not fit, what it was and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from arshai_kit.schema.fields import Field, fields
from arshai_kit.schema.hooks import Branch, fitting, hook
from arshai_kit.schema.misfit import Misfit, at, joined
from arshai_kit.schema.shapes import bare, is_array, kind_of, members, takes

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
        return Misfit(joined(path, error.path), error.message)
    return Misfit(path, str(error) or type(error).__name__)


def _inside(value: Any, tp: Any, path: str) -> Iterator[tuple[Any, Any, str]]:
    """What *value* is made of, as far as its form fits: each part with its type and path."""
    found = bare(tp)
    match found.kind:
        case "array" if is_array(value):
            yield from ((each, found.parts[0], at(path, index)) for index, each in enumerate(value))
        case "tuple" if is_array(value) and len(value) == len(found.parts):
            yield from ((each, of, at(path, n)) for n, (each, of) in enumerate(zip(value, found.parts, strict=True)))
        case "map" if isinstance(value, dict | Mapping):
            yield from ((each, found.parts[1], at(path, str(key))) for key, each in value.items())
        case "record" if isinstance(value, dict | Mapping):
            yield from given(value, fields(found.type), path)
        case "union":
            yield from ((value, each, path) for each in _meant(value, tp))


def given(value: Mapping[str, Any], inside: Iterable[Field], path: str) -> Iterator[tuple[Any, Any, str]]:
    """The members of an object that *inside* knows, each with its type and path."""
    for each in inside:
        if each.name in value and (each.required or value[each.name] is not None):
            yield value[each.name], each.type, at(path, each.name)


def _meant(value: Any, tp: Any) -> tuple[Any, ...]:
    """The one type of a union that *value* was meant to be, where that is plain: by its kind, then by its tags."""
    branches = [Branch(each, hook(each), takes(each)) for each in members(bare(tp).type)]
    fit = fitting(branches, kind_of(value))
    if len(fit) > 1 and isinstance(value, dict | Mapping):
        fit = [each for each in fit if _tagged(value, each.type)]
    return tuple(each.type for each in fit) if len(fit) == 1 else ()


def _tagged(value: Mapping[str, Any], tp: Any) -> bool:
    """Whether the members of *value* that choose among records choose *tp*."""
    found = bare(tp)
    if found.kind != "record":
        return False
    tags = [each for each in fields(found.type) if bare(each.type).kind == "choice" and each.name in value]
    return all((type(value[tag.name]), value[tag.name]) in _listed(tag.type) for tag in tags)


def _listed(tp: Any) -> list[tuple[type, Any]]:
    return [(type(value), value) for value, _ in bare(tp).parts]

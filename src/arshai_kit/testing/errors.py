"""Errors to JSON and back: ours and Python's own by name, any other as its own if that is imported."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from arshai_kit import errors

__all__ = ["RecordedError", "error_data", "error_of"]


class RecordedError(Exception):
    """An error of a type that is not there, or cannot be made again; its own type has the name that it had."""

    text = ""

    def __str__(self) -> str:
        return self.text


def _exceptions(module: Any) -> dict[str, type[Exception]]:
    return {name: kind for name, kind in vars(module).items() if isinstance(kind, type) and issubclass(kind, Exception)}


_KNOWN: Final[Mapping[str, type[Exception]]] = MappingProxyType({**_exceptions(builtins), **_exceptions(errors)})


def error_data(error: Exception, data_of: Callable[[Any], Any]) -> dict[str, Any]:
    """*error* as JSON data.

    >>> error_data(KeyError("a"), lambda value: value)
    {'type': 'KeyError', 'args': ['a']}
    """
    kind = type(error)
    data: dict[str, Any] = {"type": kind.__name__, "args": [data_of(each) for each in _arguments(error)]}
    known = _KNOWN.get(kind.__name__) is kind  # then what is empty comes back by itself
    kept = {name: value for name, value in vars(error).items() if not known or not (value is None or value == "")}
    if kept:
        data["with"] = {name: data_of(value) for name, value in kept.items()}
    if not known:
        data |= {"like": _like(kind).__name__, "text": str(error), "of": [kind.__module__, kind.__qualname__]}
    return data


def _like(kind: type[Exception]) -> type[Exception]:
    """The nearest type that is known by its name, of those that *kind* is one of."""
    return next(base for base in kind.__mro__ if _KNOWN.get(base.__name__) is base)


def _arguments(error: Exception) -> tuple[Any, ...]:
    """What *error* was made with; an error of the system keeps the name of its file elsewhere."""
    if isinstance(error, OSError) and len(error.args) == 2 and error.filename is not None:
        return (*error.args, error.filename)
    return error.args


def error_of(data: Mapping[str, Any], value_of: Callable[[Any], Any]) -> Exception:
    """The error that *data* tells of.

    >>> error_of({"type": "OutOfStock", "like": "ValueError", "text": "no tea left"}, lambda data: data)
    OutOfStock('no tea left')
    """
    args = tuple([value_of(each) for each in data.get("args", [data.get("text", "")])])
    given = {name: value_of(each) for name, each in data.get("with", {}).items()}
    kind = _KNOWN.get(data["type"])
    if kind is None or "like" in data:
        return _own(data, args, given) or _stranger(data, _KNOWN.get(data.get("like", ""), Exception), args, given)
    try:
        error = kind(*args)
    except TypeError:
        return _stranger({**data, "text": str([*args])}, kind, args, given)
    vars(error).update(given)
    return error


def _own(data: Mapping[str, Any], args: tuple[Any, ...], given: Mapping[str, Any]) -> Exception | None:
    """The error as one of its own type, if that is imported already; nothing is imported for it, nor called."""
    kind = _imported(*data.get("of", ("", "")))
    if kind is None:
        return None
    with suppress(Exception):
        error: Any = _like(kind).__new__(kind, *args)
        error.args = args
        vars(error).update(given)
        if str(error) == data["text"]:
            return error  # type: ignore[no-any-return]  # of a type of exceptions
    with suppress(TypeError):
        return _stranger(data, kind, args, given)
    return None


def _imported(module: str, name: str) -> type[Exception] | None:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _stranger(
    data: Mapping[str, Any], like: type[Exception], args: tuple[Any, ...], given: Mapping[str, Any]
) -> Exception:
    """An error of a type that is made here: called as it was, caught as *like*, and a `RecordedError`."""
    module, qualname = data.get("of", (__name__, data["type"]))
    spots = {"text": data.get("text", ""), "__module__": module, "__qualname__": qualname}
    kind: Any = type(data["type"], (RecordedError,) if like is Exception else (RecordedError, like), spots)
    error: Exception = _like(like).__new__(kind)
    error.args = args
    vars(error).update(given)
    return error

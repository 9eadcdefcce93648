"""Errors to JSON and back: ours and Python's own by name, any other as one that says what it was."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from arshai_kit import errors

__all__ = ["RecordedError", "error_data", "error_of"]


class RecordedError(Exception):
    """An error of a type that a recording cannot bring back; its own type has the name that it had."""

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
    if _KNOWN.get(kind.__name__) is not kind:
        like = next(base.__name__ for base in kind.__mro__ if _KNOWN.get(base.__name__) is base)
        return {"type": kind.__name__, "like": like, "text": str(error)}
    data = {"type": kind.__name__, "args": [data_of(each) for each in _arguments(error)]}
    given = {name: data_of(value) for name, value in vars(error).items() if value is not None and value != ""}
    return {**data, "with": given} if given else data


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
    kind = _KNOWN.get(data["type"])
    if kind is None or "like" in data:
        return _stranger(data["type"], _KNOWN.get(data.get("like", ""), Exception), data.get("text", ""))
    args = [value_of(each) for each in data["args"]]
    try:
        error = kind(*args)
    except TypeError:
        return _stranger(kind.__name__, kind, str(args))
    vars(error).update({name: value_of(each) for name, each in data.get("with", {}).items()})
    return error


def _stranger(name: str, like: type[Exception], text: str) -> Exception:
    """An error of a type that is made here: called *name*, caught as *like*, and a `RecordedError`."""
    kind: Any = type(name, (RecordedError,) if like is Exception else (RecordedError, like), {"text": text})
    error: Exception = kind.__new__(kind)
    error.args = (text,)
    return error

"""Functions, described so that a model can ask for them, and the arguments it asks with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Final, get_args, get_origin

import attrs
from attrs import NOTHING, field, frozen

from arshai_kit.errors import BadSchema
from arshai_kit.schema.docstrings import told
from arshai_kit.schema.document import object_schema
from arshai_kit.schema.fields import FACTORY, Field, fields
from arshai_kit.schema.hooks import Hook, hook, object_hook, pairs
from arshai_kit.schema.misfit import Misfit
from arshai_kit.schema.reshape import Schema
from arshai_kit.schema.shapes import evaluated, is_record, is_typed_dict
from arshai_kit.schema.structuring import given, misfit

__all__ = ["Described", "arguments", "describe"]

_BY: Final[Mapping[Any, str]] = MappingProxyType(
    {
        inspect.Parameter.POSITIONAL_ONLY: "position",
        inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
        inspect.Parameter.KEYWORD_ONLY: "keyword",
    }
)


@frozen
class Described:
    """What there is to know of a function before it is called: *parameters* is a JSON Schema, *fields* its source."""

    name: str
    description: str
    parameters: Schema = field(hash=False)
    fields: tuple[Field, ...] = field(repr=False, hash=False)

    @cached_property
    def members(self) -> Hook:
        """From the arguments as JSON to those that are there, by name and of their types."""
        return object_hook(self.fields, pairs(self.fields, {each.name: hook(each.type) for each in self.fields}))


def describe(fn: Callable[..., Any], *, name: str = "", description: str = "") -> Described:
    """The name, description and parameters of *fn*, from its signature and docstring; *name* and *description* win.

    A function may be sync, async or a generator, bound, partial (what is bound is left out), or an object that can be
    called. What cannot be described raises `BadSchema`, which names the parameter.

    >>> def weather(city: str, days: int = 1) -> str:
    ...     '''Say what the weather will be.
    ...
    ...     Args:
    ...         city: Its English name.
    ...     '''
    >>> found = describe(weather)
    >>> found.name, found.description, found.parameters["required"]
    ('weather', 'Say what the weather will be.', ['city'])
    >>> found.parameters["properties"]["city"]
    {'type': 'string', 'description': 'Its English name.'}
    """
    inner, bound = _opened(fn)
    called = name or _name(inner)
    try:
        found = _parameters(fn, inner, bound)
        about, texts = told(_documented(inner), [each.name for each in found])
        inside = tuple(attrs.evolve(each, description=texts.get(each.name, each.description)) for each in found)
        return Described(called, description or about, object_schema(inside), inside)
    except BadSchema as error:
        raise BadSchema(f"{called}(): {error}") from error.__cause__


def _opened(fn: Any) -> tuple[Any, frozenset[str]]:
    """The function inside a partial one, and the names of the keywords that are bound."""
    bound: frozenset[str] = frozenset()
    while isinstance(fn, partial):
        fn, bound = fn.func, bound | fn.keywords.keys()
    return fn, bound


def _name(fn: Any) -> str:
    found: str = getattr(fn, "__name__", type(fn).__name__)
    if not found.isidentifier():
        raise BadSchema(f"{found} has no name that a model could ask by; give it one: name=…")
    return found


def _documented(fn: Any) -> Any:
    """What carries the docstring: an object that can be called is told of by its `__call__`, else by its class."""
    fn = inspect.unwrap(fn)
    if inspect.isroutine(fn) or isinstance(fn, type):
        return fn
    return type(fn).__call__ if type(fn).__call__.__doc__ else type(fn)


def _parameters(fn: Callable[..., Any], inner: Any, bound: frozenset[str]) -> tuple[Field, ...]:
    if isinstance(inner, type) and is_record(inner):
        return tuple(each for each in fields(inner) if each.name not in bound)
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError) as error:
        raise BadSchema(f"its signature cannot be read ({error}); wrap it in a function of yours") from error
    scope, inside = _scope(inner)
    free = (each for name, each in parameters.items() if name not in bound)
    return tuple(one for each in free for one in _fields(each, scope, inside))


def _fields(parameter: inspect.Parameter, scope: Mapping[str, Any], inside: Mapping[str, Any]) -> tuple[Field, ...]:
    """What there is to fill for one parameter: one field, unless it is variadic."""
    where = parameter.name
    tp = Any if parameter.annotation is parameter.empty else parameter.annotation
    tp = evaluated(tp, scope, inside, where)
    if parameter.kind not in _BY:
        return _variadic(parameter, tp, where)
    default = NOTHING if parameter.default is parameter.empty else parameter.default
    return (Field(parameter.name, tp, default, "", _BY[parameter.kind]),)


def _variadic(parameter: inspect.Parameter, tp: Any, where: str) -> tuple[Field, ...]:
    """The fields of `**kwargs: Unpack[Some TypedDict]`; a model can fill no others."""
    if parameter.kind is parameter.VAR_KEYWORD and getattr(get_origin(tp), "_name", "") == "Unpack":
        (inner,) = get_args(tp)
        if is_typed_dict(get_origin(inner) or inner):
            return fields(inner, where)
    raise BadSchema(f"{where}: a model cannot fill {parameter}; wrap the function in one that names its parameters")


def _scope(fn: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The names that annotations of *fn* may use: of its module, and of what it closes over."""
    inner = inspect.unwrap(fn)
    if isinstance(inner, type):
        inner = inspect.unwrap(vars(inner).get("__init__", inner))
    elif not hasattr(inner, "__code__") and not hasattr(inner, "__func__"):
        inner = inspect.unwrap(type(inner).__call__)
    inner = getattr(inner, "__func__", inner)
    try:
        closed = inspect.getclosurevars(inner).nonlocals
    except (TypeError, ValueError):  # not written in Python; or a name that has no value yet
        closed = {}
    parameters = {each.__name__: each for each in getattr(inner, "__type_params__", ())}
    return getattr(inner, "__globals__", {}), {**closed, **parameters}


def arguments(
    described: Described, given_arguments: Mapping[str, Any], *, where: str = ""
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What to call the function with: positional and keyword arguments, of the types it asks for.

    What is left out (or `null`, where that is no value of its own) is left to the function's own defaults; `Misfit`
    says which argument does not fit, and why.

    >>> def weather(city: str, days: int = 1, /, *, unit: str = "C") -> str: ...
    >>> arguments(describe(weather), {"city": "Oslo", "unit": "F"})
    (('Oslo',), {'unit': 'F'})
    """
    inside = described.fields
    try:
        found = described.members(given_arguments, None)
    except Exception as error:
        raise _wrong(error, given_arguments, inside, where) from error
    places = [each for each in inside if each.by == "position"]
    while places and places[-1].name not in found:
        places.pop()
    first = tuple(found.pop(each.name) if each.name in found else _made(each.default) for each in places)
    return first, found


def _made(default: Any) -> Any:
    return default.factory() if isinstance(default, FACTORY) else default


def _wrong(error: Exception, value: Any, inside: tuple[Field, ...], where: str) -> Misfit:
    """Which argument did not fit."""
    for each, tp, path in given(value, inside, where) if isinstance(value, Mapping) else ():
        try:
            hook(tp)(each, tp)
        except Exception as inner:  # noqa: BLE001  # a constructor may raise anything
            return misfit(inner, each, tp, path)
    return Misfit(where, error.message) if isinstance(error, Misfit) else misfit(error, None, Any, where)

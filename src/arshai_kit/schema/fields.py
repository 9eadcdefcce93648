"""The named fields of a record: what they are called, of what type, and what stands for them when left out."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Generic, Protocol, get_args, get_origin

import attrs
from attrs import NOTHING, frozen

from arshai_kit.errors import BadSchema
from arshai_kit.schema.docstrings import told
from arshai_kit.schema.shapes import bindings, evaluated, is_named_tuple, is_typed_dict, named, substituted

__all__ = ["FACTORY", "Field", "fields"]


@frozen
class Field:
    """One field: *name* is its JSON key, *type* has no open names left.

    *default* is `attrs.NOTHING` where the field is required, an `attrs.Factory` where the value is made when needed.
    *by* says how it is passed: `position`, `keyword` or `either`.
    """

    name: str
    type: Any
    default: Any = NOTHING
    description: str = ""
    by: str = "either"

    @property
    def required(self) -> bool:
        """Whether it must be there."""
        return self.default is NOTHING


MADE: Final = attrs.Factory(object)
"""The default of a field that may be left out, where nobody has to know what stands for it."""
FACTORY: Final[Any] = type(MADE)
"""The class of defaults that are made when needed."""

_ROOTS: Final = frozenset({object, Generic, Protocol, dict, tuple})


def fields(tp: Any, where: str = "") -> tuple[Field, ...]:
    """The fields of the record *tp*, in order: those that its constructor takes.

    >>> @frozen
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> [(field.name, field.type, field.required) for field in fields(Point)]
    [('x', <class 'int'>, True), ('y', <class 'int'>, False)]
    """
    cls = get_origin(tp) or tp
    types = hints(tp, where)
    found = tuple(_read(cls, types))
    names = [field.name for field in found]
    texts = {name: text for base in reversed(cls.__mro__) for name, text in told(base, names)[1].items()}
    return tuple(attrs.evolve(f, description=f.description or texts.get(f.name, "")) for f in found)


def _read(cls: Any, types: Mapping[str, Any]) -> Iterator[Field]:
    if is_typed_dict(cls):
        for name, tp in types.items():
            yield Field(name, tp, _total(cls, name, tp), "", "keyword")
    elif is_named_tuple(cls):
        for name in cls._fields:
            yield Field(name, types.get(name, Any), cls._field_defaults.get(name, NOTHING))
    else:
        yield from _attributes(cls, types) if attrs.has(cls) else _members(cls, types)


def _attributes(cls: type[attrs.AttrsInstance], types: Mapping[str, Any]) -> Iterator[Field]:
    for each in attrs.fields(cls):
        if each.init:
            tp = types.get(each.name, Any if each.type is None else each.type)
            text = each.metadata.get("description", "")
            yield Field(each.alias or each.name, tp, each.default, text, "keyword" if each.kw_only else "either")


def _members(cls: Any, types: Mapping[str, Any]) -> Iterator[Field]:
    kept = dataclasses.fields(cls)
    for name, each in cls.__dataclass_fields__.items():
        passed_on = getattr(each, "_field_type", None) is dataclasses._FIELD_INITVAR  # type: ignore[attr-defined]  # noqa: SLF001  # nothing public tells
        if passed_on and each.default is dataclasses.MISSING:
            raise BadSchema(f"{cls.__name__}.{name}: an InitVar is kept nowhere; give it a default, or make it a field")
    for each in kept:
        if each.init:
            text = each.metadata.get("description", "")
            yield Field(each.name, types[each.name], _default(each), text, "keyword" if each.kw_only else "either")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return attrs.Factory(field.default_factory)
    return NOTHING if field.default is dataclasses.MISSING else field.default


def _total(cls: Any, name: str, tp: Any) -> Any:
    """Whether a key must be there; the class itself cannot tell where its annotations are text."""
    while get_origin(tp) is Annotated:
        tp = get_args(tp)[0]
    match getattr(get_origin(tp), "_name", ""):
        case "Required":
            return NOTHING
        case "NotRequired":
            return MADE
        case "ReadOnly":
            return _total(cls, name, get_args(tp)[0])
    return NOTHING if name in cls.__required_keys__ else MADE


def hints(tp: Any, where: str = "") -> dict[str, Any]:
    """The annotated names of the class *tp* and what it descends from, type variables replaced."""
    cls, bound = get_origin(tp) or tp, bindings(tp)
    above: dict[str, Any] = {}
    for base in reversed(vars(cls).get("__orig_bases__", cls.__bases__)):
        root = get_origin(base) or base
        if isinstance(root, type) and root not in _ROOTS:
            above |= hints(substituted(base, bound), where)
    own = {name: substituted(each, bound) for name, each in _own_hints(cls, where).items()}
    return {**own, **above} if is_typed_dict(cls) else {**above, **own}  # a TypedDict repeats what it inherits


def _own_hints(cls: type, where: str) -> dict[str, Any]:
    scope = vars(sys.modules.get(cls.__module__, typing))
    parameters = {each.__name__: each for each in getattr(cls, "__type_params__", ())}
    inside = {**parameters, cls.__name__: cls}
    annotations = vars(cls).get("__annotations__", {})
    skipped = () if is_typed_dict(cls) or is_named_tuple(cls) else _not_fields(cls, annotations)
    return {
        name: evaluated(each, scope, inside, f"{where or named(cls)}.{name}")
        for name, each in annotations.items()
        if name not in skipped
    }


def _not_fields(cls: type, annotations: Mapping[str, Any]) -> frozenset[str]:
    """Names that are annotated and no field (class variables); nobody asks for their type."""
    if hasattr(cls, "__attrs_attrs__"):
        known = {each.name for each in attrs.fields(cls)}
    elif dataclasses.is_dataclass(cls):
        known = {each.name for each in dataclasses.fields(cls)}
    else:
        return frozenset()
    return frozenset(annotations) - known

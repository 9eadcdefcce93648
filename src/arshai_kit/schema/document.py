"""Types as JSON Schema documents, in the part of draft 2020-12 that providers accept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, get_origin

import attrs
from attrs import define

from arshai_kit.errors import BadSchema
from arshai_kit.schema import texts
from arshai_kit.schema.docstrings import told
from arshai_kit.schema.fields import FACTORY, Field, fields
from arshai_kit.schema.limits import keywords, words
from arshai_kit.schema.misfit import Misfit, at
from arshai_kit.schema.plain import unstructured
from arshai_kit.schema.reshape import Schema, inlined
from arshai_kit.schema.shapes import Shape, bare, kind_of, members, named, shape

__all__ = ["json_schema", "object_schema"]

_REF: Final = "#/$defs/{}"
_MOST: Final = 50  # forms of one generic class in one schema


@define
class Book:
    """The definitions written so far, and the names they go by."""

    definitions: dict[str, Schema] = attrs.Factory(dict)
    names: dict[Any, str] = attrs.Factory(dict)
    foreign: set[str] = attrs.Factory(set)

    def name(self, tp: Any, where: str) -> tuple[str, bool]:
        """The name of the definition of *tp*, and whether it is new."""
        key = _hashed(tp)
        if found := self.names.get(key):
            return found, False
        cls = get_origin(tp) or tp
        if sum((get_origin(each) or each) is cls for each in self.names) >= _MOST:
            raise BadSchema(f"{where[:80]}…: {cls.__name__} never ends: each one contains another kind of itself")
        plain = re.sub(r"\W+", "_", re.sub(r"\w+\.|<locals>\.", "", named(tp))).strip("_")
        name, number = plain, 1
        while name in self.definitions:
            number += 1
            name = f"{plain}{number}"
        self.names[key] = name
        self.definitions[name] = {}
        return name, True


def _hashed(tp: Any) -> Any:
    try:
        hash(tp)
    except TypeError:  # metadata that cannot be hashed
        return repr(tp)
    return tp


def json_schema(tp: Any, *, where: str = "") -> Schema:
    """The JSON Schema of *tp*; `BadSchema` names the part that has none, after *where*.

    >>> json_schema(list[int] | None)
    {'anyOf': [{'type': 'array', 'items': {'type': 'integer'}}, {'type': 'null'}]}
    """
    book = Book()
    return inlined(_written(tp, where, book), book.definitions, book.foreign)


def object_schema(found: Iterable[Field], where: str = "") -> Schema:
    """The JSON Schema of an object with these fields."""
    book = Book()
    return inlined(_object(found, where, book), book.definitions, book.foreign)


def _written(tp: Any, where: str, book: Book) -> Schema:
    found = shape(tp, where)
    simple = _SIMPLE.get(found.kind)
    return _WRITERS[found.kind](found, where, book) if simple is None else dict(simple)


def _choice(found: Shape, where: str, book: Book) -> Schema:  # noqa: ARG001  # writers are called alike
    values = [value for value, _ in found.parts]
    kinds = {kind_of(value) for value in values}
    kind = {"type": next(iter(kinds))} if len(kinds) == 1 else {}
    text = told(found.type, ())[0] if isinstance(found.type, type) else ""
    return {**kind, "enum": values, **({"description": text} if text else {})}


def _union(found: Shape, where: str, book: Book) -> Schema:
    branches: list[Schema] = []
    for each in members(found.type, where):
        written = _written(each, where, book)
        if written not in branches:
            branches.append(written)
    return {} if {} in branches else branches[0] if len(branches) == 1 else {"anyOf": branches}


def _array(found: Shape, where: str, book: Book) -> Schema:
    items = _written(found.parts[0], f"{where}[]", book)
    unique = {"uniqueItems": True} if found.type in (set, frozenset) else {}
    return {"type": "array", "items": items, **unique}


def _tuple(found: Shape, where: str, book: Book) -> Schema:
    items = [_written(each, at(where, index), book) for index, each in enumerate(found.parts)]
    count = {"minItems": len(items), "maxItems": len(items)}
    if all(each == items[0] for each in items):  # a form that more providers know
        return {"type": "array", "items": items[0], **count}
    return {"type": "array", "prefixItems": items, "items": False, **count}


def _map(found: Shape, where: str, book: Book) -> Schema:
    key, value = found.parts
    names = _keys(key, where, book)
    values = _written(value, f"{where}[]", book)
    return {"type": "object", "additionalProperties": values or True, **({"propertyNames": names} if names else {})}


def _keys(tp: Any, where: str, book: Book) -> Schema:
    """What the keys of a mapping must look like: they are text in JSON, whatever they are in Python."""
    kind = bare(tp, where).kind
    if kind in ("string", "any"):
        return {key: value for key, value in _written(tp, where, book).items() if key not in ("type", "description")}
    if kind == "integer":
        return {"pattern": "^-?(0|[1-9][0-9]*)$"}
    written = _written(tp, where, book)
    if kind in ("date-time", "date", "time", "uuid", "path") or (kind == "choice" and written.get("type") == "string"):
        return {key: value for key, value in written.items() if key not in ("type", "description")}
    raise BadSchema(f"{where or named(tp)}: keys of type {named(tp)} cannot be written in JSON; use str")


def _record(found: Shape, where: str, book: Book) -> Schema:
    name, new = book.name(found.type, where)
    if new:
        cls = getattr(found.type, "__origin__", found.type)
        body = _object(fields(found.type, where), where or cls.__name__, book)
        text = told(cls, ())[0]
        book.definitions[name] = {**body, "description": text} if text else body
    return {"$ref": _REF.format(name)}


def _object(found: Iterable[Field], where: str, book: Book) -> Schema:
    found = tuple(found)
    return {
        "type": "object",
        "properties": {each.name: _property(each, at(where, each.name), book) for each in found},
        "required": [each.name for each in found if each.required],
        "additionalProperties": False,
    }


def _property(field: Field, where: str, book: Book) -> Schema:
    written = _written(field.type, where, book)
    if field.description:
        written = {**written, "description": field.description}
    default = field.default
    if isinstance(default, FACTORY):
        return {**written, "default": default.factory()} if default.factory in (list, dict) else written
    try:
        return written if field.required else {**written, "default": unstructured(default)}
    except Misfit:  # a default that JSON cannot tell; the function knows it
        return written


def _model(found: Shape, where: str, book: Book) -> Schema:
    """A pydantic model, described by pydantic; its own definitions get names that are free here."""
    name, new = book.name(found.type, where)
    if new:
        suffix, written, own = "", _asked(found.type, where, ""), book.definitions
        del own[name]  # free for pydantic, which may want the same
        while any(own.get(f"{key}{suffix}", each) != each for key, each in written.get("$defs", {}).items()):
            suffix = str(int(suffix or 1) + 1)
            written = _asked(found.type, where, suffix)
        inner = {f"{key}{suffix}": each for key, each in written.pop("$defs", {}).items()}
        book.foreign |= inner.keys()
        own |= {name: written, **inner}
    return {"$ref": _REF.format(name)}


def _asked(cls: Any, where: str, suffix: str) -> Schema:
    try:
        written: Schema = cls.model_json_schema(ref_template=_REF.format("{model}") + suffix)
    except Exception as error:
        raise BadSchema(f"{where or cls.__name__}: pydantic cannot describe {cls.__name__}: {error}") from error
    return written


def _alias(found: Shape, where: str, book: Book) -> Schema:
    bare(found.type, where)  # or it never ends
    name, new = book.name(found.type, where)
    if new:
        book.definitions[name] = _written(found.parts[0], where, book)
    return {"$ref": _REF.format(name)}


def _narrowed(found: Shape, where: str, book: Book) -> Schema:
    (inner,) = found.parts
    under = bare(inner, where)
    kinds = {bare(each).kind for each in members(under.type)} if under.kind == "union" else {under.kind}
    text = words(found.notes)
    return {
        **_written(inner, where, book),
        **keywords(found.notes, frozenset(kinds)),
        **({"description": text} if text else {}),
    }


_WRITERS: Final[Mapping[str, Callable[[Shape, str, Book], Schema]]] = MappingProxyType(
    {
        "choice": _choice,
        "union": _union,
        "array": _array,
        "tuple": _tuple,
        "map": _map,
        "record": _record,
        "model": _model,
        "alias": _alias,
        "narrowed": _narrowed,
    }
)
_SIMPLE: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "any": {},
        "null": {"type": "null"},
        "boolean": {"type": "boolean"},
        "integer": {"type": "integer"},
        "number": {"type": "number"},
        "string": {"type": "string"},
        "date-time": {"type": "string", "format": "date-time"},
        "date": {"type": "string", "format": "date"},
        "time": {"type": "string", "format": "time"},
        "duration": {"type": "string", "format": "duration"},
        "decimal": {"anyOf": [{"type": "number"}, {"type": "string", "pattern": texts.DECIMAL}]},
        "uuid": {"type": "string", "format": "uuid"},
        "bytes": {"type": "string", "contentEncoding": "base64"},
        "path": {"type": "string"},
    }
)

"""JSON Schema to JSON Schema: with definitions put in place, or as strict modes want it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

__all__ = ["Schema", "inlined", "strict"]

Schema = dict[str, Any]

_MAPS: Final = frozenset({"properties", "$defs", "patternProperties"})
_LISTS: Final = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
_ONES: Final = frozenset({"items", "additionalProperties", "propertyNames", "contains", "not"})
_REF: Final = "#/$defs/"


def inside(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas directly inside *schema*."""
    for key, value in schema.items():
        if key in _MAPS:
            yield from value.values()
        elif key in _LISTS:
            yield from value
        elif key in _ONES and isinstance(value, Mapping):
            yield value


def mapped(schema: Mapping[str, Any], change: Callable[[Any], Any]) -> Schema:
    """*schema*, the schemas directly inside it changed."""

    def one(key: str, value: Any) -> Any:
        if key in _MAPS:
            return {name: change(each) for name, each in value.items()}
        if key in _LISTS:
            return [change(each) for each in value]
        return change(value) if key in _ONES and isinstance(value, Mapping) else value

    return {key: one(key, value) for key, value in schema.items()}


def referred(schema: Mapping[str, Any]) -> Iterator[str]:
    """The definitions that *schema* refers to, each as often as it does."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield reference.removeprefix(_REF)
    for each in inside(schema):
        yield from referred(each)


def inlined(schema: Schema, definitions: Mapping[str, Schema], kept: Collection[str] = ()) -> Schema:
    """*schema*, with the *definitions* that are used once put where they are used, and the others under `$defs`.

    What contains itself stays a definition, and so does what is *kept*; the top level is never a mere reference.

    >>> inlined({"$ref": "#/$defs/A"}, {"A": {"type": "object", "title": "A"}})
    {'type': 'object', 'title': 'A'}
    """
    edges = {name: Counter(referred(each)) for name, each in definitions.items()}
    uses = sum(edges.values(), Counter(referred(schema)))
    once = {name for name in definitions if uses[name] == 1 and name not in kept and name not in _reached(name, edges)}

    def put(each: Mapping[str, Any]) -> Schema:
        name = each.get("$ref", "").removeprefix(_REF) if isinstance(each.get("$ref"), str) else ""
        if name not in once:
            return mapped(each, put)
        return {**put(definitions[name]), **{key: value for key, value in each.items() if key != "$ref"}}

    whole = put(schema)
    rest = {name: put(each) for name, each in definitions.items() if name not in once}
    if isinstance(whole.get("$ref"), str):
        whole = {**rest[whole["$ref"].removeprefix(_REF)], **{k: v for k, v in whole.items() if k != "$ref"}}
    used = _reached("", {"": set(referred(whole)), **{name: set(referred(each)) for name, each in rest.items()}})
    left = {name: each for name, each in rest.items() if name in used}
    return {**whole, "$defs": left} if left else whole


def _reached(start: str, edges: Mapping[str, Collection[str]]) -> set[str]:
    """The definitions that *start* leads to, whether directly or not."""
    found: set[str] = set()
    todo = list(edges[start])
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(edges.get(name, ()))
    return found


_UNSUPPORTED: Final = frozenset(
    "patternProperties propertyNames prefixItems allOf oneOf not contains if dependentRequired".split()
)
_DROPPED: Final = frozenset(
    {"default", "title", "uniqueItems", "minLength", "maxLength", "minProperties", "maxProperties", "contentEncoding"}
)
_FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})


def strict(schema: Mapping[str, Any]) -> Schema:
    """*schema* as strict modes want it: every property required, optional ones nullable; empty if it has no such form.

    `null` then stands for leaving a property out, and `structured` and `arguments` take it so. Keywords that strict
    modes refuse and that only narrow a value are left out: the value is checked against its type in any case.

    >>> strict({"type": "object", "properties": {"n": {"type": "integer", "default": 3}}})
    {'type': 'object', 'properties': {'n': {'anyOf': [{'type': 'integer'}, {'type': 'null'}], 'description':
     'null: the default, 3'}}, 'required': ['n'], 'additionalProperties': False}
    >>> strict({"type": "object", "additionalProperties": {"type": "integer"}})
    {}
    """
    return _tight(schema) if schema.get("type") == "object" and _fit(schema) else {}


def _fit(schema: Mapping[str, Any]) -> bool:
    """Whether every part of *schema* has a strict form."""
    if schema.keys() & _UNSUPPORTED or not schema.keys() & {"type", "anyOf", "enum", "const", "$ref"}:
        return False
    kind, more = schema.get("type"), schema.get("additionalProperties", "properties" not in schema)
    if (kind == "object" and more) or (kind == "array" and "items" not in schema):
        return False
    return all(map(_fit, inside(schema)))


def _tight(schema: Mapping[str, Any]) -> Schema:
    kept = {key: value for key, value in schema.items() if key not in _DROPPED}
    if isinstance(kept.get("$ref"), str):
        return {key: value for key, value in kept.items() if key in ("$ref", "$defs")}
    if kept.get("format", "uuid") not in _FORMATS:
        del kept["format"]
    found = mapped(kept, _tight)
    if found.get("type") != "object":
        return found
    needed = schema.get("required", ())
    given = schema.get("properties", {})
    properties = {
        name: each if name in needed else _nullable(each, given[name])
        for name, each in found.get("properties", {}).items()
    }
    return {**found, "properties": properties, "required": list(properties), "additionalProperties": False}


def _nullable(schema: Schema, original: Mapping[str, Any]) -> Schema:
    """*schema*, or `null` in place of its default; where `null` is a value of its own, it stays that."""
    rest = {key: value for key, value in schema.items() if key != "description"}
    branches = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
    if {"type": "null"} in branches or None in schema.get("enum", ()):
        return schema
    text = schema.get("description", "")
    if "default" in original:
        remark = f"null: the default, {json.dumps(original['default'], ensure_ascii=False)}"
        text = f"{text} ({remark})" if text else remark
    return {"anyOf": [*branches, {"type": "null"}], **({"description": text} if text else {})}

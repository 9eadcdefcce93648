"""JSON Schema as Gemini takes it: what it does not know is put in other words, or left out where it only narrows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from arshai_kit._json import dumps, loads

__all__ = ["reduced"]

_KNOWN: Final = frozenset(
    """
    $id $defs $ref $anchor type format title description enum items prefixItems minItems maxItems minimum maximum anyOf
    oneOf properties additionalProperties required propertyOrdering
    """.split()
)
_MAPS: Final = frozenset({"properties", "$defs"})
_LISTS: Final = frozenset({"anyOf", "oneOf", "prefixItems"})
_ONES: Final = frozenset({"items", "additionalProperties"})
_LISTED: Final = (str, int, float)
"""What an `enum` may list; a bool, which is an int to Python, it may not."""


def reduced(schema: Mapping[str, Any]) -> dict[str, Any]:
    """*schema*, as Gemini takes it; a value that is too wide for the rest is found out when it is read.

    >>> reduced({"type": "object", "properties": {"kind": {"const": "a", "default": "a"}}, "patternProperties": {}})
    {'type': 'object', 'properties': {'kind': {'enum': ['a']}}}
    >>> reduced({"$ref": "#/$defs/A", "description": "The first."})
    {'$ref': '#/$defs/A'}
    """
    found: dict[str, Any] = loads(_reduced(dumps(schema)))
    return found


@lru_cache(maxsize=256)
def _reduced(schema: bytes) -> bytes:
    """The same for every request, so it is made once."""
    return dumps(_known(loads(schema)))


def _known(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("$ref"), str):  # beside a reference nothing else may stand
        return {name: _inner(name, value) for name, value in schema.items() if name in ("$ref", "$defs")}
    schema = _merged(schema)
    found = {name: _inner(name, value) for name, value in schema.items() if name in _KNOWN}
    if "const" in schema:
        found["enum"] = [schema["const"]]
    if not _listable(found.get("enum", ())):
        found.pop("enum")
    return found


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    """*schema* with what all of `allOf` ask for, where that can be said in one."""
    found = dict(schema)
    for each in schema.get("allOf") or ():
        if isinstance(each, dict):
            found = {**_merged(each), **found}
    return found


def _inner(name: str, value: Any) -> Any:
    if name in _MAPS and isinstance(value, dict):
        return {key: _known(each) for key, each in value.items()}
    if name in _LISTS and isinstance(value, list):
        return [_known(each) for each in value]
    return _known(value) if name in _ONES else value


def _listable(values: Any) -> bool:
    return all(isinstance(each, _LISTED) and not isinstance(each, bool) for each in values)

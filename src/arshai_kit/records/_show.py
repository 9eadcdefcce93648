"""Records print short: only what differs from the default, long text cut, bytes and base64 counted."""

from __future__ import annotations

import re
from typing import Any

import attrs

__all__ = ["shown"]

_LONGEST = 80
_DENSE = re.compile(r"[A-Za-z0-9+/_-]{60}")
"""Base64, a key, a hash: long, and nothing that a person reads."""


def shown(self: Any) -> str:
    """What a record prints as: `TextDelta('Hello')`, `Image(<1,204 bytes>, media_type='image/png')`."""
    told: list[str] = []
    for place, spot in enumerate(attrs.fields(type(self))):
        value = getattr(self, spot.name)
        if spot.repr and not _default(self, spot, value):
            told.append(f"{spot.name}={_short(value)}" if place else _short(value))
    return f"{type(self).__name__}({', '.join(told)})"


def _default(self: Any, spot: Any, value: Any) -> bool:
    match spot.default:
        case attrs.Factory(factory=factory, takes_self=takes_self):  # type: ignore[misc]  # a function to the type checker
            return bool(value == (factory(self) if takes_self else factory()))
        case default:
            return value is default or (type(value) is type(default) and value == default)


def _short(value: Any) -> str:
    match value:
        case bytes():
            return f"<{len(value):,} bytes>"
        case str():
            return _text(value)
        case dict():
            return _cut(f"{{{', '.join([f'{key!r}: {_short(each)}' for key, each in value.items()])}}}", len(value))
        case tuple():
            inside = ", ".join([_short(each) for each in value])
            return _cut(f"({inside},)" if len(value) == 1 else f"({inside})", len(value))
    return repr(value)


def _text(value: str) -> str:
    if len(value) <= _LONGEST and not value.startswith("data:"):
        return f"<{len(value):,} characters>" if _DENSE.search(value) else repr(value)
    head, comma, _ = value.partition(",")
    if comma and value.startswith("data:") and len(head) < _LONGEST:
        return f"{head + comma!r}… ({len(value):,} characters)"
    start = value[:_LONGEST]
    return f"<{len(value):,} characters>" if _DENSE.search(start) else f"{start!r}… ({len(value):,} characters)"


def _cut(text: str, size: int) -> str:
    return text if len(text) <= 4 * _LONGEST else f"{text[: 4 * _LONGEST]}… ({size:,} items)"

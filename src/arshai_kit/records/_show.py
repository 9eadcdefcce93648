"""Records print short: only what differs from the default, long text cut, bytes counted."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["shown"]

_LONGEST = 80


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
        case str() if len(value) > _LONGEST:
            return f"{value[:_LONGEST]!r}… ({len(value):,} characters)"
        case dict() | tuple() if len(text := repr(value)) > 4 * _LONGEST:
            return f"{text[: 4 * _LONGEST]}… ({len(value):,} items)"
    return repr(value)

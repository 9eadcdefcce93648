"""What stands in a composition, as far as that can be seen: not in functions of yours."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import attrs

from arshai_kit._record import Record
from arshai_kit.agents.handing import HandOff
from arshai_kit.models import is_model
from arshai_kit.tools import Tool

__all__ = ["tools_within"]

_AGENTS: Final = frozenset({"agent", "agents", "default", "target"})
"""What the agents of a composition are called in its records; a function there may run whatever it likes."""
_MOST_LATE: Final = 100


def tools_within(agent: Any, *, late: bool) -> tuple[dict[str, Tool], bool]:
    """The tools of all in *agent*, by their names, and whether that is known to be all; *late* ones are made for it.

    >>> from arshai_kit import openai
    >>> from arshai_kit.agents.making import agent
    >>> tools_within(agent(openai("gpt-5.6-luna", api_key="sk-1"), tools=[]), late=False), tools_within(len, late=False)
    (({}, True), ({}, False))
    """
    found: dict[str, Tool] = {}
    left, seen, made, whole = deque([agent]), dict[int, Any](), 0, True
    while left:
        value = left.popleft()
        if id(value) in seen or is_model(value):
            continue
        seen[id(value)] = value
        match value:
            case Tool():
                found.setdefault(value.name, value)
                left.extend([value.function] if isinstance(value.function, Record) else [])
            case HandOff(late=True):
                made += 1
                behind = _made(value) if late and made <= _MOST_LATE else []
                whole = whole and bool(behind)
                left.extend(behind)
            case Record():
                left.extend(_held(value))
            case partial():
                left.append(value.func)
            case _:
                whole = False
    return found, whole


def _made(hand: HandOff) -> list[Any]:
    """The agent that *hand* leads to; none where it cannot be made: should it be its turn, it says so itself."""
    try:
        return [hand.agent()]
    except Exception:  # noqa: BLE001  # whatever a function of the user's raises
        return []


def _held(value: Any) -> Iterator[Any]:
    """The agents and the tools that the record *value* holds."""
    for spot in attrs.fields(type(value)):
        each = getattr(value, spot.name) if spot.init else None
        for one in each if isinstance(each, tuple) else (each,):
            if isinstance(one, Record) or (spot.name in _AGENTS and (callable(one) or hasattr(one, "plan"))):
                yield one

"""A call that comes in pieces: its arguments are told one place of the object after another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from arshai_kit.dialects.gemini._parts import call
from arshai_kit.models import written
from arshai_kit.records import ToolCall, ToolCallDelta

__all__ = ["Growing", "steps"]

_STEP: Final = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,9})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_DEEPEST: Final = 40


def steps(path: str) -> tuple[str | int, ...]:
    """The keys and places that *path*, a JSON path to one value, leads through.

    >>> steps("$.stops[0]['first name']")
    ('stops', 0, 'first name')
    """
    found: list[str | int] = []
    place = 1 if path.startswith("$") else -1
    while -1 < place < len(path):
        match = _STEP.match(path, place)
        if match is None:
            break
        plain, number, *quoted = match.groups()
        name = plain or next((each for each in quoted if each is not None), "")
        found.append(int(number) if number else re.sub(r"\\(.)", r"\1", name))
        place = match.end()
    if place != len(path) or not found or len(found) > _DEEPEST:
        raise ValueError(f"{path[:80]!r} is no path to an argument of a call")
    return tuple(found)


class Growing:
    """A call, closed once the provider says that nothing more of it comes."""

    __slots__ = ("_again", "_path", "_words", "args", "closed", "index", "rest", "wire")

    def __init__(self, index: int) -> None:
        self.index = index
        self.wire: dict[str, Any] = {}
        self.rest: dict[str, Any] = {}
        self.args: dict[str, Any] = {}
        self.closed: ToolCall | None = None
        self._path: tuple[str | int, ...] = ()
        self._words: list[str] = []
        self._again = False

    def goes_on_with(self, told: Mapping[str, Any]) -> bool:
        """Whether *told* is more of this call: it has no name of its own, or the same id."""
        key, name = told.get("id"), told.get("name")
        return not self.closed and (not name or bool(key and key == self.wire.get("id")))

    def add(self, told: Mapping[str, Any], rest: Mapping[str, Any]) -> None:
        """Add *told*, and the other keys of the part that it came in."""
        self.wire |= {name: value for name, value in told.items() if value not in (None, "") and name not in _READ}
        self.rest |= rest
        if "args" in told and told["args"] is not None:
            self._given(told["args"])
        pieces = told.get("partialArgs")
        for each in pieces if isinstance(pieces, list) else ():
            if isinstance(each, dict) and isinstance(self.args, dict):
                self._piece(each)

    def close(self, provider: str, *, news: bool) -> ToolCallDelta:
        """Close the call; *news* says that its name has not been told."""
        part = self.part()
        self.closed = call(part.pop("functionCall"), part, provider)
        return ToolCallDelta(self.index, self.closed.name if news else "", written(self.closed), self.closed)

    def part(self, *, cut: bool = False) -> dict[str, Any]:
        """The call as the part that it would be as a whole, or *cut* where it is."""
        self._flush()
        more = {"willContinue": True} if cut else {}
        return {"functionCall": {**self.wire, "args": self.args, **more}, **self.rest}

    def _given(self, args: Any) -> None:
        """Add *args* to those before; what is no object stays one that nobody can run."""
        if isinstance(self.args, dict) and isinstance(args, dict):
            self.args = {**self.args, **args}
        elif isinstance(self.args, dict):
            self.args, self._words = args, []

    def _piece(self, told: Mapping[str, Any]) -> None:
        path, value = steps(str(told.get("jsonPath"))), _value(told)
        words = isinstance(value, str) and "stringValue" in told
        if not (words and self._again and path == self._path):
            self._flush()
            self._path = path
        if words:
            self._words.append(value)
        else:
            _put(self.args, path, value)
        self._again = words and bool(told.get("willContinue"))

    def _flush(self) -> None:
        """Put the words of the last place where they belong."""
        if self._words:
            _put(self.args, self._path, "".join(self._words))
            if not self._again:
                self._words = []


_READ: Final = frozenset({"args", "partialArgs", "willContinue"})


def _value(told: Mapping[str, Any]) -> Any:
    """The one value that *told* brings, whatever its kind is called; a null is told as a word."""
    if "nullValue" in told:
        return None
    found = [value for name, value in told.items() if name.endswith("Value")]
    return found[0] if found else ""


def _put(args: dict[str, Any], path: tuple[str | int, ...], value: Any) -> None:
    """Put *value* where *path* leads in *args*."""
    spot: Any = args
    for key, after in pairwise(path):
        spot = _within(spot, key, [] if isinstance(after, int) else {})
    _within(spot, path[-1], value, over=True)


def _within(spot: Any, key: str | int, value: Any, *, over: bool = False) -> Any:
    """What is at *key* in *spot*: *value*, if there was nothing or it goes *over* what there was."""
    if isinstance(spot, list) and isinstance(key, int) and key <= len(spot):
        if key == len(spot):
            spot.append(value)
        elif over:
            spot[key] = value
        return spot[key]
    if isinstance(spot, dict) and isinstance(key, str):
        if over or key not in spot:
            spot[key] = value
        return spot[key]
    raise ValueError(f"an argument has no place {key!r} to be put in")

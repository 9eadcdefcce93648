"""Whose turn it is: one at a time for each key, first come first served, and never for longer than was said."""

from __future__ import annotations

from typing import Final

__all__ = ["GRACE", "Turns", "pause"]

GRACE: Final = 10.0
"""Who waits, and does not ask again for so many seconds beyond those that it was told, has gone."""

_FIRST: Final = 0.02
_LONGEST: Final = 0.5


def pause(place: int) -> float:
    """The seconds after which who stands at *place* of a line asks again.

    >>> pause(0), pause(1000)
    (0.02, 0.5)
    """
    return min(_LONGEST, _FIRST * (place + 1))


class _Line:
    """Who has the turn, until when, and who waits, each until when it is taken for gone."""

    __slots__ = ("holder", "until", "waiting")

    def __init__(self) -> None:
        self.holder = ""
        self.until = 0.0
        self.waiting: dict[str, float] = {}


class Turns:
    """The turns of many keys; *now* is given by whoever asks, on a clock that does not jump. Not safe across threads.

    >>> turns = Turns()
    >>> turns.enter("k", "a", 60, now=0.0), turns.enter("k", "b", 60, now=0.0) > 0
    (0.0, True)
    >>> turns.leave("k", "a")
    >>> turns.enter("k", "b", 60, now=0.1)
    0.0
    """

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def enter(self, key: str, own: str, seconds: float, *, now: float) -> float:
        """Give *own* the turn of *key* for *seconds*, if it is free; else the seconds after which to ask again."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        if line.holder != own and line.until > now:
            return _waits(line, own, now)
        if line.holder != own:
            _drop_gone(line, own, now)
            if line.waiting and next(iter(line.waiting)) != own:
                return _waits(line, own, now)
            line.waiting.pop(own, None)
        line.holder, line.until = own, now + seconds
        return 0.0

    def leave(self, key: str, own: str) -> None:
        """End the turn of *own*, or its waiting."""
        line = self._lines.get(key)
        if line is None:
            return
        line.waiting.pop(own, None)
        if line.holder == own:
            line.holder, line.until = "", 0.0
        if not line.waiting and not line.holder:
            del self._lines[key]


def _waits(line: _Line, own: str, now: float) -> float:
    """Let *own* stand in the line, where it stands already or at its end."""
    place = list(line.waiting).index(own) if own in line.waiting else len(line.waiting)
    seconds = pause(place)
    line.waiting[own] = now + seconds + GRACE
    return seconds


def _drop_gone(line: _Line, own: str, now: float) -> None:
    """Take whoever has gone from the head of the line."""
    while line.waiting:
        first, seen = next(iter(line.waiting.items()))
        if first == own or seen > now:
            return
        del line.waiting[first]

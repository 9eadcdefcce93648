"""A quota is never exceeded and never jumped: who comes first starts first, and nobody looks more often than helps."""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from operator import attrgetter, itemgetter
from threading import RLock
from typing import Any, ClassVar, Final, TypeAlias

from attrs import define

from arshai_kit.errors import Misuse
from arshai_kit.resilience.forks import free_in_forks

__all__ = ["GO", "Quota", "Told", "Turn", "checked_limits", "look_again", "paused"]

Turn: TypeAlias = tuple[float, float, str]
"""When to ask again (0: go), how long the wait is at the least, and which limit it is for."""
Told: TypeAlias = tuple[tuple[str, int, float], ...]
"""What a provider told of its own limits: requests or tokens, how many are left, and for how many seconds."""

GO: Final[Turn] = (0.0, 0.0, "")
MINUTE: Final = 60.0
SHORTEST: Final = 0.001
"""Seconds of the shortest wait: a clock of floats does not see much less."""
SOON: Final = 0.05
"""Seconds after which whoever waits for tokens that others may turn out not to need looks again, at the earliest."""
LATE: Final = 2.0
"""So many seconds after it was to ask again, nobody waits for one in the line any more."""


@define(slots=True, eq=False)
class _Waiter:
    number: int
    tokens: int
    paused: float = 0.0
    due: float = 0.0  # to have asked again
    there: bool = True


@define(slots=True, eq=False)
class _Start:
    at: float
    tokens: int
    runs: bool = True


_first: Final = itemgetter(0)
_number: Final = attrgetter("number")


class Quota:
    """How much may be asked, by whoever shares it: in any minute, and at the same time.

    Give the same one to several models (`limited(a, quota)`, `limited(b, quota)`) and they share its limits; threads
    and tasks may. Who waits in line and does not ask again in time, such as a stream that nobody reads, is passed by
    until it does. Its clock is monotonic; *clock* is another. What a pickle gives is as new: nothing runs, none wait;
    and so it is in a forked child, but for what has begun within the last minute.
    """

    in_memory: ClassVar[bool] = True

    def __init__(
        self,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        concurrent: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = checked_limits(requests_per_minute, tokens_per_minute, concurrent)
        self.clock = clock
        self._lock = RLock()  # a plan may be freed, and leave, while this very thread holds it
        self._number = 0
        self._waiting: dict[str, _Waiter] = {}
        self._line: list[_Waiter] = []  # those of them who are there, by their numbers
        self._looked = 0.0  # through the whole line for those who are late
        self._running: dict[str, _Start] = {}
        self._starts: deque[_Start] = deque()  # of the last minute
        self._spent = 0  # tokens of these
        self._left: dict[str, tuple[int, float]] = {}  # what the provider says is left, and until when
        self._held = 0.0  # nobody starts before
        self._seconds = 0.0  # that a call takes, about, once one has ended
        self._changed = 0.0  # a call began or ended
        free_in_forks(self)

    def __repr__(self) -> str:
        return f"Quota({', '.join(f'{name}={most}' for name, most in self.limits.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _quota, (self.limits,)

    @property
    def running(self) -> int:
        """How many calls are under way."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._waiting)

    def enter(self, key: str, tokens: int) -> Turn:
        """Start the call *key*, which may need *tokens*, or say when to ask again; it keeps its place in the line."""
        with self._lock:
            if key in self._running:
                return GO
            now = self._forgotten()
            waiter = self._waiting.get(key) or self._queued(key, tokens)
            self._in_line(waiter, now)
            turn = self._turn(waiter, now)
            if turn is GO:
                self._start(key, waiter, now)
            waiter.due = now + turn[0] + LATE
            return turn

    def settle(self, key: str, tokens: int | None, told: Told, hold: float | None) -> None:
        """End *key*, which used *tokens* (`None`: nobody knows); heed what the provider *told*, *hold* seconds back."""
        with self._lock:
            now = self._forgotten()
            if (start := self._running.get(key)) is not None:
                took = now - start.at
                self._seconds += (took - self._seconds) * (0.2 if self._seconds else 1.0)
                if tokens is not None:
                    self._spent += (tokens - start.tokens) * (start.at > now - MINUTE)
                    start.tokens = tokens
            for kind in {kind for kind, *_ in told}:
                self._left[kind] = min((left, now + reset) for each, left, reset in told if each == kind)
            self._held = max(self._held, now + (hold or 0.0))
            self._dropped(key)

    def leave(self, key: str) -> None:
        """End *key*, or give its place in the line back; never blocks, so a plan that is closed may call it."""
        with self._lock:
            self._dropped(key)

    def forked(self) -> None:
        """Be that of a forked child, where none of its parent's calls is."""
        self._lock = RLock()
        self._waiting, self._line, self._running = {}, [], {}
        for start in self._starts:
            start.runs = False
        self._spent = sum([start.tokens for start in self._starts])  # another thread may have been about to say so

    def _queued(self, key: str, tokens: int) -> _Waiter:
        most = self.limits.get("tokens_per_minute")
        self._number += 1
        waiter = self._waiting[key] = _Waiter(self._number, tokens if most is None else min(tokens, most))
        self._line.append(waiter)
        return waiter

    def _in_line(self, waiter: _Waiter, now: float) -> None:
        """Give *waiter* its place, and no place to who should have asked again long ago: it has it when it does."""
        waiter.due = now + LATE
        if not waiter.there:
            waiter.there = True
            insort(self._line, waiter, key=_number)
        if now >= self._looked + 1.0:
            self._looked = now
            late = [each for each in self._line if each.due <= now]
        else:  # those behind have a second more
            late = [each for each in self._line[:1] if each.due <= now]
        for each in late:
            each.there = False
        if late:
            self._line = [each for each in self._line if each.there]

    def _dropped(self, key: str) -> None:
        waiter = self._waiting.pop(key, None)
        if waiter is not None and waiter.there:
            del self._line[self._place(waiter)]
        if (start := self._running.pop(key, None)) is not None:
            start.runs = False
            self._changed = self.clock()

    def _place(self, waiter: _Waiter) -> int:
        return bisect_left(self._line, waiter.number, key=_number)

    def _start(self, key: str, waiter: _Waiter, now: float) -> None:
        self._dropped(key)
        self._changed = now
        start = self._running[key] = _Start(now, waiter.tokens)
        self._starts.append(start)
        self._spent += waiter.tokens
        for kind, used in (("requests", 1), ("tokens", waiter.tokens)):
            if kind in self._left:
                left, until = self._left[kind]
                self._left[kind] = left - used, until

    def _forgotten(self) -> float:
        """The time, with what is older than a minute forgotten."""
        now = self.clock()
        while self._starts and self._starts[0].at <= now - MINUTE:
            self._spent -= self._starts.popleft().tokens
        self._left = {kind: (left, until) for kind, (left, until) in self._left.items() if until > now}
        return now

    def _turn(self, waiter: _Waiter, now: float) -> Turn:
        """What *waiter* has to wait for: those before it are counted as if they had started."""
        place, own = self._place(waiter), waiter.tokens
        counts = "tokens_per_minute" in self.limits or "tokens" in self._left
        needed = own + (sum([each.tokens for each in self._line[:place]]) if counts else 0)
        fixed = max((self._held - now, "provider"), (self._for_requests(place, now), "requests_per_minute"), key=_first)
        told = max(self._for_provider("requests", place + 1, now), self._for_provider("tokens", needed, now))
        loose = max((self._for_tokens(needed, now), "tokens_per_minute"), (told, "provider"), key=_first)
        wait, limit = max(fixed, loose, key=_first)
        if wait > 0:
            least = max(fixed[0], told, self._for_tokens(own, now, back=self._to_come_back(now)), 0.0)
            return self._until_look(waiter, place, fixed[0], wait, now), least, limit
        if "concurrent" in self.limits and place >= self.limits["concurrent"] - len(self._running):
            return self._for_room(waiter, place, self.limits["concurrent"], now), 0.0, "concurrent"
        return GO

    def _until_look(self, waiter: _Waiter, place: int, fixed: float, wait: float, now: float) -> float:
        """When to look again: what is reserved may come back as soon as a call ends, or somebody leaves the line."""
        if fixed < wait and self._running:
            return min(paused(wait), max(self._for_room(waiter, place, len(self._running), now), SOON, fixed / 2))
        if fixed < wait and place:
            return min(paused(wait), max(1.0 + place / 2, fixed / 2))
        return paused(wait)

    def _to_come_back(self, now: float) -> int:
        """The tokens that calls which are under way may turn out not to need."""
        return sum([start.tokens for start in self._running.values() if start.at > now - MINUTE])

    def _for_requests(self, place: int, now: float) -> float:
        """Seconds until the start that makes room for who has so many before it is a minute old."""
        most = self.limits.get("requests_per_minute")
        if most is None or len(self._starts) + place < most:
            return 0.0
        minutes, index = divmod(len(self._starts) + place - most, most)
        start = self._starts[index].at if index < len(self._starts) else now
        return start + MINUTE * (minutes + 1) - now

    def _for_tokens(self, needed: int, now: float, *, back: int | None = None) -> float:
        """Seconds until *needed* tokens fit; at the least, where they are more than a minute has.

        With those that may come *back*, it is how long it takes if all of them do.
        """
        most = self.limits.get("tokens_per_minute", 0)
        over = self._spent + needed - most - (back or 0)
        if not most or over <= 0:
            return 0.0
        for start in self._starts:
            over -= 0 if start.runs and back is not None else start.tokens
            if over <= 0:
                return start.at + MINUTE - now
        return MINUTE * max(1, -(-needed // most) - 1)

    def _for_provider(self, kind: str, needed: int, now: float) -> float:
        left, until = self._left.get(kind, (needed, now))
        return until - now if left < needed else 0.0

    def _for_room(self, waiter: _Waiter, place: int, running: int, now: float) -> float:
        """When to look again whether a call has ended: often in front, seldom far behind, or while none ends."""
        waiter.paused = look_again(waiter.paused, place, running, max(self._seconds, now - self._changed))
        return waiter.paused


def _quota(limits: dict[str, int]) -> Quota:
    return Quota(**limits)  # type: ignore[arg-type]  # the clock is none of them


def checked_limits(requests: int | None, tokens: int | None, concurrent: int | None) -> dict[str, int]:
    """The limits that are given, each a whole number from 1.

    >>> checked_limits(60, None, 4)
    {'requests_per_minute': 60, 'concurrent': 4}
    """
    given = {"requests_per_minute": requests, "tokens_per_minute": tokens, "concurrent": concurrent}
    limits = {name: most for name, most in given.items() if most is not None}
    if not limits:
        raise Misuse("a quota limits something: give requests_per_minute=, tokens_per_minute= or concurrent=")
    for name, most in limits.items():
        if type(most) is not int or most < 1:
            raise Misuse(f"{name}= is a whole number from 1, not {most!r}")
    return limits


def paused(wait: float) -> float:
    """How long to sleep until the next look: half of a long *wait*, for somebody may leave the line.

    >>> paused(0.5), paused(60.0)
    (0.5, 30.0)
    """
    return max(wait, SHORTEST) if wait <= 1.0 else max(1.0, wait / 2)


def look_again(last: float, place: int, concurrent: int, seconds: float) -> float:
    """Seconds until who slept for *last* looks again from a *place* in the line, where calls take *seconds*.

    Twice as long as before at the most: after a moment in which all stood still, calls seem to take long.

    >>> look_again(0.0, 0, 4, 1.0) < look_again(1.0, 0, 4, 1.0) < look_again(1.0, 40, 4, 1.0)
    True
    """
    first = min(max(seconds / concurrent, SHORTEST), 0.1)
    return min(first + min(0.05 * place, place / concurrent * seconds / 2), max(2 * last, 0.005))

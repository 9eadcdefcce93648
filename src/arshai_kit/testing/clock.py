"""A clock that moves only when somebody waits for it: sleeping takes no time."""

from __future__ import annotations

from collections.abc import Generator
from threading import Lock
from typing import Any

from attrs import evolve

from arshai_kit.effects import Layer, Now, Open, Plan, Send, Sleep, Where
from arshai_kit.errors import Misuse
from arshai_kit.scope import Scope
from arshai_kit.testing._block import Block

__all__ = ["Clock", "clock"]


class Clock(Block):
    """A time that the test owns: *now* is in seconds since the epoch.

    Of the plans that sleep side by side, the one that wakes first moves the clock, and only when all of them wait.
    What runs in the world (a tool in its thread, a request on its way) takes the time that it takes: it is not
    waited for.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.now = start
        self._lock = Lock()
        self._turn = 0
        self._sleepers: dict[object, tuple[int, float]] = {}

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass."""
        if not seconds >= 0:
            raise Misuse(f"time does not go back: advance({seconds!r})")
        with self._lock:
            self.now += seconds

    def _changes(self, outer: Scope) -> dict[str, Any]:
        layer: Layer = {Now: self._on_now, Sleep: self._on_sleep, Send: self._on_request, Open: self._on_request}
        return {"layers": self._instead(outer, layer)}

    def _on_now(self, _effect: Now, _where: Where) -> Generator[Any, Any, float]:
        yield from ()
        return self.now

    def _on_request(self, effect: Send | Open, _where: Where) -> Plan[Any]:
        """The deadline of a request is on this clock; the world has its own."""
        world = yield from Now()
        return (yield from evolve(effect, until=effect.until - self.now + world))

    def _on_sleep(self, effect: Sleep, _where: Where) -> Plan[None]:
        """Wait until all others wait, again and again, until of all that sleep this one is to wake first."""
        me, wake = object(), self.now + effect.seconds
        try:
            since = self._seen(me, wake)
            while True:
                yield from Sleep(0.0)  # is answered when every plan of the run waits
                if self._is_first(me, wake, since):
                    return
                since = self._seen(me, wake)
        finally:
            with self._lock:
                self._sleepers.pop(me, None)

    def _seen(self, me: object, wake: float) -> int:
        """Note that *me* still sleeps: a sleeper of a run that has stopped is not seen again, and holds up nobody."""
        with self._lock:
            self._turn += 1
            self._sleepers[me] = self._turn, wake
            return self._turn

    def _is_first(self, me: object, wake: float, since: int) -> bool:
        with self._lock:
            others = [until for other, (turn, until) in self._sleepers.items() if other is not me and turn > since]
            if any(until < wake for until in others):
                return False
            self.now = max(self.now, wake)
            return True


def clock(start: float = 1_000_000_000.0) -> Clock:
    """Let the runs inside the block live on a clock of their own, where sleeping takes no time.

    >>> from arshai_kit import run
    >>> from arshai_kit.effects import Now, Sleep
    >>> def patient():
    ...     yield from Sleep(3600)
    ...     return (yield from Now())
    >>> def wait(): ...
    >>> wait.plan = patient
    >>> with clock(start=0.0) as time:
    ...     run(wait), time.now
    (3600.0, 3600.0)
    """
    return Clock(start)

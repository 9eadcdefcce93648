"""A turn is taken for a short while and renewed while it lasts: a process that was killed holds up nobody for long."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, RLock, Thread
from time import monotonic
from typing import Final

from arshai_kit._threads import started, workers
from arshai_kit.resilience.forks import free_in_forks

__all__ = ["Renewals", "renewals"]

_AT_ONCE: Final = 90.0
_EVERY: Final = 30.0

Renew = Callable[[float], bool]
"""Takes a turn for so many seconds more; false where there is nothing to renew any more."""


class Renewals:
    """Has turns of this process renewed by workers, *every* so many seconds, for at most *at_once*.

    One thread looks after all of them, as long as there are any; what lasts for less than a look costs no question.
    """

    def __init__(self, *, at_once: float = _AT_ONCE, every: float = _EVERY) -> None:
        self.at_once, self.every = at_once, every
        self.forked()
        free_in_forks(self)

    def forked(self) -> None:
        """Look after nothing: turns are a parent's, and no thread of its is in a forked child."""
        self._lock = RLock()  # a plan may be freed, and its turn end, while this very thread holds it
        self._held: dict[object, tuple[float, float, Renew]] = {}
        self._looks = False

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, turn: object, seconds: float, renew: Renew) -> None:
        """Have *turn* renewed until it is let go, for at most *seconds* in all; never blocks for long."""
        now = monotonic()
        with self._lock:
            self._held[turn] = now, now + seconds, renew
            starts, self._looks = not self._looks, True
        if starts and not started(Thread(target=self._look, name="arshai-kit renewals", daemon=True)):
            self._looks = False  # the process ends, and its turns with it

    def let_go(self, turn: object) -> None:
        """Have *turn* renewed no more."""
        with self._lock:
            self._held.pop(turn, None)

    def _look(self) -> None:
        never = Event()
        while True:
            never.wait(self.every)
            with self._lock:
                held = self._held.copy()
                if not held:
                    self._looks = False
                    return
            now = monotonic()
            for turn, (since, until, renew) in held.items():
                if now >= since + self.every / 2:  # else it is renewed at the next look, which is early enough
                    self._renew(turn, until - now, renew)

    def _renew(self, turn: object, seconds: float, renew: Renew) -> None:
        def job() -> None:
            if not renew(min(seconds, self.at_once)):
                self.let_go(turn)

        if seconds <= 0:
            self.let_go(turn)
        else:
            workers().run(job)


_OF_PROCESS: Final = Renewals()


def renewals() -> Renewals:
    """Those of this process."""
    return _OF_PROCESS

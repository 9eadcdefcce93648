"""Equal questions asked at the same time make one call: one leads, the others follow, and nobody waits for ever."""

from __future__ import annotations

import os
from threading import RLock
from typing import Any, Final, TypeAlias

from arshai_kit.effects import Emit, Instant, Now, Plan, Sleep
from arshai_kit.records import Event
from arshai_kit.resilience.forks import free_in_forks

__all__ = ["Flights", "Seat", "awaited", "followed"]

News: TypeAlias = tuple[bool, str | None, int, int]
"""Whether the leader has ended, what it was answered, which telling it is in the midst of, and how many follow."""

_LEADERS: Final = 2
"""Who has followed so many in vain asks for itself: who is down would be asked by one after the other."""
_STUCK: Final = 1.0
"""So many seconds in the midst of one telling, and whoever reads the leader's stream may be waiting for us."""


class _Flight:
    __slots__ = ("followers", "over", "paused", "text", "told")

    def __init__(self) -> None:
        self.text: str | None = None
        self.over = False
        self.followers = 0
        self.told = 0
        self.paused = False


class Seat:
    """Somebody who asks what *key* stands for; as the leader of a flight or as a follower, once that is known."""

    __slots__ = ("flight", "key", "leads", "left", "place")

    def __init__(self, key: str) -> None:
        self.key = key
        self.place = os.getpid(), key  # what a forked process has inherited will never land there
        self.flight: _Flight | None = None
        self.leads = False
        self.left = False

    def hear(self, events: tuple[Event, ...]) -> Plan[None]:
        """Tell *events* on; meanwhile the leader stands still, for as long as its listener wants."""
        flight = self.flight if self.leads else None
        if flight is not None:
            flight.told += 1
            flight.paused = True
        yield from Emit(events)
        if flight is not None:
            flight.paused = False


class Flights:
    """Which questions are being asked; threads, tasks and event loops of one process share it."""

    def __init__(self) -> None:
        self._lock = RLock()  # a plan may be freed, and leave, while this very thread holds it
        self._flying: dict[tuple[int, str], _Flight] = {}
        free_in_forks(self)

    def __repr__(self) -> str:
        return f"Flights({len(self._flying)} under way)"

    def __reduce__(self) -> tuple[Any, ...]:
        return Flights, ()

    def forked(self) -> None:
        """Be those of a forked child, where none of its parent's calls is."""
        self._lock = RLock()
        self._flying = {}

    def board(self, seat: Seat) -> bool:
        """Whether *seat* follows another who asks the same; else it leads, also in place of one that it gave up."""
        with self._lock:
            if seat.left:  # it was cancelled before a worker came to this
                return False
            flight = self._flying.get(seat.place)
            if flight is None or flight is seat.flight:
                flight = self._flying[seat.place] = _Flight()
                seat.leads = True
            else:
                flight.followers += 1
            seat.flight = flight
            return not seat.leads

    def news(self, seat: Seat) -> News:
        """How far the leader of *seat* is."""
        flight = seat.flight or _Flight()
        return flight.over, flight.text, flight.told if flight.paused else 0, flight.followers

    def land(self, seat: Seat, text: str | None = None) -> None:
        """*seat* is done, answered with *text* if it was; never blocks, so a plan that is closed may call it."""
        with self._lock:
            flight = seat.flight
            if not seat.left and seat.leads and flight is not None:
                flight.text, flight.over = text, True
                if self._flying.get(seat.place) is flight:
                    del self._flying[seat.place]
            seat.left = True


def followed(flights: Flights, seat: Seat, patience: float) -> Plan[str | None]:
    """What another was answered who asks the same right now; `None` when *seat* has to ask.

    A leader that fails, is cancelled, or stands still hands over to who looks first, and so does one that takes longer
    than *patience* seconds.
    """
    for _ in range(_LEADERS):
        if not (yield from Instant(flights.board, seat)):
            return None
        text = yield from awaited(flights, seat, patience)
        if text is not None:
            return text
    return None


def awaited(flights: Flights, seat: Seat, patience: float) -> Plan[str | None]:
    """What the leader of *seat* was answered, if it is; looked for the less often, the longer it takes."""
    began = since = yield from Now()
    stood = 0
    while True:
        over, text, mark, followers = yield from Instant(flights.news, seat)
        now = yield from Now()
        if mark != stood:
            stood, since = mark, now
        if over or now - began >= patience or (mark and now - since >= _STUCK):
            return text
        yield from Sleep(max(0.01, min(0.25, (now - began) / 10), followers / 2000))

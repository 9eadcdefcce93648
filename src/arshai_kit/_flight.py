"""What is under way in a run: the bookkeeping that the drivers share. It performs nothing that could block."""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Final

from attrs import evolve

from arshai_kit._threads import Background
from arshai_kit.effects import Call, Channel, Now, Open, Plan, Random, Read, Sleep, Spawn
from arshai_kit.errors import Misuse
from arshai_kit.machine import Machine, Task, Turn
from arshai_kit.records import Event
from arshai_kit.scope import current, default_limits, enter, owner

__all__ = ["INSTANT", "Flight", "Flights", "Line", "is_async", "left_behind"]


class Flight:
    """An effect that has been asked for and not been answered; *over* says that nobody wants the answer any more."""

    __slots__ = ("break_off", "effect", "foreign", "over", "task")

    def __init__(self, task: Task, effect: Any) -> None:
        self.task = task
        self.effect = effect
        self.over = False
        self.foreign = False
        self.break_off: Callable[[], Any] | None = None


class Line:
    """A streamed reply that is being read: *quiet* is when its silence becomes too long, *until* its deadline."""

    __slots__ = ("exchange", "fuse", "quiet", "timeout", "until")

    def __init__(self, exchange: Any, fuse: Any, timeout: float, until: float) -> None:
        self.exchange = exchange
        self.fuse = fuse
        self.timeout = timeout
        self.quiet = time.monotonic() + timeout
        self.until = until

    def limit(self, effect: Read) -> float:
        """How long this read may take, on the clock of `time.monotonic`."""
        if effect.heard:
            self.quiet = time.monotonic() + self.timeout
        return min(self.quiet, self.until)


class Flights:
    """The state of one run; only its consumer touches it."""

    def __init__(self, plan: Plan[Any], *, listening: bool) -> None:
        self.scope = scope = current()
        self.recorder = None if scope.world is None else scope.world.recorder()
        self.machine = Machine(
            plan, layers=scope.layers, tags=scope.tags, listening=listening, naming=scope.world is not None
        )
        self.limits = scope.limits or default_limits()
        self.epoch = time.time() - time.monotonic()  # what makes the monotonic clock tell the time of day
        self.flying: dict[Task, Flight] = {}
        self.pending: deque[Flight] = deque()
        self.held: deque[Flight] = deque()
        self.arrived: deque[tuple[Flight, Any, BaseException | None]] = deque()
        self.timers: list[tuple[float, int, Flight]] = []
        self.lines: dict[int, Line] = {}
        self.told: deque[Event] = deque()
        self.spawned = False
        self.counted = 0
        self.foreign = 0
        self.closed = False

    def add(self, task: Task, effect: Any) -> Flight:
        """Note that *effect* is wanted."""
        flight = self.flying[task] = Flight(task, effect)
        return flight

    def launch(self, fly: Callable[[Flight], None]) -> None:
        """Answer what takes no time, set timers, and let *fly* give the rest to others, as many as may fly at a time."""
        while self.pending:
            flight = self.pending.popleft()
            effect = flight.effect
            kind = type(effect)
            if flight.over:
                continue
            if kind in INSTANT:
                self.land(flight, INSTANT[kind](self, flight.task, effect), None)
            elif kind is Sleep:
                self.timer(effect.seconds, flight)
            elif kind is not Call:
                fly(flight)
            elif self.foreign >= self.limits.max_threads:
                self.held.append(flight)
            else:
                flight.foreign = True
                self.foreign += 1
                if effect.seconds is not None:
                    self.timer(effect.seconds, flight)
                fly(flight)

    def timer(self, seconds: float, flight: Flight) -> None:
        """Ring for *flight* in *seconds*."""
        self.counted += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds, self.counted, flight))

    def patience(self) -> float | None:
        """Seconds until the next timer rings; `None` if none will."""
        while self.timers and self.timers[0][2].over:
            heapq.heappop(self.timers)
        return None if not self.timers else max(0.0, self.timers[0][0] - time.monotonic())

    def ring(self) -> None:
        """Let the next timer ring: a sleeper wakes, a call that overran is answered and left behind."""
        flight = heapq.heappop(self.timers)[2]
        if flight.over:
            return
        if type(flight.effect) is Sleep:
            self.land(flight, None, None)
        else:
            call = flight.effect
            self.land(flight, None, TimeoutError(f"{call.name} took longer than {call.seconds:g} s"))
            self.abandon(flight)

    def land(self, flight: Flight, value: Any, error: BaseException | None) -> None:
        """Note the answer to *flight*, to be delivered when every plan waits."""
        self.release(flight)
        if self.flying.get(flight.task) is flight:
            del self.flying[flight.task]
        self.arrived.append((flight, value, error))

    def release(self, flight: Flight) -> None:
        """*flight* is over; a foreign call that was held back may fly."""
        flight.over = True
        if flight.foreign:
            self.foreign -= 1
            if self.held:
                self.pending.append(self.held.popleft())

    def deliver(self) -> Turn | None:
        """Deliver the answer that arrived first, if one is still wanted."""
        while self.arrived:
            flight, value, error = self.arrived.popleft()
            if flight.task.frames:
                return self.hand_over(flight.task, flight.effect, value, error)
        if not self.flying and not self.pending:
            raise Misuse("a plan waits for something that nobody will answer")
        return None

    def hand_over(self, task: Task, effect: Any, value: Any, error: BaseException | None) -> Turn:
        """Give the machine one answer; what is no ordinary error ends the run."""
        if error is not None and not isinstance(error, Exception):
            raise error
        if self.recorder is not None:
            self.recorder(task.path, effect, value, error)
        return self.machine.turn(task, value, error)

    def news(self) -> tuple[Event, ...]:
        """What the background has told since."""
        news = tuple(self.told)
        self.told.clear()
        return news

    def open_line(self, task: Task, effect: Open, exchange: Any, fuse: Any) -> Channel:
        """Note that *exchange* answers *effect*; it is closed with the plan that asked."""
        self.counted += 1
        channel = Channel(self.counted, exchange.status, exchange.headers)
        self.lines[channel.number] = Line(exchange, fuse, effect.request.timeout, effect.until - self.epoch)
        self.machine.opened(task, channel)
        return channel

    def dropped(self) -> list[Line]:
        """Break off what the machine has cancelled; the lines that it has closed are for the driver to drop."""
        lines: list[Line] = []
        while self.machine.dropped:
            what, thing = self.machine.dropped.popleft()
            if what == "channel":
                if (line := self.lines.pop(thing.number, None)) is not None:
                    lines.append(line)
            elif (flight := self.flying.pop(thing, None)) is not None:
                self.release(flight)
                self.abandon(flight)
        return lines

    def abandon(self, flight: Flight) -> None:
        """Break *flight* off; a function that runs in a thread cannot be: it is left behind, and counted."""
        if flight.break_off is not None:
            flight.break_off()
        elif flight.foreign:
            _left.count += 1

    def context(self, task: Task) -> Any:
        """The context that a foreign function is called in: a copy of the plan's."""
        context = task.context.copy()
        if self.scope.world is not None:  # what a foreign function does is part of its own answer
            context.run(enter, evolve(self.scope, world=None))
        return context


class _LeftBehind:
    count = 0


_left = _LeftBehind()


def left_behind() -> int:
    """How many functions this process has left running in their threads, because they overran or were cancelled."""
    return _left.count


def is_async(function: Any) -> bool:
    """Whether calling *function* gives something to await."""
    while isinstance(function, partial):
        function = function.func
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(type(function), "__call__", None))


def _now(flights: Flights, _task: Task, _effect: Now) -> float:
    return flights.epoch + time.monotonic()


def _random(_flights: Flights, _task: Task, _effect: Random) -> float:
    return random.random()  # noqa: S311  # chance, not secrets


def _spawn(flights: Flights, task: Task, effect: Spawn) -> None:
    background: Background = owner(flights.scope)
    flights.spawned = True
    flights.spawn(background, task, effect)  # type: ignore[attr-defined]  # each driver has its own


INSTANT: Final[dict[type, Callable[[Any, Task, Any], Any]]] = {Now: _now, Random: _random, Spawn: _spawn}

"""What is under way in a run: the bookkeeping that the drivers share. It performs nothing that could block."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from inspect import CO_COROUTINE, isawaitable, iscoroutine, iscoroutinefunction
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

from attrs import evolve

from arshai_kit import _wire
from arshai_kit._steps import Steps, its_own
from arshai_kit._threads import Background, workers
from arshai_kit.effects import Call, Channel, Close, Instant, Now, Open, Plan, Random, Read, Request, Sleep, Spawn
from arshai_kit.errors import Misuse
from arshai_kit.machine import EVENTS, OVER, Machine, Task, Turn
from arshai_kit.records import Event, Finished, Response
from arshai_kit.scope import current, default_limits, enter, owner

__all__ = [
    "INSTANT",
    "Answer",
    "Flight",
    "Flights",
    "Line",
    "is_async",
    "left_behind",
    "perform",
    "to_await",
    "work",
]

# No wait is longer, for there is a longest that a system can be asked for; then we look at the clock again.
_DAY: Final = 86_400.0
_CANCELLED: Final = float("-inf")

Answer = Callable[["Flight", Any, BaseException | None], None]


class Flight:
    """An effect that has been asked for and not been answered.

    *over* says that nobody wants its answer any more, *done* that whoever performs it has finished; *scope* is what
    cancels it in an event loop, once it has begun there, *threaded* says that it is a worker's, *awaitable* is what a
    sync function has returned to be awaited, *line* what is read.
    """

    __slots__ = ("awaitable", "break_off", "done", "effect", "foreign", "line", "over", "scope", "task", "threaded")

    def __init__(self, task: Task, effect: Any) -> None:
        self.task = task
        self.effect = effect
        self.over = False
        self.done = False
        self.foreign = False
        self.threaded = False
        self.scope: Any = None
        self.awaitable: Any = None
        self.line: Line | None = None
        self.break_off: Callable[[], Any] | None = None

    async def awaited(self) -> Any:
        """What the call gives that has to be awaited."""
        call = self.effect
        return await (call.function(*call.args, **call.kwargs) if self.awaitable is None else self.awaitable)

    def cancel(self) -> None:
        """Cancel what is performed in an event loop, or is yet to begin there; called in that loop."""
        if self.scope is None:
            discard(self.awaitable)
        else:
            self.scope.cancel()


class Line:
    """A streamed reply that is being read: *quiet* is when its silence becomes too long, *until* its deadline.

    *reader* is the flight that uses it, if one does: whoever reads a line closes it when nobody wants it any more.
    """

    __slots__ = ("exchange", "fuse", "quiet", "reader", "timeout", "until")

    def __init__(self, exchange: Any, fuse: Any, timeout: float, until: float) -> None:
        self.exchange = exchange
        self.fuse = fuse
        self.reader: Flight | None = None
        self.timeout = timeout
        self.quiet = time.monotonic() + timeout
        self.until = until

    def limit(self, effect: Read) -> float:
        """How long this read may take, on the clock of `time.monotonic`."""
        if effect.heard:
            self.quiet = time.monotonic() + self.timeout
        return min(self.quiet, self.until)


class Lines(dict[int, Line]):
    """The streamed replies of a run that are open, by the number of their channel."""

    def __missing__(self, number: int) -> Line:
        raise Misuse("this reply is closed: the plan that opened it has ended or closed it")


class Flights:
    """The state of one run; only its consumer touches it."""

    def __init__(self, plan: Plan[Any], *, listening: bool) -> None:
        self.scope = scope = current()
        self.recorder = None if scope.world is None else scope.world.recorder()
        self.wire = _wire.logger()
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
        self.lines = Lines()
        self.told: deque[Event] = deque()
        self.spawned = False
        self.counted = 0
        self.foreign = 0
        self.closed = False

    def asked(self, request: Request) -> None:
        """Log a request that is about to be sent, if anybody listens."""
        if self.wire is not None:
            _wire.asked(self.wire, request)

    def add(self, task: Task, effect: Any) -> Flight:
        """Note that *effect* is wanted."""
        flight = self.flying[task] = Flight(task, effect)
        return flight

    def launch(self, fly: Callable[[Flight], None]) -> None:
        """Answer what takes no time, set timers, and let *fly* give the rest to others, as many as may fly."""
        while True:
            if self.held and self.foreign < self.limits.max_threads:
                flight = self.held.popleft()
            elif self.pending:
                flight = self.pending.popleft()
            else:
                return
            if flight.over:
                continue
            try:
                self._begin(flight, fly)
            except Exception as error:  # noqa: BLE001  # what cannot even begin has failed
                flight.done = True
                discard(flight.awaitable)
                self.land(flight, None, error)

    def _begin(self, flight: Flight, fly: Callable[[Flight], None]) -> None:
        effect = flight.effect
        kind = type(effect)
        if kind in INSTANT:
            self.land(flight, INSTANT[kind](self, flight.task, effect), None)
        elif kind is Sleep:
            self.timer(effect.seconds, flight)
        elif kind is Close and effect.channel.number not in self.lines:
            self.land(flight, None, None)
        elif kind is not Call or flight.foreign or flight.awaitable is not None:
            fly(flight)
        else:
            self._call(flight, fly)

    def _call(self, flight: Flight, fly: Callable[[Flight], None]) -> None:
        """Let *fly* call a function, unless as many threads as there may be are busy; an async one needs none."""
        effect = flight.effect
        if not is_async(effect.function):
            if self.foreign >= self.limits.max_threads:
                self.held.append(flight)
                return
            flight.foreign = True
            self.foreign += 1
        if isinstance(effect.function, Steps):
            self.own(flight.task, effect.function)
        if effect.seconds is not None:
            self.timer(effect.seconds, flight)
        fly(flight)

    def timer(self, seconds: float, flight: Flight) -> None:
        """Ring for *flight* in *seconds*."""
        self.counted += 1
        heapq.heappush(self.timers, (time.monotonic() + max(0.0, seconds), self.counted, flight))

    def patience(self) -> float | None:
        """Seconds until the next timer rings, none if it should have rung; `None` if none will."""
        while self.timers and self.timers[0][2].over:
            heapq.heappop(self.timers)
        return None if not self.timers else min(self.timers[0][0] - time.monotonic(), _DAY)

    def ring(self) -> None:
        """Let the next timer ring, if it is time: a sleeper wakes, a call that overran is answered and left behind."""
        patience = self.patience()
        if patience is None or patience > 0:
            return
        flight = heapq.heappop(self.timers)[2]
        if type(flight.effect) is Sleep:
            self.land(flight, None, None)
        else:
            call = flight.effect
            self.land(flight, None, TimeoutError(f"{call.name} took longer than {call.seconds:g} s"))
            self.abandon(flight)

    def land(self, flight: Flight, value: Any, error: BaseException | None) -> None:
        """Note the answer to *flight*, to be delivered when every plan waits; until then it is still under way."""
        self.release(flight)
        self.arrived.append((flight, value, error))

    def release(self, flight: Flight) -> None:
        """*flight* is over, and makes room for a foreign call that was held back."""
        flight.over = True
        if flight.foreign:
            self.foreign -= 1

    def deliver(self) -> Turn | None:
        """Deliver the answer that arrived first, if one is still wanted."""
        while self.arrived:
            flight, value, error = self.arrived.popleft()
            flight.break_off = None  # it may be the flight's own, which then would hold itself
            if self.flying.get(flight.task) is flight:
                del self.flying[flight.task]
                return self.hand_over(flight.task, flight.effect, value, error)
        if not self.flying:
            raise Misuse("a plan waits for something that nobody will answer")
        return None

    def hand_over(self, task: Task, effect: Any, value: Any, error: BaseException | None) -> Turn:
        """Give the machine one answer; what is no ordinary error ends the run."""
        if error is not None and not isinstance(error, Exception):
            raise error
        if self.wire is not None:
            _wire.answered(self.wire, effect, value, error)
        if self.recorder is not None:
            self.recorder(task.path, effect, value, error)
        return self.machine.turn(task, value, error)

    def due(self, what: str, payload: Any) -> bool:
        """Whether news are told now: when every plan waits or before the last event, where a replay finds it."""
        if what is EVENTS:
            return type(payload[-1]) is Finished
        return what is not OVER and not self.machine.ready

    def news(self) -> tuple[Event, ...]:
        """What the background has told since, from whatever thread."""
        news = tuple([self.told.popleft() for _ in range(len(self.told))])
        if self.recorder is not None:
            self.recorder("", None, news, None)
        return news

    def open_line(self, task: Task, effect: Open, exchange: Any, fuse: Any) -> Channel:
        """Note that *exchange* answers *effect*; it is closed with the plan that asked."""
        self.counted += 1
        channel = Channel(self.counted, exchange.status, exchange.headers)
        self.lines[channel.number] = Line(exchange, fuse, effect.request.timeout, effect.until - self.epoch)
        self.machine.opened(task, channel)
        return channel

    def own(self, task: Task, steps: Steps) -> None:
        """Note that a generator is closed with the plan that asked for its steps."""
        if not steps.owned:
            steps.owned = True
            steps.context = self.context(task)
            self.machine.opened(task, steps)

    def dropped(self) -> list[Line | Steps]:
        """Break off what the machine has cancelled; what it has closed is for the driver to drop."""
        things: list[Line | Steps] = []
        while self.machine.dropped:
            what, thing = self.machine.dropped.popleft()
            if what == "task":
                if (flight := self.flying.pop(thing, None)) is not None and not flight.over:
                    self.release(flight)
                    self.abandon(flight)
            elif isinstance(thing, Steps):
                if not thing.over:
                    things.append(thing)
            elif (line := self.lines.pop(thing.number, None)) is not None:
                things.append(line)
        return things

    def abandon(self, flight: Flight) -> None:
        """Break *flight* off; a function that runs in a thread cannot be: it is left behind, and counted.

        What an event loop has been given is for that loop alone to touch: it may be about to begin.
        """
        if flight.break_off is None:
            discard(flight.awaitable)
        if flight.threaded:
            left = workers().left_behind
            left.add(flight)
            if flight.done:
                left.discard(flight)
        if flight.break_off is not None:
            flight.break_off()

    def abandon_all(self) -> None:
        """Break off whatever is under way: the run is over."""
        self.closed = True
        for flight in self.flying.values():
            if not flight.over:
                flight.over = True
                self.abandon(flight)
        self.flying.clear()

    def context(self, task: Task) -> Any:
        """The context that a foreign function is called in: a copy of the plan's."""
        context = task.context.copy()
        if self.scope.world is not None:  # what a foreign function does is part of its own answer
            context.run(enter, evolve(self.scope, world=None))
        return context


def work(flight: Flight, perform: Callable[[], Any], answer: Answer) -> None:
    """Perform *flight* in a worker and hand in what it gives; nothing is raised in the worker."""
    value, error = None, None
    try:
        value = perform()
    except BaseException as raised:  # noqa: BLE001  # SystemExit too is for the consumer, which decides what it means
        error = its_own(flight.effect, raised)
    flight.done = True
    workers().left_behind.discard(flight)
    if flight.over:
        discard(value)
    answer(flight, value, error)


async def perform(flight: Flight, begin: Callable[[], Awaitable[Any]], answer: Answer) -> None:
    """Perform *flight* in an event loop and hand in what it gives; nothing but being cancelled is raised there."""
    from anyio import CancelScope

    if flight.over:  # cancelled before it began
        return
    try:
        with CancelScope() as flight.scope:
            value, error = await _attempted(flight, begin)
        if flight.scope.cancelled_caught:
            return
    except Exception as raised:  # noqa: BLE001  # it has left a scope open that it had entered
        value, error = None, raised
    answer(flight, value, error)


async def _attempted(flight: Flight, begin: Callable[[], Awaitable[Any]]) -> tuple[Any, BaseException | None]:
    """What *flight* gives, or what goes wrong with it."""
    from anyio import current_effective_deadline, get_cancelled_exc_class

    try:
        return await begin(), None
    except get_cancelled_exc_class():
        if current_effective_deadline() == _CANCELLED:
            raise
        return None, RuntimeError(f"{flight.effect!r} cancelled itself")
    except BaseException as raised:  # noqa: BLE001  # as in `work`
        return None, its_own(flight.effect, raised)
    finally:
        flight.done = True


def discard(value: Any) -> None:
    """Be done with an awaitable that nobody will await."""
    if iscoroutine(value):
        with suppress(RuntimeError, ValueError):
            value.close()


def left_behind() -> int:
    """How many workers of this process are busy with what nobody waits for, because it overran or was cancelled."""
    return len(workers().left_behind)


def is_async(function: Any) -> bool:
    """Whether calling *function* gives something to await."""
    plain = function.__func__ if type(function) is MethodType else function
    if type(plain) is FunctionType and not plain.__dict__:  # there it could be marked as async
        return bool(plain.__code__.co_flags & CO_COROUTINE)
    if type(plain) is BuiltinFunctionType:
        return False
    while isinstance(function, partial):
        function = function.func
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004  # not whether, but which


_NOTHING_TO_AWAIT: Final = frozenset({str, Response, type(None), bool, int, float, bytes, tuple, list, dict})


def to_await(value: Any) -> bool:
    """Whether *value* is to be awaited; of what functions mostly give, that is known at once."""
    return type(value) not in _NOTHING_TO_AWAIT and isawaitable(value)


def _now(flights: Flights, _task: Task, _effect: Now) -> float:
    return flights.epoch + time.monotonic()


def _random(_flights: Flights, _task: Task, _effect: Random) -> float:
    from random import random  # it imports much: only when chance is asked for

    return random()  # noqa: S311  # chance, not secrets


def _spawn(flights: Flights, task: Task, effect: Spawn) -> None:
    background: Background = owner(flights.scope)
    flights.spawned = True
    flights.spawn(background, task, effect)  # type: ignore[attr-defined]  # each driver has its own


def _instant(_flights: Flights, _task: Task, effect: Instant[Any]) -> Any:
    return effect.function(*effect.args, **effect.kwargs)


INSTANT: Final[dict[type, Callable[[Any, Task, Any], Any]]] = {
    Now: _now,
    Random: _random,
    Spawn: _spawn,
    Instant: _instant,
}

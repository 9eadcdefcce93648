"""The driver that blocks: performs what the machine asks for, in the caller's thread when nothing else is under way.

*Inline iff alone*: an effect that has no company is performed right here. With company, exchanges and foreign calls go
to workers, and this thread waits on one queue for whatever comes first: bytes, a tool's result, a timer.

Read `_flight` first: what both drivers know of an effect under way is there. `Run._turns` is the whole of a run.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from arshai_kit import _transport
from arshai_kit._flight import INSTANT, Flight, Flights, Line, discard, is_async, perform, to_await, work
from arshai_kit._steps import PATIENCE, AsyncSteps, Steps, its_own, settle
from arshai_kit._threads import (
    Background,
    at_exit,
    background_log,
    outside,
    process_background,
    shared_loop,
    soon,
    workers,
)
from arshai_kit.effects import Call, Close, Halt, Open, Outcome, Plan, Read, Reply, Send, Spawn
from arshai_kit.errors import Misuse
from arshai_kit.machine import EVENTS, IDLE, WORK, Task, Turn
from arshai_kit.records import Event
from arshai_kit.scope import Limits

__all__ = ["drive"]

T = TypeVar("T")

NO_OUTCOME: Outcome[Any] = Outcome()

_own: Final[dict[Limits, _transport.Transport]] = {}
"""The connections that this process shares between the runs with the same limits."""


class Run(Flights):
    """One run, driven by blocking. Workers touch nothing of it but its queue."""

    def __init__(self, plan: Plan[Any], *, listening: bool) -> None:
        super().__init__(plan, listening=listening)
        self.queue: SimpleQueue[Any] = SimpleQueue()
        self.outcome: Outcome[Any] = NO_OUTCOME

    def events(self) -> Generator[tuple[Event, ...], None, None]:
        """Drive the run to its outcome, handing out events as they come."""
        replayed = None if self.scope.world is None else self.scope.world.replay(self.machine)
        try:
            self.outcome = yield from self._turns() if replayed is None else replayed
        except Halt as halt:
            raise halt.error from halt.error.__cause__
        finally:
            self.close()

    def _turns(self) -> Generator[tuple[Event, ...], None, Outcome[Any]]:
        machine, flying, told = self.machine, self.flying, self.told
        what, task, payload = machine.turn()
        while True:
            if machine.dropped:
                self._drop(self.dropped())
            if self.spawned and not self.queue.empty():
                self._hear()
            if told and self.due(what, payload):
                yield self.news()
            if what is WORK:
                if flying or machine.ready:
                    self.pending.append(self.add(task, payload))
                    what, task, payload = machine.turn()
                else:
                    what, task, payload = self._alone(task, payload)
            elif what is EVENTS:
                yield payload
                what, task, payload = machine.turn()
            elif what is IDLE:
                what, task, payload = self._together()
            else:
                return payload  # type: ignore[no-any-return]  # the machine ends with an Outcome

    def _alone(self, task: Task, effect: Any) -> Turn:
        """Perform the only effect under way, right here."""
        inline = _INLINE.get(type(effect))
        if inline is None:
            return self._called(task, effect)
        value, error = None, None
        try:
            value = inline(self, task, effect)
        except Exception as raised:  # noqa: BLE001  # whatever it is, it is the plan's to answer
            error = raised
        return self.hand_over(task, effect, value, error)

    def _called(self, task: Task, effect: Any) -> Turn:
        """Call a sync function right here; whatever else it is, others perform it."""
        value, error = None, None
        if _is_plain(effect):
            function = effect.function
            if isinstance(function, Steps):
                self.own(task, function)
            try:
                value = self.context(task).run(function, *effect.args, **effect.kwargs)
            except BaseException as raised:
                error = its_own(effect, raised)
                if not isinstance(error, Exception):
                    raise
            if not to_await(value):
                return self.hand_over(task, effect, value, error)
        flight = self.add(task, effect)
        flight.awaitable = value
        self.pending.append(flight)
        return self._together()

    def _together(self) -> Turn:
        """Every plan waits: give the work away, then deliver whatever comes first."""
        if len(self.pending) == len(self.flying) == 1:
            flight = self.pending[0]
            if type(flight.effect) in _INLINE or (flight.awaitable is None and _is_plain(flight.effect)):
                self.pending.clear()
                self.flying.clear()
                return self._alone(flight.task, flight.effect)
        while True:
            self.launch(self._fly)
            if (turn := self.deliver()) is not None:
                return turn
            self._wait()
            if self.told:
                return EVENTS, None, self.news()

    def _wait(self) -> None:
        """Take the next answer from the queue, and let the next timer ring if it is time."""
        patience = self.patience()
        with suppress(Empty):
            self._take(self.queue.get(timeout=patience if patience is None else max(0.0, patience)))
        self.ring()

    def _hear(self) -> None:
        """Take what the background has to tell."""
        with suppress(Empty):
            while True:
                self._take(self.queue.get_nowait())

    def _take(self, answer: Any) -> None:
        if type(answer) is not tuple:
            self.told.append(answer)
            return
        flight, value, error = answer
        if flight.over:
            self._dispose(flight, value)
        elif type(flight.effect) is Open and error is None:
            self.land(flight, self.open_line(flight.task, flight.effect, *value), None)
        elif type(flight.effect) is Call and flight.awaitable is None and to_await(value):
            flight.awaitable, flight.done, flight.threaded = value, False, False
            self.pending.append(flight)
        else:
            self.land(flight, value, error)

    # Giving work away

    def _fly(self, flight: Flight) -> None:
        effect = flight.effect
        performed: Callable[[], Any]
        match effect:
            case Call() if flight.awaitable is not None or is_async(effect.function):
                self._begin_awaiting(flight)
                return
            case Call():
                context = outside(self.context(flight.task))
                performed = functools.partial(context.run, effect.function, *effect.args, **effect.kwargs)
            case Read() | Close():
                performed = self._reading(flight, self.lines[effect.channel.number])
            case Send() | Open():
                fuse = _transport.Fuse()
                flight.break_off = fuse.blow
                performed = functools.partial(_SENDING[type(effect)], self, effect, fuse)
            case _:
                raise Misuse(f"no driver knows how to perform {type(effect).__name__}")
        flight.threaded = True
        workers().run(functools.partial(work, flight, performed, self.answer))

    def _reading(self, flight: Flight, line: Line) -> Callable[[], Any]:
        line.reader, flight.line, flight.break_off = flight, line, line.fuse.blow
        if type(flight.effect) is Read:
            return functools.partial(line.exchange.read, line.limit(flight.effect))
        del self.lines[flight.effect.channel.number]
        return line.exchange.finish  # type: ignore[no-any-return]  # a line is untyped for both worlds

    def _begin_awaiting(self, flight: Flight) -> None:
        """Have an async function awaited on the event loop that all sync code shares."""
        loop = shared_loop()
        if loop is None:
            from anyio import run

            run(perform, flight, flight.awaited, self.answer)
            return
        if loop.here():
            raise Misuse("an async function called a blocking one that wants its event loop; await the one in aio")
        settle(flight.effect.function, loop.group)
        flight.threaded = False
        flight.break_off = functools.partial(soon, loop.home, flight.cancel)
        loop.start(self.context(flight.task), perform, flight, flight.awaited, self.answer)

    def answer(self, flight: Flight, value: Any, error: BaseException | None) -> None:
        """Hand in an answer, from any thread."""
        self.queue.put((flight, value, error))
        if self.closed:
            self._sweep()

    # Endings

    def _drop(self, things: Sequence[Line | Steps]) -> None:
        """Drop what is not needed any more; generators are closed side by side, and not waited for for long."""
        with ExitStack() as dropping:  # each, whatever goes wrong with another
            for thing in things:
                if not isinstance(thing, Steps):
                    dropping.callback(_drop_line, thing)
        until = time.monotonic() + PATIENCE
        for closed in [_closing(thing) for thing in things if isinstance(thing, Steps)]:
            closed.wait(max(0.0, until - time.monotonic()))

    def _dispose(self, flight: Flight, value: Any) -> None:
        """Drop what arrived too late."""
        if type(flight.effect) is Open and value is not None:
            value[0].close()
        elif flight.line is not None:
            flight.line.exchange.close()
        else:
            discard(value)

    def close(self) -> None:
        """End the run: break off what is under way, close the plans, drop the connections."""
        self.abandon_all()
        try:
            self.machine.close()
        finally:
            self._sweep()
            if self.lines or self.machine.dropped:
                self._drop((*self.dropped(), *self.lines.values()))

    def _sweep(self) -> None:
        """Dispose of the answers that came after the end."""
        with suppress(Empty):
            while not self.queue.empty():
                answer = self.queue.get_nowait()
                if type(answer) is tuple:
                    self._dispose(*answer[:2])

    def spawn(self, background: Background, task: Task, effect: Spawn) -> None:
        """Run a plan in a worker of its own, owned by *background*."""
        in_background(background, effect, self.context(task), self.queue.put)


def in_background(background: Background, effect: Spawn, context: Any, tell: Callable[[Event], Any]) -> None:
    """Drive the plan of *effect* in a worker; a failure is logged, and told to whoever is still streaming."""
    number = background.add(effect.name)
    if not number:  # its block has ended this very moment
        background = process_background()
        number = background.add(effect.name)

    def job() -> None:
        try:
            outside(context).run(lambda: drive(effect.make_plan()))
        except BaseException as error:  # noqa: BLE001  # nobody waits for it
            report(effect, error, tell)
        finally:
            background.remove(number)

    try:
        workers().run(job)
    except RuntimeError:  # no thread can be had
        background.remove(number)
        raise


def report(effect: Spawn, error: BaseException, tell: Callable[[Event], Any]) -> None:
    """Tell what failed in the background to whoever is still streaming, and log it, whatever becomes of the telling."""
    try:
        if effect.failed is not None:
            tell(effect.failed(error if isinstance(error, Exception) else RuntimeError(repr(error))))
    except Exception as untold:  # noqa: BLE001  # what makes the event is foreign, and nobody waits for it
        background_log().error("%s: its failure could not be told", effect.name, exc_info=untold)
    background_log().error("%s failed in the background", effect.name, exc_info=error)


# What is not needed any more


def _drop_line(line: Line) -> None:
    """Drop a reply; a worker that still reads it is woken, and drops it."""
    line.fuse.blow()
    if line.reader is None or line.reader.done:
        line.exchange.close()


def _closing(steps: Steps) -> threading.Event:
    """Have a generator closed where its steps were performed; set once it is, or at once if nobody waits for that."""
    closed = threading.Event()
    steps.left = closed.set
    if isinstance(steps, AsyncSteps):
        loop = shared_loop()
        if loop is not None:
            loop.start(steps.context.copy(), steps.aclose)
        if loop is None or loop.here():
            closed.set()
    elif steps.busy:
        closed.set()  # its worker closes it, and may be busy for long
    elif steps.thread == threading.get_ident():
        steps.close()
    else:
        steps.close_in_worker()
    return closed


# Performing leaf effects


def _transport_of(run: Run) -> _transport.Transport:
    scope, limits = run.scope, run.limits
    client = scope.async_client if scope.client is None else scope.client
    if client is not None:  # also one of the other world, which is refused: nobody goes past it unasked
        return _transport.sync_transport(client, limits)
    return _own.get(limits) or _made(limits)


def _made(limits: Limits) -> _transport.Transport:
    """The connections for *limits*. Two threads may both make some; those of the later one are dropped unused."""
    made = _transport.sync_transport(None, limits)
    kept = _own.setdefault(limits, made)
    if kept is made:
        at_exit(made.close)
    return kept


def _send(run: Run, effect: Send, fuse: _transport.Fuse | None = None) -> Reply:
    run.asked(effect.request)
    return _transport_of(run).send(effect.request, effect.until - run.epoch, fuse)


def _open(run: Run, effect: Open, fuse: _transport.Fuse) -> tuple[_transport.Line, _transport.Fuse]:
    run.asked(effect.request)
    return _transport_of(run).open(effect.request, effect.until - run.epoch, fuse), fuse


def _read(run: Run, _task: Task, effect: Read) -> bytes:
    line = run.lines[effect.channel.number]
    return line.exchange.read(line.limit(effect))  # type: ignore[no-any-return]  # lazily imported


def _close(run: Run, _task: Task, effect: Close) -> None:
    line = run.lines.pop(effect.channel.number, None)
    if line is not None:
        line.exchange.finish()


_SENDING: dict[type, Callable[..., Any]] = {Send: _send, Open: _open}
_INLINE: dict[type, Callable[[Any, Task, Any], Any]] = {
    **INSTANT,
    Send: lambda run, _task, effect: _send(run, effect),
    Open: lambda run, task, effect: run.open_line(task, effect, *_open(run, effect, _transport.Fuse())),
    Read: _read,
    Close: _close,
}


def _is_plain(effect: Any) -> bool:
    """Whether *effect* is the call of a sync function that may take its time."""
    return type(effect) is Call and effect.seconds is None and not is_async(effect.function)


# Runs


def drive(plan: Plan[T]) -> T:
    """The result of *plan*, by blocking."""
    run = Run(plan, listening=False)
    deque(run.events(), maxlen=0)  # nobody listens
    return run.outcome.unwrap()  # type: ignore[no-any-return]  # the Outcome of a Plan[T]

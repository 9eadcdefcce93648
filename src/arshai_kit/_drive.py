"""The driver that blocks: performs what the machine asks for, in the caller's thread when nothing else is under way.

*Inline iff alone*: an effect that has no company is performed right here. With company, exchanges and foreign calls go
to workers, and this thread waits on one queue for whatever comes first: bytes, a tool's result, a timer.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, suppress
from inspect import isawaitable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar

from arshai_kit import _transport
from arshai_kit._flight import INSTANT, Flight, Flights, Line, discard, is_async, perform, work
from arshai_kit._threads import Background, at_exit, background_log, outside, shared_loop, soon, workers
from arshai_kit.effects import Call, Close, Halt, Open, Outcome, Plan, Read, Reply, Send, Spawn
from arshai_kit.errors import Misuse
from arshai_kit.machine import EVENTS, IDLE, WORK, Task, Turn
from arshai_kit.records import Event
from arshai_kit.scope import Limits

__all__ = ["Blocking", "Stream", "Streaming", "blocking", "drive", "streaming"]

P = ParamSpec("P")
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
                for line in self.dropped():
                    self._drop(line)
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
            try:
                value = self.context(task).run(effect.function, *effect.args, **effect.kwargs)
            except Exception as raised:  # noqa: BLE001  # as above
                error = raised
            if not isawaitable(value):
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
        elif type(flight.effect) is Call and flight.awaitable is None and isawaitable(value):
            flight.awaitable, flight.done = value, False
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
        if loop.thread == threading.get_ident():
            raise Misuse("an async function called a blocking one that wants its event loop; await the one in aio")
        flight.threaded = False
        flight.break_off = functools.partial(soon, loop.home, flight.cancel)
        loop.start(self.context(flight.task), perform, flight, flight.awaited, self.answer)

    def answer(self, flight: Flight, value: Any, error: BaseException | None) -> None:
        """Hand in an answer, from any thread."""
        self.queue.put((flight, value, error))
        if self.closed:
            self._sweep()

    # Endings

    def _drop(self, line: Line) -> None:
        """Drop a reply that is not needed any more; a worker that still reads it is woken, and drops it."""
        line.fuse.blow()
        if line.reader is None or line.reader.done:
            line.exchange.close()

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
            if self.lines:
                with ExitStack() as dropping:  # each, whatever goes wrong with another
                    for line in self.lines.values():
                        dropping.callback(self._drop, line)

    def _sweep(self) -> None:
        """Dispose of the answers that came after the end."""
        with suppress(Empty):
            while True:
                answer = self.queue.get_nowait()
                if type(answer) is tuple:
                    self._dispose(*answer[:2])

    def spawn(self, background: Background, task: Task, effect: Spawn) -> None:
        """Run a plan in a worker of its own, owned by *background*."""
        in_background(background, effect, self.context(task), self.queue.put)


def in_background(background: Background, effect: Spawn, context: Any, tell: Callable[[Event], Any]) -> None:
    """Drive the plan of *effect* in a worker; a failure is logged, and told to whoever is still streaming."""
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
    """Log what failed in the background, and tell it to whoever is still streaming."""
    background_log().error("%s failed in the background", effect.name, exc_info=error)
    if effect.failed is not None:
        tell(effect.failed(error if isinstance(error, Exception) else RuntimeError(repr(error))))


# Performing leaf effects


def _transport_of(run: Run) -> _transport.Transport:
    client, limits = run.scope.client, run.limits
    if client is not None:
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


# Faces


def drive(plan: Plan[T]) -> T:
    """The result of *plan*, by blocking."""
    run = Run(plan, listening=False)
    deque(run.events(), maxlen=0)  # nobody listens
    return run.outcome.unwrap()  # type: ignore[no-any-return]  # the Outcome of a Plan[T]


class Stream:
    """The events of a run, as they happen; leaving it early ends the run.

    Iterate it, in a `with` block if you may leave early and keep a reference to it, or `close()` it.
    """

    def __init__(self, plan: Plan[Any]) -> None:
        self._events = _told(Run(plan, listening=True))

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """End the run: the connection is closed, and what was started is cancelled."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _told(run: Run) -> Generator[Event, None, None]:
    with closing(run.events()) as events:
        for batch in events:
            yield from batch
    run.outcome.unwrap()


class Blocking(Generic[P, T]):
    """A plan's blocking face: calling it runs *plan* to its end."""

    def __init__(self, plan: Callable[P, Plan[T]]) -> None:
        functools.update_wrapper(self, plan)
        self.plan = plan

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return drive(self.plan(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<function {self.plan.__name__}>"

    def __reduce__(self) -> str:
        return self.plan.__qualname__  # pickled by its name, like any function


class Streaming(Generic[P]):
    """A plan's streaming face: calling it gives the events of *plan* as they happen."""

    def __init__(self, plan: Callable[P, Plan[Any]]) -> None:
        functools.update_wrapper(self, plan)
        self.plan = plan

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Stream:
        return Stream(self.plan(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<function {self.plan.__name__}>"

    def __reduce__(self) -> str:
        return self.plan.__qualname__  # as above


blocking = Blocking
streaming = Streaming

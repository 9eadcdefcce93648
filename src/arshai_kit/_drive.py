"""The driver that blocks: performs what the machine asks for, in the caller's thread when nothing else is under way.

*Inline iff alone*: an effect that has no company is performed right here. With company, exchanges and foreign calls go
to workers, and this thread waits on one queue for whatever comes first: bytes, a tool's result, a timer.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from inspect import isawaitable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar

from arshai_kit import _transport
from arshai_kit._flight import INSTANT, Flight, Flights, Line, is_async
from arshai_kit._threads import Background, portal, workers
from arshai_kit.effects import Call, Close, Halt, Open, Outcome, Plan, Read, Reply, Send, Spawn
from arshai_kit.machine import EVENTS, IDLE, WORK, Task, Turn
from arshai_kit.records import Event
from arshai_kit.scope import Limits


__all__ = ["Blocking", "Stream", "Streaming", "blocking", "drive", "streaming"]

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("arshai_kit.background")


class Run(Flights):
    """One run, driven by blocking. Workers touch nothing of it but its queue."""

    def __init__(self, plan: Plan[Any], *, listening: bool) -> None:
        super().__init__(plan, listening=listening)
        self.queue: SimpleQueue[Any] = SimpleQueue()

    def events(self) -> Generator[tuple[Event, ...], None, Outcome[Any]]:
        """Drive the run to its outcome, handing out events as they come."""
        replayed = None if self.scope.world is None else self.scope.world.replay(self.machine)
        try:
            return (yield from self._turns() if replayed is None else replayed)
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
            if told:
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
        perform = _INLINE.get(type(effect))
        if perform is None or (type(effect) is Call and (effect.seconds is not None or is_async(effect.function))):
            self.pending.append(self.add(task, effect))
            return self._together()
        try:
            value = perform(self, task, effect)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the plan's to answer
            return self.hand_over(task, effect, None, error)
        if type(effect) is Call and isawaitable(value):
            self.pending.append(self.add(task, Call(_itself, value)))
            return self._together()
        return self.hand_over(task, effect, value, None)

    def _together(self) -> Turn:
        """Every plan waits: give the work away, then deliver whatever comes first."""
        if len(self.pending) == 1 and len(self.flying) == 1 and self._inline(self.pending[0]):
            flight = self.pending.popleft()
            del self.flying[flight.task]
            return self._alone(flight.task, flight.effect)
        while True:
            self.launch(self._fly)
            if (turn := self.deliver()) is not None:
                return turn
            self._wait()
            if self.told:
                return EVENTS, None, self.news()

    def _inline(self, flight: Flight) -> bool:
        effect = flight.effect
        return type(effect) in _INLINE and not (
            type(effect) is Call and (effect.seconds is not None or is_async(effect.function))
        )

    def _wait(self) -> None:
        """Take the next answer from the queue, or let the next timer ring."""
        try:
            self._take(self.queue.get(timeout=self.patience()))
        except Empty:
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
            _dispose(value)
        elif type(flight.effect) is Open and error is None:
            self.land(flight, self.open_line(flight.task, flight.effect, *value), None)
        else:
            self.land(flight, value, error)

    # Giving work away

    def _fly(self, flight: Flight) -> None:
        effect, task = flight.effect, flight.task
        match effect:
            case Call() if effect.function is _itself or is_async(effect.function):
                self._await(flight)
                return
            case Call():
                context = self.context(task)
                perform = functools.partial(context.run, effect.function, *effect.args, **effect.kwargs)
            case Read():
                line = self.lines[effect.channel.number]
                flight.break_off = functools.partial(_break_line, line)
                perform = functools.partial(line.exchange.read, line.limit(effect))
            case Send() | Open():
                fuse = _transport.Fuse()
                flight.break_off = fuse.blow
                perform = functools.partial(_SENDING[type(effect)], self, effect, fuse)
            case _:
                perform = functools.partial(_INLINE[type(effect)], self, task, effect)
        workers().run(functools.partial(self._work, flight, perform))

    def _work(self, flight: Flight, perform: Callable[[], Any]) -> None:
        value, error = None, None
        try:
            value = perform()
        except BaseException as raised:  # noqa: BLE001  # the consumer decides what it means
            error = raised
        if type(flight.effect) is Call and isawaitable(value):
            flight.effect = Call(_itself, value)
            self._await(flight)
        else:
            self.answer(flight, value, error)

    def _await(self, flight: Flight) -> None:
        """Have an async function awaited on the shared background loop."""
        effect = flight.effect

        async def awaited() -> None:
            value, error = None, None
            try:
                value = await (
                    effect.args[0] if effect.function is _itself else effect.function(*effect.args, **effect.kwargs)
                )
            except BaseException as raised:  # noqa: BLE001  # SystemExit too is for the consumer, not for the loop
                error = _cancelled(raised, effect)
            self.answer(flight, value, error)

        future = self.context(flight.task).run(portal().start_task_soon, awaited)
        flight.break_off = future.cancel

    def answer(self, flight: Flight, value: Any, error: BaseException | None) -> None:
        """Hand in an answer, from any thread."""
        self.queue.put((flight, value, error))
        if self.closed:
            self._sweep()

    # Endings

    def _drop(self, line: Line) -> None:
        """Drop a reply that is not needed any more; a worker that still reads it is woken first."""
        line.fuse.blow()
        line.exchange.close()

    def close(self) -> None:
        """End the run: break off what is under way, close the plans, drop the connections."""
        if self.closed:
            return
        self.closed = True
        for flight in self.flying.values():
            flight.over = True
            self.abandon(flight)
        self.flying.clear()
        try:
            self.machine.close()
        finally:
            for line in self.lines.values():
                self._drop(line)
            self._sweep()

    def _sweep(self) -> None:
        """Dispose of the answers that came after the end."""
        with suppress(Empty):
            while True:
                answer = self.queue.get_nowait()
                if type(answer) is tuple:
                    _dispose(answer[1])

    def spawn(self, background: Background, task: Task, effect: Spawn) -> None:
        """Run a plan in a worker of its own, owned by *background*."""
        in_background(background, effect, self.context(task), self.queue.put)


def in_background(background: Background, effect: Spawn, context: Any, tell: Callable[[Event], Any]) -> None:
    """Drive the plan of *effect* in a worker; a failure is logged, and told to whoever is still streaming."""
    number = background.add(effect.name)

    def job() -> None:
        try:
            context.run(lambda: drive(effect.make_plan()))
        except Exception as error:  # noqa: BLE001  # nobody waits for it
            report(effect, error, tell)
        finally:
            background.remove(number)

    workers().run(job)


def report(effect: Spawn, error: Exception, tell: Callable[[Event], Any]) -> None:
    """Log what failed in the background, and tell it to whoever is still streaming."""
    _log.error("%s failed in the background", effect.name, exc_info=error)
    if effect.failed is not None:
        tell(effect.failed(error))


# Performing leaf effects


@functools.cache
def _own_transport(limits: Limits) -> _transport.Transport:
    """The connections that this process shares between the runs with the same limits."""
    return _transport.sync_transport(None, limits)


def _transport_of(run: Run) -> _transport.Transport:
    client = run.scope.client
    return _own_transport(run.limits) if client is None else _transport.sync_transport(client, run.limits)


def _send(run: Run, effect: Send, fuse: _transport.Fuse | None = None) -> Reply:
    return _transport_of(run).send(effect.request, _until(run, effect), fuse)


def _open(run: Run, effect: Open, fuse: _transport.Fuse) -> tuple[_transport.Line, _transport.Fuse]:
    return _transport_of(run).open(effect.request, _until(run, effect), fuse), fuse


def _until(run: Run, effect: Send | Open) -> float:
    return min(effect.until - run.epoch, time.monotonic() + effect.request.timeout)


def _read(run: Run, _task: Task, effect: Read) -> bytes:
    line = run.lines[effect.channel.number]
    return line.exchange.read(line.limit(effect))  # type: ignore[no-any-return]  # lazily imported


def _close(run: Run, _task: Task, effect: Close) -> None:
    line = run.lines.pop(effect.channel.number, None)
    if line is not None:
        line.exchange.finish()


def _call(run: Run, task: Task, effect: Call[Any]) -> Any:
    return run.context(task).run(effect.function, *effect.args, **effect.kwargs)


_SENDING: dict[type, Callable[..., Any]] = {Send: _send, Open: _open}
_INLINE: dict[type, Callable[[Any, Task, Any], Any]] = {
    **INSTANT,
    Send: lambda run, _task, effect: _send(run, effect),
    Open: lambda run, task, effect: run.open_line(task, effect, *_open(run, effect, _transport.Fuse())),
    Read: _read,
    Close: _close,
    Call: _call,
}


def _itself(value: Any) -> Any:
    """Stands for the awaiting of what a sync function returned."""
    return value


def _break_line(line: Line) -> None:
    line.fuse.blow()


def _dispose(value: Any) -> None:
    """Drop what arrived too late: a reply that nobody will read."""
    if type(value) is tuple and len(value) == 2 and hasattr(value[0], "finish"):
        value[0].close()


def _cancelled(error: BaseException, effect: Call[Any]) -> BaseException:
    """*error*, unless it is asyncio's own sign of cancelling, which means nothing here."""
    if type(error).__name__ == "CancelledError":
        return RuntimeError(f"{effect.name} cancelled itself")
    return error


# Faces


def drive(plan: Plan[T]) -> T:
    """The result of *plan*, by blocking."""
    events = Run(plan, listening=False).events()
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value.unwrap()  # type: ignore[no-any-return]  # the Outcome of a Plan[T]


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
    events = run.events()
    try:
        while True:
            try:
                batch = next(events)
            except StopIteration as stop:
                stop.value.unwrap()
                return
            yield from batch
    finally:
        events.close()


class Blocking(Generic[P, T]):
    """A plan's blocking face: calling it runs *plan* to its end."""

    def __init__(self, plan: Callable[P, Plan[T]]) -> None:
        functools.update_wrapper(self, plan)
        self.plan = plan

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return drive(self.plan(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<function {self.plan.__name__}>"


class Streaming(Generic[P]):
    """A plan's streaming face: calling it gives the events of *plan* as they happen."""

    def __init__(self, plan: Callable[P, Plan[Any]]) -> None:
        functools.update_wrapper(self, plan)
        self.plan = plan

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Stream:
        return Stream(self.plan(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<function {self.plan.__name__}>"


blocking = Blocking
streaming = Streaming

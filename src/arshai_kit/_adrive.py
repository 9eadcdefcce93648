"""The driver that awaits: performs what the machine asks for on asyncio or trio, in the caller's task when it is alone.

With company, exchanges and async functions become tasks of a group that the run opens; sync functions go to workers,
with company or without, for they would block the loop. The caller's task waits for whatever comes first. No task
raises: what goes wrong is handed in like an answer, so that the caller sees the bare error and never a group of them.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any, Final, TypeVar

from arshai_kit import _transport
from arshai_kit._drive import NO_OUTCOME, in_background, report
from arshai_kit._flight import INSTANT, Flight, Flights, Line, discard, is_async, perform, to_await, work
from arshai_kit._steps import PATIENCE, AsyncSteps, InPlace, Steps, settle
from arshai_kit._threads import Background, outside, soon, workers
from arshai_kit.effects import Call, Close, Halt, Open, Outcome, Plan, Read, Reply, Send, Spawn
from arshai_kit.errors import Misuse
from arshai_kit.machine import EVENTS, IDLE, WORK, Task, Turn
from arshai_kit.records import Event

__all__ = ["adrive"]

T = TypeVar("T")


class AsyncRun(Flights):
    """One run, driven by awaiting. Only the consumer's task touches its plans."""

    def __init__(self, plan: Plan[Any], *, listening: bool) -> None:
        super().__init__(plan, listening=listening)
        from anyio.lowlevel import current_token

        self.home: Any = current_token().native_token
        self.replayed = None if self.scope.world is None else self.scope.world.replay(self.machine)
        self.outcome: Outcome[Any] = NO_OUTCOME
        self.turn: Turn | None = None
        self.queue: deque[Any] = deque()
        self.wake: Any = None
        self.group: Any = None
        self.swept = False

    async def events(self) -> tuple[Event, ...] | None:
        """The next events; `None` when the run is over and its `outcome` is there."""
        try:
            return await self._turns() if self.replayed is None else self._recorded(self.replayed)
        except Halt as halt:
            raise halt.error from halt.error.__cause__

    def _recorded(self, events: Generator[tuple[Event, ...], None, Outcome[Any]]) -> tuple[Event, ...] | None:
        try:
            return next(events)
        except StopIteration as stop:
            self.outcome = stop.value
            return None

    async def _turns(self) -> tuple[Event, ...] | None:
        machine, flying = self.machine, self.flying
        what, task, payload = self.turn or machine.turn()
        while True:
            if machine.dropped:
                await self._drop(self.dropped())
            if self.told and self.due(what, payload):
                self.turn = (what, task, payload)
                return self.news()
            if what is WORK:
                if flying or machine.ready:
                    self.pending.append(self.add(task, payload))
                    what, task, payload = machine.turn()
                else:
                    what, task, payload = await self._alone(task, payload)
            elif what is EVENTS:
                self.turn = None
                return payload  # type: ignore[no-any-return]  # the machine tells events
            elif what is IDLE:
                what, task, payload = await self._together()
            else:
                self.outcome = payload
                return None

    async def _alone(self, task: Task, effect: Any) -> Turn:
        """Perform the only effect under way, right here."""
        kind = type(effect)
        inline = _INLINE.get(kind)
        if inline is None and kind not in INSTANT:
            if self._in_place(effect):
                return await self._called(task, effect)
            self.pending.append(self.add(task, effect))
            return await self._together()
        value, error = None, None
        try:
            value = INSTANT[kind](self, task, effect) if inline is None else await inline(self, effect)
        except Exception as raised:  # noqa: BLE001  # whatever it is, it is the plan's to answer
            error = raised
        if kind is Open and error is None:
            value = self.open_line(task, effect, value, None)
        return self.hand_over(task, effect, value, error)

    def _in_place(self, effect: Any) -> bool:
        """Whether *effect* is the call of an async function that this task may await: nothing else can happen then."""
        if type(effect) is not Call or effect.seconds is not None or self.spawned:
            return False
        return is_async(effect.function) and not isinstance(effect.function, Steps)

    async def _called(self, task: Task, effect: Call[Any]) -> Turn:
        """Await an async function right here, with what it is to see and nothing more."""
        return self.hand_over(task, effect, *await InPlace(effect, self.context(task), self.home))

    async def _together(self) -> Turn:
        """Every plan waits: give the work away, then deliver whatever comes first."""
        if len(self.pending) == len(self.flying) == 1:
            flight = self.pending[0]
            if type(flight.effect) in _INLINE or (flight.awaitable is None and self._in_place(flight.effect)):
                self.pending.clear()
                self.flying.clear()
                return await self._alone(flight.task, flight.effect)
        while True:
            if self.group is None and any(map(_needs_task, self.pending)):
                await self.open_group()
            self.launch(self._fly)
            if (turn := self.deliver()) is not None:
                return turn
            await self._wait()
            if self.told:
                return EVENTS, None, self.news()

    async def open_group(self) -> None:
        """Make room for tasks; a stream does so when it is entered, other runs when they need it."""
        if self.group is None:
            from anyio import create_task_group

            self.group = create_task_group()
            await self.group.__aenter__()

    async def _wait(self) -> None:
        """Take the next answer from the queue, and let the next timer ring if it is time."""
        from anyio import Event as Bell
        from anyio import move_on_after

        if not self.queue:
            self.wake, patience = Bell(), self.patience()
            if patience is None:
                await self.wake.wait()
            else:
                with move_on_after(patience):
                    await self.wake.wait()
        if self.queue:
            await self._take(self.queue.popleft())
        self.ring()

    async def _take(self, answer: Any) -> None:
        flight, value, error = answer
        if flight.over:
            await _dispose(flight, value)
        elif type(flight.effect) is Open and error is None:
            self.land(flight, self.open_line(flight.task, flight.effect, value, None), None)
        elif type(flight.effect) is Call and flight.awaitable is None and to_await(value):
            flight.awaitable, flight.done, flight.threaded = value, False, False
            self.pending.append(flight)
        else:
            self.land(flight, value, error)

    # Giving work away

    def _fly(self, flight: Flight) -> None:
        effect = flight.effect
        match effect:
            case Call() if flight.awaitable is not None or is_async(effect.function):
                settle(flight.effect.function, self.group)
                self._task(flight, flight.awaited)
            case Call():
                context = outside(self.context(flight.task))
                performed = functools.partial(context.run, effect.function, *effect.args, **effect.kwargs)
                flight.threaded = True
                workers().run(functools.partial(work, flight, performed, self.answer_from_thread))
            case Read() | Close():
                line = self.lines[effect.channel.number]
                line.reader = flight
                self._task(flight, functools.partial(_reading, self, line, effect))
            case Send() | Open():
                self._task(flight, functools.partial(_INLINE[type(effect)], self, effect))
            case _:
                raise Misuse(f"no driver knows how to perform {type(effect).__name__}")

    def _task(self, flight: Flight, begin: Callable[[], Awaitable[Any]]) -> None:
        flight.threaded, flight.break_off = False, flight.cancel
        self.context(flight.task).run(self.group.start_soon, perform, flight, begin, self.answer)

    def answer(self, flight: Flight, value: Any, error: BaseException | None) -> None:
        """Hand in an answer, in this loop; what comes from a thread when all has been swept is for nobody."""
        if self.swept:
            discard(value)
            return
        self.queue.append((flight, value, error))
        self._ring()

    def answer_from_thread(self, flight: Flight, value: Any, error: BaseException | None) -> None:
        """Hand in an answer from a thread."""
        soon(self.home, self.answer, flight, value, error)

    def hear(self, event: Event) -> None:
        """Take what the background tells, from whatever thread: it is there before anything that happens later."""
        self.told.append(event)
        soon(self.home, self._ring)

    def _ring(self) -> None:
        if self.wake is not None:
            self.wake.set()

    def spawn(self, background: Background, task: Task, effect: Spawn) -> None:
        """Run a plan in the background: as a task of the `using` block if it is this loop's, else in a worker."""
        group = self.scope.group
        if group is None or self.scope.home is not self.home or background is not self.scope.background:
            in_background(background, effect, self.context(task), self.hear)
        else:
            number = background.add(effect.name)
            self.context(task).run(group.start_soon, self._spawned, background, number, effect)

    async def _spawned(self, background: Background, number: int, effect: Spawn) -> None:
        from anyio import get_cancelled_exc_class

        try:
            await adrive(effect.make_plan())
        except get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001  # nobody waits for it: it is told, and logged
            report(effect, error, self.hear)
        finally:
            background.remove(number)

    # Endings

    async def _drop(self, things: Iterable[Line | Steps]) -> None:
        """Drop what is not needed any more, even while this task is being cancelled; generators side by side.

        Who still reads a reply is being cancelled too, and drops it.
        """
        from anyio import CancelScope, create_task_group

        steps = []
        with CancelScope(shield=True):
            for thing in things:
                if isinstance(thing, Steps):
                    steps.append(thing)
                elif (reader := thing.reader) is None or reader.done or reader.scope is None:
                    await thing.exchange.close()
            if steps:
                async with create_task_group() as group:
                    for each in steps:
                        group.start_soon(self._leave, each)

    async def _leave(self, steps: Steps) -> None:
        """Close a generator; who performs a step of it closes it at its end, and nobody waits for that here."""
        from anyio import Event as Bell
        from anyio import move_on_after

        closed = Bell()
        steps.left = functools.partial(soon, self.home, closed.set)
        if isinstance(steps, AsyncSteps):
            await steps.aclose()
        elif not steps.busy:
            steps.close_in_worker()
            with move_on_after(PATIENCE):
                await closed.wait()

    async def close(self) -> None:
        """End the run: break off what is under way, close the plans, drop the connections."""
        if self.closed:
            return
        self.abandon_all()
        try:
            self.machine.close()
        finally:
            try:
                if self.lines or self.machine.dropped:
                    await self._drop((*self.dropped(), *self.lines.values()))
            finally:
                await self._leave_group()

    async def _leave_group(self) -> None:
        try:
            if self.group is not None:
                self.group.cancel_scope.cancel()
                await self.group.__aexit__(None, None, None)
        finally:
            await self._sweep()

    async def _sweep(self) -> None:
        """Dispose of the answers that came after the end; meanwhile more may come from threads."""
        while self.queue:
            flight, value, _ = self.queue.popleft()
            await _dispose(flight, value)
        self.swept = True


async def _dispose(flight: Flight, value: Any) -> None:
    """Drop what arrived too late."""
    from anyio import CancelScope

    with CancelScope(shield=True):
        if type(flight.effect) is Open and value is not None:
            await value.close()
    discard(value)


# Performing leaf effects


def _needs_task(flight: Flight) -> bool:
    """Whether *flight* is awaited, which is for a task; a sync function is for a worker, and a timer for nobody."""
    effect = flight.effect
    if type(effect) is Call:
        return flight.awaitable is not None or is_async(effect.function)
    return type(effect) in _INLINE


async def _transport_of(run: AsyncRun) -> _transport.AsyncTransport:
    scope = run.scope
    client = scope.client if scope.async_client is None else scope.async_client
    if client is not None:  # also one of the other world, as in `_drive`
        return _transport.async_transport(client, run.limits)
    kept = _kept().get({})
    if run.limits not in kept:
        keeper = _keeping(run.limits)
        kept = {**kept, run.limits: (await anext(keeper), keeper)}
        _kept().set(kept)
    return kept[run.limits][0]  # type: ignore[no-any-return]  # a variable of the loop is untyped


@functools.cache
def _kept() -> Any:
    """The connections of the event loop that is running: they go with it."""
    from anyio.lowlevel import RunVar

    return RunVar("arshai_kit.transports")


async def _keeping(limits: Any) -> Any:
    """Keep the connections of an event loop, which closes its async generators when it ends."""
    transport = _transport.async_transport(None, limits)
    try:
        yield transport
    finally:
        await transport.close()


async def _send(run: AsyncRun, effect: Send) -> Reply:
    run.asked(effect.request)
    return await (await _transport_of(run)).send(effect.request, effect.until - run.epoch)


async def _open(run: AsyncRun, effect: Open) -> _transport.AsyncLine:
    run.asked(effect.request)
    return await (await _transport_of(run)).open(effect.request, effect.until - run.epoch)


async def _read(run: AsyncRun, effect: Read) -> bytes:
    line = run.lines[effect.channel.number]
    return await line.exchange.read(line.limit(effect))  # type: ignore[no-any-return]  # a line is untyped for both worlds


async def _close(run: AsyncRun, effect: Close) -> None:
    line = run.lines.get(effect.channel.number)
    if line is not None:
        await line.exchange.finish()
        del run.lines[effect.channel.number]


async def _reading(run: AsyncRun, line: Line, effect: Read | Close) -> Any:
    """Read, as a task: cancelled, it closes the reply that nobody else may touch meanwhile."""
    from anyio import CancelScope

    try:
        return await _INLINE[type(effect)](run, effect)
    except BaseException:
        with CancelScope(shield=True):
            await line.exchange.close()
        raise


_INLINE: Final[dict[type, Callable[[Any, Any], Awaitable[Any]]]] = {
    Send: _send,
    Open: _open,
    Read: _read,
    Close: _close,
}


# Runs


async def adrive(plan: Plan[T]) -> T:
    """The result of *plan*, by awaiting."""
    run = AsyncRun(plan, listening=False)
    try:
        while run.outcome is NO_OUTCOME:
            await run.events()
    finally:
        await run.close()
    return run.outcome.unwrap()  # type: ignore[no-any-return]  # the Outcome of a Plan[T]

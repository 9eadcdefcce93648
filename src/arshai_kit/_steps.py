"""What foreign functions do step by step: the generators that they return, and the async ones that a run awaits itself.

A generator is one function: all its steps share one context, and those of an async one share a task. It is closed with
the plan that asked for it, by whoever is inside it when it is left, else by its driver, which waits for that a moment
and no longer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from threading import Lock, get_ident
from typing import Any, Final, TypeAlias

from arshai_kit._threads import background_log, workers
from arshai_kit.effects import Call

__all__ = ["PATIENCE", "AsyncSteps", "InPlace", "Steps", "its_own", "settle"]

PATIENCE: Final = 1.0
"""Seconds that a generator has for its `finally`, until nobody waits for it any more."""


class Steps:
    """A sync generator; calling it performs the next step, and says whether that was the last.

    *left* is whom to tell that it is closed, once it is to be closed; *busy* says that it is performing a step, and
    *thread* who has performed the last one.
    """

    def __init__(self, generator: Any) -> None:
        self.context = copy_context()
        self.owned = False
        self.busy = False
        self.thread = 0
        self.left: Callable[[], object] | None = None
        self._generator = generator
        self._closed = False
        self._inside = Lock()

    @property
    def over(self) -> bool:
        """Whether nothing is left of it that could be closed."""
        return self._generator.gi_frame is None

    def __call__(self) -> tuple[bool, Any]:
        try:
            with self._inside:
                self.busy, self.thread = True, get_ident()
                return self._next() if self.left is None else (True, None)
        finally:
            self.busy = False
            if self.left is not None:
                self.close()

    def _next(self) -> tuple[bool, Any]:
        try:
            return False, self.context.run(next, self._generator)
        except StopIteration as stop:
            return True, stop.value

    def close(self) -> None:
        """Close it right here, unless somebody is inside, who does so then; what goes wrong is logged."""
        if self._inside.acquire(blocking=False):
            try:
                if not self._closed:
                    self._closed = True
                    self.context.run(self._generator.close)
            except Exception as error:  # noqa: BLE001  # whatever a foreign `finally` does
                self.failed(error)
            finally:
                self._inside.release()
                self.told()

    def close_in_worker(self) -> None:
        """Have a worker close it, which is busy for nobody from then on."""
        left_behind = workers().left_behind
        left_behind.add(self)

        def job() -> None:
            try:
                self.close()
            except BaseException as error:  # noqa: BLE001  # nothing is raised in a worker
                self.failed(error)
            finally:
                left_behind.discard(self)

        workers().run(job)

    def told(self) -> None:
        """Tell whoever waits for it that it is closed."""
        if self.left is not None:
            self.left()

    def failed(self, error: BaseException) -> None:
        """Log what went wrong while it was closed."""
        background_log().error("%s failed while it was closed", self._generator.__name__, exc_info=error)


class AsyncSteps(Steps):
    """An async generator: one task, opened at its first step, performs all of them and its end.

    So it may hold a cancel scope, a task group or a stream over a `yield`, which have to be left in the task that has
    entered them. *group* is where its task is opened; without one, as when the process ends, each step is alone.
    """

    def __init__(self, generator: Any) -> None:
        super().__init__(generator)
        self.group: Any = None
        self._scope: Any = None  # its task's, around all that it enters itself
        self._asked: Any = None
        self._answered: Any = None
        self._ended: Any = None
        self._leaving = False
        self._stepping = False
        self._answer: _Answer = _LAST

    @property
    def over(self) -> bool:
        """As of a sync one."""
        return self._generator.ag_frame is None

    async def __call__(self) -> tuple[bool, Any]:  # type: ignore[override]  # the same, to be awaited
        if self._leaving:
            return True, None
        if self.group is None:
            self._answer = await self._performed(anext(self._generator))
        elif self._scope is None:
            self._open()
            self.context.run(self.group.start_soon, self._live)
            await self._asking()
        elif not self._ended.is_set():
            await self._asking()
        (value, error), self._answer = self._answer, _LAST
        if error is not None:
            raise error
        return value

    def _open(self) -> None:
        from anyio import CancelScope, Event

        self._scope, self._asked, self._answered, self._ended = CancelScope(), Event(), Event(), Event()

    async def _asking(self) -> None:
        """Ask its task for a step; whoever is cancelled meanwhile cancels that, and nobody gets another step."""
        from anyio import Event, get_cancelled_exc_class

        self.busy, self._answered = True, Event()
        self._asked.set()
        try:
            await self._answered.wait()
        except get_cancelled_exc_class():
            self.busy = self._stepping  # else it is idle, and has its time to end
            self._leave()
            raise

    def _leave(self) -> None:
        """Have its task end; what nobody waits for is cancelled."""
        self._leaving = True
        if self._stepping:
            self._scope.cancel()
        self._asked.set()

    async def aclose(self) -> None:
        """Have its task close it, even while this one is being cancelled; after the step that is under way, if any."""
        from anyio import move_on_after

        if self._scope is None:
            self._open()
            self._leave()
            await self._live()
        elif self.busy:
            self._leaving = True
        else:
            self._leave()
            with move_on_after(PATIENCE, shield=True):
                await self._ended.wait()
            self.told()

    async def _live(self) -> None:
        """Perform what is asked for, then close what is left: in this task, whoever asks."""
        try:
            with self._scope:
                await self._steps()
                if not self.over:
                    await self._end()
        except Exception as error:  # noqa: BLE001  # it has left something open that it had entered
            self._answer = (True, None), error
        finally:
            self.busy = False
            self._ended.set()
            self._answered.set()
            self.told()

    async def _steps(self) -> None:
        """Perform steps until the last, or until it is to be closed; *held* is an answer that nobody has asked for."""
        from anyio import get_cancelled_exc_class

        held = False
        while not self.over:
            try:
                if not await self._wanted():
                    return
            except get_cancelled_exc_class() as cancelled:  # by what no shield stops, like asyncio.timeout
                self._answer, held = await self._performed(self._generator.athrow(cancelled)), True
                if _cancelled():
                    return
                continue
            if not held:
                self._answer = await self._performed(anext(self._generator))
            held = False
            if self._leaving:
                return
            if not self.over:  # else this is the answer when all is left
                self.busy = False
                self._answered.set()

    async def _wanted(self) -> bool:
        """Wait for being asked, shielded from what it has entered, which cancels its steps; whether for a step."""
        from anyio import CancelScope, Event

        with CancelScope(shield=True):
            await self._asked.wait()
        self._asked = Event()
        return not self._leaving

    async def _performed(self, step: Any) -> _Answer:
        from anyio import current_effective_deadline, get_cancelled_exc_class

        self._stepping = True
        try:
            return (False, await step), None
        except StopAsyncIteration:
            return _LAST
        except get_cancelled_exc_class() as error:
            if current_effective_deadline() == float("-inf"):
                raise
            return (True, None), error
        except BaseException as error:  # noqa: BLE001  # it is for whoever asked
            return (True, None), error
        finally:
            self._stepping = False

    async def _end(self) -> None:
        """Close it; the scope around all that it has entered gives it its time."""
        from anyio import current_time, get_cancelled_exc_class

        self._scope.shield, self._scope.deadline = True, current_time() + PATIENCE
        try:
            await self._generator.aclose()
        except get_cancelled_exc_class():
            raise
        except BaseExceptionGroup as errors:  # a task group wraps even the request to end
            if (rest := errors.split((GeneratorExit, get_cancelled_exc_class()))[1]) is not None:
                self.failed(rest)
        except BaseException as error:  # noqa: BLE001  # the loop goes on, whatever a foreign `finally` raises
            self.failed(error)


_Answer: TypeAlias = tuple[tuple[bool, Any], BaseException | None]
_LAST: Final[_Answer] = ((True, None), None)


def _cancelled() -> bool:
    """Whether somebody still wants this task to end: what has cancelled it for itself alone has taken that back."""
    from asyncio import current_task

    return (task := current_task()) is not None and task.cancelling() > 0


def settle(function: Any, group: Any) -> None:
    """Have *function*, if it is an async generator, live in a task of *group*."""
    if isinstance(function, AsyncSteps):
        function.group = group


# Async functions


class InPlace:
    """The call of an async function, awaited by the task of the run: its value or what it raised, as of a task.

    It runs in *context*, and what it cancels by cancelling its own task is itself, not the run. Only who is cancelled
    from outside sees the cancellation come out.
    """

    def __init__(self, call: Call[Any], context: Any, home: Any) -> None:
        self.call = call
        self.context = context
        self.task: Any = None
        if hasattr(home, "call_soon_threadsafe"):  # of asyncio: a task of trio cannot be cancelled but by its scopes
            from asyncio import current_task

            self.task = current_task()
        self.asked = self.known = 0 if self.task is None else self.task.cancelling()
        self.itself = 0  # how often the function has cancelled its own task

    def __await__(self) -> Generator[Any, Any, tuple[Any, BaseException | None]]:
        steps = self._attempted()
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                wanted = self._step(steps.send, value) if error is None else self._step(steps.throw, error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # of a coroutine
            value = error = None
            try:
                value = yield wanted
            except GeneratorExit:
                self.context.run(steps.close)
                raise
            except BaseException as raised:  # noqa: BLE001  # it is for the function, as of any coroutine
                error = raised

    def _step(self, step: Callable[[Any], Any], given: Any) -> Any:
        """Let the function go on in its context, and count how often it cancels its own task meanwhile."""
        if self.task is None:
            return self.context.run(step, given)
        self.known = self.task.cancelling()
        try:
            return self.context.run(step, given)
        finally:
            self._count()

    def _count(self) -> None:
        if self.task is not None:
            before, self.known = self.known, self.task.cancelling()
            self.itself += max(0, self.known - before)

    async def _attempted(self) -> tuple[Any, BaseException | None]:
        from anyio import CancelScope, get_cancelled_exc_class

        call = self.call
        found: tuple[Any, BaseException | None]
        try:
            with CancelScope():  # who leaves open one that it has entered is told so here
                found = await call.function(*call.args, **call.kwargs), None
        except get_cancelled_exc_class():
            self._count()
            if not self.itself and self._cancelled():
                raise
            found = None, RuntimeError(f"{call!r} cancelled itself")
        except BaseException as raised:  # noqa: BLE001  # as in `perform`
            found = None, its_own(call, raised)
        self._count()
        if self.itself:
            await self._take_back()
        return found

    async def _take_back(self) -> None:
        """Undo that the function has cancelled its own task, once that has come to it."""
        from asyncio import CancelledError, sleep

        with suppress(CancelledError):
            await sleep(0)
        for _ in range(self.itself):
            self.task.uncancel()
        if self._cancelled():
            raise CancelledError

    def _cancelled(self) -> bool:
        """Whether somebody outside cancels the task."""
        from anyio import current_effective_deadline

        by_a_scope = current_effective_deadline() == float("-inf")
        return by_a_scope or (self.task is not None and self.task.cancelling() > self.asked)


def its_own(effect: Any, error: BaseException) -> BaseException:
    """*error*, that a function has raised; one that would look like the end of its caller is the function's own."""
    loops = sys.modules.get("asyncio"), sys.modules.get("trio")
    ends = [getattr(loop, name, ()) for loop in loops for name in ("CancelledError", "Cancelled")]
    if not isinstance(error, (GeneratorExit, *ends)):
        return error
    own = RuntimeError(f"{effect!r} cancelled itself")
    own.__cause__ = error
    return own

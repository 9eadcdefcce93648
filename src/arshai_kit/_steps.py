"""The generators that foreign functions return, performed step by step and closed with the plan that asked for them.

A generator is one function: all its steps share one context, and those of an async one share a task. It is closed by
whoever is inside it when it is left, else by its driver, which waits for that a moment and no longer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from threading import Lock, get_ident
from typing import Any, Final, TypeAlias

from arshai_kit._threads import background_log, workers

__all__ = ["PATIENCE", "AsyncSteps", "Steps", "settle"]

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

"""The generators that foreign functions return, performed step by step and closed with the plan that asked for them.

A generator is one function, whatever thread or task performs its steps: all share one context. It is closed by whoever
is inside it when it is left, else by its driver, which waits for that a moment and no longer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import Context, copy_context
from threading import Lock, get_ident
from typing import Any, Final

from arshai_kit._threads import background_log, workers

__all__ = ["PATIENCE", "AsyncSteps", "Steps"]

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
    """An async generator: each step is awaited, and so is its end, in the event loop that the steps were awaited in."""

    @property
    def over(self) -> bool:
        """As of a sync one."""
        return self._generator.ag_frame is None

    async def __call__(self) -> tuple[bool, Any]:  # type: ignore[override]  # the same, to be awaited
        self.busy = True
        try:
            return False, await _Inside(self.context, anext(self._generator))
        except StopAsyncIteration:
            return True, None
        finally:
            self.busy = False
            if self.left is not None:
                await self.aclose()

    async def aclose(self) -> None:
        """Close it, even while this task is being cancelled; a step under way has been cancelled, and closes it."""
        from anyio import get_cancelled_exc_class, move_on_after

        if self.busy or self._closed:
            return
        self._closed = True
        with move_on_after(PATIENCE, shield=True):
            try:
                await _Inside(self.context, self._generator.aclose())
            except get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001  # the loop goes on, whatever a foreign `finally` raises
                self.failed(error)
        self.told()


class _Inside:
    """Something to await, whose every step runs in *context*."""

    def __init__(self, context: Context, awaitable: Any) -> None:
        self._context = context
        self._steps = awaitable.__await__()

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[..., Any] = self._steps.send
        answer: Any = None
        while True:
            try:
                asked = self._context.run(resume, answer)
            except StopIteration as stop:
                return stop.value
            try:
                answer = yield asked
                resume = self._steps.send
            except BaseException as error:  # noqa: BLE001  # cancelling too is for whoever awaits
                answer, resume = error, self._steps.throw

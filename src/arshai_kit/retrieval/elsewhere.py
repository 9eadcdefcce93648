"""An executor does the pure part of an ingest: a worker thread waits for each call, and no more once it is closed."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from pickle import PicklingError
from typing import TYPE_CHECKING, Any

from arshai_kit.batches import is_of_threads, packed, unpacked
from arshai_kit.errors import Misuse

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Elsewhere"]


class Elsewhere:
    """*function*, as *executor* performs it: in its threads, in its processes, or on its machines."""

    def __init__(self, executor: Any, function: Callable[[Any], Any]) -> None:
        if not callable(getattr(executor, "submit", None)):
            raise Misuse(f"executor= is one of concurrent.futures, or like it, not {type(executor).__name__}")
        self.executor, self.function, self.threads = executor, function, is_of_threads(executor)
        self._busy: set[Future[Any]] = set()
        self._closed = False

    def __call__(self, task: Any) -> Any:
        """What the function gives for *task*."""
        future = self._submitted(task)
        self._busy.add(future)
        if self._closed:  # while it was handed in, so that `close` may not have seen it
            future.cancel()
        try:
            value = future.result()
        except (PicklingError, AttributeError, TypeError) as error:
            if self.threads:
                raise
            why = "functions that go to other processes stand at the top of a module, or come from chunking(…)"
            raise Misuse(f"the executor cannot be given this work ({error}): {why}") from error
        finally:
            self._busy.discard(future)
        return value if self.threads else unpacked(*value)

    def _submitted(self, task: Any) -> Future[Any]:
        """Threads of this process do it in the scope of the run; what is in force goes nowhere else."""
        if self.threads:
            return self.executor.submit(copy_context().run, self.function, task)  # type: ignore[no-any-return]
        return self.executor.submit(packed, self.function, task)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Cancel what has not begun, so that nobody waits for it; never blocks."""
        self._closed = True
        for future in list(self._busy):
            future.cancel()

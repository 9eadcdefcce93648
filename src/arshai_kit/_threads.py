"""Threads that nobody has to wait for: workers, the shared background loop, and what runs in the background.

All of them are daemons: a tool that hangs keeps no process alive. All are forgotten in a forked child, where they do
not run.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from attrs import frozen

__all__ = ["Background", "BackgroundTask", "Workers", "portal", "process_background", "workers"]

_IDLE_SECONDS = 10.0

_log = logging.getLogger("arshai_kit.background")

Job = Callable[[], None]


class Workers:
    """An elastic pool: the worker that became idle last is used first, a new one is made when none is idle."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Job]] = []

    def run(self, job: Job) -> None:
        """Have *job*, which must not raise, done by a worker."""
        try:
            self._idle.pop().put(job)
        except IndexError:
            threading.Thread(target=self._work, args=(job,), name="arshai-kit worker", daemon=True).start()

    def _work(self, job: Job) -> None:
        jobs: SimpleQueue[Job] = SimpleQueue()
        while True:
            job()
            del job  # or an idle worker would keep alive what its last job held
            self._idle.append(jobs)
            try:
                job = jobs.get(timeout=_IDLE_SECONDS)
            except Empty:
                try:
                    self._idle.remove(jobs)
                except ValueError:  # it has just been given one more job
                    job = jobs.get()
                else:
                    return


@frozen
class BackgroundTask:
    """Something that runs in the background, and since when (seconds)."""

    name: str
    seconds: float


class Background:
    """What one owner has running in the background."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[int, tuple[str, float]] = {}
        self._count = 0
        self.left_behind = 0

    def add(self, name: str) -> int:
        """Note that *name* runs; the number is for `remove`."""
        with self._changed:
            self._count += 1
            self._running[self._count] = (name, time.monotonic())
            return self._count

    def remove(self, number: int) -> None:
        """Note that it has ended."""
        with self._changed:
            self._running.pop(number, None)
            self._changed.notify_all()

    def tasks(self) -> tuple[BackgroundTask, ...]:
        """What runs, longest first."""
        with self._changed:
            now = time.monotonic()
            return tuple([BackgroundTask(name, now - began) for name, began in self._running.values()])

    def wait(self, seconds: float | None) -> tuple[BackgroundTask, ...]:
        """Wait until nothing runs, for at most *seconds*; what still does."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running, seconds)
        return self.tasks()

    def abandon(self) -> None:
        """Log by name and count what still runs, and forget it."""
        left = self.tasks()
        self.left_behind += len(left)
        if left:
            _log.warning("left behind in the background: %s", ", ".join([task.name for task in left]))
        with self._changed:
            self._running.clear()


class _Process:
    """What this process shares: made on first use, made anew in a forked child."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.workers = Workers()
        self.background: Background | None = None
        self.portal: Any = None


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _process.__init__())  # type: ignore[misc]  # the object stays the same one


def workers() -> Workers:
    """The workers of this process."""
    return _process.workers


def process_background() -> Background:
    """The background of the process, which is drained at exit for at most five seconds."""
    with _process.lock:
        if _process.background is None:
            _process.background = Background()
            atexit.register(_drain_at_exit, os.getpid())
        return _process.background


def _drain_at_exit(pid: int) -> None:
    if _process.background is not None and os.getpid() == pid:
        _process.background.wait(5.0)
        _process.background.abandon()


def portal() -> Any:
    """The way into the event loop that async functions called from sync code share (an anyio `BlockingPortal`)."""
    with _process.lock:
        if _process.portal is None:
            _process.portal = _started_portal()
        return _process.portal


def _started_portal() -> Any:
    import anyio
    from anyio.from_thread import BlockingPortal

    ready: SimpleQueue[Any] = SimpleQueue()

    async def serve() -> None:
        async with BlockingPortal() as way_in:
            ready.put(way_in)
            await way_in.sleep_until_stopped()

    threading.Thread(target=anyio.run, args=(serve,), name="arshai-kit loop", daemon=True).start()
    return ready.get()

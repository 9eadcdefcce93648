"""Threads that nobody has to wait for: workers, the shared background loop, and what runs in the background.

All of them are daemons: a tool that hangs keeps no process alive. All are forgotten in a forked child, where they do
not run.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from logging import Logger

__all__ = [
    "Background",
    "BackgroundTask",
    "Loop",
    "Workers",
    "at_exit",
    "process_background",
    "shared_loop",
    "soon",
    "workers",
]

_IDLE_SECONDS = 10.0
_DRAIN_SECONDS = 5.0


def background_log() -> Logger:
    """Where it is told what fails or is left behind in the background."""
    import logging  # it imports much: only when there is something to tell

    return logging.getLogger("arshai_kit.background")


Job = Callable[[], None]


class Workers:
    """An elastic pool: the worker that became idle last is used first, a new one is made when none is idle.

    *left_behind* holds what is still being done for nobody, because it overran or was cancelled.
    """

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Job]] = []
        self.left_behind: set[Any] = set()

    def run(self, job: Job) -> None:
        """Have *job*, which must not raise, done by a worker; right here if the process ends and none can be had."""
        try:
            self._idle.pop().put(job)
        except IndexError:
            worker = threading.Thread(target=self._work, args=(job,), name="arshai-kit worker", daemon=True)
            if started(worker):
                return
            job()

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


def started(thread: threading.Thread) -> bool:
    """Start *thread*; Python 3.12 refuses to, once the process has begun to end."""
    try:
        thread.start()
    except RuntimeError as error:
        if "shutdown" not in str(error):
            raise
        return False
    return True


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
        self._waiting: list[Callable[[], object]] = []
        self._count = 0
        self.left_behind = 0
        self.ended = False

    def add(self, name: str) -> int:
        """Note that *name* runs; the number is for `remove`, and 0 if this has ended, and would forget it."""
        with self._changed:
            if self.ended:
                return 0
            self._count += 1
            self._running[self._count] = (name, time.monotonic())
            return self._count

    def remove(self, number: int) -> None:
        """Note that it has ended."""
        with self._changed:
            self._running.pop(number, None)
            self._changed.notify_all()
        self._tell()

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

    def when_done(self, tell: Callable[[], object]) -> None:
        """Call *tell*, from whatever thread it may be, once nothing runs."""
        with self._changed:
            self._waiting.append(tell)
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            waiting = () if self._running else tuple(self._waiting)
            del self._waiting[: len(waiting)]
        for tell in waiting:
            tell()

    def end(self) -> None:
        """Take nothing more; log by name and count what still runs, and forget it."""
        with self._changed:
            self.ended = True
            left = [name for name, _ in self._running.values()]
            self._running.clear()
        self.left_behind += len(left)
        if left:
            background_log().warning("left behind in the background: %s", ", ".join(left))


class _Process:
    """What this process shares: made on first use, made anew in a forked child."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.workers = Workers()
        self.background: Background | None = None
        self.closers: list[Callable[[], None]] = []
        self.ends = False
        self.loop: Loop | None = None


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.__init__)  # type: ignore[misc]  # the object stays the same one


def workers() -> Workers:
    """The workers of this process."""
    return _process.workers


def process_background() -> Background:
    """The background of the process, which is drained at exit for at most five seconds."""
    with _process.lock:
        if _process.background is None:
            _process.background = Background()
            _see_the_end()
        return _process.background


def at_exit(close: Callable[[], None]) -> None:
    """Call *close* when the process ends, after what runs in its background has been waited for."""
    with _process.lock:
        _process.closers.append(close)
        _see_the_end()


def _see_the_end() -> None:
    if not _process.ends:
        _process.ends = True
        atexit.register(_end, os.getpid())


def _end(pid: int) -> None:
    if os.getpid() != pid:
        return
    if _process.background is not None:
        _process.background.wait(_DRAIN_SECONDS)
        _process.background.end()
    for close in _process.closers:
        close()


# Event loops


class _Tasks:
    """Tasks that end each by itself: no task group, which one that leaves a cancel scope open would end for all."""

    def __init__(self) -> None:
        self._alive: set[Any] = set()

    def start_soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Have the running event loop run the async *function*, which must not raise."""
        import asyncio

        task = asyncio.get_running_loop().create_task(function(*args))
        self._alive.add(task)
        task.add_done_callback(self._alive.discard)


@frozen
class Loop:
    """An event loop that *runner* runs; *home* is how other threads reach it, *group* runs what is started in it."""

    home: Any
    group: _Tasks
    runner: threading.Thread

    @property
    def thread(self) -> int | None:
        """The number of the thread that it runs in."""
        return self.runner.ident

    def here(self) -> bool:
        """Whether this is its thread; numbers of threads are used again."""
        return threading.current_thread() is self.runner

    def start(self, context: Context, function: Callable[..., Any], *args: Any) -> None:
        """Have the async *function*, which must not raise, run as a task in *context*; never waits for the loop."""
        soon(self.home, context.run, self.group.start_soon, function, *args)


def in_event_loop() -> bool:
    """Whether this thread runs an event loop, so that who blocks here blocks all that goes on in it."""
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001  # the one that does not raise
        return True
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def soon(home: Any, function: Callable[..., Any], *args: Any) -> None:
    """Have an event loop call *function* soon; when the loop is gone, so is whoever wanted it."""
    with suppress(RuntimeError):
        (getattr(home, "call_soon_threadsafe", None) or home.run_sync_soon)(function, *args)


def outside(context: Context) -> Context:
    """*context*, which may come from within an event loop, for a thread that runs none."""
    if (library := getattr(sys.modules.get("sniffio"), "current_async_library_cvar", None)) is not None:
        context.run(library.set, None)
    return context


def shared_loop() -> Loop | None:
    """The event loop that async functions called from sync code share, so that clients bound to it keep working.

    None can be had when the process ends and has none yet. One that has died is replaced.
    """
    with _process.lock:
        if _process.loop is None or not _process.loop.runner.is_alive():
            _process.loop = _started_loop()
        return _process.loop


def _started_loop() -> Loop | None:
    import anyio
    from anyio.lowlevel import current_token

    ready: SimpleQueue[Loop] = SimpleQueue()

    async def serve() -> None:
        if (sniffio := sys.modules.get("sniffio")) is not None:
            sniffio.thread_local.name = "asyncio"  # the contexts that its tasks run in may come from trio
        ready.put(Loop(current_token().native_token, _Tasks(), threading.current_thread()))
        await anyio.sleep_forever()

    thread = threading.Thread(target=anyio.run, args=(serve,), name="arshai-kit loop", daemon=True)
    return ready.get() if started(thread) else None

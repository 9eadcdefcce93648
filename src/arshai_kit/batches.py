"""Many items, a few at a time, each with its outcome: what fails does not lose the others."""

from __future__ import annotations

import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextvars import copy_context
from functools import partial
from itertools import islice
from queue import SimpleQueue
from traceback import format_exception
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from attrs import frozen

from arshai_kit._flight import is_async
from arshai_kit.completion import complete, run
from arshai_kit.effects import Call, Emit, Here, Join, Outcome, Owner, Plan, Start, Where
from arshai_kit.errors import Misuse, RunError
from arshai_kit.faces import AsyncStream, Stream, blocking
from arshai_kit.models import is_model, throughout, unheard
from arshai_kit.records import Notice

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

__all__ = ["Arrivals", "Progress", "batch", "batch_stream"]

Progress: TypeAlias = "Callable[[int, int | None], Any]"
"""Is told how many items are done, and how many there are if that is known; a sync or an async function."""

_BLOCK: Final = 1024
"""After so many items, what the run remembers of them is let go."""


@blocking
def batch(
    function: Any,
    items: Iterable[Any],
    *,
    limit: int = 8,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Plan[tuple[Outcome[Any], ...]]:
    """The outcomes of *function*, an agent or any other function, or a model, for each of *items*, in their order.

    At most *limit* are under way at a time; *items* is read as they are taken up. *progress* is called after each, by
    whoever waits for the whole, with how many are done and how many there are (`None`: nobody knows). An *executor* of
    `concurrent.futures` runs them in its threads, in its processes, or on its machines; what is in force here (`using`,
    a policy around an agent) is so in its threads, and nowhere else.

    >>> [each.value or each.error for each in batch(lambda number: 12 // number, [3, 0, 4])]
    [4, ZeroDivisionError('integer division or modulo by zero'), 3]
    """
    outcomes: dict[int, Outcome[Any]] = {}
    yield from _Batch(function, items, limit, progress, outcomes.__setitem__).run(executor)
    return tuple([outcomes[place] for place in range(len(outcomes))])


def batch_stream(
    function: Any,
    items: Iterable[Any],
    *,
    limit: int = 8,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Arrivals:
    """What `batch` gives, as it comes: pairs of an item's place and its outcome, for `for` or `async for`.

    No more items are taken up than *limit* while nobody takes what has come, so that neither need fit into memory.

    >>> sorted((place, outcome.value) for place, outcome in batch_stream(len, ["a", "bcd"]))
    [(0, 1), (1, 3)]
    """
    came: deque[tuple[int, Outcome[Any]]] = deque()
    job = _Batch(function, items, limit, progress, lambda place, outcome: came.append((place, outcome)))
    return Arrivals(job.run(executor), came)


class Arrivals:
    """The outcomes of a batch as they come, each after its place; leaving early ends what is under way.

    `for place, outcome in batch_stream(…)`, in a `with` block if you may leave early; in async code
    `async with batch_stream(…) as arrivals: async for place, outcome in arrivals: …`.
    """

    def __init__(self, plan: Plan[Any], came: deque[tuple[int, Outcome[Any]]]) -> None:
        self._plan = plan
        self._came = came
        self._stream: Stream | None = None
        self._awaited: AsyncStream | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[int, Outcome[Any]]:
        if self._stream is None:
            self._stream = Stream(self._plan)
        while not self._came:
            next(self._stream)
        return self._came.popleft()

    def close(self) -> None:
        """End what is under way."""
        if self._stream is not None:
            self._stream.close()
        self._plan.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        awaited = AsyncStream(self._plan)
        await awaited.__aenter__()
        self._awaited = awaited
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, Outcome[Any]]:
        if self._awaited is None:
            raise Misuse("a batch is entered first: `async with batch_stream(…) as arrivals: async for … in arrivals`")
        while not self._came:
            await self._awaited.__anext__()
        return self._came.popleft()

    async def aclose(self) -> None:
        """End what is under way."""
        if self._awaited is not None:
            await self._awaited.aclose()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


# One batch


class _Batch:
    """What is done with each of *items*, and what has been done; owned by one plan."""

    def __init__(
        self,
        function: Any,
        items: Iterable[Any],
        limit: int,
        progress: Progress | None,
        keep: Callable[[int, Outcome[Any]], Any],
    ) -> None:
        if type(limit) is not int or limit < 1:
            raise Misuse(f"limit= must be at least 1, not {limit!r}")
        if progress is not None and not callable(progress):
            raise Misuse(f"progress= is a function of two numbers, not {type(progress).__name__}")
        self.function = _runnable(function)
        self.items = _numbered(items)
        self.total = len(items) if isinstance(items, Sized) else None
        self.limit, self.progress, self.keep = limit, progress, keep
        self.done = self.failed = 0

    def run(self, executor: Executor | None) -> Plan[None]:
        """Do all of it, here or where *executor* does it."""
        return self.here() if executor is None else self.elsewhere(_Elsewhere(executor, self.function))

    def here(self) -> Plan[None]:
        """Do it in this run; each block of items is a plan of its own, which ends with all that it held."""
        for first in self.items:
            block = islice(self.items, _BLOCK - 1)
            (outcome,) = yield from Join(((yield from Start(self.block(first, block), ("from", first[0]))),))
            outcome.unwrap()

    def block(self, first: tuple[int, Any], others: Iterator[tuple[int, Any]]) -> Plan[None]:
        """Take up *first* and the *others*, as many at a time as may be."""
        owner = yield from Here()
        taken = _chained(first, others)
        hands = []
        for number in range(min(self.limit, self.total or self.limit)):
            hands.append((yield from Start(self.hand(taken, owner), ("hand", number))))
        for outcome in (yield from Join(tuple(hands))):
            outcome.unwrap()

    def hand(self, taken: Iterator[tuple[int, Any]], owner: Owner) -> Plan[None]:
        """Take up one after the other; each runs under its own number, whoever takes it up."""
        for place, item in taken:
            (outcome,) = yield from Join(((yield from Start(self.one(place, item), place, owner)),))
            outcome.unwrap()

    def one(self, place: int, item: Any) -> Plan[None]:
        """Do what is to be done with *item*; nothing of it is told but how it ended."""
        try:
            outcome = Outcome((yield from _quiet(self.function.plan(item))))
        except RunError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the outcome of this item
            outcome = Outcome(error=error)
        yield from self.ended(place, outcome)

    def ended(self, place: int, outcome: Outcome[Any]) -> Plan[None]:
        """Keep *outcome*, and tell how far the whole is."""
        self.keep(place, outcome)
        self.done += 1
        self.failed += outcome.error is not None
        if self.progress is not None:
            if is_async(self.progress):
                yield from Call(self.progress, self.done, self.total)
            else:  # in place: a line on a screen, and in the order of what is done
                self.progress(self.done, self.total)
        told = "" if outcome.error is None else str(outcome.error) or type(outcome.error).__name__
        figures = {"place": place, "done": self.done, "failed": self.failed, "total": self.total}
        yield from Emit((Notice("batch", self.function.name, told, figures),))

    def elsewhere(self, there: _Elsewhere) -> Plan[None]:
        """Have it done *there*, and take what comes first."""
        busy = 0
        try:
            while True:
                given = tuple(islice(self.items, self.limit - busy))
                busy += len(given)
                if not busy:
                    return
                place, value, error = yield from Call(there.turn, given)
                busy -= 1
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield from self.ended(place, Outcome(value, error))
        finally:
            there.close()


def _chained(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from others


def _numbered(items: Any) -> Iterator[tuple[int, Any]]:
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise Misuse(f"items= is a list, or anything else to iterate over, not {type(items).__name__}")
    return enumerate(items)


# What is done with an item


@frozen
class _Asking:
    """Asks a model, as `complete` does; a record, which goes to another process."""

    model: Any

    @property
    def name(self) -> str:
        return str(self.model.name)

    def plan(self, item: Any) -> Plan[Any]:
        return complete.plan(self.model, item)

    def __call__(self, item: Any) -> Any:
        return complete(self.model, item)


@frozen
class _Running:
    """Runs an agent or any other function, as `run` does."""

    function: Any

    @property
    def name(self) -> str:
        return str(getattr(self.function, "__name__", None) or type(self.function).__name__)

    def plan(self, item: Any) -> Plan[Any]:
        return run.plan(self.function, item)

    def __call__(self, item: Any) -> Any:
        return run(self.function, item)


def _runnable(function: Any) -> _Asking | _Running:
    if is_model(function):
        return _Asking(function)
    if callable(function) or hasattr(function, "plan"):
        return _Running(function)
    raise Misuse(f"batch takes a model, or an agent or another function of one item, not {type(function).__name__}")


def _quiet(plan: Plan[Any]) -> Plan[Any]:
    """*plan*, which tells nothing, so that its models are asked for whole answers; so are the plans that it starts."""
    return throughout(plan, {Here: unheard, Emit: _on_emit})


def _on_emit(_effect: Emit, _: Where) -> Plan[None]:
    yield from ()


# Elsewhere


class _Elsewhere:
    """Items that an executor works at; what is done comes by a queue, so that a wait for it can be ended."""

    def __init__(self, executor: Any, function: Callable[[Any], Any]) -> None:
        if not callable(getattr(executor, "submit", None)):
            raise Misuse(f"executor= is one of concurrent.futures, or like it, not {type(executor).__name__}")
        self.executor, self.function, self.threads = executor, function, is_of_threads(executor)
        self._came: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
        self._busy: dict[int, Future[Any]] = {}
        self._closed = False

    def turn(self, given: tuple[tuple[int, Any], ...]) -> tuple[int, Any, BaseException | None]:
        """Hand *given* to the executor, and wait for whatever is done first."""
        for place, item in given:
            self._give(place, item)
        place, value, error = self._came.get()
        self._busy.pop(place, None)
        return place, value, error

    def _give(self, place: int, item: Any) -> None:
        if self._closed:
            return
        try:
            future = self._busy[place] = self._submitted(item)
        except Exception as error:  # noqa: BLE001  # an executor that is broken or shut down
            self._came.put((place, None, error))
            return
        future.add_done_callback(partial(self._ended, place))
        if self._closed:  # while it was handed in, so that `close` may not have seen it
            future.cancel()

    def _submitted(self, item: Any) -> Future[Any]:
        """Threads of this process do it in the scope of the batch; what is in force goes nowhere else."""
        if self.threads:
            return self.executor.submit(copy_context().run, self._wanted, item)  # type: ignore[no-any-return]
        return self.executor.submit(packed, self.function, item)  # type: ignore[no-any-return]

    def _wanted(self, item: Any) -> Any:
        """Do it, unless it was handed in just as `close` looked, and is yet to be cancelled."""
        return None if self._closed else self.function(item)

    def _ended(self, place: int, future: Future[Any]) -> None:
        try:
            value = future.result()
            self._came.put((place, value if self.threads else unpacked(*value), None))
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is the outcome of this item
            self._came.put((place, None, error))

    def close(self) -> None:
        """Cancel what has not begun, and wake who waits; never blocks."""
        self._closed = True
        for future in list(self._busy.values()):
            future.cancel()
        self._came.put((-1, None, None))


def packed(function: Callable[[Any], Any], item: Any) -> tuple[bytes, str, str]:
    """What *function* gives for *item*, or its error with the words and the trace of it: nothing but bytes and text.

    An executor that has to unpickle what cannot be unpickled, as many an exception, breaks, and loses all other items.
    """
    try:
        return pickle.dumps(function(item)), "", ""
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the outcome of this item
        trace = "".join(format_exception(error))
        words = f"{type(error).__name__}: {error}"
        try:
            return pickle.dumps(error), words, trace
        except Exception:  # noqa: BLE001  # whatever its class does
            return b"", words, trace


def unpacked(data: bytes, words: str, trace: str) -> Any:
    """What was packed: the value is returned, an error raised; one that cannot be read is told by its words."""
    try:
        value = pickle.loads(data)  # noqa: S301  # from a process of ours
    except Exception as broken:
        if not words:
            raise
        raise _elsewhere(RuntimeError(words), trace) from broken
    if not words:
        return value
    raise _elsewhere(value, trace)


def _elsewhere(error: BaseException, trace: str) -> BaseException:
    error.add_note(f"It was raised in another process:\n{trace}")
    return error


def is_of_threads(executor: Any) -> bool:
    """Whether *executor* is the one of threads; whose module nobody has loaded has made none."""
    threads = getattr(sys.modules.get("concurrent.futures.thread"), "ThreadPoolExecutor", ())
    interpreters = getattr(sys.modules.get("concurrent.futures.interpreter"), "InterpreterPoolExecutor", ())
    return isinstance(executor, threads) and not isinstance(executor, interpreters)  # those threads share nothing

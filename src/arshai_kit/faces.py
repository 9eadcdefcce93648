"""A plan's faces: `blocking` and `streaming` for sync code, `awaiting` and `awaiting_stream` for async code."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from functools import cached_property, update_wrapper
from inspect import Signature, signature
from types import MethodType, TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from arshai_kit._adrive import AsyncRun, adrive
from arshai_kit._drive import NO_OUTCOME, Run, drive
from arshai_kit.effects import Plan
from arshai_kit.errors import Misuse
from arshai_kit.records import Event

__all__ = [
    "AsyncStream",
    "Awaiting",
    "AwaitingStream",
    "Blocking",
    "Stream",
    "Streaming",
    "adrive",
    "awaiting",
    "awaiting_stream",
    "blocking",
    "drive",
    "streaming",
]

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")


# Streams


class Stream:
    """The events of a run, as they happen; leaving it early ends the run.

    Iterate it, in a `with` block if you may leave early and keep a reference to it, or `close()` it.
    """

    def __init__(self, plan: Plan[Any]) -> None:
        self._events = _told(Run(plan, listening=True))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        try:
            return next(self._events)
        except ValueError as error:
            if not _is_busy(error):
                raise
            raise Misuse("the stream is being read by another thread: one at a time reads it") from error

    def close(self) -> None:
        """End the run: the connection is closed, and what was started is cancelled; whoever reads it calls this."""
        try:
            self._events.close()
        except ValueError as error:
            if not _is_busy(error):
                raise
            raise Misuse(
                "a stream is closed by the thread that reads it; this one is waiting for its next event"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_busy(error: ValueError) -> bool:
    """Whether *error* is Python's own of a generator that runs in another thread: it comes from no frame of it."""
    trace = error.__traceback__
    return trace is not None and trace.tb_next is None


def _told(run: Run) -> Generator[Event, None, None]:
    with closing(run.events()) as events:
        for batch in events:
            yield from batch
    run.outcome.unwrap()


class AsyncStream:
    """The events of a run, as they happen: `async with aio.stream(…) as events: async for event in events: …`."""

    def __init__(self, plan: Plan[Any]) -> None:
        self._plan = plan
        self._run: AsyncRun | None = None
        self._batch: deque[Event] = deque()
        self._busy = False

    async def __aenter__(self) -> Self:
        if self._run is not None:
            raise Misuse("a stream is entered once; call aio.stream(…) again")
        self._run = AsyncRun(self._plan, listening=True)
        await self._run.open_group()
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        batch = self._batch
        while not batch:
            batch.extend(await self._more())
        return batch.popleft()

    async def _more(self) -> tuple[Event, ...]:
        run = self._run
        if run is None:
            raise Misuse(
                "a stream is entered first: `async with aio.stream(…) as events: async for event in events: …`"
            )
        if self._busy:
            raise Misuse("the stream was cancelled while it waited, or is being read twice: call aio.stream(…) again")
        if run.outcome is not NO_OUTCOME or run.closed:
            raise StopAsyncIteration
        self._busy = True
        try:
            events = await run.events()
        except Exception:
            self._busy = False
            await run.close()
            raise
        self._busy = False
        if events is not None:
            return events
        run.outcome.unwrap()
        raise StopAsyncIteration

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the run: the connection is closed, and what was started is cancelled."""
        if self._run is not None:
            await self._run.close()


# Faces


def _wear(face: Any, plan: Callable[..., Plan[Any]], given: type | None = None) -> None:
    """Let *face* look like *plan*, but for what its call gives: a *given*, or what the plan returns."""
    update_wrapper(face, plan)
    said = getattr(plan, "__annotations__", {})
    if "return" in said:
        face.__annotations__ = {**said, "return": given or _returned(said["return"])}


def _returned(annotation: Any) -> Any:
    """What a plan of this annotation returns; the annotation is a string where it has not been evaluated."""
    if isinstance(annotation, str):
        inside = annotation.removeprefix("Plan[")
        return annotation if inside == annotation else inside.removesuffix("]")
    match getattr(annotation, "__args__", ()):
        case (_, _, returned):
            return returned
    return annotation


def _signature(face: Any) -> Signature:
    found = signature(face.plan)
    said: dict[str, Any] = getattr(face.plan, "__annotations__", {})
    return found.replace(return_annotation=face.__annotations__["return"]) if "return" in said else found


def _reduced(plan: Any) -> Any:
    """What a face of *plan* is pickled as: its name, like any function, or the face of that name of an instance."""
    if isinstance(plan, MethodType):
        return getattr, (plan.__self__, plan.__name__)
    return plan.__qualname__


class Blocking(Generic[P, T]):
    """A plan's blocking face: calling it runs *plan* to its end. In a class it binds, like any function."""

    def __init__(self, plan: Callable[P, Plan[T]]) -> None:
        self.plan = plan
        _wear(self, plan)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the plan to its end."""
        return drive(self.plan(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<function {self.plan.__name__}>"

    def __reduce__(self) -> Any:
        return _reduced(self.plan)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self: Blocking[Concatenate[Any, Q], T], instance: object, owner: type) -> Blocking[Q, T]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else Blocking(MethodType(self.plan, instance))

    __signature__ = property(_signature)

    @cached_property
    def awaiting(self) -> Awaiting[P, T]:
        """The other face of the same plan."""
        return Awaiting(self)


class Streaming(Generic[P]):
    """A plan's streaming face: calling it gives the events of *plan* as they happen. It binds, as above."""

    def __init__(self, plan: Callable[P, Plan[Any]]) -> None:
        self.plan = plan
        _wear(self, plan, Stream)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Stream:
        """Give the events of the plan."""
        return Stream(self.plan(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<function {self.plan.__name__}>"

    def __reduce__(self) -> Any:
        return _reduced(self.plan)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self: Streaming[Concatenate[Any, Q]], instance: object, owner: type) -> Streaming[Q]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else Streaming(MethodType(self.plan, instance))

    __signature__ = property(_signature)

    @cached_property
    def awaiting(self) -> AwaitingStream[P]:
        """The other face of the same plan."""
        return AwaitingStream(self)


class Awaiting(Generic[P, T]):
    """A plan's awaiting face: awaiting its call runs *plan* to its end."""

    def __init__(self, face: Blocking[P, T]) -> None:
        self.face = face
        self.plan = face.plan
        _wear(self, face.plan)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the plan to its end."""
        return await adrive(self.plan(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<async function {self.plan.__name__}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return awaiting, (self.face,)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self: Awaiting[Concatenate[Any, Q], T], instance: object, owner: type) -> Awaiting[Q, T]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else Awaiting(self.face.__get__(instance, owner))

    __signature__ = property(_signature)


class AwaitingStream(Generic[P]):
    """A plan's awaiting stream: `async with` its call gives the events of *plan* as they happen."""

    def __init__(self, face: Streaming[P]) -> None:
        self.face = face
        self.plan = face.plan
        _wear(self, face.plan, AsyncStream)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncStream:
        """Give the events of the plan."""
        return AsyncStream(self.plan(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<async function {self.plan.__name__}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return awaiting_stream, (self.face,)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self: AwaitingStream[Concatenate[Any, Q]], instance: object, owner: type) -> AwaitingStream[Q]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else AwaitingStream(self.face.__get__(instance, owner))

    __signature__ = property(_signature)


blocking = Blocking
streaming = Streaming


def awaiting(face: Blocking[P, T]) -> Awaiting[P, T]:
    """The awaiting face of what *face* drives by blocking; there is one of each, as of any function."""
    return face.awaiting


def awaiting_stream(face: Streaming[P]) -> AwaitingStream[P]:
    """The awaiting face of what *face* streams."""
    return face.awaiting

"""What the world can be asked to do, as data.

A plan is a generator that yields effects and is sent their answers; its return value is its result. `yield from`
composes plans, and an effect is itself a plan of one step: `reply = yield from Send(request)` is a `Reply`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable, Mapping
from functools import partial
from types import GeneratorType
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, overload

from attrs import field, frozen

from arshai_kit._json import Json
from arshai_kit._record import Record
from arshai_kit.errors import ArshaiError, Misuse, NotAPlan, anew
from arshai_kit.keys import Secret, hidden, private, veiled
from arshai_kit.records import Event

__all__ = [
    "Call",
    "Channel",
    "Close",
    "Effect",
    "Emit",
    "Halt",
    "Handle",
    "Handler",
    "Here",
    "Instant",
    "Join",
    "Layer",
    "Now",
    "Open",
    "Outcome",
    "Owner",
    "Plan",
    "Random",
    "Read",
    "Reply",
    "Request",
    "Secret",
    "Send",
    "Sleep",
    "Spawn",
    "Start",
    "Step",
    "Where",
    "call",
    "fresh",
    "hidden",
    "intercept",
    "no_effect",
    "planned",
    "private",
    "side_by_side",
    "veiled",
]

A = TypeVar("A", covariant=True)
T = TypeVar("T")
P = ParamSpec("P")

FOREVER = float("inf")


class Effect(Record, Generic[A]):
    """Something asked of the world; typed by its answer."""

    __slots__ = ()

    def __iter__(self) -> Generator[Effect[Any], Any, A]:
        return (yield self)  # type: ignore[no-any-return]  # the driver answers an Effect[A] with an A


Plan: TypeAlias = Generator[Effect[Any], Any, T]


class Halt(BaseException):
    """A layer ends the run: no plan can catch it, and the driver raises *error*."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


# What goes over the wire


def _veiled_headers(headers: tuple[tuple[str, str | Secret], ...]) -> str:
    shown = [(name, veiled(value) if isinstance(value, str) else value) for name, value in headers]
    return repr(tuple([(name, Secret("") if private(name) else value) for name, value in shown]))


@frozen(eq=False, repr=False)
class Request(Record):
    """One HTTP request.

    *timeout* is the longest silence in seconds, *connect_timeout* the longest wait for a connection to be made,
    *max_body* the most bytes of a reply that are read, also after decompression. A *public* request goes to public
    addresses only, whatever the name in its URL resolves to.
    """

    method: str
    url: str = field(repr=lambda url: repr(veiled(url)))
    headers: tuple[tuple[str, str | Secret], ...] = field(default=(), repr=_veiled_headers)
    content: bytes = field(default=b"", repr=False)
    timeout: float = 300.0
    connect_timeout: float = 10.0
    max_body: int = 64 * 1024 * 1024
    public: bool = False


@frozen(eq=False, repr=False)
class Reply(Record):
    """A whole HTTP reply; names of headers are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=_veiled_headers)
    body: bytes = field(default=b"", repr=False)


@frozen(eq=False, repr=False)
class Channel(Record):
    """A streamed HTTP reply that is still coming; *number* tells it from the others of its run."""

    number: int
    status: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=_veiled_headers)


# Leaf effects: what drivers perform


@frozen(eq=False, repr=False)
class Send(Effect[Reply]):
    """Exchange one request for a whole reply; *until* is the deadline on the clock of `Now`."""

    request: Request
    until: float = FOREVER


@frozen(eq=False, repr=False)
class Open(Effect[Channel]):
    """Exchange one request for a reply that streams."""

    request: Request
    until: float = FOREVER


@frozen(eq=False, repr=False)
class Read(Effect[bytes]):
    """The next bytes of a streamed reply, empty at its end.

    *heard* says that the bytes before told something, so that the time of silence starts anew.
    """

    channel: Channel
    heard: bool = True


@frozen(eq=False, repr=False)
class Close(Effect[None]):
    """Be done with a streamed reply, reading what little is left of it so that its connection can be used again."""

    channel: Channel


class Call(Effect[T]):
    """Call a foreign function, sync or async: `yield from Call(fn, *args, **kwargs)`."""

    __slots__ = ("args", "function", "kwargs", "seconds")
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    seconds: float | None

    @overload
    def __init__(self: Call[T], function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    @overload
    def __init__(self: Call[T], function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    def __init__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.seconds = None

    def within(self, seconds: float | None) -> Call[T]:
        """The same call, answered by a `TimeoutError` when it takes longer."""
        other: Call[T] = Call(self.function, *self.args, **self.kwargs)
        other.seconds = seconds
        return other

    @property
    def name(self) -> str:
        """What the function is called."""
        function: Any = self.function
        while isinstance(function, partial):
            function = function.func
        return getattr(function, "__name__", type(function).__name__)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


class Instant(Call[T]):
    """Ask a state that is kept in memory: `yield from Instant(state.enter, key)`.

    The sync function is called in place, not by a worker, so nobody who is cancelled comes back to it later. It must
    never block for longer than its own lock is held.
    """

    __slots__ = ()


@frozen(eq=False, repr=False)
class Sleep(Effect[None]):
    """Wait for *seconds*; *least* is how long the whole wait takes, where this is only until the next look."""

    seconds: float
    least: float = 0.0


class Now(Effect[float]):
    """Seconds since the epoch, on a clock that never jumps while a run lasts."""


class Random(Effect[float]):
    """A number from [0, 1)."""


@frozen(eq=False, repr=False)
class Spawn(Effect[None]):
    """Run the plan that *make_plan* returns in the background, owned by the innermost `using` block or the process.

    When it fails, *failed* makes the event that tells so.
    """

    name: str
    make_plan: Callable[[], Plan[Any]]
    failed: Callable[[Exception], Event] | None = None


# Effects that the machine answers itself


@frozen(eq=False, repr=False)
class Owner:
    """A frame of the run that plans can belong to; *listening* says whether anybody wants the events.

    *run* is the run itself, one object as long as it lasts. Where not *early*, no tool is called before the reply that
    asks for it is complete.
    """

    frame: Any
    listening: bool = False
    run: Any = None
    early: bool = True

    @property
    def tag(self) -> str:
        """The path that its events are told under."""
        return self.frame.tag  # type: ignore[no-any-return]  # of a frame of the machine


class Handle(Generic[T]):
    """A plan that runs beside others; `Join` gives its outcome."""

    __slots__ = ("outcome", "path", "task", "waiting")

    def __init__(self, path: str) -> None:
        self.path = path
        self.task: Any = None
        self.outcome: Outcome[T] | None = None
        self.waiting: list[Any] = []

    def __repr__(self) -> str:
        return f"Handle({self.path})"


@frozen(eq=False, repr=False)
class Outcome(Record, Generic[T]):
    """How a plan ended: a value, or an error."""

    value: T | None = None
    error: Exception | None = None

    def unwrap(self) -> T:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # without an error there is a value of type T


@frozen(eq=False, repr=False)
class Start(Effect[Handle[T]]):
    """Let *plan* run beside this one; idempotent for one *key* of one *owner* (by default the frame that asks).

    At most *limit* plans of an owner run at a time, the others wait their turn; what nobody has joined when the
    owner's frame ends is cancelled.
    """

    plan: Plan[T]
    key: Hashable = None
    owner: Owner | None = None
    limit: int | None = None


@frozen(eq=False, repr=False)
class Join(Effect[tuple[Outcome[Any], ...]]):
    """The outcomes of plans that run side by side, in the order of *handles*, once all have ended."""

    handles: tuple[Handle[Any], ...]


class Here(Effect[Owner]):
    """The frame that this plan runs in."""


@frozen(eq=False, repr=False)
class Emit(Effect[None]):
    """Tell *events* to whoever is streaming."""

    events: tuple[Event, ...]


@frozen(eq=False, repr=False)
class Step(Effect[T]):
    """A named sub-plan: a model call, a tool call, an agent, a memory or search operation.

    *make_plan* is called when the step is really performed, so that a layer can answer without it. Whoever tells
    itself that it begins and ends has it not *told*.
    """

    kind: str
    name: str
    input: Any
    make_plan: Callable[[], Plan[T]]
    told: bool = True


# Layers


@frozen(eq=False, repr=False)
class Where(Record):
    """The place of an effect in its run: *path* is its name, *tags* come from `using(tags=…)`."""

    path: str
    tags: Mapping[str, Json] = field(factory=dict)


Handler: TypeAlias = Callable[[Any, Where], Plan[Any]]
Layer: TypeAlias = Mapping[type[Effect[Any]], Handler]


def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Plan[Any]:
    """Run *function* inside a plan: as a plan if it has one, by asking the world if it has none.

    >>> next(call(len, "abc"))
    Call(len)
    """
    plan = getattr(function, "plan", None)
    if plan is None and isinstance(function, partial):
        plan = planned(function)
    if plan is not None:
        return (yield from plan(*args, **kwargs))
    try:
        return (yield Call(function, *args, **kwargs))
    except ArshaiError as error:
        raise anew(error)  # noqa: B904  # it has the cause that it had


def planned(function: Any) -> Callable[..., Plan[Any]] | None:
    """How the plan of *function* is made, if it has one, also where part of its arguments is given already.

    >>> planned(partial(len, "abc")) is None
    True
    """
    if not isinstance(function, partial):
        return getattr(function, "plan", None)
    plan = planned(function.func)
    return None if plan is None else partial(plan, *function.args, **function.keywords)


def intercept(plan: Plan[T], layer: Layer) -> Plan[T]:
    """*plan*, with *layer* answering the effects that it names.

    >>> def noon(effect, where):
    ...     return 12.0
    ...     yield
    >>> def asks():
    ...     print((yield from Now()))
    >>> list(intercept(asks(), {Now: noon}))
    12.0
    []
    """
    answer: Any = None
    error: Exception | None = None
    try:
        while True:
            try:
                effect = plan.send(answer) if error is None else plan.throw(error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # a Plan[T] returns a T
            handler = layer.get(type(effect))
            answer = error = None
            try:
                answer = (yield effect) if handler is None else (yield from handler(effect, Where("")))
            except Exception as raised:  # noqa: BLE001  # whatever it is, it is the plan's to answer
                error = raised
    finally:
        plan.close()


def side_by_side(plans: Iterable[Plan[T]], *, limit: int | None = None) -> Plan[tuple[Outcome[T], ...]]:
    """The outcomes of *plans*, in their order; at most *limit* run at a time."""
    handles = []
    for plan in plans:
        handles.append((yield from Start(plan, limit=limit)))
    return (yield from Join(tuple(handles)))


def no_effect(value: T, name: str) -> T:
    """*value*, which the generator function *name* yielded; an effect shows that the function is a plan.

    >>> no_effect(3, "agent")
    3
    """
    if isinstance(value, Effect):
        how = "decorate it with arshai_kit.faces.blocking, or give it a `.plan`"
        raise NotAPlan(f"{name}() yields effects, so it is a plan and no plain function: {how}")
    return value


def fresh(plan: Any) -> Plan[Any]:
    """*plan*, if it can be run: a generator that nobody has started."""
    if type(plan) is not GeneratorType:
        raise Misuse(f"a plan is a generator of effects, not {type(plan).__name__}; did a function forget to yield?")
    if plan.gi_suspended or plan.gi_running or plan.gi_frame is None:
        raise Misuse("a plan is used once; make a new one by calling its function again")
    return plan

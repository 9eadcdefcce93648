"""A circuit is closed, open, or tried by exactly one: what failed too often is left alone for a while."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

from attrs import evolve, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Emit, Plan
from arshai_kit.errors import CircuitOpen, Misuse, ProviderError, StreamIncomplete, TimedOut
from arshai_kit.models import Ask, is_model
from arshai_kit.records import Notice, Response
from arshai_kit.resilience.around import AgentAround, Around, asking, named, wrappable
from arshai_kit.resilience.embedding import PolicedEmbedder, is_embedder
from arshai_kit.resilience.forks import free_in_forks
from arshai_kit.resilience.limits import ticket
from arshai_kit.resilience.nesting import is_within
from arshai_kit.retry import transient

__all__ = ["Admission", "Breaking", "Broken", "Circuit", "CircuitRules", "breaker", "unwell"]

T = TypeVar("T")

Admission: TypeAlias = tuple[str, int, float]
"""Whether a call may go (`closed`, `probe`) or not (`open`, `probed`), in which turn, and how many seconds not."""

_LEASE: Final = 300.0


def _positive(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise Misuse(f"{name}= is a number of seconds above 0, not {value!r}")
    return value


def unwell(error: BaseException) -> bool:
    """Whether *error* says that a server is not well: what is `transient`, silence, and streams that were cut.

    A deadline that passed while a call waited in a line of your own says nothing.

    >>> from arshai_kit.errors import BadRequest, ServerFailed
    >>> unwell(ServerFailed(status=503)), unwell(TimedOut()), unwell(BadRequest(status=400))
    (True, True, False)
    """
    if isinstance(error, TimedOut):
        return not error.in_line
    return transient(error) or isinstance(error, StreamIncomplete)


def _answered(error: Exception) -> bool | None:
    """Whether a server answered, though with an *error*; `None`: nobody knows, it may not have been asked."""
    return True if isinstance(error, ProviderError) and error.status is not None else None


@frozen(eq=False, repr=False, kw_only=True)
class CircuitRules(Record):
    """When a circuit opens, and for how long.

    After so many *failures* one after another, or once *rate* of the calls that ended within *window* seconds have
    failed and these are *minimum* at the least; *reset* seconds later, one call tries.
    """

    failures: int | None = None
    rate: float | None = None
    window: float = 60.0
    minimum: int = 10
    reset: float = 30.0

    def checked(self) -> CircuitRules:
        """These, if they make sense; by default five failures one after another."""
        for name in ("failures", "minimum"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise Misuse(f"{name}= is a whole number from 1, not {value!r}")
        if self.rate is not None and (not isinstance(self.rate, int | float) or not 0 < self.rate <= 1):
            raise Misuse(f"rate= is the share of calls that fail, above 0 and up to 1, not {self.rate!r}")
        for name in ("window", "reset"):
            _positive(name, getattr(self, name))
        if self.failures is None and self.rate is None:
            return evolve(self, failures=5)
        return self


class Circuit:
    """What is known of a server's health, by whoever shares it; threads and tasks may.

    It opens by its *rules*, by default those of `CircuitRules()`. A call that tries whether the server is well again,
    and does not end within *lease* seconds, is taken for left: another one may try. Its clock is monotonic; *clock* is
    another. What a pickle gives is as new: closed. In a forked child, no call of the parent is trying.
    """

    in_memory: ClassVar[bool] = True

    def __init__(
        self,
        rules: CircuitRules | None = None,
        *,
        lease: float = _LEASE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules, self.lease = (rules or CircuitRules()).checked(), _positive("lease", lease)
        self.clock = clock
        self._lock = RLock()  # a plan may be freed, and leave, while this very thread holds it
        self._turn = 0  # one more at each change of state, so that what comes late is not counted
        self._in_a_row = 0
        self._ended: deque[tuple[float, bool]] = deque()
        self._due: float | None = None  # when it is to be tried, while it is not closed
        self._probe = ""
        self._until = 0.0  # the probe ends, or is taken for left
        free_in_forks(self)

    def __repr__(self) -> str:
        return f"Circuit({self.rules!r}{'' if self.lease == _LEASE else f', lease={self.lease!r}'})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _circuit, (self.rules, self.lease)

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`: being tried, or due to be."""
        with self._lock:
            if self._due is None:
                return "closed"
            return "half-open" if self._probe or self.clock() >= self._due else "open"

    def enter(self, key: str) -> Admission:
        """Whether the call *key* may be made, of which turn that is, and how long until one may try."""
        with self._lock:
            if self._due is None:
                return "closed", self._turn, 0.0
            now = self.clock()
            tried = bool(self._probe) and self._until > now
            if tried and self._probe != key:
                return "probed", self._turn, 0.0
            if not tried and (left := self._due - now) > 0:
                return "open", self._turn, left
            self._probe, self._until = key, now + self.lease
            return "probe", self._turn, 0.0

    def settle(self, key: str, turn: int, went: bool | None) -> str:  # noqa: FBT001  # recorded by place
        """How the call *key* of *turn* *went* (`None`: nobody knows); the state that this brought, if it changed."""
        with self._lock:
            if turn != self._turn:
                return ""
            if self._due is not None:
                return self._probed(key, went)
            return self._counted(went) if went is not None else ""

    def leave(self, key: str) -> None:
        """The call *key* was cancelled: somebody else may try; never blocks, so a plan that is closed may call it."""
        with self._lock:
            if self._probe == key:
                self._probe = ""

    def forked(self) -> None:
        """Be that of a forked child, where none of its parent's calls is."""
        self._lock = RLock()
        self._probe = ""

    def _probed(self, key: str, went: bool | None) -> str:  # noqa: FBT001
        if self._probe != key:
            return ""
        self._probe = ""
        return "" if went is None else self._changed(closed=went)

    def _counted(self, went: bool) -> str:  # noqa: FBT001
        rules, now = self.rules, self.clock()
        self._in_a_row = 0 if went else self._in_a_row + 1
        if rules.rate is not None:
            self._ended.append((now, went))
            while self._ended[0][0] <= now - rules.window:
                self._ended.popleft()
        in_a_row = rules.failures is not None and self._in_a_row >= rules.failures
        return self._changed(closed=False) if not went and (in_a_row or self._too_many()) else ""

    def _too_many(self) -> bool:
        rules, calls = self.rules, len(self._ended)
        failed = sum(not went for _, went in self._ended)
        return rules.rate is not None and calls >= rules.minimum and failed >= rules.rate * calls

    def _changed(self, *, closed: bool) -> str:
        self._turn += 1
        self._in_a_row = 0
        self._ended.clear()
        self._due = None if closed else self.clock() + self.rules.reset
        return "closed" if closed else "open"


def _circuit(rules: CircuitRules, lease: float) -> Circuit:
    return Circuit(rules, lease=lease)


# What is done around a call


@frozen(eq=False, repr=False)
class Breaking(Record):
    """A call is made unless the *circuit* is open; an error counts against it where *counts* says so."""

    circuit: Any
    counts: Callable[[BaseException], bool] = unwell

    def around(self, make_plan: Callable[[], Plan[T]], name: str) -> Plan[T]:
        """The answer of the plan, if it is made."""
        key, settled = (yield from ticket()), False
        try:
            turn = yield from self._admitted(key, name)
            try:
                response = yield from make_plan()
            except Exception as error:
                went = False if self.counts(error) else _answered(error)
                yield from self._settled(key, turn, went, name)
                settled = True
                raise
            yield from self._settled(key, turn, True, name)
            settled = True
        finally:
            if not settled:
                self.circuit.leave(key)
        return response

    def _admitted(self, key: str, name: str) -> Plan[int]:
        """The turn in which the call is made; refused while the circuit is open."""
        admission: Admission = yield from asking(self.circuit, self.circuit.enter, key)
        state, turn, left = admission
        if state == "open":
            why = f"{name} has failed too often, so it is left alone: it is tried again in {left:.3g} s"
            raise CircuitOpen(why, retry_after=left)
        if state == "probed":
            raise CircuitOpen(f"{name} has failed too often, so it is left alone; one call is trying it right now")
        if state == "probe":
            yield from Emit((Notice("circuit", name, "half-open"),))
        return turn

    def _settled(self, key: str, turn: int, went: bool | None, name: str) -> Plan[None]:  # noqa: FBT001
        state = yield from asking(self.circuit, self.circuit.settle, key, turn, went)
        if state:
            data = {"seconds": self.circuit.rules.reset} if state == "open" else {}
            yield from Emit((Notice("circuit", name, state, data),))


@frozen(eq=False, repr=False)
class Broken(Around):
    """A model that is left alone while its *circuit* is open; see `breaker`."""

    circuit: Any
    counts: Callable[[BaseException], bool] = unwell

    def __attrs_post_init__(self) -> None:
        _once(self.model, self.circuit)

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The answer of the model, unless the circuit is open."""
        return Breaking(self.circuit, self.counts).around(lambda: self.model.ask(ask, stream=stream), self.name)


def _once(inner: Any, circuit: Any) -> None:
    if is_within(inner, "circuit", circuit):
        why = "the call that tries the server would be refused by the one that it makes"
        raise Misuse(f"{named(inner)} is guarded by this circuit already, and {why}: wrap it once")


def breaker(
    model: Any,
    circuit: Any = None,
    *,
    failures: int | None = None,
    rate: float | None = None,
    window: float = 60.0,
    minimum: int = 10,
    reset: float = 30.0,
    counts: Callable[[BaseException], bool] = unwell,
) -> Any:
    """*model*, an agent or an embedder, that is left alone for *reset* seconds after it has failed too often.

    That is after so many *failures* one after another (five, if neither is given), or once *rate* of the calls that
    ended within *window* seconds have failed, and these are *minimum* at the least. Meanwhile each call raises
    `CircuitOpen` at once. Then exactly one call tries: it closes the circuit, or opens it again. Errors count if
    *counts* says so, by default what says that the server is `unwell`. Models that fail together share a *circuit*.

    >>> from arshai_kit import openai
    >>> breaker(openai("gpt-5.6-luna", api_key="sk-1"), failures=3).circuit
    Circuit(CircuitRules(failures=3))
    """
    rules = CircuitRules(failures=failures, rate=rate, window=window, minimum=minimum, reset=reset)
    if circuit is not None and rules != CircuitRules():
        raise Misuse("breaker() takes a circuit, or the rules of a new one, not both")
    if circuit is not None and not hasattr(circuit, "settle"):
        raise Misuse(f"a circuit is a Circuit(CircuitRules(failures=…)) or a RedisCircuit, not {circuit!r}")
    if not callable(counts):
        raise Misuse(f"counts= is a function that says which errors count, not {counts!r}")
    known = Circuit(rules) if circuit is None else circuit
    if is_embedder(model):
        _once(model, known)
        return PolicedEmbedder(model, Breaking(known, counts))
    if is_model(wrappable(model, "breaker")):
        return Broken(model, known, counts)
    _once(model, known)
    return AgentAround(model, Breaking(known, counts))

"""Calls are spread over several; who fails is set aside for a while, each time longer, and then asked again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from threading import RLock
from typing import Any, ClassVar, Final, Literal, TypeAlias, TypeVar, get_args

from attrs import define, field, frozen

from arshai_kit._record import Record
from arshai_kit.completion import run
from arshai_kit.effects import Emit, Plan
from arshai_kit.errors import CircuitOpen, Misuse, NotFound, OverLimit, ProviderError, TimedOut, Unauthorized
from arshai_kit.models import Ask, Capabilities, is_model, overheard
from arshai_kit.records import Event, Notice, Response
from arshai_kit.resilience.around import answered, apart, asking, blocked, merged, named, wrappable
from arshai_kit.resilience.breakers import unwell
from arshai_kit.resilience.forks import free_in_forks
from arshai_kit.resilience.limits import ticket

__all__ = ["Balance", "Balanced", "BalancedAgents", "Balancing", "By", "balanced", "out_of_order"]

T = TypeVar("T")

By: TypeAlias = Literal["round_robin", "weighted", "least_busy", "headroom"]

LONGEST: Final = 32
"""So many times longer than the first time is the longest that one is set aside."""


def out_of_order(error: BaseException) -> bool:
    """Whether *error* says that another one should be asked for a while: unwell, locked, limited, or left alone.

    >>> from arshai_kit.errors import BadRequest
    >>> out_of_order(Unauthorized(status=401)), out_of_order(BadRequest(status=400))
    (True, False)
    """
    return unwell(error) or isinstance(error, Unauthorized | NotFound | OverLimit | CircuitOpen | TimedOut)


@define(slots=True)
class _Member:
    weight: float
    credit: float = 0.0
    failures: int = 0
    due: float = 0.0  # set aside until then
    room: float = 1.0  # the share that the provider said is left
    fresh: float = 0.0  # when that starts anew
    busy: dict[str, int] = field(factory=dict)  # each with the failures when it began


class Balance:
    """Who is asked next: what is known of so many, by their places, and by whoever shares it; threads and tasks may.

    *by* says how it is chosen among those that are not set aside: in turns, in turns by *weights*, whoever has the
    fewest calls under way (for its weight), or whose provider says that most is
    left of its limits, for the calls under way. Who fails is set
    aside for *set_aside* seconds, twice as long each time. What a pickle gives is as new.
    """

    in_memory: ClassVar[bool] = True

    def __init__(
        self,
        weights: Sequence[float],
        *,
        by: By = "round_robin",
        set_aside: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if by not in get_args(By):
            raise Misuse(f"by= is one of {', '.join(get_args(By))}, not {by!r}")
        if not weights or not all(isinstance(weight, int | float) and 0 < weight < float("inf") for weight in weights):
            raise Misuse(f"weights are numbers above 0, one for each, not {weights!r}")
        if not isinstance(set_aside, int | float) or not 0 <= set_aside < float("inf"):
            raise Misuse(f"set_aside= is a number of seconds, not {set_aside!r}")
        self.weights, self.by, self.set_aside = tuple(weights), by, set_aside
        self.clock = clock
        self._lock = RLock()  # a plan may be freed, and leave, while this very thread holds it
        self._members = [_Member(weight) for weight in weights]
        free_in_forks(self)

    def __repr__(self) -> str:
        return f"Balance({self.weights}, by={self.by!r}, set_aside={self.set_aside})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _balance, (self.weights, self.by, self.set_aside)

    def enter(self, key: str, tried: tuple[int, ...]) -> int:
        """The place of who is to answer the call *key*, but none of *tried*; of those set aside, who is due first."""
        with self._lock:
            now = self.clock()
            left = [place for place in range(len(self._members)) if place not in tried]
            ready = [place for place in left if self._members[place].due <= now]
            place = self._chosen(ready, now) if ready else min(left, key=lambda each: self._members[each].due)
            self._members[place].busy[key] = self._members[place].failures
            return place

    def settle(
        self,
        key: str,
        place: int,
        went: bool | None,  # noqa: FBT001  # recorded by place
        pause: float | None,
        room: tuple[float, float] | None,
    ) -> float:
        """How the call *key* *went* (`None`: it says nothing), and the *room* that is left; the seconds set aside."""
        with self._lock:
            member, now = self._members[place], self.clock()
            since = member.busy.pop(key, member.failures)
            if room is not None:
                member.room, member.fresh = room[0], now + room[1]
            if went is None or since != member.failures:  # what began before it was set aside says nothing new
                return 0.0
            if went:
                member.failures, member.due = 0, 0.0
                return 0.0
            seconds: float = max(self.set_aside * min(2.0 ** min(member.failures, 9), LONGEST), pause or 0.0)
            member.failures += 1
            member.due = now + seconds
            return seconds

    def leave(self, key: str) -> None:
        """The call *key* was cancelled; never blocks, so a plan that is closed may call it."""
        with self._lock:
            for member in self._members:
                member.busy.pop(key, None)

    def forked(self) -> None:
        """Be that of a forked child, where none of its parent's calls is."""
        self._lock = RLock()
        for member in self._members:
            member.busy = {}

    def _chosen(self, ready: list[int], now: float) -> int:
        """The best of *ready*; those that are as good take turns, by their weights."""
        best = max(self._worth(self._members[place], now) for place in ready)
        equals = [place for place in ready if self._worth(self._members[place], now) == best]
        members = [self._members[place] for place in equals]
        for member in members:
            member.credit += member.weight
        chosen = max(equals, key=lambda place: self._members[place].credit)
        self._members[chosen].credit -= sum(member.weight for member in members)
        return chosen

    def _worth(self, member: _Member, now: float) -> float:
        match self.by:
            case "least_busy":
                return -len(member.busy) / member.weight
            case "headroom":
                return (1.0 if member.fresh <= now else member.room) / (1 + len(member.busy))
        return 0.0


def _balance(weights: tuple[float, ...], by: By, set_aside: float) -> Balance:
    return Balance(weights, by=by, set_aside=set_aside)


def _room(response: Any) -> tuple[float, float] | None:
    """The smallest share that is left of the limits that came with *response*, and for how many seconds."""
    limits = response.rate_limits if isinstance(response, Response) else ()
    shares = [
        (each.remaining / each.limit, each.reset or 60.0)
        for each in limits
        if each.limit and each.remaining is not None
    ]
    return min(shares, default=None)


# What is done around a call


@frozen(eq=False, repr=False)
class Balancing(Record):
    """One of several answers, or after it has failed another one, up to *tries* of them."""

    balance: Balance
    tries: int = 1
    fails: Callable[[BaseException], bool] = out_of_order

    def among(self, plans: Sequence[Callable[[], Plan[T]]], names: Sequence[str]) -> Plan[T]:
        """The answer of one of *plans*; another is tried only while nothing has been told of an answer."""
        tried: tuple[int, ...] = ()
        told: list[bool] = []
        while True:
            key = yield from ticket()
            try:
                place = yield from asking(self.balance, self.balance.enter, key, tried)
                tried = (*tried, place)
                return (yield from self._asked(key, place, overheard(plans[place](), _noting(told)), names[place]))
            except Exception as error:
                if told or len(tried) >= min(self.tries, len(plans)) or not self.fails(error):
                    raise
            finally:
                self.balance.leave(key)  # nothing, once it is settled

    def _asked(self, key: str, place: int, plan: Plan[T], name: str) -> Plan[T]:
        """The answer of *plan*; who fails is set aside, and that is told."""
        settle = self.balance.settle
        try:
            response = yield from plan
        except Exception as error:
            pause = error.retry_after if isinstance(error, ProviderError | CircuitOpen) else None
            went = False if self.fails(error) else None
            seconds = yield from asking(self.balance, settle, key, place, went, pause, None)
            if seconds:
                yield from Emit((Notice("set_aside", name, str(error), {"seconds": seconds}),))
            raise
        yield from asking(self.balance, settle, key, place, True, None, _room(response))
        return answered(response, name)


def _noting(told: list[bool]) -> Callable[[tuple[Event, ...]], Plan[None]]:
    """Tell events on, and note whether any is of an answer."""

    def hear(events: tuple[Event, ...]) -> Plan[None]:
        if not all(isinstance(event, Notice) for event in events):
            told.append(True)
        yield from Emit(events)

    return hear


@frozen(eq=False, repr=False)
class Balanced(Record):
    """Models, one of which answers; see `balanced`."""

    models: tuple[Any, ...]
    balance: Balance
    tries: int = 1
    fails: Callable[[BaseException], bool] = out_of_order

    @property
    def name(self) -> str:
        """What the models are called."""
        return "|".join(dict.fromkeys(model.name for model in self.models))

    @property
    def provider(self) -> str:
        """Who provides the models."""
        return "|".join(dict.fromkeys(model.provider for model in self.models))

    @property
    def capabilities(self) -> Capabilities:
        """What all of the models are known to take."""
        return merged(self.models)

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The answer of one of the models."""
        plans = [_asking(model, ask, stream=stream) for model in self.models]
        names = apart([model.name for model in self.models], [model.provider for model in self.models])
        return Balancing(self.balance, self.tries, self.fails).among(plans, names)


def _asking(model: Any, ask: Ask, *, stream: bool) -> Callable[[], Plan[Response]]:
    return lambda: model.ask(ask, stream=stream)


@frozen(eq=False, repr=False)
class BalancedAgents(Record):
    """Agents, one of which answers; see `balanced`."""

    agents: tuple[Any, ...]
    policy: Balancing

    @property
    def __name__(self) -> str:
        return "|".join(dict.fromkeys(map(named, self.agents)))

    @property
    def __wrapped__(self) -> Any:
        """The first of the agents, whose parameters and words are those of this one too."""
        return self.agents[0]

    def plan(self, *args: Any, **kwargs: Any) -> Plan[Any]:
        """What calling it does, as a plan."""
        return self.policy.among(
            [_calling(each, args, kwargs) for each in self.agents],
            apart([*map(named, self.agents)], [""] * len(self.agents)),
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer of one of the agents."""
        return blocked(self.plan, self.agents, args, kwargs)


def _calling(agent: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[], Plan[Any]]:
    return lambda: run.plan(agent, *args, **kwargs)


def balanced(
    *models: Any,
    by: By | None = None,
    weights: Sequence[float] | None = None,
    set_aside: float = 10.0,
    tries: int = 1,
    fails: Callable[[BaseException], bool] = out_of_order,
    balance: Balance | None = None,
) -> Any:
    """One of *models*, or of agents, answers each call.

    *by* says which: `round_robin`, `weighted` (the usual one where *weights* are given), `least_busy`, `headroom`. Who
    fails (*fails* says by which errors) is set aside for *set_aside* seconds, twice as long each time, or as long as
    its provider asked; when all are, who is due first is asked. An error is raised as it is, unless *tries* is more
    than one: then another one is asked, while nothing has been told of an answer.

    >>> from arshai_kit import openai
    >>> east, west = (openai("gpt-5.6-luna", api_key="sk-1", base_url=f"https://{x}.example.org/v1") for x in "ew")
    >>> balanced(east, west, by="least_busy").name
    'gpt-5.6-luna'
    """
    agents = [not is_model(wrappable(model, "balanced")) for model in models]
    if any(agents) != all(agents) or not models:
        raise Misuse("balanced() takes models, or agents, at least one, and no mixture of them")
    if weights is not None and (not isinstance(weights, Sequence) or len(weights) != len(models)):
        raise Misuse(f"weights= has one number for each model, {len(models)}, not {weights!r}")
    if type(tries) is not int or tries < 1:
        raise Misuse(f"tries= is how many are asked at most, a whole number from 1, not {tries!r}")
    if not callable(fails):
        raise Misuse(f"fails= is a function that says which errors set one aside, not {fails!r}")
    if balance is not None and not hasattr(balance, "weights"):
        raise Misuse(f"a balance is a Balance((1.0, 1.0)), not {balance!r}")
    chosen: By = by or ("round_robin" if weights is None else "weighted")
    known = balance or Balance(weights or (1.0,) * len(models), by=chosen, set_aside=set_aside)
    if len(known.weights) != len(models):
        raise Misuse(f"the balance is of {len(known.weights)}, and there are {len(models)} models")
    if agents[0]:
        return BalancedAgents(models, Balancing(known, tries, fails))
    return Balanced(models, known, tries, fails)

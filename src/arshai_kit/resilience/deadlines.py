"""All that a call does ends in time: attempts, waits, queues, headers that never come, bodies that drip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

from attrs import evolve, frozen

from arshai_kit._record import Record
from arshai_kit._steps import Steps
from arshai_kit.effects import Call, Layer, Now, Open, Plan, Read, Send, Sleep, Spawn, Start, Step, Where, intercept
from arshai_kit.errors import Misuse, TimedOut
from arshai_kit.models import Ask, is_model, wrapped
from arshai_kit.records import Response
from arshai_kit.resilience.around import AgentAround, Around, wrappable
from arshai_kit.resilience.embedding import PolicedEmbedder, is_embedder
from arshai_kit.scope import current, enter, leave

__all__ = ["Bounded", "Bounding", "deadline"]

T = TypeVar("T")

_TICK: Final = 0.005
"""A timer may ring so much too early."""
_WORD: Final = 0.1
"""So many seconds later is a function given up in which other runs may end, which are bounded themselves."""
_GRACE: Final = 1.0
"""Whoever keeps count (a quota, a circuit, a budget) in a store has so long to note how a call ended."""
_OURS: Final = ("arshai_kit.resilience.", "arshai_kit.retry")
_BEGINS: Final = frozenset({"enter", "reserve", "get", "put"})
"""What a store is asked before a call begins, or for its own sake, has no more time than the call."""
_FOREVER: Final = float("inf")


@frozen(eq=False, repr=False)
class Bound(Record):
    """The time of one call, of what is called *name*: it began *seconds* before *until*; *place* is where in it.

    A function that may end in time itself, and have more to tell, has *word* seconds more.
    """

    name: str
    seconds: float
    until: float
    word: float = 0.0
    place: str = ""

    def plan(self, plan: Plan[T]) -> Plan[T]:
        """*plan*, of which nothing lasts longer, neither in its steps nor in what it starts."""
        return intercept(plan, {**self.layer(), Start: self._on_start, Step: self._on_step})

    def layer(self) -> Layer:
        """What bounds the effects of one plan, or as a layer those of all the plans of a run."""
        return {
            Send: self._on_request,
            Open: self._on_request,
            Read: self._on_read,
            Sleep: self._on_sleep,
            Call: self._on_call,
            Step: self._on_any_step,
            Spawn: _on_spawn,
        }

    def over(self, doing: str, cause: BaseException | None = None) -> NoReturn:
        """Say that time is up, and for what."""
        doing += f" in {self.place}" if self.place else ""
        error = TimedOut(
            f"{self.name} takes longer than {self.seconds:g} s, its deadline: there was no time for {doing}"
        )
        error.seconds, error.doing = self.seconds, doing
        raise error from cause

    def left(self, doing: str) -> Plan[float]:
        """The seconds that are left; none are raised."""
        left = self.until - (yield from Now())
        return left if left > 0 else self.over(doing)

    def _on_request(self, effect: Send | Open, _: Where) -> Plan[Any]:
        doing = f"the answer of {effect.request.url.partition('://')[2].partition('/')[0].rpartition('@')[2]}"
        yield from self.left(doing)
        try:
            return (yield from evolve(effect, until=min(effect.until, self.until)))
        except TimedOut as error:
            yield from self._blame(error, doing)
            raise

    def _on_read(self, effect: Read, _: Where) -> Plan[bytes]:
        try:
            return (yield effect)  # type: ignore[no-any-return]  # bytes
        except TimedOut as error:
            yield from self._blame(error, "the rest of a reply")
            raise

    def _on_sleep(self, effect: Sleep, _: Where) -> Plan[None]:
        """A wait that would end too late is none."""
        seconds = max(effect.seconds, effect.least)
        doing = f"a wait of {seconds:.3g} s"
        if seconds > (yield from self.left(doing)):
            self.over(doing)
        yield from effect

    def _on_call(self, effect: Call[Any], _: Where) -> Plan[Any]:
        doing = "the next step of a generator" if isinstance(effect.function, Steps) else effect.name
        if effect.name not in _BEGINS and _keeps_count(effect.function):
            left = max(_GRACE, self.until - (yield from Now()))
        else:
            left = (yield from self.left(doing)) + self.word
        if effect.seconds is not None and effect.seconds <= left:
            return (yield from effect)
        try:
            return (yield from effect.within(left if left < _FOREVER else None))
        except TimeoutError as error:
            yield from self._blame(error, doing)
            raise

    def _on_start(self, effect: Start[Any], _: Where) -> Plan[Any]:
        return (yield from evolve(effect, plan=self.plan(effect.plan)))

    def _on_any_step(self, effect: Step[Any], _: Where) -> Plan[Any]:
        yield from self.left(f"{effect.kind} {effect.name}")
        return (yield from effect)

    def _on_step(self, effect: Step[Any], _: Where) -> Plan[Any]:
        step = f"{effect.kind} {effect.name}"
        yield from self.left(step)
        return (yield from evolve(effect, make_plan=wrapped(effect.make_plan, evolve(self, place=step).plan)))

    def _blame(self, error: TimeoutError, doing: str) -> Plan[None]:
        """Raise what ended because time is up as that; what had less time itself says so."""
        if getattr(error, "seconds", None) is None and (yield from Now()) >= self.until - _TICK:
            self.over(doing, error)


def _on_spawn(effect: Spawn, _: Where) -> Plan[None]:
    """What goes on in the background may take longer."""
    inside = current()
    layers = [each for each in inside.layers if type(getattr(each.get(Send), "__self__", None)) is not Bound]
    token = enter(evolve(inside, layers=tuple(layers)))
    try:
        yield from effect
    finally:
        leave(token)


def _keeps_count(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith(_OURS)


# What is done around a call


@frozen(eq=False, repr=False)
class Bounding(Record):
    """A call has *seconds*."""

    seconds: float

    def within(self, make_plan: Callable[[], Plan[T]], name: str) -> Plan[T]:
        """The answer of the plan, if it is there in time."""
        until = (yield from Now()) + self.seconds
        return (yield from Bound(name, self.seconds, until).plan(make_plan()))

    def around(self, make_plan: Callable[[], Plan[T]], name: str) -> Plan[T]:
        """The same, the runs that foreign functions start inside among it."""
        bound, outer = Bound(name, self.seconds, (yield from Now()) + self.seconds), current()
        token = enter(evolve(outer, layers=(bound.layer(), *outer.layers)))
        try:
            return (yield from evolve(bound, word=_WORD).plan(make_plan()))
        finally:
            leave(token)


@frozen(eq=False, repr=False)
class Bounded(Around):
    """A model each call of which ends within *seconds*; see `deadline`."""

    seconds: float

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The answer of the model, if it is there in time."""
        return Bounding(self.seconds).within(lambda: self.model.ask(ask, stream=stream), self.name)


def deadline(model: Any, seconds: float) -> Any:
    """*model*, an agent or an embedder, each call of which ends within *seconds*, whatever it is doing by then.

    That is all of it: attempts and the waits between them, waits in line, tools, rounds, bytes that drip. What has not
    ended raises `TimedOut`, with what was there by then in `partial`, and nothing more can be asked. A wait that would
    end too late is not begun. Of deadlines around each other, the nearest counts.

    A function in a thread cannot be stopped: it is left behind. What computes in a plan is waited for.

    >>> from arshai_kit import openai
    >>> deadline(openai("gpt-5.6-luna", api_key="sk-1"), 20).seconds
    20
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise Misuse(f"deadline() takes a number of seconds above zero, not {seconds!r}")
    if is_embedder(model):
        return PolicedEmbedder(model, Bounding(seconds))
    if is_model(wrappable(model, "deadline")):
        return Bounded(model, seconds)
    return AgentAround(model, Bounding(seconds))

"""Checks stand beside an agent: until they have passed it may think, but does nothing, and nothing of it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.agents.joining import callable_agent, found_wrong, hushed, kept, never_early, own_name, so_far, summed
from arshai_kit.agents.making import placed
from arshai_kit.completion import as_response, run
from arshai_kit.effects import (
    Call,
    Emit,
    Handle,
    Here,
    Instant,
    Join,
    Open,
    Plan,
    Send,
    Spawn,
    Start,
    Step,
    Where,
    intercept,
)
from arshai_kit.errors import ArshaiError, GuardTripped, Misuse
from arshai_kit.models import wrapped
from arshai_kit.records import Event, Paused, Response, StepFinished, StepStarted, tagged
from arshai_kit.resilience.around import blocked, named

__all__ = ["Guarded", "guard"]

T = TypeVar("T")

_THINKING: Final = frozenset({"model", "embed", "count"})
"""Steps that ask a provider and change nothing."""
_ACTS: Final = (Call, Instant, Send, Open, Spawn)
"""What may change something: a function, or a memory that is asked in place."""


class _Gate:
    """What an agent may do before its checks have passed; one for each run."""

    def __init__(self, tag: str, *, holds: bool) -> None:
        self.tag, self.holds = tag, holds
        self.check: Handle[Any] | None = None
        self.held: list[Event] = []

    def doing(self, plan: Plan[T]) -> Plan[T]:
        """*plan*, which does nothing before the check has passed."""
        acts = {} if self.check is None else dict.fromkeys(_ACTS, self._on_act)
        return intercept(
            plan, {**acts, Here: never_early, Emit: self._on_emit, Step: self._on_step, Start: self._on_start}
        )

    def thinking(self, plan: Plan[T]) -> Plan[T]:
        """*plan*, which asks a provider meanwhile."""
        return intercept(plan, {Emit: self._on_emit, Step: self._on_inner_step, Start: self._on_inner_start})

    def passed(self) -> Plan[None]:
        """Wait until the check has passed; where it has not, whoever waits here is cancelled."""
        if self.check is not None:
            (outcome,) = yield from Join((self.check,))
            outcome.unwrap()

    def let_out(self) -> Plan[None]:
        """Tell what was held back, under the paths that it came from, and hold nothing any more."""
        self.holds, told = False, tuple(self.held)
        self.held.clear()
        yield from Emit(told)

    def _on_act(self, effect: Any, _: Where) -> Plan[Any]:
        yield from self.passed()
        return (yield from effect)

    def _on_emit(self, effect: Emit, _: Where) -> Plan[None]:
        yield from self._tell(*effect.events)

    def _on_step(self, effect: Step[Any], _: Where) -> Plan[Any]:
        if effect.kind == "tool":
            yield from self.passed()
        return (yield from self._stepped(effect, self.thinking if effect.kind in _THINKING else self.doing))

    def _on_start(self, effect: Start[Any], _: Where) -> Plan[Any]:
        return (yield from evolve(effect, plan=self.doing(effect.plan)))

    def _on_inner_step(self, effect: Step[Any], _: Where) -> Plan[Any]:
        return (yield from self._stepped(effect, self.thinking))

    def _on_inner_start(self, effect: Start[Any], _: Where) -> Plan[Any]:
        return (yield from evolve(effect, plan=self.thinking(effect.plan)))

    def _stepped(self, step: Step[T], inside: Callable[[Plan[T]], Plan[T]]) -> Plan[T]:
        """Perform *step*; that it begins and ends is held back too, or it would be told before what it tells."""
        step = evolve(step, make_plan=wrapped(step.make_plan, inside))
        if not (self.holds and step.told):
            return (yield from step)
        yield from self._tell(StepStarted(step.kind, step.name))
        try:
            answer = yield from evolve(step, told=False)
        except Exception as error:
            yield from self._tell(StepFinished(step.kind, step.name, str(error) or type(error).__name__))
            raise
        yield from self._tell(StepFinished(step.kind, step.name))
        return answer

    def _tell(self, *events: Event) -> Plan[None]:
        """Tell *events*, or hold them back."""
        if not self.holds:
            yield from Emit(events)
            return
        path = (yield from Here()).tag.removeprefix(self.tag).removeprefix("/")
        self.held += [tagged(event, path) if path else event for event in events]


@frozen(eq=False, repr=False)
class Guarded(Record):
    """An agent with checks beside it; see `guard`."""

    agent: Any
    before: tuple[Any, ...] = field(default=(), kw_only=True)
    after: tuple[Any, ...] = field(default=(), kw_only=True)
    hold: bool = field(default=True, kw_only=True)

    @property
    def __name__(self) -> str:
        return named(self.agent)

    def plan(self, prompt: Any, *args: Any, **kwargs: Any) -> Plan[Response]:
        """What calling it does, as a plan."""
        said = kept(prompt)
        return (yield from Step("guard", named(self.agent), said, lambda: self._guarded(said, args, kwargs)))

    def _guarded(self, prompt: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan[Response]:
        here, spent = (yield from Here()), list[Response]()
        gate = _Gate(here.tag, holds=self.hold and here.listening)
        asked = prompt.asked if isinstance(prompt, Paused) else prompt
        if self.before:
            gate.check = yield from Start(_checked(self.before, "before", asked, asked, spent), ("before",))
        plan = gate.doing(run.plan(self.agent, prompt, *args, **kwargs))
        response: Response | None = None
        try:
            response = as_response((yield from (self._beside(gate, plan) if self.before else plan)))
            yield from _checked(self.after, "after", response, response.text, spent)
        except ArshaiError as error:
            if response is not None:
                _answered(error, response)
            so_far(error, spent)
            raise
        except Exception as error:
            so_far(error, spent if response is None else (response, *spent), named(self.agent))
            raise
        yield from gate.let_out()
        return summed((response, *spent), response, response.messages) if spent else response

    def _beside(self, gate: _Gate, plan: Plan[T]) -> Plan[T]:
        """What *plan* gives, if the check passes; else it is cancelled, for the frame that owns it ends."""
        answer = yield from Start(plan, ("answer",))
        yield from gate.passed()
        if not self.after:
            yield from gate.let_out()
        (outcome,) = yield from Join((answer,))
        return outcome.unwrap()  # type: ignore[no-any-return]  # what the plan gives

    def __call__(self, prompt: Any, *args: Any, **kwargs: Any) -> Response:
        """The answer, if the checks pass."""
        return blocked(self.plan, (self,), (prompt, *args), kwargs)


def _answered(error: ArshaiError, response: Response) -> None:
    """Have the *error* of a check that fails tell of the answer, and of what the check used."""
    failed = error.partial
    if failed is None:
        error.partial = response
    elif failed is not response and isinstance(failed, Response):
        error.partial = summed((response, failed), response, response.messages)


def _checked(checks: tuple[Any, ...], side: str, value: Any, words: Any, spent: list[Response]) -> Plan[None]:
    """Have *checks* look at *value*, side by side, agents at *words*; the first in their order that finds something."""
    handles = []
    for number, check in enumerate(checks):
        asks = hasattr(check, "plan")
        plan = run.plan(placed(check, own_name(check) or side) if asks else check, words if asks else value)
        handles.append((yield from Start(hushed(plan), (side, number))))
    for check, handle in zip(checks, handles, strict=True):
        (outcome,) = yield from Join((handle,))
        found = outcome.unwrap()
        if isinstance(found, Response):
            spent.append(evolve(found, messages=(), tool_runs=()))
        if reason := found_wrong(found):
            partial = value if side == "after" else None
            why = f"{named(check)} stopped it {side} the answer: {reason}"
            raise GuardTripped(why, check=named(check), side=side, reason=reason, partial=partial)


Checks = Callable[..., Any] | Iterable[Callable[..., Any]]


def guard(agent: Any, *, before: Checks = (), after: Checks = (), hold: bool = True) -> Guarded:
    """*agent*, with checks: *before* looks at the prompt, beside the answer, and *after* at the answer.

    A check is a function, sync or async, of the prompt or of the `Response`, that gives what is wrong in words, or
    `True`, `None` or "" if nothing is; or an agent, which is given the prompt or the text. Several run side by side.
    One that finds something stops the agent: what it was doing is cancelled, and `GuardTripped` says what was found. A
    check that fails stops it too, by its own error.

    Until *before* has passed the model may answer, but no tool starts, no function is called and nothing is sent but to
    the model. A stream tells nothing of the answer before it has passed; with *hold* false it is told as it comes.

    >>> polite = guard(lambda prompt: prompt.upper(), before=lambda prompt: "rude" if "fool" in prompt else "")
    >>> polite("hello").text
    'HELLO'
    >>> polite("you fool")
    Traceback (most recent call last):
        ...
    arshai_kit.errors.GuardTripped: <lambda> stopped it before the answer: rude
    """
    agent = callable_agent(agent, "guard()")
    if not (_checks(before) or _checks(after)):
        raise Misuse("guard() takes a check: guard(agent, before=…), guard(agent, after=…)")
    return Guarded(agent, before=_checks(before), after=_checks(after), hold=hold)


def _checks(given: Any) -> tuple[Any, ...]:
    checks = (given,) if callable(given) or hasattr(given, "plan") or not isinstance(given, Iterable) else tuple(given)
    return tuple([callable_agent(check, "guard(), as a check,") for check in checks])

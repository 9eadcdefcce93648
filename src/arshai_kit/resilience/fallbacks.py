"""Who fails is followed by the next one; what has been told of an answer is told once, or begins anew and says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.completion import as_response, run
from arshai_kit.effects import Emit, Here, Plan, Sleep
from arshai_kit.errors import (
    ApprovalNeeded,
    ArshaiError,
    BadReply,
    CircuitOpen,
    ContentTooLong,
    Misuse,
    RateLimited,
    RestartRefused,
    RunError,
    ServerFailed,
    StoreUnreachable,
    StreamIncomplete,
    TimedOut,
    Unreachable,
)
from arshai_kit.models import Ask, Capabilities, is_model, overheard
from arshai_kit.records import Event, Notice, PartialOutput, Response, TextDelta, ThinkingDelta, ToolCallDelta
from arshai_kit.resilience.around import answered, apart, blocked, merged, named, wrappable
from arshai_kit.retry import transient

__all__ = ["Fallback", "FallbackAgents", "Falling", "fallback", "worth_another"]

T = TypeVar("T")

_ELSEWHERE: Final = (
    *(RateLimited, ServerFailed, Unreachable, TimedOut, BadReply, StreamIncomplete),
    *(ContentTooLong, CircuitOpen, StoreUnreachable),
)
_TOLD: Final = (TextDelta, ThinkingDelta, ToolCallDelta, PartialOutput)
"""What an answer is told by."""
_UNKNOWN: Final = Response((), "error")
"""What is left of an agent that failed with an error that tells of nothing."""


def worth_another(error: BaseException) -> bool:
    """Whether somebody else may do better: what may pass, a limit, silence, no whole answer, a prompt too long for it.

    >>> from arshai_kit.errors import BadRequest
    >>> worth_another(ContentTooLong(status=400)), worth_another(BadRequest(status=400))
    (True, False)
    """
    return isinstance(error, _ELSEWHERE) or transient(error)


# What is done around calls


@frozen(eq=False, repr=False)
class Falling(Record):
    """The answer of the first that does not fail with one of *on*; *restart* allows an answer to begin anew."""

    on: tuple[Any, ...] = (worth_another,)
    restart: bool = False

    def among(self, plans: Sequence[Callable[[], Plan[T]]], names: Sequence[str]) -> Plan[tuple[T, str]]:
        """The answer of one of *plans*, and whose it is."""
        failed: list[str] = []
        told: list[bool] = []
        listening = (yield from Here()).listening
        for place, make_plan in enumerate(plans):
            try:
                answer = yield from (overheard(make_plan(), _noting(told)) if listening else make_plan())
            except Exception as error:
                _note(error, *failed)
                if place + 1 == len(plans) or not self.names(error):
                    raise
                failed.append(f"before this, {names[place]} failed: {type(error).__name__}: {error}")
                yield from self._goes_on(error, names[place], names[place + 1], told)
            else:
                return answer, names[place]
        raise AssertionError("the last one answers or fails")  # pragma: no cover

    def names(self, error: Exception) -> bool:
        """Whether *error* is one of those that the next one is for; what a test or a journal has to say never is.

        Nor is a run that waits for a person, unless that is named itself: it has not failed.
        """
        if isinstance(error, RunError):
            return False
        if isinstance(error, ApprovalNeeded):
            return any(isinstance(each, type) and issubclass(each, ApprovalNeeded) for each in self.on)
        return any(isinstance(error, each) if isinstance(each, type) else each(error) for each in self.on)

    def _goes_on(self, error: Exception, name: str, other: str, told: list[bool]) -> Plan[None]:
        """Tell that *other* is asked after *error*; it is raised where nobody can be."""
        if isinstance(error, TimedOut):
            yield from _in_time(error)
        fell = Notice("fell_back", name, str(error), {"to": other, "error": type(error).__name__})
        if not told:
            yield from Emit((fell,))
            return
        if not self.restart:
            _note(error, f"{other} was not asked: part of the answer had been told (restart=True lets it begin anew)")
            raise error
        try:
            yield from Emit((Notice("restarted", name, str(error)), fell))
        except RestartRefused as refused:
            _note(error, f"{other} was not asked: {refused}")
            raise error from error.__cause__
        told.clear()


def _in_time(error: TimedOut) -> Plan[None]:
    """Raise *error* if that was the end of a deadline around this: then there is no time for another."""
    try:
        yield from Sleep(0.0)
    except TimedOut:
        raise error from error.__cause__


def _note(error: Exception, *notes: str) -> None:
    known = getattr(error, "__notes__", ())
    for note in notes:
        if note not in known:
            error.add_note(note)


def _noting(told: list[bool]) -> Callable[[tuple[Event, ...]], Plan[None]]:
    """Tell events on, and note whether any is of an answer."""

    def hear(events: tuple[Event, ...]) -> Plan[None]:
        if not told and any(isinstance(event, _TOLD) for event in events):
            told.append(True)
        yield from Emit(events)

    return hear


@frozen(eq=False, repr=False)
class Fallback(Record):
    """Models, of which the first that does not fail answers; see `fallback`."""

    models: tuple[Any, ...]
    on: tuple[Any, ...] = (worth_another,)
    restart: bool = field(default=False, kw_only=True)

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
        """The answer of the first of the models that does not fail; it says whose it is."""
        plans = [_asking(model, ask, stream=stream) for model in self.models]
        names = apart([model.name for model in self.models], [model.provider for model in self.models])
        return answered(*(yield from Falling(self.on, self.restart).among(plans, names)))


def _asking(model: Any, ask: Ask, *, stream: bool) -> Callable[[], Plan[Response]]:
    return lambda: model.ask(ask, stream=stream)


@frozen(eq=False, repr=False)
class FallbackAgents(Record):
    """Agents, of which the first that does not fail answers; see `fallback`."""

    agents: tuple[Any, ...]
    policy: Falling

    @property
    def __name__(self) -> str:
        return "|".join(dict.fromkeys(map(named, self.agents)))

    @property
    def __wrapped__(self) -> Any:
        """The first of the agents, whose parameters and words are those of this one too."""
        return self.agents[0]

    def plan(self, *args: Any, **kwargs: Any) -> Plan[Any]:
        """What calling it does, as a plan."""
        names = apart([*map(named, self.agents)], [""] * len(self.agents))
        spent: list[Response] = []
        plans = [_calling(each, args, kwargs, spent) for each in self.agents]
        try:
            answer, name = yield from self.policy.among(plans, names)
        except ArshaiError as error:
            _before(error, spent)
            raise
        return _counted(answered(answer, name), spent)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer of the first that does not fail."""
        return blocked(self.plan, self.agents, args, kwargs)


def _calling(
    agent: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], spent: list[Response]
) -> Callable[[], Plan[Any]]:
    """How the plan of *agent* is made; what there was of its answer when it failed is added to *spent*."""

    def noted() -> Plan[Any]:
        try:
            return (yield from run.plan(agent, *args, **kwargs))
        except ArshaiError as error:
            spent.extend([error.partial] if isinstance(error.partial, Response) else [])
            raise
        except Exception:
            spent.append(_UNKNOWN)
            raise

    return noted


def _counted(answer: Any, spent: Sequence[Response]) -> Any:
    """*answer*, with what those that failed before have used; as a response, if that is known of any of them."""
    if any(each is not _UNKNOWN for each in spent):
        answer = as_response(answer)
    for each in spent if isinstance(answer, Response) else ():
        cost = None if answer.cost is None or each.cost is None else answer.cost + each.cost
        answer = evolve(answer, usage=answer.usage + each.usage, cost=cost)
    return answer


def _before(error: ArshaiError, spent: Sequence[Response]) -> None:
    """Have *error*, of the last that failed, tell what those before it have used too."""
    last = error.partial
    spent = [each for each in spent if each is not last]
    if spent and last is None:
        first, *spent = spent
        last = Response((), "error", usage=first.usage, cost=first.cost)
    if isinstance(last, Response):
        error.partial = _counted(last, spent)


def fallback(*models: Any, on: Any = worth_another, restart: bool = False) -> Any:
    """The first of *models*, or of agents, that does not fail answers; of a loop, this one call.

    *on* names the errors after which the next one is asked: a type, a predicate, or a tuple of these; by default those
    that are `worth_another`. Any other is raised at once, and the last one as it is, with what failed before in its
    notes. Once part of an answer has been told, nobody else is asked, unless *restart* allows it: then
    `Notice("restarted", …)` says that it begins anew. It never does after a tool has been called while it came.
    `Response.answered_by` says who answered. Of agents, what those before have used counts: if it is known of any, even
    what is no response becomes one, and the `partial` of an error tells of all.

    >>> from arshai_kit import openai
    >>> fast, wise = openai("gpt-5.6-luna", api_key="sk-1"), openai("gpt-5.6", api_key="sk-1")
    >>> fallback(fast, wise).name
    'gpt-5.6-luna|gpt-5.6'
    """
    agents = [not is_model(wrappable(model, "fallback")) for model in models]
    if any(agents) != all(agents) or not models:
        raise Misuse("fallback() takes models, or agents, at least one, and no mixture of them")
    named_errors = on if isinstance(on, tuple) else (on,)
    if not named_errors:
        raise Misuse("on=() names no error after which the next one would be asked; leave it out for the usual ones")
    for each in named_errors:
        if not (issubclass(each, Exception) if isinstance(each, type) else callable(each)):
            raise Misuse(f"on= is a type of error, a predicate, or a tuple of these, not {each!r}")
    if agents[0]:
        return FallbackAgents(models, Falling(named_errors, restart))
    return Fallback(models, named_errors, restart=restart)

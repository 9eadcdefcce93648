"""A call waits for a person: in line, or for as long as it takes, while the run is a value that can be kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from inspect import iscoroutine, iscoroutinefunction
from typing import Any, Final, TypeAlias, TypeVar, overload
from weakref import WeakKeyDictionary

from attrs import Factory, evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.agents.handing import Answer, conversing, takes_part
from arshai_kit.agents.joining import callable_agent, hushed, never_early
from arshai_kit.agents.making import Agent
from arshai_kit.agents.within import tools_within
from arshai_kit.approvals import Decision, asking, changing, decided, refused, runnable
from arshai_kit.codec import to_plain
from arshai_kit.completion import run
from arshai_kit.effects import Handle, Here, Instant, Join, Layer, Plan, Sleep, Start, Step, Where, intercept
from arshai_kit.errors import ApprovalNeeded, Misuse, PauseRefused
from arshai_kit.faces import drive
from arshai_kit.keys import Secret
from arshai_kit.models import Prompt, wrapped
from arshai_kit.records import Message, Paused, Response, ToolCall, ToolRun
from arshai_kit.resilience.around import blocked, named
from arshai_kit.rounds import Resumed
from arshai_kit.scope import current, enter, leave
from arshai_kit.tools import Answering, Toolbox, toolbox

__all__ = ["Approving", "Decision", "Pausing", "approve"]

T = TypeVar("T")

Tools: TypeAlias = str | Iterable[str] | Callable[[ToolCall], bool] | None
"""Which calls wait: those of the tools so named, or those of which a function says so; by default all."""
Chosen: TypeAlias = "frozenset[str] | Callable[[ToolCall], bool] | None"


def _is_chosen(chosen: Chosen, call: ToolCall, box: Toolbox) -> bool:
    """Whether *call* is one that waits; without a choice, all are but hand-offs, which do nothing to the world."""
    if chosen is None:
        return call.name not in box or not box[call.name].ends
    if not callable(chosen):
        return call.name in chosen
    waits: Any = chosen(call)
    if iscoroutine(waits):
        waits.close()
        raise _at_once()
    return bool(waits)


def _at_once() -> Misuse:
    return Misuse("tools= says at once whether a call waits: it is no async function; ask= may be one")


# In line

_A_LOOK: Final = (0.01, 0.25)
"""So many seconds pass, at first and at most, until it is looked again whether another run's question is answered."""


@frozen(eq=False, repr=False)
class _Watch:
    """Asks a *person* about calls, one after the other, whichever run they are of.

    *last* is the last question of each run, and *line* those that are next, of each run one. *outer* answers for the
    runs that foreign functions start inside.
    """

    person: Callable[..., Any]
    chosen: Chosen
    last: WeakKeyDictionary[Any, Handle[Any]] = field(factory=WeakKeyDictionary)
    line: deque[object] = field(factory=deque)
    outer: Layer = field(init=False, default=Factory(lambda self: self._layer(), takes_self=True))

    def plan(self, plan: Plan[T]) -> Plan[T]:
        """*plan*, none of whose calls is run unasked, neither in its steps nor in what it starts."""
        return intercept(plan, {Here: never_early, Step: self._on_step, Start: self._on_start})

    def _layer(self) -> Layer:
        return {Here: never_early, Step: self._on_outer_step}

    def _on_step(self, effect: Step[Any], _: Where) -> Plan[Any]:
        ran = yield from self.settled(effect)
        if isinstance(ran, Step):
            return (yield from evolve(ran, make_plan=wrapped(ran.make_plan, self.plan)))
        return ran

    def _on_start(self, effect: Start[Any], _: Where) -> Plan[Any]:
        return (yield from evolve(effect, plan=self.plan(effect.plan)))

    def _on_outer_step(self, effect: Step[Any], _: Where) -> Plan[Any]:
        ran = yield from self.settled(effect)
        return (yield from ran) if isinstance(ran, Step) else ran

    def settled(self, step: Step[Any]) -> Plan[Step[Any] | ToolRun]:
        """The step that is to be performed in place of *step*, or what came of a call that was refused."""
        call, made = step.input, step.make_plan
        box = made.box if isinstance(made, Answering) else {}
        if step.kind != "tool" or (box and not runnable(call, box)) or not _is_chosen(self.chosen, call, box):
            return step
        decision = decided((yield from self._asked(call)), call)
        if isinstance(decision, str):
            return (yield from refused(call, decision))
        if decision == call:
            return step
        return evolve(step, input=decision, make_plan=changing(call, decision, made))

    def _asked(self, call: ToolCall) -> Plan[Any]:
        """What is said about *call*, after what was asked before."""
        whole = (yield from Here()).run
        before = self.last.get(whole)
        handle = yield from Start(self._in_turn(call, () if before is None else (before,)))
        self.last[whole] = handle
        (outcome,) = yield from Join((handle,))
        return outcome.unwrap()

    def _in_turn(self, call: ToolCall, before: tuple[Handle[Any], ...]) -> Plan[Any]:
        yield from Join(before)
        place, seconds = object(), _A_LOOK[0]

        def is_next() -> bool:
            return self.line[0] is place

        self.line.append(place)
        try:
            while not (yield from Instant(is_next)):
                yield from Sleep(seconds)
                seconds = min(2 * seconds, _A_LOOK[1])
            yield from asking(call)
            with self._apart():
                return (yield from hushed(run.plan(self.person, call)))
        finally:
            self.line.remove(place)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """What is asked while a question is answered, about calls of whoever answers it, does not wait for that."""
        outer, inner = current(), _Watch(self.person, self.chosen)
        token = enter(
            evolve(outer, layers=tuple([inner.outer if each is self.outer else each for each in outer.layers]))
        )
        try:
            yield
        finally:
            leave(token)


@frozen(eq=False, repr=False)
class Approving(Record):
    """An agent whose calls are run when the *person* says so; see `approve`."""

    agent: Any
    person: Callable[..., Any]
    tools: Chosen = None
    unseen: frozenset[str] = field(
        init=False, eq=False, repr=False, default=Factory(lambda self: _unseen(self.agent, self.tools), takes_self=True)
    )

    @property
    def __name__(self) -> str:
        return named(self.agent)

    def plan(self, *args: Any, **kwargs: Any) -> Plan[Any]:
        """What calling it does, as a plan."""
        _unseen(self.agent, self.unseen, late=True)
        watch, outer = _Watch(self.person, self.tools), current()
        token = enter(evolve(outer, layers=(watch.outer, *outer.layers)))
        try:
            return (yield from watch.plan(run.plan(self.agent, *args, **kwargs)))
        finally:
            leave(token)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer of the agent."""
        return blocked(self.plan, (self, self.person), args, kwargs)


# Later


@frozen(eq=False, repr=False)
class Pausing(Record):
    """An agent whose run ends where a person is to decide, and goes on from there; see `approve`."""

    agent: Agent
    tools: Chosen = None
    secret: Secret | None = field(default=None, repr=False)
    unseen: frozenset[str] = field(
        init=False, eq=False, repr=False, default=Factory(lambda self: _unseen(self.agent, self.tools), takes_self=True)
    )

    @property
    def __name__(self) -> str:
        return named(self.agent)

    def plan(self, prompt: Prompt | Paused, *, decisions: Any = None) -> Plan[Response]:
        """What calling it does, as a plan."""
        _unseen(self.agent, self.unseen, late=True)
        try:
            if isinstance(prompt, Paused):
                return (yield from self._going_on(prompt, decisions))
            if decisions is not None:
                raise Misuse("decisions= goes with a Paused, the `.paused` of ApprovalNeeded, in place of a prompt")
            return (yield from conversing(self.agent, prompt, self._answering(None)))
        except ApprovalNeeded as error:
            if not error.paused.seal:  # else it is that of a tool
                error.paused = evolve(error.paused, seal=_seal(error.paused, self.secret))
            raise

    def _going_on(self, paused: Paused, decisions: Any) -> Plan[Response]:
        if paused.seal != _seal(paused, self.secret):
            why = "it was changed, its secret= is another one, or a newer version wrote it"
            raise PauseRefused(f"this pause is not what was made here: {why}; nothing was called")
        answer = self._answering(Resumed(paused, _decisions(paused, decisions)))
        return conversing(self.agent, paused.prompt, answer, earlier=paused.earlier, count=paused.handoffs)

    def _answering(self, resumed: Resumed | None) -> Answer:
        """How an agent answers: the first goes on from what was *resumed*."""
        left = [resumed]

        def answer(agent: Any, said: tuple[Message, ...]) -> Plan[Response]:
            if not takes_part(agent):
                raise Misuse(f"no pause reaches into {named(agent)}: give ask=, or approve() that one itself")
            first = left.pop() if left else None
            box = toolbox(agent.tools)
            if first is not None:
                _belongs(first.paused, agent, box)
            return agent.answer(said, waits=lambda call: _is_chosen(self.tools, call, box), resumed=first)  # type: ignore[no-any-return]  # a plan

        return answer

    def __call__(self, prompt: Prompt | Paused, *, decisions: Any = None) -> Response:
        """The answer of the agent."""
        return drive(self.plan(prompt, decisions=decisions))


def _seal(paused: Paused, secret: Secret | None) -> str:
    """What tells whether *paused* is as it was; only with a secret does it tell who made it.

    Whose conversation it is, a memory adds to what is sealed.
    """
    import hmac
    import json

    text = json.dumps(to_plain(evolve(paused, seal="", keys=())), sort_keys=True)
    return hmac.new((secret.reveal() if secret else "").encode(), text.encode(), "sha256").hexdigest()


def _belongs(paused: Paused, agent: Any, box: Toolbox) -> None:
    """Refuse what *agent* cannot go on with."""
    if paused.agent != named(agent):
        raise PauseRefused(f"this pause is of the agent {paused.agent!r}, and {named(agent)!r} was given it")
    for call in paused.calls:
        if call not in paused.reply.tool_calls:
            raise PauseRefused(f"this pause waits for a call of {call.name!r} that no model made; none was called")
        if not runnable(call, box):
            raise PauseRefused(f"{named(agent)!r} has no tool {call.name!r} any more, which this pause waits for")


def _decisions(paused: Paused, given: Any) -> dict[str, ToolCall | str]:
    """What *given* decides about each call of *paused*; all are decided, or nothing is done."""
    ids = [call.id for call in paused.calls]
    if given is None or isinstance(given, bool | str):
        given = {} if given is None else dict.fromkeys(ids, given)
    if not isinstance(given, Mapping):
        raise Misuse(f"decisions= maps the ids of calls to decisions, or is one for all, not {type(given).__name__}")
    if lacking := [call for call in paused.calls if call.id not in given]:
        names = ", ".join([f"{call.id!r} ({call.name})" for call in lacking])
        raise Misuse(f"decisions= says nothing about {names}: all calls are decided together; nothing was called")
    if strange := [key for key in given if key not in ids]:
        names = ", ".join(map(repr, ids))
        raise Misuse(f"decisions= speaks of {strange[0]!r}, and the calls that wait are {names}; nothing was called")
    return {call.id: decided(given[call.id], call) for call in paused.calls}


# Either


@overload
def approve(agent: Any, ask: Callable[[ToolCall], Any], *, tools: Tools = None) -> Approving: ...
@overload
def approve(agent: Any, ask: None = None, *, tools: Tools = None, secret: str | Secret | None = None) -> Pausing: ...
def approve(
    agent: Any,
    ask: Callable[[ToolCall], Any] | None = None,
    *,
    tools: Tools = None,
    secret: str | Secret | None = None,
) -> Approving | Pausing:
    """*agent*, none of whose tools is called before a person has said so.

    *ask* is a function, sync or async, of the `ToolCall`. It gives `True` or `False`, or the words of why not, which
    the model is told, or the call with other arguments. In one call of the agent it is asked one thing after the other,
    wherever in *agent* that comes from, tools that are agents and functions that run agents included; what needs no
    decision goes on meanwhile.

    Without *ask*, the agent, which is then one made by `agent(…)`, ends by `ApprovalNeeded` once the other calls of the
    round have been answered. Its `.paused` is a record with JSON (`codec.to_json`), to be kept for as long as it takes.
    The same agent goes on with it, in any process: `desk(paused, decisions={"call_1": True, "call_2": "too much"})`;
    one decision may stand for all. With a *secret*, no pause is taken that was not made with it; without, only damage
    is noticed.

    *tools* names those that wait, or is a function of the call; by default all do but hand-offs. A name that no tool
    has is refused, but for what is hidden in functions. No tool is called before the reply that asks for it is
    complete.

    >>> from arshai_kit import openai
    >>> from arshai_kit.agents.making import agent
    >>> approve(agent(openai("gpt-5.6-luna", api_key="sk-1"), name="desk"), tools="refund")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: approve(tools=…) speaks of 'refund', and desk has no such tool; it has none (of ...
    """
    agent = callable_agent(agent, "approve()")
    chosen = _chosen(tools)
    if ask is not None:
        if not callable(ask) or secret is not None:
            raise Misuse("approve(agent, ask=…) takes a function of a ToolCall; secret= is for what goes on later")
        return Approving(agent, ask, chosen)
    if not isinstance(agent, Agent):
        raise Misuse(
            f"only what agent(…) makes can go on later, not {type(agent).__name__}: approve it inside, as in "
            "pipe(approve(one), other), or give ask=, which reaches through"
        )
    return Pausing(agent, chosen, _secret(secret))


def _chosen(tools: Any) -> Chosen:
    """Which calls wait."""
    if tools is None or callable(tools):
        if iscoroutinefunction(tools):
            raise _at_once()
        return tools  # type: ignore[no-any-return]  # a function of a call
    if not isinstance(tools, Iterable):
        raise Misuse(f"tools= names the tools that wait, or is a function of a call, not {type(tools).__name__}")
    names = frozenset([tools] if isinstance(tools, str) else tools)
    if not names or not all(isinstance(name, str) for name in names):
        raise Misuse(f"tools= names the tools that wait, at least one, not {tools!r:.80}; without it, all do")
    return names


def _unseen(agent: Any, names: Any, *, late: bool = False) -> frozenset[str]:
    """Those of *names* that no tool in *agent* has, and that may be inside of what cannot be looked into.

    Where all can be seen, they are refused: what they were meant for would not wait. What is made *late* is looked for
    when it can be made.
    """
    if not isinstance(names, frozenset) or not names:
        return frozenset()
    known, whole = tools_within(agent, late=late)
    missing = names.difference(known)
    if missing and whole:
        what = f"{named(agent)} has no such tool; it has {', '.join(known) or 'none'}"
        name = min(missing)
        way = f"of tools that functions of yours call inside, tools=lambda call: call.name == {name!r} is asked"
        raise Misuse(f"approve(tools=…) speaks of {name!r}, and {what} ({way})")
    return missing


def _secret(given: Any) -> Secret | None:
    """What pauses are sealed with."""
    secret = Secret(given) if isinstance(given, str) else given
    if secret is not None and type(secret) is not Secret:
        raise Misuse(f"secret= is a string, or a Secret, not {type(given).__name__}")
    if secret is not None and not secret.reveal().strip():
        raise Misuse("secret= is empty, so that it protects nothing: give one, or leave it out")
    return secret

"""Agents one after the other, and agents side by side: each combination is an agent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import Factory, evolve, field, frozen

from arshai_kit._json import FrozenDict
from arshai_kit._record import Record
from arshai_kit.agents.joining import (
    answering,
    by_name,
    callable_agent,
    handed_on,
    in_place,
    kept,
    noted,
    so_far,
    standing,
    summed,
)
from arshai_kit.completion import as_response, run
from arshai_kit.effects import Outcome, Plan, Step, side_by_side
from arshai_kit.errors import ArshaiError, Misuse
from arshai_kit.models import thread
from arshai_kit.records import Message, Opaque, Part, Response, Text, Thinking, ToolCall, Usage, assistant
from arshai_kit.resilience.around import apart, blocked, named

__all__ = ["Parallel", "Pipe", "parallel", "pipe"]


# One after the other


@frozen(eq=False, repr=False)
class Pipe(Record):
    """Agents, each of which is handed what the one before it said; see `pipe`."""

    agents: tuple[Any, ...]
    steps: tuple[Any, ...] = field(
        init=False, eq=False, repr=False, default=Factory(lambda self: in_place(self.agents), takes_self=True)
    )

    @property
    def __name__(self) -> str:
        return " > ".join(map(named, self.agents))

    def plan(self, prompt: Any, *args: Any, **kwargs: Any) -> Plan[Response]:
        """What calling it does, as a plan."""
        prompt = kept(prompt)
        if len(self.agents) == 1:
            return as_response((yield from run.plan(self.agents[0], prompt, *args, **kwargs)))
        done: list[Response] = []
        value: Any = None
        for place, step in enumerate(self.steps):
            try:
                if place:
                    value = yield from step.plan(self._handed_on(place, value, done[-1]))
                else:
                    value = yield from step.plan(prompt, *args, **kwargs)
            except Exception as error:
                so_far(error, done, self._step(place).removesuffix(","))
                if place and isinstance(error, Misuse) and isinstance(value, str) and not value.strip():
                    noted(error, f"{self._step(place - 1)} gave an empty text to {self._step(place).removesuffix(',')}")
                raise
            done.append(self._said(place, value, done))
        return summed(done, done[-1]) if done else _nothing_done(prompt)

    def _handed_on(self, place: int, value: Any, response: Response) -> str:
        if isinstance(value, str):
            return value
        return handed_on(value, response, self._step(place - 1), self._step(place))

    def _said(self, place: int, value: Any, done: list[Response]) -> Response:
        if isinstance(value, str | Response):
            return as_response(value)
        try:
            return as_response(value, self._step(place))
        except Misuse as error:
            so_far(error, done)
            raise

    def _step(self, place: int) -> str:
        return f"step {place + 1}, {named(self.steps[place])!r},"

    def __call__(self, prompt: Any, *args: Any, **kwargs: Any) -> Response:
        """The answer of the last one."""
        return blocked(self.plan, (self,), (prompt, *args), kwargs)


def _nothing_done(prompt: Any) -> Response:
    """*prompt* itself, as an answer that took nothing."""
    from decimal import Decimal

    if isinstance(prompt, Response):
        return prompt
    messages = thread(prompt)
    return Response((assistant(messages[-1].text if messages else ""),), usage=Usage(), cost=Decimal(0))


def pipe(*agents: Any) -> Pipe:
    """An agent that hands its prompt to the first of *agents*, the text of its answer to the second, and so on.

    It answers what the last one does, with the messages, the usage, the cost and the tool runs of all. What is no text
    is handed on as JSON. What is passed besides the prompt goes to the first. Pipes in pipes are one, and `pipe()`
    hands on what it is given. In what is told, each speaks under its own name, else its function's, else its number.

    >>> def shout(text): return text.upper()
    >>> pipe(str.strip, shout)(" hello ").text
    'HELLO'
    """
    each: list[Any] = []
    for place, found in enumerate(agents, 1):
        each += found.agents if isinstance(found, Pipe) else [callable_agent(found, f"pipe(), at place {place},")]
    return Pipe(tuple(each))


# Side by side

_UNKNOWN: Final = Response((), "error")


@frozen(eq=False, repr=False)
class Parallel(Record):
    """Agents that are all given the same prompt, side by side; see `parallel`."""

    agents: tuple[Any, ...]
    names: tuple[str, ...] | None = None
    limit: int | None = None
    hands: tuple[Any, ...] = field(
        init=False, eq=False, repr=False, default=Factory(lambda self: self._placed(), takes_self=True)
    )

    @property
    def __name__(self) -> str:
        return " & ".join(self.names or map(named, self.agents))

    def __attrs_post_init__(self) -> None:
        if self.limit is not None and (type(self.limit) is not int or self.limit < 1):
            raise Misuse(f"limit= is a whole number from 1, or None for no limit, not {self.limit!r}")

    def _placed(self) -> tuple[Any, ...]:
        if self.names is None:
            return in_place(self.agents)
        return tuple([standing(each, name) for each, name in zip(self.agents, self.names, strict=True)])

    def plan(self, prompt: Any, *args: Any, **kwargs: Any) -> Plan[Response]:
        """What calling it does, as a plan; a step, for its limit is its own."""
        prompt = kept(prompt)
        return (yield from Step("agent", "", prompt, lambda: self.answer(prompt, *args, **kwargs)))

    def answer(self, prompt: Any, *args: Any, **kwargs: Any) -> Plan[Response]:
        """The answers of all."""
        plans = [answering(each, prompt, *args, **kwargs) for each in self.hands]
        outcomes = yield from side_by_side(plans, limit=self.limit)
        if any(outcome.error is not None for outcome in outcomes):
            raise self._failed(outcomes)
        return _together([outcome.unwrap() for outcome in outcomes], self._output(outcomes))

    def _output(self, outcomes: Sequence[Outcome[Response]]) -> Any:
        answers = [outcome.value for outcome in outcomes]
        if self.names is None:
            return tuple(answers)
        return FrozenDict({name: each for name, each in zip(self.names, answers, strict=True) if each is not None})

    def _failed(self, outcomes: Sequence[Outcome[Response]]) -> Exception:
        """The first error (or the first that no model may be told), which knows of the others and of what was done."""
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        first = next((each for each in errors if getattr(each, "ends_run", False)), errors[0])
        names = apart([*map(named, self.hands)], [""] * len(self.hands))
        for name, outcome in zip(names, outcomes, strict=True):
            note = f"beside it, {name} failed: {type(outcome.error).__name__}: {outcome.error}"
            if outcome.error not in (None, first) and note not in getattr(first, "__notes__", ()):
                first.add_note(note)
        parts = [part for each in outcomes if (part := _part(each)) is not None]
        known = any(part is not _UNKNOWN for part in parts)
        if not isinstance(first, ArshaiError):
            so_far(first, [part for part in parts if part is not _UNKNOWN], "one of them")
        else:
            first.partial = evolve(_together(parts, self._output(outcomes)), finish_reason="error") if known else None
        return first

    def __call__(self, prompt: Any, *args: Any, **kwargs: Any) -> Response:
        """The answers of all."""
        return blocked(self.plan, (self,), (prompt, *args), kwargs)


def _part(outcome: Outcome[Response]) -> Response | None:
    """What there is of an answer; an error that is none of ours cannot tell."""
    if outcome.error is not None and not isinstance(outcome.error, ArshaiError):
        return _UNKNOWN
    found = getattr(outcome.error, "partial", None) if outcome.value is None else outcome.value
    return found if isinstance(found, Response) else None


def _together(answers: Sequence[Response], output: Any) -> Response:
    """*answers* as one: all messages in their order, the final ones joined at the end."""
    said: list[Message] = []
    words: list[Part] = []
    for answer in answers:
        final = answer.message
        ends = bool(answer.messages) and final is answer.messages[-1] and not final.tool_calls
        said += answer.messages[:-1] if ends else answer.messages
        spoken = [part for part in final.parts if not isinstance(part, Thinking | ToolCall | Opaque)]
        if final.text and any(isinstance(part, Text) for part in words):
            words.append(Text("\n\n"))
        words += spoken
    reason = next((each for each in answers if each.finish_reason != "stop"), answers[0])
    last = Response(
        (),
        reason.finish_reason,
        reason.raw_finish_reason,
        model="|".join(dict.fromkeys([each.model for each in answers if each.model])),
        provider="|".join(dict.fromkeys([each.provider for each in answers if each.provider])),
        output=output,
    )
    return summed(answers, last, [*said, Message("assistant", words)])


def parallel(*agents: Any, limit: int | None = None) -> Parallel:
    """An agent that hands its prompt to all of *agents*, or of one mapping by name, and answers when all have.

    `Response.output` is the tuple of their responses, or the mapping by name. The text is theirs in order, a blank
    line between, whoever was first; messages, usage, cost and tool runs are those of all. Whatever else is passed goes
    to each. At most *limit* are under way at a time. All run to their ends: if some failed, the error of the first of
    them in order is raised, with the others in its notes, and what there was in its `partial`.

    >>> def short(text): return text[:3]
    >>> parallel({"short": short, "length": len})("Hello").output["length"].output
    5
    """
    names: tuple[str, ...] | None = None
    if len(agents) == 1 and isinstance(agents[0], Mapping):
        names, agents = by_name(agents[0], "parallel()")
    elif not agents:
        raise Misuse("parallel() takes agents, or a mapping of agents by name, at least one")
    return Parallel(tuple([callable_agent(each, "parallel()") for each in agents]), names, limit)

"""Who goes on with a conversation: an agent hands it over by a call, and whose turn it is stands in the messages."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from inspect import isfunction, signature
from typing import Any, Final, TypeAlias
from zlib import crc32

from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.completion import as_response, run
from arshai_kit.effects import Emit, Here, Plan, Step
from arshai_kit.errors import ApprovalNeeded, ArshaiError, Exhausted, Misuse
from arshai_kit.models import Prompt, is_model, thread
from arshai_kit.records import Message, Notice, Response, ToolCall, ToolResult
from arshai_kit.resilience.around import named
from arshai_kit.rounds import Total
from arshai_kit.tools import Tool, tool

__all__ = ["Answer", "HandOff", "conversing", "given_by", "handoff", "handoffs", "takes_part", "whose_turn"]

Answer: TypeAlias = Callable[[Any, tuple[Message, ...]], Plan[Any]]
"""How an agent answers what has been said."""

_FURTHEST: Final = 100
"""So many agents are looked through for one who has handed over; whatever makes agents without end ends here."""
_PARAMETERS = {
    "type": "object",
    "properties": {"reason": {"type": "string", "description": "Why, and what is known so far."}},
    "required": ["reason"],
    "additionalProperties": False,
}


@frozen(eq=False, repr=False)
class HandOff(Record):
    """What a tool of `handoff` does: *target*, or if *late* what that returns, goes on under the name *name*.

    *giver* is the name of whose tool it is, so that nobody takes it for a hand-off of another's.
    """

    target: Any
    name: str
    late: bool = field(default=False, kw_only=True)
    giver: str = field(default="", kw_only=True)

    @property
    def __name__(self) -> str:
        return self.name

    def agent(self) -> Any:
        """The agent that goes on."""
        found = self.target() if self.late else self.target
        if is_model(found) or not (callable(found) or hasattr(found, "plan")):
            raise Misuse(f"handoff(…, name={self.name!r}) leads to {type(found).__name__}, which is no agent")
        return evolve(found, name=self.name) if takes_part(found) and found.name != self.name else found

    def plan(self, **_: Any) -> Plan[str]:
        """What the model is told, as a plan."""
        yield from ()
        return self()

    def __call__(self, **_: Any) -> str:
        """What the model is told."""
        if self.giver:
            return f"{self.giver}{_GIVES}{self.name}."
        return f"{self.name}{_GOES_ON}"


_NAMED: Final = "hand_off_to_"
_GIVES: Final = " hands over to "
_GOES_ON: Final = " goes on with the conversation."


def handoff(agent: Any, *, name: str = "", description: str = "") -> Tool:
    """A tool by which an agent gives the conversation to *agent*, which goes on with all that has been said.

    *agent* is any agent, called *name* there, or a function without parameters that returns it, for one that is made
    later: so agents can hand over to each other. *description* tells the model when to. At most `max_handoffs` of the
    first agent happen in one run; a run of ours that is given what was said later goes on with whose turn it is.

    >>> handoff(len, name="counting").name
    'hand_off_to_counting'
    """
    if is_model(agent) or not (callable(agent) or hasattr(agent, "plan")):
        raise Misuse(f"handoff() takes an agent, or a function that returns one, not {type(agent).__name__}")
    late = isfunction(agent) and not signature(agent).parameters
    called = name or ("" if late or not getattr(agent, "name", "unnamed") else named(agent))
    if not called or called.startswith("<"):
        raise Misuse("whom a conversation is handed to has a name: handoff(…, name='billing')")
    return evolve(
        tool(
            HandOff(agent, called, late=late),
            name=f"{_NAMED}{_callable(called)}",
            description=description or f"Hand the conversation over to {called}, who goes on with it.",
            parameters=_PARAMETERS,
        ),
        ends=True,
    )


def _callable(name: str) -> str:
    """*name* in the letters that providers take; where it has none of them, something that tells it from others.

    >>> _callable("technical support!"), _callable("فروش")
    ('technical_support_', 'b04c6857')
    """
    made = re.sub("[^a-zA-Z0-9_-]+", "_", name)
    return made if made.strip("_-") else f"{crc32(name.encode()):08x}"


# Whose turn it is


def takes_part(agent: Any) -> bool:
    """Whether *agent* is one whose hand-offs are seen from outside."""
    return callable(getattr(agent, "answer", None)) and isinstance(getattr(agent, "tools", None), tuple)


def handoffs(agent: Any) -> dict[str, HandOff]:
    """Where *agent* can hand the conversation to, by the names of its tools."""
    if not takes_part(agent):
        return {}
    return {each.name: each.function for each in agent.tools if isinstance(each.function, HandOff)}


def given_by(name: str, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """*tools*, of which those that hand over say that it is *name* who does."""
    return tuple([_given(name, each, each.function) for each in tools])


def _given(name: str, tool: Tool, function: Any) -> Tool:
    if not isinstance(function, HandOff):
        return tool
    return evolve(tool, function=evolve(function, giver=_spelled(name)))


def _spelled(name: str) -> str:
    """*name*, in one line."""
    return " ".join(name.split())


def whose_turn(agent: Any, prompt: Prompt) -> str:
    """The name of who goes on when *agent* is given *prompt*: found from the hand-offs in it, by nothing else.

    >>> whose_turn(len, "Hello")
    'len'
    """
    while not takes_part(agent) and hasattr(agent, "agent"):
        agent = agent.agent
    return _turn(agent, thread(prompt))[0]


def _turn(first: Any, messages: tuple[Message, ...]) -> tuple[str, Any]:
    """Who goes on, and under which name; of a history whose beginning is gone, the last hand-off is enough."""
    name, now, made = named(first), first, _Made()
    for called, told in _succeeded(messages):
        hand = handoffs(now).get(called) if _may_give(now, told) else None
        if hand is None and _tells(called, told):
            hand = _found(first, called, told, made)
        if hand is not None:
            name, now = hand.name, made.agent(hand)
    return name, now


class _Made:
    """The agents that hand-offs lead to, each of which is made once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[HandOff, Any]] = {}

    def agent(self, hand: HandOff) -> Any:
        """The agent that *hand* leads to."""
        if id(hand) not in self._known:
            self._known[id(hand)] = hand, hand.agent()
        return self._known[id(hand)][1]


def _found(first: Any, called: str, told: str, made: _Made) -> HandOff | None:
    """A hand-off that tells what was *told*, of the nearest agent behind *first* that has one."""
    left, seen = deque([first]), set[tuple[str, str]]()
    while left:
        now = left.popleft()
        known = handoffs(now)
        if called in known and _may_give(now, told):
            return known[called]
        for hand in known.values():
            place = _giver(now), hand.name
            if place not in seen and len(seen) < _FURTHEST:
                seen.add(place)
                with suppress(Exception):  # nobody is handed over to: should it be its turn, it says so itself
                    left.append(made.agent(hand))
    return None


def _giver(agent: Any) -> str:
    return _spelled(agent.name) if takes_part(agent) else ""


def _may_give(agent: Any, told: str) -> bool:
    """Whether it may be *agent* that handed over by a call whose result is *told*; it is where nobody is named."""
    said = told.rpartition("\n")[2]
    own, name = _giver(agent), said.partition(_GIVES)[0]
    return name == said or own == name or said.startswith(f"{own}{_GIVES}")


def _tells(called: str, told: str) -> bool:
    """Whether the result of a call looks like that of a hand-off: for others, nobody is looked for."""
    return called.startswith(_NAMED) or _GIVES in told or told.endswith(_GOES_ON)


def _succeeded(messages: tuple[Message, ...]) -> Iterator[tuple[str, str]]:
    """The names of the calls in *messages* that succeeded and what was told of each, in the order of their results."""
    calls: dict[str, str] = {}
    for message in messages:
        for part in message.parts:
            match part:
                case ToolCall():
                    calls[part.id] = part.name
                case ToolResult(is_error=False):
                    yield calls.get(part.id, part.name), part.content if isinstance(part.content, str) else ""


# Going on


def conversing(
    first: Any, prompt: Prompt, answer: Answer | None = None, *, earlier: Response | None = None, count: int = 0
) -> Plan[Response]:
    """The answer of whose turn it is, or of whom the conversation is handed to, *first* being the first of all.

    *earlier* is what this run has added before *prompt*'s end, after *count* hand-offs.
    """
    said, total = thread(prompt), Total() if earlier is None else _plus(Total(), earlier)
    name, now = _turn(first, said)
    while True:
        try:
            response = as_response((yield from _answered(name, now, said, answer or _answer)))
        except ArshaiError as error:
            _tell(error, now, said, total, count)
            raise
        total, said = _plus(total, response), (*said, *response.messages)
        hand = next((hand for each, _ in _succeeded(response.messages) if (hand := handoffs(now).get(each))), None)
        if hand is None:
            by = "" if takes_part(now) else response.answered_by  # of an agent's own it is the model's
            return evolve(total.response(response), answered_by=by or name)
        if count >= first.max_handoffs:
            why = f"handed over more than {count} times, and no final answer"
            partial = evolve(total.response(response), answered_by=name)
            raise Exhausted(why, bound="max_handoffs", partial=partial)
        count += 1
        yield from Emit((Notice("handed_off", name, "", {"to": hand.name}),))
        name, now = hand.name, hand.agent()


def _answered(name: str, now: Any, said: tuple[Message, ...], answer: Answer) -> Plan[Any]:
    spoken, tag = now.name if takes_part(now) else name, (yield from Here()).tag
    if tag == spoken or tag.endswith(f"/{spoken}"):
        spoken = ""  # it speaks under the name of its place
    return (yield from Step("agent", spoken, said, lambda: answer(now, said)))


def _answer(agent: Any, said: tuple[Message, ...]) -> Plan[Any]:
    return agent.answer(said) if takes_part(agent) else run.plan(agent, said)


def _plus(total: Total, response: Response) -> Total:
    """*total*, and all that *response* stands for."""
    cost = None if total.cost is None or response.cost is None else total.cost + response.cost
    messages, runs = (*total.messages, *response.messages), (*total.runs, *response.tool_runs)
    return Total(messages, total.usage + response.usage, cost, runs)


def _tell(error: ArshaiError, now: Any, said: tuple[Message, ...], total: Total, count: int) -> None:
    """Have *error* tell of the whole run, and a pause whose turn it was."""
    if isinstance(error, ApprovalNeeded) and not error.paused.agent:
        earlier = total.response(Response(())) if total.messages else None
        changes: dict[str, Any] = {"agent": named(now), "prompt": said, "earlier": earlier, "handoffs": count}
        error.paused = evolve(error.paused, **changes)
    if total.messages:
        last = error.partial
        told = isinstance(last, Response)
        error.partial = _plus(total, last).response(last) if told else total.response(Response((), "error"))

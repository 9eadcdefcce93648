"""What all combinators share: who stands where, what is handed to whom, and the sum of what was said and used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import evolve

from arshai_kit._json import dumps
from arshai_kit._record import Record
from arshai_kit.agents.handing import handoffs, takes_part
from arshai_kit.agents.making import Agent, Given, Placed, given, placed
from arshai_kit.completion import as_response
from arshai_kit.effects import Emit, Here, Layer, Owner, Plan, Where
from arshai_kit.errors import ArshaiError, Misuse
from arshai_kit.models import is_model, thread, throughout, unheard
from arshai_kit.records import (
    Finished,
    Message,
    PartialOutput,
    Response,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolRun,
    Usage,
)
from arshai_kit.records.responses import altered
from arshai_kit.resilience.around import apart, named

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = [
    "answering",
    "by_name",
    "callable_agent",
    "cost",
    "found_wrong",
    "handed_on",
    "hushed",
    "in_place",
    "kept",
    "never_early",
    "noted",
    "own_name",
    "so_far",
    "standing",
    "summed",
    "used",
]

T = TypeVar("T")

_NOTES: Final = 20
"""So many notes an error has at most: an object that is raised again and again gets some each time."""
_WORDS: Final = (TextDelta, ThinkingDelta, ToolCallDelta, PartialOutput, Finished)


# Who stands where


def callable_agent(value: Any, where: str) -> Any:
    """*value*, if it is an agent; *where* says who takes it.

    >>> callable_agent("Hello", "pipe()")
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: pipe() takes agents, functions from a prompt to an answer, not str
    """
    if is_model(value):
        raise Misuse(f"{where} takes agents, not models: agent(model) makes one of {value.name!r}")
    wanted = f"{where} takes agents, functions from a prompt to an answer"
    if isinstance(value, type) and hasattr(value, "plan"):
        raise Misuse(f"{wanted}, not the class {value.__name__} itself")
    if not (callable(value) or hasattr(value, "plan")):
        raise Misuse(f"{wanted}, not {type(value).__name__}")
    return given(value) if isinstance(value, partial) else value


def by_name(agents: Any, where: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The names and the agents of a mapping; *where* says who takes it.

    >>> by_name({"size": len}, "route()")
    (('size',), (<built-in function len>,))
    """
    if not isinstance(agents, Mapping) or not agents:
        raise Misuse(f"{where} takes a mapping of agents by name, at least one, not {agents!r:.80}")
    for name in agents:
        if not isinstance(name, str) or not name:
            raise Misuse(f"{where} takes agents by name, and a name is a string, not {name!r}")
    return tuple(agents), tuple([callable_agent(each, f"{where}, for {name!r},") for name, each in agents.items()])


def own_name(value: Any) -> str:
    """The name under which an agent speaks wherever it stands; empty when it has none.

    >>> own_name(placed(len, "size")), own_name(len)
    ('size', '')
    """
    match value:
        case Agent(name=name) | Placed(name=name):
            return str(name)
        case Record():
            return own_name(getattr(value, "agent", None))
    return ""


def in_place(agents: Sequence[Any]) -> tuple[Any, ...]:
    """*agents*, each of which speaks under its own name, else under that of its function, else under its number.

    Those of one name are told apart by their places.

    >>> [each.name for each in in_place([len, placed(len, "size"), lambda prompt: prompt])]
    ['len', 'size', '3']
    >>> [each.name for each in in_place([len, len])]
    ['len#1', 'len#2']
    """
    names = [own_name(each) or _name(each, n) for n, each in enumerate(agents, 1)]
    both = zip(agents, apart(names, [""] * len(names)), strict=True)
    return tuple(
        [each if own_name(each) == name and not _hands_over(each) else standing(each, name) for each, name in both]
    )


def standing(value: Any, name: str) -> Any:
    """*value*, an agent, in a place called *name*: whoever it hands the conversation to stands there too.

    >>> standing(len, "size")
    Placed(<built-in function len>, name='size')
    """
    found = placed(value, name)
    return Placed(found, name) if isinstance(found, Agent) and _hands_over(found) else found


def _hands_over(value: Any) -> bool:
    while isinstance(value, Record) and not takes_part(value):
        value = getattr(value, "agent", None)
    return bool(handoffs(value))


def _name(value: Any, number: int) -> str:
    while isinstance(value, partial | Given):
        value = value.agent if isinstance(value, Given) else value.func
    name = "" if isinstance(value, Record) else str(getattr(value, "__name__", ""))
    return name if name and not name.startswith("<") else str(number)


# What is handed to whom


def kept(prompt: Any) -> Any:
    """*prompt*, as it can be handed to more than one: what can be read once only is read.

    >>> kept(iter(["Hello"]))
    ('Hello',)
    """
    if type(prompt) is str:
        return prompt
    if callable(prompt):
        thread(prompt)  # says what is wrong
    return tuple(prompt) if isinstance(prompt, Iterator) else prompt


def handed_on(value: Any, response: Response, step: str, following: str) -> str:
    """The text of *response*, which *step* gave as *value*, for the step *following*: JSON where it is no text.

    >>> from arshai_kit.completion import as_response
    >>> handed_on({"a": 1}, as_response({"a": 1}), "step 1, 'look',", "step 2, 'tell'")
    '{"a":1}'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Response) and (response.text or response.output is None):
        if not response.text:
            ended = f"a Response without text (it ended with {response.finish_reason!r})"
            raise Misuse(f"{step} gave {ended}: {_take(following)}")
        return response.text
    plain = response.output
    if plain is None:
        raise Misuse(f"{step} gave {type(value).__name__}: {_take(following)}")
    from arshai_kit.schema import Misfit, unstructured

    try:
        return str(dumps(unstructured(plain)), "utf-8")
    except (Misfit, TypeError, ValueError) as error:
        raise Misuse(f"{step} gave {type(plain).__name__}, which is no text and no JSON: {_take(following)}") from error


def _take(following: str) -> str:
    return f"{following} takes text; return a string, a Response that says something, or what can be written as JSON"


def answering(agent: Any, *args: Any, **kwargs: Any) -> Plan[Response]:
    """What *agent*, which stands in its place, answers, as a response."""
    return as_response((yield from agent.plan(*args, **kwargs)), repr(named(agent)))


# What a check finds


def found_wrong(value: Any) -> str:
    """What a check that gave *value* says is wrong; nothing, if nothing is.

    >>> found_wrong(" too long "), found_wrong(False), found_wrong(True)
    ('too long', 'it did not pass', '')
    """
    if isinstance(value, Response):
        value = value.text if value.output is None else value.output
    if value is None or value is True:
        return ""
    if value is False:
        return "it did not pass"
    if isinstance(value, str):
        return value.strip()
    raise Misuse(f"a check gives what is wrong in words, or True, None or '' if nothing is, not {type(value).__name__}")


# What does not begin early


def never_early(effect: Here, _: Where) -> Plan[Owner]:
    """A frame in which no tool starts before its reply is complete: for a layer's `Here`."""
    return evolve((yield from effect), early=False)


# What is not told


def hushed(plan: Plan[T]) -> Plan[T]:
    """*plan*, of whose words nothing is told: nobody streams them, and they are no part of an answer."""
    return throughout(plan, _HUSHED)


def _on_emit(effect: Emit, _: Where) -> Plan[None]:
    if events := tuple([event for event in effect.events if not isinstance(event, _WORDS)]):
        yield from Emit(events)


_HUSHED: Final[Layer] = MappingProxyType({Here: unheard, Emit: _on_emit})


# What was said and used


def summed(parts: Sequence[Response], last: Response, messages: Sequence[Message] | None = None) -> Response:
    """*last*, standing for all of *parts*: their messages (or *messages*), their usage, their costs, their tool runs.

    >>> from arshai_kit.records import assistant
    >>> one, two = Response((assistant("Ho"),), usage=Usage(1, 2)), Response((assistant("Hi"),), usage=Usage(3, 4))
    >>> whole = summed((one, two), two)
    >>> whole.text, len(whole.messages), whole.usage
    ('Hi', 2, Usage(4, output_tokens=6))
    """
    if messages is None and len(parts) == 1 and parts[0] is last:
        return last
    said = [message for each in parts for message in each.messages] if messages is None else messages
    runs: list[ToolRun] = [run for each in parts for run in each.tool_runs]
    return altered(last, messages=tuple(said), usage=used(parts), cost=cost(parts), tool_runs=tuple(runs))


def used(parts: Sequence[Response]) -> Usage:
    """The usage of all of *parts*."""
    total = parts[0].usage if parts else Usage()
    for each in parts[1:]:
        total = total + each.usage
    return total


def cost(parts: Sequence[Response]) -> Decimal | None:
    """What all of *parts* cost together; unknown as soon as one of them is."""
    total = parts[0].cost if parts else None
    for each in parts[1:]:
        total = None if total is None or each.cost is None else total + each.cost
    return total


def so_far(error: Exception, before: Sequence[Response], who: str = "it") -> None:
    """Have *error*, by which *who* failed, tell what there was *before* it too, unless it tells of something else.

    One that is none of ours may be raised elsewhere as the same object: it is told figures, in a note, and no words.
    """
    if not isinstance(error, ArshaiError):
        if known := figures(before):
            noted(error, f"before {who} failed, {known}")
        return
    last = error.partial
    if before and (last is None or isinstance(last, Response)):
        parts = before if last is None else (*before, last)
        error.partial = summed(parts, last or Response((), "error"))


def noted(error: Exception, note: str) -> None:
    """Add *note* to *error*, once, and not without end."""
    known = getattr(error, "__notes__", ())
    if note not in known and len(known) < _NOTES:
        error.add_note(note)


def figures(parts: Sequence[Response]) -> str:
    """What *parts* used, in words; none, where nobody said that anything was.

    >>> figures([Response((), usage=Usage(1, 2)), Response((), usage=Usage(3, 4))])
    '10 tokens had been used'
    """
    total, money = used(parts), cost(parts)
    if not (total.total_tokens or money):
        return ""
    more = "" if total.reported else ", or more,"
    return f"{total.total_tokens:,} tokens{more} had been used" + ("" if money is None else f" (${money})")

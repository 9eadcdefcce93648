"""Agents of every kind, which do the same in every world, and what a test needs around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from threading import Lock
from typing import Any

from attrs import field, frozen
from hypothesis import strategies as st

from arshai_kit import Response, Text, TextDelta, ToolCall, Usage, assistant, stream
from arshai_kit.agents import agent, approve, as_tool, guard, insist, parallel, pipe, placed, route
from arshai_kit.completion import as_response, run
from arshai_kit.effects import Emit, Plan
from arshai_kit.errors import ServerFailed
from arshai_kit.models import UNKNOWN, Ask, retold, thread
from arshai_kit.records import Event
from arshai_kit.records.responses import FinishReason
from arshai_kit.resilience import deadline, fallback
from tests.core.worlds import World

__all__ = [
    "PROMPT",
    "Echo",
    "Log",
    "ended",
    "events_of",
    "failing",
    "foreign",
    "heard",
    "last",
    "odd",
    "ours",
    "supervised",
    "trees",
]

PROMPT = "Who is there?"


class Log:
    """What all models of a test have answered, from whichever thread."""

    def __init__(self) -> None:
        self.answers: list[Response] = []
        self._lock = Lock()

    def note(self, response: Response) -> None:
        """One more."""
        with self._lock:
            self.answers.append(response)


@frozen(eq=False)
class Echo:
    """A model that says its name and what it was told last, after a call of each of the tools that it is given."""

    name: str = "echo"
    log: Log = field(factory=Log)
    provider: str = "box"
    capabilities = UNKNOWN

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The answer; its figures depend on what is said, so that no two parts of a sum are alike."""
        told = last(ask.messages)
        size = len(told) + 1
        calls = [ToolCall(f"c{number}", each.name, {"prompt": told[:9]}) for number, each in enumerate(ask.tools)]
        fresh = bool(calls) and ask.messages[-1].role == "user"
        message = assistant(Text(f"{self.name} "), *calls) if fresh else assistant(f"{self.name} heard {told[-40:]}")
        reason: FinishReason = "tool_calls" if fresh else "stop"
        response = Response(
            (message,), reason, usage=Usage(size, 2 * size), cost=Decimal(size) / 1000, model=self.name, provider="box"
        )
        self.log.note(response)
        if stream:
            yield from Emit(retold(response))
        return response


def last(prompt: Any) -> str:
    """The last words of *prompt*."""
    said = thread(prompt)[-1]
    return said.text or str([getattr(part, "content", "") for part in said.parts])


# -- what happened --


def ended(world: World, function: Any, prompt: Any = PROMPT) -> Any:
    """How *function* ends there: its response, or what kind of error, in which words, with what there was by then."""
    try:
        return as_response(world.run(lambda: run.plan(function, prompt)))
    except Exception as error:
        return type(error), str(error), getattr(error, "partial", None)


def events_of(world: World, function: Any, prompt: Any = PROMPT) -> list[Event]:
    """What `stream` tells there."""
    return world.events(lambda: stream.plan(function, prompt))


def heard(events: list[Event], path: str) -> str:
    """The words that were told by *path*."""
    return "".join([event.text for event in events if isinstance(event, TextDelta) and event.path == path])


# -- agents --


def _says(number: int) -> Callable[[Any], str]:
    return lambda prompt: f"s{number} {last(prompt)[:30]}"


def _says_later(number: int) -> Any:
    async def later(prompt: Any) -> str:
        return f"a{number} {last(prompt)[:30]}"

    return later


def _tells(number: int) -> Any:
    def tells(prompt: Any) -> Iterator[str]:
        yield f"g{number} "
        yield last(prompt)[:30]

    return tells


def _tells_later(number: int) -> Any:
    async def tells_later(prompt: Any) -> AsyncIterator[str]:
        yield f"h{number} "
        yield last(prompt)[:30]

    return tells_later


def _counts(number: int) -> Any:
    return lambda prompt: {"number": number, "size": len(last(prompt))}


def _answers(number: int) -> Any:
    def answers(prompt: Any) -> Response:
        return Response((assistant(f"r{number}"),), usage=Usage(number, 1), cost=Decimal(number), output=number)

    return answers


def _fails(number: int) -> Any:
    def fails(prompt: Any) -> str:
        raise ServerFailed(f"down {number}", status=503, partial=Response((assistant("So"),), "error", usage=Usage(1)))

    return fails


def _fails_otherwise(number: int) -> Any:
    async def fails_otherwise(prompt: Any) -> str:
        raise ZeroDivisionError(f"of its own {number}")

    return fails_otherwise


_numbers = st.integers(0, 9)
_names = st.sampled_from(["", "ann", "bob"])

foreign = st.one_of(
    *[_numbers.map(make) for make in (_says, _says_later, _tells, _tells_later, _counts, _answers)],
)
failing = _numbers.map(_fails) | _numbers.map(_fails_otherwise)


def ours(log: Log | None = None) -> st.SearchStrategy[Any]:
    """Agents of models, with and without a name."""
    kept = log or Log()
    return st.builds(lambda number, name: agent(Echo(f"m{number}", kept), name=name), _numbers, _names)


def trees(leaves: st.SearchStrategy[Any], check: Any = None) -> st.SearchStrategy[Any]:
    """Compositions of *leaves* by all combinators; *check* may find something wrong."""
    return st.recursive(leaves, lambda inner: _composed(inner, check or _fine), max_leaves=5)


def _composed(inner: st.SearchStrategy[Any], check: Any) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        several.map(lambda each: pipe(*each)),
        several.map(lambda each: parallel(*each)),
        several.map(lambda each: parallel({f"p{place}": one for place, one in enumerate(each)}, limit=2)),
        several.map(lambda each: fallback(*each)),
        several.map(lambda each: route(_by_length, {str(place): one for place, one in enumerate(each)}, default="0")),
        inner.map(lambda one: insist(one, check, times=1)),
        inner.map(lambda one: placed(one, "desk")),
        inner.map(lambda one: deadline(one, 900)),
        inner.map(lambda one: guard(one, before=_passes, after=_fine)),
        inner.map(lambda one: approve(one, ask=_approved)),
    )


def _passes(prompt: Any) -> str:
    return "" if last(prompt) else "it is empty"


async def _approved(call: ToolCall) -> bool:
    return len(call.name) > 0


def _by_length(prompt: Any) -> str:
    return str(len(last(prompt)) % 3)


async def _fine(response: Response) -> bool:
    return bool(response.messages)


async def odd(response: Response) -> str:
    """Finds something wrong with every other answer."""
    return "" if len(response.text) % 2 else "an even number of letters"


def supervised(log: Log) -> st.SearchStrategy[Any]:
    """Agents that ask compositions of agents as their tools."""
    workers = st.lists(trees(ours(log)), min_size=1, max_size=2)
    return workers.map(
        lambda each: agent(
            Echo("boss", log), tools=[as_tool(one, name=f"worker{place}") for place, one in enumerate(each)]
        )
    )

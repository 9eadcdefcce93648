"""An agent is a function from a prompt to an answer; this makes one of a model, and gives any of them a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from arshai_kit._record import Record
from arshai_kit.agents.handing import conversing, given_by, handoffs
from arshai_kit.completion import conversation, run
from arshai_kit.effects import Plan, Step
from arshai_kit.errors import Misuse
from arshai_kit.faces import drive
from arshai_kit.models import Prompt, is_model
from arshai_kit.output import wanted
from arshai_kit.records import Response, ToolCall, ToolSpec
from arshai_kit.resilience.around import blocked, named
from arshai_kit.rounds import Loop, Resumed
from arshai_kit.tools import Tool, ToolLike, toolbox

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["Agent", "Given", "Placed", "agent", "given", "placed"]


def _tools(tools: Iterable[ToolLike]) -> tuple[Tool, ...]:
    if isinstance(tools, Iterable) and not isinstance(tools, str | Mapping):
        tools = tuple(map(_no_agent, tools))
    return tuple(toolbox(tools).values())


def _no_agent(value: Any) -> Any:
    """*value*, unless it is an agent of ours: as a tool, that has a name and words of its own."""
    agent = value.func if isinstance(value, partial) else value
    if isinstance(agent, Record) and not isinstance(agent, Tool | ToolSpec) and hasattr(agent, "plan"):
        raise Misuse(f"tools= takes functions, and an agent as as_tool({getattr(value, '__name__', '…')})")
    return value


@frozen(eq=False, repr=False)
class Agent(Record):
    """A model with what it is told, what it is given and what is wanted of it; called with a prompt, it answers.

    The limits are those of `run_tools`; *max_handoffs* is how often the conversation may be handed over in one run. In
    what is told it speaks under its *name*.
    """

    model: Any
    system: str | None = field(default=None, kw_only=True)
    tools: tuple[Tool, ...] = field(default=(), converter=_tools, kw_only=True)
    output: Any = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)
    max_rounds: int = field(default=10, kw_only=True)
    max_tool_calls: int | None = field(default=None, kw_only=True)
    max_total_tokens: int | None = field(default=None, kw_only=True)
    max_cost: Decimal | float | str | None = field(default=None, kw_only=True)
    side_by_side: int = field(default=8, kw_only=True)
    eager: bool = field(default=False, kw_only=True)
    max_handoffs: int = field(default=10, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if type(self.max_handoffs) is not int or self.max_handoffs < 0:
            raise Misuse(f"max_handoffs= is a whole number from 0, not {self.max_handoffs!r}")

    @property
    def __name__(self) -> str:
        return self.name or named(self.model)

    def plan(self, prompt: Prompt) -> Plan[Response]:
        """What calling it does, as a plan."""
        if handoffs(self):
            return (yield from conversing(self, prompt))
        return (yield from Step("agent", self.name, prompt, lambda: self.answer(prompt)))

    def answer(
        self, prompt: Prompt, *, waits: Callable[[ToolCall], bool] | None = None, resumed: Resumed | None = None
    ) -> Plan[Response]:
        """Its own answer to *prompt*, told by nobody's name; calls may be said to wait, and a *resumed* run goes on."""
        limits = (self.max_rounds, self.max_tool_calls, self.side_by_side, self.eager)
        bounds = (self.max_total_tokens, self.max_cost)
        loop = Loop(self.model, toolbox(given_by(self.name, self.tools)), wanted(self.output), *limits, *bounds, waits)
        return loop.run(conversation(self.model, prompt, self.system), resumed)

    def __call__(self, prompt: Prompt) -> Response:
        """The answer to *prompt*."""
        return drive(self.plan(prompt))


def agent(
    model: Any,
    *,
    system: str | None = None,
    tools: Iterable[ToolLike] = (),
    output: Any = None,
    name: str = "",
    max_rounds: int = 10,
    max_tool_calls: int | None = None,
    max_total_tokens: int | None = None,
    max_cost: Decimal | float | str | None = None,
    side_by_side: int = 8,
    eager: bool = False,
    max_handoffs: int = 10,
) -> Agent:
    """An agent: *model*, told *system*, given *tools*, answering with the type *output*.

    It is a value: `evolve(agent, tools=…)` makes another. What it answers is what `run_tools` does.

    >>> from arshai_kit import openai
    >>> agent(openai("gpt-5.6-luna", api_key="sk-1"), system="You settle billing questions.", name="billing").name
    'billing'
    """
    if not is_model(model):
        raise Misuse(f"agent() takes a model, as openai_compatible(…) makes one, not {type(model).__name__}")
    if not (system is None or isinstance(system, str)) or not isinstance(name, str):
        wrong = ("name", name) if isinstance(system, str | None) else ("system", system)
        raise Misuse(f"{wrong[0]}= is text, not {type(wrong[1]).__name__}")
    return Agent(
        model,
        system=system,
        tools=tools,
        output=output,
        name=name,
        max_rounds=max_rounds,
        max_tool_calls=max_tool_calls,
        max_total_tokens=max_total_tokens,
        max_cost=max_cost,
        side_by_side=side_by_side,
        eager=eager,
        max_handoffs=max_handoffs,
    )


@frozen(eq=False, repr=False)
class Placed(Record):
    """An agent of whatever kind that speaks under the *name* of its place."""

    agent: Any
    name: str

    @property
    def __name__(self) -> str:
        return self.name

    def plan(self, *args: Any, **kwargs: Any) -> Plan[Any]:
        """What calling it does, as a plan."""
        return (yield from Step("agent", self.name, args, lambda: run.plan(self.agent, *args, **kwargs)))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer of the agent."""
        return blocked(self.plan, (self,), args, kwargs)


def placed(value: Any, name: str) -> Any:
    """*value*, an agent, as it speaks in a place called *name*.

    >>> placed(len, "size")
    Placed(<built-in function len>, name='size')
    """
    if is_model(value) or not (callable(value) or hasattr(value, "plan")) or not isinstance(name, str):
        raise Misuse(f"placed() takes an agent and a name, not {type(value).__name__} and {type(name).__name__}")
    match value:
        case Placed():
            return Placed(value.agent, name)
        case Agent():
            return evolve(value, name=name)
    return Placed(value, name)


@frozen(eq=False, repr=False)
class Given(Record):
    """An agent that is given part of what it is called with, as `functools.partial` does; it speaks as itself."""

    agent: Any
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    @property
    def __name__(self) -> str:
        return named(self.agent)

    def plan(self, *args: Any, **kwargs: Any) -> Plan[Any]:
        """What calling it does, as a plan."""
        return run.plan(self.agent, *self.args, *args, **{**dict(self.kwargs), **kwargs})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer of the agent."""
        return blocked(self.plan, (self,), args, kwargs)


def given(value: partial[Any]) -> Any:
    """*value*, a function that is given part of its arguments: an agent of ours stays one.

    >>> given(partial(placed(len, "size"), "abc")).agent
    Placed(<built-in function len>, name='size')
    """
    agent = given(value.func) if isinstance(value.func, partial) else value.func
    return Given(agent, value.args, tuple(value.keywords.items())) if hasattr(agent, "plan") else value

"""An agent is a tool of another: it is asked in words, and answers in words."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import getdoc
from typing import Any, ClassVar

from attrs import evolve, frozen

from arshai_kit._record import Record
from arshai_kit.agents.joining import answering, callable_agent, own_name, standing
from arshai_kit.agents.making import Agent
from arshai_kit.effects import Plan
from arshai_kit.errors import Misuse
from arshai_kit.faces import drive
from arshai_kit.records import Response
from arshai_kit.tools import Tool, tool

__all__ = ["Asking", "about", "as_tool"]

_ABOUT = 300
"""So many characters say what an agent is for."""


@frozen(eq=False, repr=False)
class Asking(Record):
    """The function of a tool that asks an *agent*, in its place; see `as_tool`."""

    agent: Any
    is_agent: ClassVar[bool] = True  # whose failure has used something

    @property
    def __name__(self) -> str:
        return own_name(self)

    def plan(self, prompt: str) -> Plan[Response]:
        """What calling it does, as a plan; responses among responses are told as their text."""
        response = yield from answering(self.agent, prompt)
        return evolve(response, output=None) if _holds_responses(response.output) else response

    def __call__(self, prompt: str) -> Response:
        """Ask the agent.

        Args:
            prompt: What it is asked, in words that can be understood without the conversation.
        """
        return drive(self.plan(prompt))


def _holds_responses(output: Any) -> bool:
    inside = output.values() if isinstance(output, Mapping) else output
    return isinstance(output, tuple | Mapping) and any(isinstance(each, Response) for each in inside)


def as_tool(agent: Any, *, name: str = "", description: str = "") -> Tool:
    """*agent* as a tool that a model may ask, in words of its own; what the agent used counts where it is used.

    Its name and what it is for are the agent's own, unless they are given: its *name*, else its function's; what it is
    told by `system=`, else its docstring. Only the words of the call are its prompt; what it tells is told under its
    name. `tool(as_tool(agent), timeout=…)` sets what else a tool has.

    >>> def capital(prompt):
    ...     "Knows the capitals of the world."
    ...     return "Oslo"
    >>> as_tool(capital).spec.name, as_tool(capital).spec.description
    ('capital', 'Knows the capitals of the world.')
    """
    agent = callable_agent(agent, "as_tool()")
    called = name or own_name(agent) or ("" if isinstance(agent, Record) else getattr(agent, "__name__", ""))
    if not called.isidentifier():
        raise Misuse(
            f"an agent that is a tool has a name that a model can ask by, not {called!r}: as_tool(agent, name=…)"
        )
    return tool(
        Asking(standing(agent, called)), name=called, description=description or about(agent) or f"Ask {called}."
    )


def about(agent: Any) -> str:
    """What *agent* is for, in the words that it is told itself, or in its docstring's."""
    match agent:
        case Agent(system=system):
            text = system or ""
        case Record():
            return about(agent.agent) if hasattr(agent, "agent") else ""
        case _:
            text = getdoc(agent) or ""
    return " ".join(text.strip().partition("\n\n")[0].split())[:_ABOUT]

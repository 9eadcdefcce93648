"""A composition is a value, so it can be drawn: who stands where, who is asked by whom, who goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, Final, TypeAlias

import attrs

from arshai_kit._record import Record
from arshai_kit.agents.combining import Parallel, Pipe
from arshai_kit.agents.handing import HandOff
from arshai_kit.agents.insisting import Insisting
from arshai_kit.agents.joining import callable_agent, own_name
from arshai_kit.agents.making import Agent, Given, Placed
from arshai_kit.agents.routing import Route
from arshai_kit.agents.tools import Asking
from arshai_kit.errors import Misuse
from arshai_kit.models import is_model
from arshai_kit.resilience.around import AgentAround, named
from arshai_kit.resilience.fallbacks import FallbackAgents
from arshai_kit.tools import Tool

__all__ = ["to_mermaid"]

Ends: TypeAlias = tuple[str, str]
"""The node where a drawing is entered, and the one where it is left."""

_LONGEST: Final = 60
_MOST: Final = 1000
"""So many nodes are drawn; whatever makes agents without end ends here."""
_DEEPEST: Final = 30
"""So many wrappers are drawn around whoever is handed over to."""
_ESCAPED: Final = str.maketrans(
    {"#": "#35;", '"': "#quot;", "&": "#amp;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\\": "#92;"}
)
_POLICIES: Final[Mapping[str, str]] = {"Terms": "budgeted", "Limiting": "limited", "Breaking": "breaker"}
_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "agent": ("[", "]"),
    "function": ("(", ")"),
    "choice": ("{", "}"),
    "check": ("{{", "}}"),
    "tool": ("[/", "/]"),
    "memory": ("[(", ")]"),
    "point": ("((", "))"),
}


def to_mermaid(agent: Any, *, direction: str = "TD") -> str:
    """*agent*, and all that it is composed of by our helpers, as a flowchart that Mermaid draws.

    A solid arrow is what happens in any case, or hands the conversation over; a dotted one is what may happen: a tool,
    an agent that is asked, a way out. *direction* is that of Mermaid: `TD` or `LR`.

    >>> def draft(prompt): return "…"
    >>> print(to_mermaid(draft))
    flowchart TD
        n1("draft")
    """
    if direction not in ("TD", "TB", "BT", "LR", "RL"):
        raise Misuse(f"direction= is TD, TB, BT, LR or RL, not {direction!r}")
    sketch = _Sketch()
    sketch.agent(callable_agent(agent, "to_mermaid()"))
    sketch.scopes[0].finish()
    return "\n".join([f"flowchart {direction}", *sketch.lines])


class _Scope:
    """What one wrapper is around: *known* agents, and those that are *asked*, stand in it and nowhere else.

    *later* draws the arrows to agents that may stand elsewhere in it; *entry* is where it is entered.
    """

    def __init__(self, value: Any = None) -> None:
        self.value, self.entry = value, ""
        self.known: dict[int, tuple[Any, str]] = {}  # of each agent, itself, so that its id stays its own
        self.asked: dict[int, tuple[Any, str]] = {}
        self.later: list[Callable[[], None]] = []

    def finish(self) -> None:
        """Draw what was to be drawn later."""
        while self.later:
            self.later.pop(0)()


class _Sketch:
    """What has been drawn so far."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.scopes = [_Scope()]
        self._count = 0
        self._depth = 1

    # Nodes and arrows

    def node(self, shape: str, label: str) -> Ends:
        """One node."""
        self._count += 1
        name, (left, right) = f"n{self._count}", _SHAPES[shape]
        self._line(f'{name}{left}"{_label(label)}"{right}')
        return name, name

    def arrow(self, start: str, end: str, label: str = "", *, dotted: bool = False) -> None:
        """An arrow between two nodes."""
        told = f'|"{_label(label)}"|' if label else ""
        self._line(f"{start} {'-.->' if dotted else '-->'}{told} {end}")

    @contextmanager
    def frame(self, label: str) -> Iterator[None]:
        """A frame around what is drawn inside the block."""
        self._count += 1
        self._line(f'subgraph g{self._count}["{_label(label)}"]')
        self._depth += 1
        yield
        self._depth -= 1
        self._line("end")

    @contextmanager
    def _around(self, value: Any, label: str, inner: Any, name: str) -> Iterator[Ends]:
        """The ends of *inner* in the frame of *value*, around whomever that hands over to or asks, too."""
        with self.frame(label):
            self.scopes.append(_Scope(value))
            ends = self.agent(inner, name)
            self.scopes[-1].entry = ends[0]
            yield ends
            self.scopes[-1].finish()
            self.scopes.pop()

    def _line(self, text: str) -> None:
        self.lines.append("    " * self._depth + text)

    # Agents

    def agent(self, value: Any, name: str = "") -> Ends:
        """*value*, which stands in a place called *name*."""
        if self._count >= _MOST:
            return self.node("point", "…")
        ends = self._drawn(value, name)
        self.scopes[-1].known.setdefault(id(value), (value, ends[0]))
        return ends

    def _drawn(self, value: Any, name: str) -> Ends:
        match value:
            case Agent():
                return self._of_a_model(value, name)
            case Placed() | Given():
                return self.agent(value.agent, name or getattr(value, "name", ""))
            case Pipe(agents=agents):
                return self._named(name, lambda: self._pipe(agents))
            case Parallel():
                return self._named(name, lambda: self._parallel(value))
            case Route():
                return self._named(name, lambda: self._route(value))
            case Insisting():
                return self._named(name, lambda: self._insisting(value))
            case FallbackAgents(agents=agents):
                return self._named(name, lambda: self._fallback(agents))
            case AgentAround(agent=inner, policy=policy):
                with self._around(value, _policy(policy), inner, name) as ends:
                    return ends
            case Record() if inside := _inside(value):
                return self._wrapping(value, inside, name)
        return self.node("function", name or _called(value))

    def _named(self, name: str, draw: Callable[[], Ends]) -> Ends:
        if not name:
            return draw()
        with self.frame(name):
            return draw()

    def _of_a_model(self, value: Agent, name: str) -> Ends:
        ends = self.node("agent", name or value.name or named(value.model))
        self.scopes[-1].known.setdefault(id(value), (value, ends[0]))  # its own tools may lead back to it
        for each in value.tools:
            self._tool(ends[0], each)
        return ends

    def _tool(self, start: str, tool: Tool) -> None:
        match tool.function:
            case HandOff() as hand:
                self.scopes[-1].later.append(lambda: self._handing(start, hand))
            case Asking(agent=asked):
                self.scopes[-1].later.append(lambda: self._asking(start, tool, asked))
            case _:
                label = f"{tool.name} (background)" if tool.background else tool.name
                self.arrow(start, self.node("tool", label)[0], dotted=True)

    def _handing(self, start: str, hand: HandOff) -> None:
        """An arrow to the agent that goes on: where it is drawn already inside of the same wrappers, or here."""
        value = hand.target() if hand.late else hand.target
        node = self._stands(value)
        if not node:
            deep = len(self.scopes) > _DEEPEST
            node = self.node("point", "…")[0] if deep else self.agent(value, "" if own_name(value) else hand.name)[0]
        self.arrow(start, node, "hands over")

    def _stands(self, value: Any) -> str:
        """Where *value* is drawn already, inside of the same wrappers; or around this, as one of them."""
        known = self.scopes[-1].known.get(id(value))
        around = [scope.entry for scope in self.scopes if scope.value is value and scope.entry]
        return known[1] if known else around[-1] if around else ""

    def _asking(self, start: str, tool: Tool, asked: Any) -> None:
        """An arrow to an agent that is asked; whoever else has the same tool asks the same one."""
        drawn = self.scopes[-1].asked
        if id(asked) not in drawn:
            drawn[id(asked)] = asked, self.agent(asked)[0]
        self.arrow(start, drawn[id(asked)][1], tool.name, dotted=True)

    # Combinations

    def _pipe(self, agents: tuple[Any, ...]) -> Ends:
        ends = [self.agent(each) for each in agents] or [self.node("point", " ")]
        for before, after in pairwise(ends):
            self.arrow(before[1], after[0])
        return ends[0][0], ends[-1][1]

    def _parallel(self, value: Parallel) -> Ends:
        (fork, _), (join, _) = self.node("point", " "), self.node("point", " ")
        names = value.names or [""] * len(value.agents)
        for each, name in zip(value.agents, names, strict=True):
            first, last = self.agent(each, name)
            self.arrow(fork, first)
            self.arrow(last, join)
        return fork, join

    def _route(self, value: Route) -> Ends:
        (first, choice), (join, _) = self._choice(value.chooser), self.node("point", " ")
        ends = first, join
        drawn: dict[str, str] = {}
        for each, name in zip(value.agents, value.names, strict=True):
            first, last = self.agent(each, name)
            drawn[name] = first
            self.arrow(choice, first, name)
            self.arrow(last, join)
        if isinstance(value.default, str):
            self.arrow(choice, drawn[value.default], "default", dotted=True)
        elif value.default is not None:
            first, last = self.agent(value.default)
            self.arrow(choice, first, "default", dotted=True)
            self.arrow(last, join)
        return ends

    def _choice(self, chooser: Any) -> Ends:
        """Where it is chosen; a chooser that is an agent of ours is drawn before it."""
        if is_model(chooser) or not hasattr(chooser, "plan"):
            return self.node("choice", _called(chooser))
        (first, last), (choice, _) = self.agent(chooser), self.node("choice", " ")
        self.arrow(last, choice)
        return first, choice

    def _insisting(self, value: Insisting) -> Ends:
        first, last = self.agent(value.agent)
        asks = hasattr(value.check, "plan")
        check, checked = self.agent(value.check) if asks else self.node("check", _called(value.check))
        self.arrow(last, check)
        self.arrow(checked, first, f"again, {value.times} times at most", dotted=True)
        return first, checked

    def _fallback(self, agents: tuple[Any, ...]) -> Ends:
        ends, (join, _) = [self.agent(each) for each in agents], self.node("point", " ")
        for _, last in ends:
            self.arrow(last, join)
        for before, after in pairwise(ends):
            self.arrow(before[1], after[0], "fails", dotted=True)
        return ends[0][0], join

    def _wrapping(self, value: Any, inside: dict[str, Any], name: str) -> Ends:
        """Whatever else wraps an agent, with what it is given beside it: checks, a memory, somebody to ask."""
        with self._around(value, type(value).__name__.lower(), inside.pop("agent"), name) as ends:
            for word, each in inside.items():
                shape = "memory" if _is_memory(each) else "check"
                self.arrow(ends[0], self.node(shape, _called(each))[0], word, dotted=True)
        return ends


# What a value is


def _inside(value: Any) -> dict[str, Any]:
    """What *value*, a record that wraps an agent, holds of agents, functions and memories; empty if it wraps none."""
    kind: Any = type(value)
    held = {spot.name: getattr(value, spot.name, None) for spot in attrs.fields(kind) if spot.init}
    if not (callable(held.get("agent")) or hasattr(held.get("agent"), "plan")):
        return {}
    found: dict[str, Any] = {}
    for name, each in held.items():
        several = each if isinstance(each, tuple) else (each,)
        for place, one in enumerate(several):
            if callable(one) or hasattr(one, "plan") or is_model(one) or _is_memory(one):
                found[name if len(several) == 1 else f"{name} {place + 1}"] = one
    return found


def _is_memory(value: Any) -> bool:
    return hasattr(value, "load") and hasattr(value, "append")


def _policy(policy: Any) -> str:
    seconds = getattr(policy, "seconds", None)
    if seconds is not None:
        return f"deadline {seconds:g} s"
    kind = type(policy).__name__
    return _POLICIES.get(kind, kind.lower())


def _called(value: Any) -> str:
    while isinstance(value, partial):
        value = value.func
    name = named(value)
    return "function" if name == "<lambda>" else name


def _label(text: str) -> str:
    """*text* as Mermaid shows it, whatever is in it.

    >>> _label('say "no" <now>')
    'say #quot;no#quot; #lt;now#gt;'
    """
    text = re.sub(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+", " ", text)
    return (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…").translate(_ESCAPED)

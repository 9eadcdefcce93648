"""Who is to answer is chosen first: by a function, by an agent, or by a model that can name nobody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypedDict

from attrs import Factory, field, frozen

from arshai_kit._record import Record
from arshai_kit.agents.handing import handoffs, takes_part
from arshai_kit.agents.joining import (
    answering,
    by_name,
    callable_agent,
    cost,
    hushed,
    kept,
    own_name,
    so_far,
    standing,
    used,
)
from arshai_kit.agents.making import placed
from arshai_kit.agents.tools import about
from arshai_kit.completion import complete, run
from arshai_kit.effects import Emit, Plan
from arshai_kit.errors import ArshaiError, BadAnswer, Misuse, NoRoute
from arshai_kit.models import is_model
from arshai_kit.records import Notice, Response
from arshai_kit.records.responses import altered
from arshai_kit.resilience.around import blocked, named

__all__ = ["Choice", "Route", "route"]

_ROUNDED: Final = 1e-6
"""So much above 1 is a share that was added up."""


def _share(value: Any) -> float:
    """*value* as a number from 0.0 to 1.0; whatever is none is not sure at all, for nobody knows what it is out of.

    >>> _share("0.9"), _share(30)
    (0.9, 0.0)
    """
    try:
        share = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(share, 1.0) if 0.0 <= share <= 1.0 + _ROUNDED else 0.0


@frozen(eq=False, repr=False)
class Choice(Record):
    """Who is to answer: the *name* of a route, how sure that is (from 0.0 to 1.0; else not at all), and why."""

    name: str
    confidence: float = field(default=1.0, converter=_share)
    why: str = ""


# A model that chooses


@frozen(eq=False, repr=False)
class _Asking(Record):
    """Asks a model which of the names it is; it can answer nothing else."""

    model: Any
    names: tuple[str, ...]
    system: str

    def plan(self, prompt: Any) -> Plan[Response]:
        return complete.plan(self.model, prompt, system=self.system, output=_chosen(self.names))


@frozen(eq=False, repr=False)
class _From(Record):
    """A number from *ge* to *le*."""

    ge: float = 0.0
    le: float = 1.0


@lru_cache(maxsize=256)
def _chosen(names: tuple[str, ...]) -> Any:
    """The type of a model's choice; it says why before it says whom."""
    spots: dict[str, Any] = {"why": str, "name": Literal[names], "confidence": Annotated[float, _From()]}
    made: Any = TypedDict  # called with what is known only now, it is no type to a type checker
    return made("Choice", spots)


def _asked(route: Route) -> Any:
    """The chooser of *route*, in its place."""
    chooser = route.chooser
    if is_model(chooser):
        both = zip(route.names, route.agents, strict=True)
        lines = [f"- {name}: {about(each)}".removesuffix(": ") for name, each in both]
        words = "Choose who is to answer the conversation, and do not answer it yourself. There are:\n"
        return placed(_Asking(chooser, route.names, words + "\n".join(lines)), "chooser")
    if not hasattr(chooser, "plan"):
        return chooser
    return placed(chooser, own_name(chooser) or "chooser")


# The choice


@frozen(eq=False, repr=False)
class Route(Record):
    """An agent that has one of several answer; see `route`."""

    chooser: Any
    agents: tuple[Any, ...]
    names: tuple[str, ...]
    default: Any = None
    sure: float = 0.0
    asked: Any = field(init=False, eq=False, repr=False, default=Factory(_asked, takes_self=True))
    places: Mapping[str, Any] = field(
        init=False, eq=False, repr=False, default=Factory(lambda self: self._places(), takes_self=True)
    )

    @property
    def __name__(self) -> str:
        return " / ".join(self.names)

    def _places(self) -> Mapping[str, Any]:
        if isinstance(self.sure, bool) or not isinstance(self.sure, int | float) or not 0 <= self.sure <= 1:
            raise Misuse(f"sure= is a number from 0 to 1, not {self.sure!r}")
        if isinstance(self.default, str) and self.default not in self.names:
            raise Misuse(f"default= is an agent or one of {', '.join(self.names)}, not {self.default!r}")
        return {name: standing(each, name) for name, each in zip(self.names, self.agents, strict=True)}

    def plan(self, prompt: Any, *args: Any, **kwargs: Any) -> Plan[Response]:
        """What calling it does, as a plan."""
        prompt = kept(prompt)
        choice, spent, gave = yield from self._choice(prompt)
        name, agent = self._found(choice, spent, gave)
        figures = {"confidence": choice.confidence, "choice": choice.name}
        yield from Emit((Notice("routed", name, choice.why, figures),))
        try:
            answer = yield from answering(agent, prompt, *args, **kwargs)
        except ArshaiError as error:
            error.partial = _counted(error.partial, spent)
            raise
        except Exception as error:
            so_far(error, () if spent is None else (spent,), repr(name))
            raise
        return altered(_counted(answer, spent), answered_by=_whose(name, agent, answer))

    def _choice(self, prompt: Any) -> Plan[tuple[Choice, Response | None, str]]:
        """What the chooser says, what it used, if that is known, and in which words it said it."""
        try:
            value = yield from hushed(run.plan(self.asked, prompt))
        except BadAnswer as error:
            if self.default is None:
                raise
            value, spent = Choice("", 0.0, str(error)), error.partial
        else:
            spent = value
        return _read(value, self.names), spent if isinstance(spent, Response) else None, _given(value)

    def _found(self, choice: Choice, spent: Response | None, gave: str) -> tuple[str, Any]:
        """The name and the agent that *choice* leads to."""
        known = choice.name in self.places
        if known and choice.confidence >= self.sure:
            return choice.name, self.places[choice.name]
        if isinstance(self.default, str):
            return self.default, self.places[self.default]
        if self.default is not None:
            name = own_name(self.default) or "default"
            return name, standing(self.default, name)
        why = f"which names no route; there are: {', '.join(self.names)}"
        if known:
            how = f"a confidence of {choice.confidence:g} (of 1), and sure= is {self.sure:g}"
            why = f"which is {choice.name!r} with {how}"
        why = f"the chooser gave {gave}, {why}; whatever is not sure is answered by default=, if there is one"
        raise NoRoute(why, choice=choice, partial=_counted(None, spent))

    def __call__(self, prompt: Any, *args: Any, **kwargs: Any) -> Response:
        """The answer of the one that is chosen."""
        return blocked(self.plan, (self,), (prompt, *args), kwargs)


def _counted(answer: Any, spent: Response | None) -> Any:
    """*answer*, with what the chooser has *spent*, whose messages are no part of the conversation."""
    if spent is None or not (answer is None or isinstance(answer, Response)):
        return answer
    if answer is None:
        return Response((), "error", usage=spent.usage, cost=spent.cost)
    return altered(answer, usage=used((spent, answer)), cost=cost((spent, answer)))


def _whose(name: str, agent: Any, answer: Response) -> str:
    """Who answered, in the place called *name*: whom the conversation was handed to there, or who was chosen there."""
    inner = agent
    while isinstance(inner, Record) and not (isinstance(inner, Route) or takes_part(inner)):
        inner = getattr(inner, "agent", None)
    by = answer.answered_by if isinstance(inner, Route) or handoffs(inner) else ""
    return name if by in ("", name, named(inner)) else f"{name}/{by}"


def _given(value: Any) -> str:
    """What a chooser gave, as it can be told."""
    if isinstance(value, Response):
        value = value.text if value.output is None else value.output
    told = value is None or isinstance(value, str | int | float | tuple | list | dict | Choice)
    return f"{value!r:.80}" if told else f"a {type(value).__name__}"


def _read(value: Any, names: tuple[str, ...]) -> Choice:
    """The choice that *value*, whatever a chooser gave, stands for."""
    match value:
        case Choice():
            return value
        case Response(output=output):
            return _read(value.text if output is None else output, names)
        case Enum():
            return Choice(value.name if value.name in names else str(value.value))
        case str():
            return Choice(_spelled(value, names))
        case Mapping():
            return _choice(value.get)
    return _choice(lambda name, default=None: getattr(value, name, default))


def _choice(get: Callable[..., Any]) -> Choice:
    """A choice of what stands under its names."""
    return Choice(str(get("name", "") or ""), get("confidence", 1.0), str(get("why", "") or ""))


def _spelled(text: str, names: tuple[str, ...]) -> str:
    """The one of *names* that *text* is, but for the case of letters, space and marks around it; else *text*."""
    if text in names:
        return text
    bare = text.strip(" \t\r\n.!?\"'`*").casefold()
    found = [name for name in names if name.casefold() == bare]
    return found[0] if len(found) == 1 else text


def route(chooser: Any, agents: Mapping[str, Any], *, default: Any = None, sure: float = 0.0) -> Route:
    """An agent that has one of *agents* answer, the one that *chooser* names.

    *chooser* is a model, which is asked for one of the names, how sure it is of it, and why, and can answer nothing
    else; or an agent or any other function from the prompt to a name, a `Choice`, a member of an `Enum`, a record or a
    mapping with a `name` (and a `confidence`, and a `why`), or a response of one of these. Below the confidence *sure*,
    or without such a name, *default* answers: an agent, or one of the names; without it, that raises `NoRoute`.

    What the chooser used counts; what it said is told to nobody, and is no part of the conversation.
    `Notice("routed", …)` tells who is chosen, and `Response.answered_by` who was: `"technical"`, or
    `"technical/escalation"` where that one has given the conversation away, or has chosen again. What is passed besides
    the prompt goes to the one that is chosen.

    >>> def asks(text): return "how" if text.endswith("?") else "do"
    >>> desk = route(asks, {"how": lambda text: "Like this.", "do": lambda text: "Done."})
    >>> desk("Restart it!").text, desk("How?").answered_by
    ('Done.', 'how')
    """
    names, each = by_name(agents, "route()")
    if not is_model(chooser):
        chooser = callable_agent(chooser, "route(), as its chooser,")
    if default is not None and not isinstance(default, str):
        default = callable_agent(default, "route(), as its default=,")
    return Route(chooser, each, names, default, sure)

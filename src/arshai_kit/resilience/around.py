"""Around a model, or around an agent: whoever wraps one is asked, or called, in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import unwrap
from typing import Any, Final, Protocol, TypeVar

from attrs import frozen

from arshai_kit._flight import is_async
from arshai_kit._record import Record
from arshai_kit._threads import in_event_loop
from arshai_kit.completion import run
from arshai_kit.effects import Call, Instant, Plan
from arshai_kit.errors import Misuse
from arshai_kit.faces import drive
from arshai_kit.models import Capabilities, is_model
from arshai_kit.records import Response
from arshai_kit.records.responses import altered

__all__ = ["AgentAround", "Around", "Policy", "answered", "apart", "asking", "blocked", "merged", "named", "wrappable"]

T = TypeVar("T")


class Policy(Protocol):
    """What is done around one call, of a model or of an agent."""

    def around(self, make_plan: Callable[[], Plan[T]], name: str) -> Plan[T]:
        """The answer of a plan that *make_plan* makes anew, as often as it is called, for what is called *name*."""
        ...


@frozen(eq=False, repr=False)
class Around(Record):
    """A model that wraps another: its name, its provider and what it takes are those of *model*."""

    model: Any

    @property
    def name(self) -> str:
        """What the wrapped model is called."""
        return self.model.name  # type: ignore[no-any-return]  # a model's name is a string

    @property
    def provider(self) -> str:
        """Who provides the wrapped model."""
        return self.model.provider  # type: ignore[no-any-return]

    @property
    def capabilities(self) -> Capabilities:
        """What the wrapped model is known to take."""
        return self.model.capabilities  # type: ignore[no-any-return]


@frozen(eq=False, repr=False)
class AgentAround(Record):
    """An agent that wraps another, called as that is; *policy* is what is done around each call."""

    agent: Any
    policy: Any

    @property
    def __name__(self) -> str:
        return named(self.agent)

    @property
    def __wrapped__(self) -> Any:
        """The agent, whose parameters and words are those of this one too."""
        return self.agent

    def plan(self, *args: Any, **kwargs: Any) -> Plan[Any]:
        """What calling it does, as a plan."""
        return self.policy.around(lambda: run.plan(self.agent, *args, **kwargs), named(self.agent))  # type: ignore[no-any-return]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer of the agent."""
        return blocked(self.plan, (self.agent,), args, kwargs)


def blocked(plan: Callable[..., Plan[T]], agents: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> T:
    """What *plan* gives for these arguments, driven by blocking; who would await one of *agents* is told how."""
    if in_event_loop() and (found := _awaited(agents)) is not None:
        raise Misuse(
            f"{named(found)} is async, and what is called like this blocks the event loop that runs here: "
            "`await aio.run(wrapped, prompt)` instead of `await wrapped(prompt)`"
        )
    return drive(plan(*args, **kwargs))


_INSIDE: Final = ("agent", "agents", "chooser", "default", "check", "before", "after", "ask")
"""Where records of ours hold agents, and other functions that are asked in their run."""


def _awaited(agents: Sequence[Any]) -> Any:
    """The first that is async of *agents*, and of what they are composed of."""
    left = [*reversed(agents)]
    while left:
        agent = left.pop()
        ours = isinstance(agent, Record)
        if is_async(agent if ours else unwrap(agent)):
            return agent
        for name in _INSIDE if ours else ():
            inside = getattr(agent, name, None)
            left += inside if isinstance(inside, tuple) else () if inside is None else (inside,)
    return None


def asking(state: Any, method: Callable[..., T], *args: Any) -> Call[T]:
    """Ask *state* by its *method*: in place if it is `in_memory`, else by a worker, for it may take its time.

    >>> asking({}, len, "abc")
    Call(len)
    """
    return (Instant if getattr(state, "in_memory", False) is True else Call)(method, *args)


def wrappable(value: Any, word: str) -> Any:
    """*value*, if it is a model or an agent; *word* names who wants to wrap it."""
    if is_model(value) or callable(value):
        return value
    raise Misuse(
        f"{word} wraps a model, or an agent (a function from a prompt to an answer), not {type(value).__name__}"
    )


def named(value: Any) -> str:
    """What a model or an agent is called.

    >>> named(len)
    'len'
    """
    while isinstance(value, partial):
        value = value.func
    return str(getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__)


def answered(answer: T, name: str) -> T:
    """*answer*, which says that it is of *name*, unless it says already whose it is."""
    if isinstance(answer, Response) and not answer.answered_by:
        return altered(answer, answered_by=name)  # type: ignore[return-value]  # T is a Response
    return answer


def apart(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """*names*, told apart by *others* where they are equal, or by their places.

    >>> apart(["gpt", "gpt", "o", "o"], ["azure", "openai", "azure", "azure"])
    ('azure:gpt', 'openai:gpt', 'azure:o#3', 'azure:o#4')
    """
    count = Counter(names)
    both = zip(names, others, strict=True)
    names = [f"{other}:{name}" if count[name] > 1 and other else name for name, other in both]
    count = Counter(names)
    return tuple([f"{name}#{place}" if count[name] > 1 else name for place, name in enumerate(names, 1)])


def merged(models: tuple[Any, ...]) -> Capabilities:
    """What all of *models* are known to take: one `False` is enough for no, one `None` for nobody knows.

    >>> from arshai_kit.models import UNKNOWN
    >>> from types import SimpleNamespace as Made
    >>> merged((Made(capabilities=Capabilities(tools=True)), Made(capabilities=UNKNOWN))).tools is None
    True
    """
    known = [model.capabilities for model in models]
    names = ("tools", "images", "files", "audio", "json_schema", "json_object", "tools_and_schema")
    taken: dict[str, bool | None] = {}
    for name in names:
        found = {getattr(each, name) for each in known}
        taken[name] = False if False in found else None if None in found else True
    return Capabilities(**taken, refused=frozenset[str]().union(*[each.refused for each in known]))

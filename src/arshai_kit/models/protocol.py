"""What a model is, and what a plan hears of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeAlias, TypeVar, runtime_checkable

import attrs
from attrs import field, frozen

from arshai_kit._json import dumps
from arshai_kit._record import Record
from arshai_kit.effects import Emit, Here, Layer, Owner, Plan, Start, Step, Where, intercept
from arshai_kit.errors import Misuse, Unsupported
from arshai_kit.models.asks import Ask, chosen
from arshai_kit.records import (
    Audio,
    Event,
    File,
    Image,
    Response,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)

__all__ = [
    "UNFINISHED",
    "UNKNOWN",
    "Asked",
    "Capabilities",
    "Hearing",
    "Model",
    "check",
    "evolve",
    "is_model",
    "overheard",
    "retold",
    "throughout",
    "unheard",
    "wrapped",
    "written",
]

R = TypeVar("R")
T = TypeVar("T")

Hearing: TypeAlias = "Callable[[tuple[Event, ...]], Plan[None]]"
"""Whoever hears what a model tells, and tells it on."""
UNFINISHED: Final = frozenset({"length", "content_filter", "refusal", "error"})
"""Why a reply ends before its end."""


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@frozen(eq=False, repr=False)
class Capabilities(Record):
    """What a model is known to take (`True`), known not to take (`False`), or nobody knows (`None`: it is tried).

    *tools_and_schema* is a typed answer together with tools; *refused* are the names of settings that it does not take.
    """

    tools: bool | None = None
    images: bool | None = None
    files: bool | None = None
    audio: bool | None = None
    json_schema: bool | None = None
    json_object: bool | None = None
    tools_and_schema: bool | None = None
    refused: frozenset[str] = field(default=frozenset(), converter=_names)


UNKNOWN: Final = Capabilities()
_INNER: Final = frozenset({"model", "models"})
_MEDIA: Final = ((Image, "images"), (File, "files"), (Audio, "audio"))


def check(model: Any, ask: Ask) -> None:
    """Refuse what *model* is known not to take, naming what to change."""
    known = model.capabilities
    if ask.tools and known.tools is False:
        raise Unsupported(f"{model.name} takes no tools: leave tools= out, or take another model")
    if ask.output is not None and ask.tools and known.tools_and_schema is False:
        raise Unsupported(f"{model.name} takes no typed answer together with tools: ask for it in a call of its own")
    settings = chosen(model, ask.settings)
    for name in sorted(known.refused):
        if getattr(settings, name) is not None:
            raise Unsupported(f"{model.name} takes no {name}=: leave it out, as by evolve(model, {name}=None)")
    unfit = tuple([kind for kind, name in _MEDIA if getattr(known, name) is False])
    if unfit:
        _look_through(model, ask, unfit)


def _look_through(model: Any, ask: Ask, unfit: tuple[type, ...]) -> None:
    for message in ask.messages:
        for part in message.parts:
            inner = part.content if isinstance(part, ToolResult) and not isinstance(part.content, str) else (part,)
            for each in inner:
                if isinstance(each, unfit):
                    raise Unsupported(f"{model.name} takes no {dict(_MEDIA)[type(each)]}: take another model")


@runtime_checkable
class Model(Protocol):
    """Whatever can be asked."""

    @property
    def name(self) -> str:
        """What the provider calls it."""
        ...

    @property
    def provider(self) -> str:
        """Who provides it."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it is known to take."""
        ...

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Answer *ask*, emitting events on the way when *stream*."""
        ...


@frozen(eq=False, repr=False)
class Asked(Record):
    """How the plan of a model's step is made; *hearing* hears in turn what is told, unless nobody listens."""

    model: Model
    ask: Ask
    hearing: tuple[Hearing, ...] | None

    def __call__(self) -> Plan[Response]:
        """The answer of the model itself."""
        return self.heard(self.model.ask(self.ask, stream=self.hearing is not None))

    def heard(self, plan: Plan[Response]) -> Plan[Response]:
        """*plan*, which answers in place of the model, heard as the model is."""
        for hear in self.hearing or ():
            plan = overheard(plan, hear)
        return plan


@frozen(eq=False, repr=False)
class _Wrapped(Asked):
    """How the plan of a model's step is *made*, wrapped; so is that of whoever answers in its place."""

    made: Asked
    wrap: Callable[[Any], Plan[Any]]

    def heard(self, plan: Plan[Response]) -> Plan[Response]:
        """*plan*, heard, and wrapped."""
        return self.wrap(self.made.heard(plan))


def wrapped(make_plan: Callable[[], Plan[T]], wrap: Callable[[Plan[T]], Plan[T]]) -> Callable[[], Plan[T]]:
    """What makes the plan of a step as *make_plan* does, and wraps it.

    A layer still sees what a model is asked; whatever else makes plans, and can be changed, has a `wrapped` of its own.
    """
    if isinstance(make_plan, Asked):
        return _Wrapped(make_plan.model, make_plan.ask, make_plan.hearing, make_plan, wrap)  # type: ignore[return-value]  # T is a Response
    own = getattr(make_plan, "wrapped", None)
    return (lambda: wrap(make_plan())) if own is None else own(wrap)


class _Throughout:
    """A layer around a plan, its steps and what it starts; nothing in it holds itself, or it would outlive its run."""

    __slots__ = ("layer",)

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def plan(self, plan: Plan[T]) -> Plan[T]:
        return intercept(plan, {Step: self._on_step, Start: self._on_start, **self.layer})

    def _on_step(self, effect: Step[Any], _: Where) -> Plan[Any]:
        return (yield from attrs.evolve(effect, make_plan=wrapped(effect.make_plan, self.plan)))

    def _on_start(self, effect: Start[Any], _: Where) -> Plan[Any]:
        return (yield from attrs.evolve(effect, plan=self.plan(effect.plan)))


def throughout(plan: Plan[T], layer: Layer) -> Plan[T]:
    """*plan*, with *layer* answering the effects that it names, in the steps of it and in what it starts too."""
    return _Throughout(layer).plan(plan)


def unheard(effect: Here, _: Where) -> Plan[Owner]:
    """A frame that nobody listens to, so that models are asked for whole answers: for a layer's `Here`."""
    return attrs.evolve((yield from effect), listening=False)


def overheard(plan: Plan[T], hear: Hearing) -> Plan[T]:
    """*plan*, whose events *hear* tells on, those of the models that it asks too."""

    def on_emit(effect: Emit, _: Where) -> Plan[None]:
        return hear(effect.events)

    def on_step(effect: Step[Any], _: Where) -> Plan[Any]:
        if effect.kind == "model":
            effect = attrs.evolve(effect, make_plan=wrapped(effect.make_plan, lambda plan: overheard(plan, hear)))
        return (yield from effect)

    return intercept(plan, {Emit: on_emit, Step: on_step})


def is_model(value: Any) -> bool:
    """Whether *value* can be asked, rather than called."""
    return hasattr(value, "ask") and not isinstance(value, type)


def retold(response: Response) -> tuple[Event, ...]:
    """The events that stream *response*'s final message in one go.

    >>> from arshai_kit.records import assistant
    >>> retold(Response((assistant("Hello"),)))
    (TextDelta('Hello'),)
    """
    told: list[Event] = []
    calls, whole = 0, len(response.tool_calls)
    if response.finish_reason in UNFINISHED:
        whole -= 1  # the last one may have been cut where it happens to be JSON
    for part in response.message.parts:
        match part:
            case Text(text) if text:
                told.append(TextDelta(text))
            case Thinking(text) if text:
                told.append(ThinkingDelta(text))
            case ToolCall(name=name):
                told.append(ToolCallDelta(calls, name, written(part), part if calls < whole else None))
                calls += 1
    return tuple(told)


def written(call: ToolCall) -> str:
    """The arguments of *call* as the text that a model writes.

    >>> written(ToolCall("c1", "add", {"a": 1}))
    '{"a":1}'
    """
    return call.broken if call.broken is not None else dumps(call.arguments).decode()


def evolve(record: R, **changes: Any) -> R:
    """*record* with *changes*; a wrapper hands on what is not its own to the model, or the models, that it wraps.

    >>> evolve(Capabilities(tools=True), images=False)
    Capabilities(True, images=False)
    """
    kind: Any = type(record)
    if not attrs.has(kind):
        raise Misuse(f"evolve takes a model or another record, not {kind.__name__}")
    own = {spot.name for spot in attrs.fields(kind)}
    foreign = {name: value for name, value in changes.items() if name not in own}
    changes = {name: value for name, value in changes.items() if name in own}
    if foreign:
        if inner := own & _INNER:
            (name,) = inner
            held: Any = changes.get(name, getattr(record, name))
            around = name == "model"
            changes[name] = evolve(held, **foreign) if around else tuple([evolve(each, **foreign) for each in held])
        else:
            raise Misuse(f"{kind.__name__} has no {', '.join(sorted(foreign))}; it has {', '.join(sorted(own))}")
    return attrs.evolve(record, **changes)  # type: ignore[misc]  # attrs says so if it is no record

"""Questions, and how they are to be answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import attrs
from attrs import field, frozen

from arshai_kit._json import EMPTY, FrozenDict, Json, freeze
from arshai_kit._record import Record
from arshai_kit.errors import Misuse
from arshai_kit.records import Message, Response, ToolSpec, user

__all__ = ["SETTINGS", "Ask", "OutputSpec", "Prompt", "Reasoning", "Settings", "ToolChoice", "chosen", "thread"]

Prompt: TypeAlias = str | Message | Response | Iterable["str | Message | Response"]
ToolChoice: TypeAlias = Literal["auto", "none", "required"] | str
Reasoning: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | int


def thread(prompt: Prompt) -> tuple[Message, ...]:
    """The messages that *prompt* stands for: a response stands for all that its run added.

    >>> thread("Hello")
    (Message('user', parts=(Text('Hello'),)),)
    """
    match prompt:
        case str():
            return (user(prompt),)
        case Message():
            return (prompt,)
        case Response(messages=messages):
            return messages
        case Iterable() if not isinstance(prompt, Mapping | bytes):
            return tuple([message for each in prompt for message in thread(each)])
    raise Misuse(
        f"a prompt is a string, a message, a response, or a sequence of these, not {type(prompt).__name__}; "
        "user(…), system(…) and assistant(…) make messages"
    )


@frozen(eq=False, repr=False)
class OutputSpec(Record):
    """The type that an answer must have, as JSON Schema.

    In the mode `json_schema` the provider holds the model to it; in the mode `json_object` it only sees to it that the
    answer is JSON (the schema goes along where it is understood). *strict* asks for the provider's strict mode: by
    default where the schema has such a form; `True` asks in any case, `False` never.
    """

    name: str
    schema: Json = field(converter=freeze)
    strict: bool | None = None
    mode: Literal["json_schema", "json_object"] = "json_schema"


def _stops(stop: str | Iterable[str] | None) -> tuple[str, ...] | None:
    stops = (stop,) if isinstance(stop, str) else None if stop is None else tuple(stop)
    if stops is not None and not all(isinstance(each, str) for each in stops):
        raise Misuse("stop= is a string, or several")
    return stops


def _extra(extra: Mapping[str, Any] | None) -> FrozenDict:
    if extra is not None and not isinstance(extra, Mapping):
        raise Misuse(f"extra= takes fields for the body of the request, as in {{'user': 'ann'}}, not {extra!r}")
    return EMPTY if extra is None else freeze(extra)


@frozen(kw_only=True, eq=False, repr=False)
class Settings(Record):
    """How a model is to answer; what is `None` is not sent.

    *reasoning* is an effort or a number of tokens, *tool_choice* may be a tool's name, and *extra* is merged into
    the body of the request, where it wins.
    """

    temperature: float | None = field(default=None, converter=freeze)
    top_p: float | None = field(default=None, converter=freeze)
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = field(default=None, converter=_stops)
    seed: int | None = None
    reasoning: Reasoning | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    presence_penalty: float | None = field(default=None, converter=freeze)
    frequency_penalty: float | None = field(default=None, converter=freeze)
    logprobs: int | None = None
    candidates: int | None = None
    extra: FrozenDict = field(default=EMPTY, converter=_extra)


SETTINGS = tuple(spot.name for spot in attrs.fields(Settings) if spot.name != "extra")
_NONE = Settings()


@frozen(eq=False, repr=False)
class Ask(Record):
    """A question to a model: *settings* overrides the model's own for this one question."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    settings: Settings = _NONE
    output: OutputSpec | None = None


def chosen(endpoint: Settings, settings: Settings) -> Settings:
    """The settings of *endpoint*, where *settings* does not override them.

    >>> chosen(Settings(temperature=1, seed=7), Settings(temperature=0)).temperature
    0
    """
    if settings is _NONE:
        return endpoint
    names = [name for name in SETTINGS if getattr(settings, name) is not None]
    changes: dict[str, Any] = {name: getattr(settings, name) for name in names}
    if settings.extra:
        changes["extra"] = {**endpoint.extra, **settings.extra}
    return attrs.evolve(endpoint, **changes)

"""Questions, and how they are to be answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType
from typing import Any, Final, Literal, TypeAlias

import attrs
from attrs import field, frozen

from arshai_kit._json import EMPTY, FrozenDict, Json, freeze
from arshai_kit._record import Record, short
from arshai_kit.effects import Effect
from arshai_kit.errors import Misuse
from arshai_kit.faces import AsyncStream, Awaiting, AwaitingStream, Blocking, Stream, Streaming
from arshai_kit.keys import Secret, private, veiled
from arshai_kit.records import Message, Response, ToolSpec, user

__all__ = [
    "SETTINGS",
    "Ask",
    "OutputSpec",
    "Prompt",
    "Reasoning",
    "Settings",
    "ToolChoice",
    "chosen",
    "fitting",
    "masked",
    "shown",
    "thread",
    "unanswered",
]

Prompt: TypeAlias = str | Message | Response | Iterable["str | Message | Response"]
_FUNCTIONS: Final = (
    *(FunctionType, BuiltinFunctionType, MethodType, partial),
    *(Blocking, Streaming, Awaiting, AwaitingStream),
)

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
    how = unanswered(prompt)
    if not how and isinstance(prompt, Iterable) and not isinstance(prompt, Mapping | bytes):
        return tuple([message for each in prompt for message in thread(each)])
    if not how and callable(prompt) and not isinstance(prompt, type):
        how = _itself(prompt)
    how = how or f"{type(prompt).__name__}; user(…), system(…) and assistant(…) make messages"
    raise Misuse(f"a prompt is a string, a message, a response, or a sequence of these, not {how}")


def unanswered(value: Any) -> str:
    """What *value* is, and how to have its answer, if it would give one and is none; empty for all others.

    >>> unanswered(len), unanswered(42)
    ("'len' itself, which is an agent: call it, len(…), or let pipe(len, …) hand its answer on", '')
    """
    kind = type(value)
    match value:
        case str() | type():
            return ""
        case Effect():
            return "a plan, which has still to be run: call the agent itself, or write `yield from` in a plan of yours"
        case Stream() | AsyncStream():
            return "a stream: a generator tells it on by `yield from stream(…)`; its last event holds the response"
    if callable(getattr(kind, "ask", None)):
        return f"{getattr(value, 'name', kind.__name__)!r} itself, which is a model: complete(model, …) asks it"
    if isinstance(value, _FUNCTIONS) or (callable(value) and callable(getattr(kind, "plan", None))):
        return _itself(value)
    return ""


def _itself(agent: Any) -> str:
    while isinstance(agent, partial):
        agent = agent.func
    name = getattr(agent, "__name__", type(agent).__name__)
    return f"{name!r} itself, which is an agent: call it, {name}(…), or let pipe({name}, …) hand its answer on"


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
    if stop is None or isinstance(stop, str):
        return None if stop is None else (stop,)
    if not isinstance(stop, Iterable) or isinstance(stop, bytes | Mapping):
        raise Misuse(f"stop= takes a string, or several, not {shown(stop)}")
    return tuple(stop)


def _extra(extra: Mapping[str, Any] | None) -> FrozenDict:
    if extra is not None and not isinstance(extra, Mapping):
        raise Misuse(
            f"extra= takes fields for the body of the request, as in {{'user': 'ann'}}, not {type(extra).__name__}"
        )
    return EMPTY if extra is None else freeze(extra)


def masked(value: Json) -> Any:
    """*value* as it may be shown: without what has a telling name, however deep it stands.

    >>> masked(freeze({"tools": [{"type": "mcp", "authorization": "sk-1"}], "user": "ann"}))
    {'tools': ({'type': 'mcp', 'authorization': Secret('***')},), 'user': 'ann'}
    """
    match value:
        case dict():
            return {name: Secret(None) if private(name) else masked(each) for name, each in value.items()}
        case tuple():
            return tuple([masked(each) for each in value])
        case str() if "://" in value[:_SCHEME]:
            return veiled(value)
    return value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -_HUGE < value < _HUGE


def _is_whole(value: Any) -> bool:
    return type(value) is int and -_HUGE < value < _HUGE


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


_SCHEME: Final = 20
"""An address says so among its first letters."""
_HUGE: Final = 1e300
_NUMBER: Final = ("a number", _is_number)
_WHOLE: Final = ("a whole number", _is_whole)
_TAKES: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = MappingProxyType(
    {
        **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), _NUMBER),
        **dict.fromkeys(("top_k", "max_tokens", "seed", "logprobs", "candidates"), _WHOLE),
        "stop": ("a string, or several", lambda value: all(isinstance(each, str) for each in value)),
        "reasoning": (
            "an effort such as 'low', or a whole number of tokens",
            lambda value: _is_whole(value) or _is_word(value),
        ),
        "tool_choice": ("'auto', 'none', 'required' or the name of a tool", _is_word),
        "parallel_tool_calls": ("True or False", lambda value: isinstance(value, bool)),
    }
)
"""What each setting takes, in words and as a rule."""


def shown(value: Any) -> str:
    """What was given in place of what is taken.

    >>> shown("hot"), shown(10**400)
    ("'hot'", 'a number of 1329 bits')
    """
    huge = type(value) is int and not -_HUGE < value < _HUGE  # Python refuses to write the hugest ones
    return f"a number of {value.bit_length()} bits" if huge else repr(value)


def fitting(name: str, value: Any) -> Any:
    """*value*, if the setting *name* takes it.

    >>> fitting("temperature", "hot")
    Traceback (most recent call last):
        ...
    arshai_kit.errors.Misuse: temperature= takes a number, not 'hot'
    """
    takes, fits = _TAKES[name]
    if value is not None and not fits(value):
        raise Misuse(f"{name}= takes {takes}, not {shown(value)}")
    return value


def _fits(_: Any, spot: Any, value: Any) -> None:
    if value is not None:
        fitting(spot.name, value)


@frozen(kw_only=True, eq=False, repr=False)
class Settings(Record):
    """How a model is to answer; what is `None` is not sent.

    *reasoning* is an effort or a number of tokens, *tool_choice* may be a tool's name, and *extra* is merged into
    the body of the request, where it wins.
    """

    temperature: float | None = field(default=None, converter=freeze, validator=_fits)
    top_p: float | None = field(default=None, converter=freeze, validator=_fits)
    top_k: int | None = field(default=None, validator=_fits)
    max_tokens: int | None = field(default=None, validator=_fits)
    stop: tuple[str, ...] | None = field(default=None, converter=_stops, validator=_fits)
    seed: int | None = field(default=None, validator=_fits)
    reasoning: Reasoning | None = field(default=None, validator=_fits)
    tool_choice: ToolChoice | None = field(default=None, validator=_fits)
    parallel_tool_calls: bool | None = field(default=None, validator=_fits)
    presence_penalty: float | None = field(default=None, converter=freeze, validator=_fits)
    frequency_penalty: float | None = field(default=None, converter=freeze, validator=_fits)
    logprobs: int | None = field(default=None, validator=_fits)
    candidates: int | None = field(default=None, validator=_fits)
    extra: FrozenDict = field(default=EMPTY, converter=_extra, repr=lambda extra: short(masked(extra)))


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

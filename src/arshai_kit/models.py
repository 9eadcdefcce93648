"""Models are asked, never looked into: whatever answers an `Ask` with a plan of a `Response` is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import attrs
from attrs import field, frozen

from arshai_kit._json import EMPTY, FrozenDict, Json, dumps, freeze
from arshai_kit._record import Record
from arshai_kit.effects import (
    Channel,
    Close,
    Emit,
    Now,
    Open,
    Plan,
    Read,
    Reply,
    Request,
    Secret,
    Send,
    Step,
    Where,
    intercept,
    veiled,
)
from arshai_kit.errors import Misuse, ProviderError, StreamIncomplete, Unreachable, too_large
from arshai_kit.records import (
    Event,
    Finished,
    Message,
    Response,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
    user,
)
from arshai_kit.retry import Retry, attempts
from arshai_kit.sse import Splitter

__all__ = [
    "Ask",
    "Asked",
    "Capabilities",
    "Dialect",
    "Endpoint",
    "Hearing",
    "Model",
    "OutputSpec",
    "Prompt",
    "Settings",
    "chosen",
    "evolve",
    "is_model",
    "overheard",
    "retold",
    "thread",
    "written",
]

R = TypeVar("R")
T = TypeVar("T")

Prompt: TypeAlias = str | Message | Response | Iterable["str | Message | Response"]
Hearing: TypeAlias = "Callable[[tuple[Event, ...]], Plan[None]]"
"""Whoever hears what a model tells, and tells it on."""
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


def _retry(retry: Retry | int | None) -> Retry | int | None:
    if retry is None or isinstance(retry, Retry) or (type(retry) is int and retry >= 0):
        return retry
    raise Misuse(f"retry= takes a number of times, an arshai_kit.retry.Retry, or None for never, not {retry!r}")


def _positive(_: Any, spot: Any, value: Any) -> None:
    """Refuse what bounds nothing; `math.inf` says that there is no bound."""
    if not isinstance(value, int | float) or not value > 0:
        raise Misuse(f"{spot.name}= is a number above zero (math.inf for no limit), not {value!r}")


def _key(key: str | Secret | None) -> Secret | None:
    return Secret(key) if isinstance(key, str) else key


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


_SETTINGS = tuple(spot.name for spot in attrs.fields(Settings) if spot.name != "extra")
_NONE = Settings()


@frozen(eq=False, repr=False)
class Ask(Record):
    """A question to a model: *settings* overrides the model's own for this one question."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    settings: Settings = _NONE
    output: OutputSpec | None = None


@frozen(eq=False, repr=False)
class Capabilities(Record):
    """What a model is known to take (`True`), known not to take (`False`), or nobody knows (`None`: it is tried)."""

    tools: bool | None = None
    images: bool | None = None
    files: bool | None = None
    audio: bool | None = None
    json_schema: bool | None = None
    json_object: bool | None = None


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


def overheard(plan: Plan[T], hear: Hearing) -> Plan[T]:
    """*plan*, whose events *hear* tells on, those of the models that it asks too."""

    def on_emit(effect: Emit, _: Where) -> Plan[None]:
        return hear(effect.events)

    def on_step(effect: Step[Any], _: Where) -> Plan[Any]:
        if effect.kind == "model":
            make = effect.make_plan
            effect = attrs.evolve(effect, make_plan=lambda: overheard(make(), hear))
        return (yield from effect)

    return intercept(plan, {Emit: on_emit, Step: on_step})


def is_model(value: Any) -> bool:
    """Whether *value* can be asked, rather than called."""
    return hasattr(value, "ask") and not isinstance(value, type)


@frozen(eq=False, repr=False)
class Dialect(Record):
    """A wire format: four pure functions between records and JSON.

    *build* makes the request, *parse* the response of a whole reply. *start* makes the state of a stream
    from its headers, and *advance* folds one server-sent event (`None` at the end of the bytes) into it and tells what
    there is to tell; the last event is `Finished`, and the end without one raises `StreamIncomplete`.
    """

    build: Callable[[Endpoint, Ask, bool], Request]
    parse: Callable[[Endpoint, Reply], Response]
    start: Callable[[Endpoint, tuple[tuple[str, str], ...]], Any]
    advance: Callable[[Any, Any], tuple[Any, tuple[Event, ...]]]


@frozen(kw_only=True, eq=False, repr=False)
class Endpoint(Settings):
    """A model that speaks HTTP: where it lives, which dialect it speaks, and how it is to answer.

    *timeout* is the longest silence and *deadline* the longest time of a whole call, both in seconds; *retry* says
    how often, or how, a call that failed is tried again.
    """

    name: str
    base_url: str
    dialect: Dialect
    provider: str = "openai-compatible"
    api_key: Secret | None = field(default=None, converter=_key)
    headers: tuple[tuple[str, str | Secret], ...] = ()
    timeout: float = field(default=300.0, validator=_positive)
    connect_timeout: float = field(default=10.0, validator=_positive)
    deadline: float = field(default=900.0, validator=_positive)
    max_body: int = field(default=64 * 1024 * 1024, validator=_positive)
    retry: Retry | int | None = field(default=2, converter=_retry)
    capabilities: Capabilities = Capabilities()

    def __repr__(self) -> str:
        own = ("provider", "api_key", "timeout", "deadline", "retry")
        given = [name for name in _SETTINGS if getattr(self, name) is not None] + ["extra"] * bool(self.extra)
        told = [f"base_url={veiled(self.base_url)!r}", *[f"{name}={getattr(self, name)!r}" for name in (*own, *given)]]
        return f"Endpoint({self.name!r}, {', '.join(told)})"

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Answer *ask* over HTTP, trying again as *retry* says."""
        began = yield from Now()
        until = began + self.deadline
        request = self.dialect.build(self, ask, stream)
        if not stream:
            return (yield from attempts(self.retry, lambda: _whole(self, request, until), began, until))
        begun = yield from attempts(self.retry, lambda: _begun(self, request, until), began, until)
        return (yield from _rest(begun))


def _whole(endpoint: Endpoint, request: Request, until: float) -> Plan[Response]:
    return endpoint.dialect.parse(endpoint, (yield from Send(request, until)))


_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
"""A byte order mark, and what may stand between events."""


class _Stream:
    """A streamed reply and what it has told so far; owned by one plan."""

    __slots__ = ("advance", "channel", "error", "response", "split", "state", "told")

    def __init__(self, endpoint: Endpoint, channel: Channel) -> None:
        self.channel = channel
        self.split = Splitter(endpoint.max_body).feed
        self.state = endpoint.dialect.start(endpoint, channel.headers)
        self.advance = endpoint.dialect.advance
        self.told: tuple[Event, ...] = ()
        self.response: Response | None = None
        self.error: ProviderError | None = None

    def feed(self, data: bytes) -> tuple[Event, ...]:
        """What *data* tells; no bytes are the end of the stream. What fails waits in `error` behind what was told."""
        told: list[Event] = []
        advance, state = self.advance, self.state
        try:
            for sent in self.split(data):
                state, more = advance(state, sent)
                told += more
            if not data and self.response is None:
                state, more = advance(state, None)
                told += more
        except ProviderError as error:
            self.error = error
        self.state = state
        for place, event in enumerate(told):
            if type(event) is Finished:
                self.response, self.error = event.response, None
                del told[place:]
                break
        self.told = tuple(told)
        return self.told

    def cut(self, error: ProviderError) -> tuple[Event, ...]:
        """What is still to tell when the connection is lost: nothing is, if the reply was complete already."""
        told = self.feed(b"")
        if self.error is not None:
            error.partial = self.error.partial
            broken = StreamIncomplete(f"{self.error}: {error}", request_id=error.request_id, partial=error.partial)
            broken.__cause__ = error
            self.error = broken if isinstance(error, Unreachable) else error
        return told


def _begun(endpoint: Endpoint, request: Request, until: float) -> Plan[_Stream]:
    """The reply to *request*, up to the first event that it tells: so far it may be tried again."""
    channel = yield from Open(request, until)
    try:
        return (yield from _first(endpoint, channel))
    except ProviderError:
        yield from Close(channel)
        raise


def _first(endpoint: Endpoint, channel: Channel) -> Plan[_Stream]:
    stream = _Stream(endpoint, channel)
    data = last = yield from Read(channel)
    silent = Read(channel, heard=False)
    while (
        last and not data.lstrip(_BLANK) and len(data) <= endpoint.max_body
    ):  # the first bytes may be too few to tell what this is
        last = yield silent
        data += last
    if channel.status >= 300 or data.lstrip(_BLANK)[:1] in (b"{", b"[", b"<"):
        stream.response = yield from _not_streamed(endpoint, channel, data)
        stream.told = retold(stream.response)
        return stream
    while not stream.feed(data) and stream.error is None and stream.response is None:
        data = yield silent
    if stream.error is not None and not stream.told:
        raise stream.error
    return stream


def _not_streamed(endpoint: Endpoint, channel: Channel, data: bytes) -> Plan[Response]:
    """The reply as a whole: an error, or the answer of a server that does not stream."""
    read, parts, size = Read(channel, heard=False), [data], len(data)
    while data and size <= endpoint.max_body:
        data = yield read
        parts.append(data)
        size += len(data)
    if size > endpoint.max_body:
        raise too_large(endpoint.max_body)
    return endpoint.dialect.parse(endpoint, Reply(channel.status, channel.headers, b"".join(parts)))


def _rest(stream: _Stream) -> Plan[Response]:
    """The response of a stream that has begun, its events told one network read at a time."""
    heard, silent = Read(stream.channel), Read(stream.channel, heard=False)
    told = stream.told
    while True:
        if told:
            yield Emit(told)
        if stream.response is not None:
            break
        if stream.error is not None:
            raise stream.error
        try:
            data = yield heard if told else silent
        except ProviderError as error:
            told = stream.cut(error)
        else:
            told = stream.feed(data)
    yield from Close(stream.channel)
    return stream.response


def retold(response: Response) -> tuple[Event, ...]:
    """The events that stream *response*'s final message in one go.

    >>> from arshai_kit.records import assistant
    >>> retold(Response((assistant("Hello"),)))
    (TextDelta('Hello'),)
    """
    told: list[Event] = []
    calls = 0
    for part in response.message.parts:
        match part:
            case Text(text) if text:
                told.append(TextDelta(text))
            case Thinking(text) if text:
                told.append(ThinkingDelta(text))
            case ToolCall(name=name):
                told.append(ToolCallDelta(calls, name, written(part), part))
                calls += 1
    return tuple(told)


def written(call: ToolCall) -> str:
    """The arguments of *call* as the text that a model writes.

    >>> written(ToolCall("c1", "add", {"a": 1}))
    '{"a":1}'
    """
    return call.broken if call.broken is not None else dumps(call.arguments).decode()


def chosen(endpoint: Settings, settings: Settings) -> Settings:
    """The settings of *endpoint*, where *settings* does not override them.

    >>> chosen(Settings(temperature=1, seed=7), Settings(temperature=0)).temperature
    0
    """
    if settings is _NONE:
        return endpoint
    names = [name for name in _SETTINGS if getattr(settings, name) is not None]
    changes: dict[str, Any] = {name: getattr(settings, name) for name in names}
    if settings.extra:
        changes["extra"] = {**endpoint.extra, **settings.extra}
    return attrs.evolve(endpoint, **changes)


def evolve(record: R, **changes: Any) -> R:
    """*record* with *changes*; a wrapper hands on what is not its own to what it wraps.

    >>> evolve(Settings(seed=1), seed=2).seed
    2
    """
    kind: Any = type(record)
    if not attrs.has(kind):
        raise Misuse(f"evolve takes a model or another record, not {kind.__name__}")
    own = {spot.name for spot in attrs.fields(kind)}
    foreign = {name: value for name, value in changes.items() if name not in own}
    if foreign:
        if "model" not in own:
            raise Misuse(
                f"{type(record).__name__} has no {', '.join(sorted(foreign))}; it has {', '.join(sorted(own))}"
            )
        changes = {name: value for name, value in changes.items() if name in own}
        inner = changes.get("model", record.model)  # type: ignore[attr-defined]  # it has one: see above
        changes["model"] = evolve(inner, **foreign)
    return attrs.evolve(record, **changes)  # type: ignore[misc]  # attrs says so if it is no record

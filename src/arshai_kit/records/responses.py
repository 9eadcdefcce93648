"""What a run gives back: the messages it added, why it ended, what it used, and which tools ran."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from attrs import Factory, field, frozen

from arshai_kit._json import EMPTY, FrozenDict, freeze
from arshai_kit._record import Record, draft
from arshai_kit.errors import Misuse
from arshai_kit.records.parts import Message, Opaque, Part, Text, ToolCall

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = [
    "Candidate",
    "FinishReason",
    "Logprob",
    "RateLimit",
    "Response",
    "ToolRun",
    "Usage",
    "altered",
    "spoken",
]

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "error", "other"]

_COUNTS = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")


def _names(value: Iterable[str]) -> frozenset[str]:
    return frozenset(value)


def _kinds(value: Any) -> FrozenDict:
    kinds = freeze(value)
    if type(kinds) is not FrozenDict or not all(type(count) is int and count >= 0 for count in kinds.values()):
        raise Misuse(f"kinds= counts tokens by their kind, as in {{'audio_input': 12}}, not {value!r}")
    return kinds


def _tuple(value: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value)


@frozen(eq=False, repr=False)
class Usage(Record):
    """Tokens used; a monoid under `+` that knows which counts somebody did not report.

    `output_tokens` counts reasoning in. *missing* names the counts that are not known to be whole. *kinds* are tokens
    among these that are priced apart, as far as they were told: `cache_write`, `audio_input`, `image_output`, ….

    >>> Usage(3, 4) + Usage()
    Usage(3, output_tokens=4)
    >>> (Usage(3, 4) + Usage.unknown()).reported
    False
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = Factory(lambda self: self.input_tokens + self.output_tokens, takes_self=True)
    missing: frozenset[str] = field(default=frozenset(), converter=_names)
    kinds: FrozenDict = field(default=EMPTY, converter=_kinds, kw_only=True)

    @classmethod
    def unknown(cls) -> Usage:
        """The usage of a reply that did not say."""
        return _UNKNOWN

    @property
    def reported(self) -> bool:
        """Whether everybody said what went in and came out."""
        return "input_tokens" not in self.missing and "output_tokens" not in self.missing

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        if self is other is _UNKNOWN:
            return self
        both = _DraftOfUsage()
        both.input_tokens = self.input_tokens + other.input_tokens
        both.output_tokens = self.output_tokens + other.output_tokens
        both.cached_tokens = self.cached_tokens + other.cached_tokens
        both.reasoning_tokens = self.reasoning_tokens + other.reasoning_tokens
        both.total_tokens = self.total_tokens + other.total_tokens
        both.missing = self.missing | other.missing
        both.kinds = _added(self.kinds, other.kinds) if self.kinds and other.kinds else self.kinds or other.kinds
        both.__class__ = Usage
        return both  # type: ignore[no-any-return]  # it is one now


def _added(some: FrozenDict, others: FrozenDict) -> FrozenDict:
    return FrozenDict({name: some.get(name, 0) + others.get(name, 0) for name in sorted({*some, *others})})


_DraftOfUsage = draft(Usage)
_UNKNOWN = Usage(missing=frozenset(_COUNTS))


@frozen(eq=False, repr=False)
class ToolRun(Record):
    """A call that was answered: *result* is what the model was told, *error* what went wrong, if anything.

    Of an agent that was called as a tool, *usage* is what it used and *cost* what that was; the response counts both.
    """

    call: ToolCall
    result: str | tuple[Part, ...] = ""
    error: str | None = None
    seconds: float = field(default=0.0, eq=False)
    background: bool = False
    usage: Usage | None = field(default=None, kw_only=True)
    cost: Decimal | None = field(default=None, kw_only=True)


@frozen(eq=False, repr=False)
class Logprob(Record):
    """A token, the natural logarithm of how likely it was, and the likeliest ones in its place."""

    token: str
    logprob: float
    top: tuple[Logprob, ...] = field(default=(), converter=_tuple)


@frozen(eq=False, repr=False)
class Candidate(Record):
    """One of several answers that were asked for."""

    message: Message
    finish_reason: FinishReason = "stop"
    raw_finish_reason: str | None = None
    logprobs: tuple[Logprob, ...] = field(default=(), converter=_tuple)


@frozen(eq=False, repr=False)
class RateLimit(Record):
    """How much of *kind* (`requests`, `tokens`, …) is allowed, what is left, and the seconds until a fresh start."""

    kind: str
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


@frozen(eq=False, repr=False)
class Response(Record):
    """What a run answered.

    *messages* is all that the run added to the conversation, the final one included; *cost* is in US dollars,
    `None` when unknown; *raw* is the parsed body of the last reply, outside equality, hash and `repr`, and so are the
    *rate_limits* that came with it. *answered_by* names who answered, of several models or agents of which one was to
    (a `fallback`); it is outside equality and hash, for it is the same answer. *candidates* are all answers, in their
    order, where several were asked for; *logprobs* are those of the final message, where they were asked for.
    """

    messages: tuple[Message, ...] = field(converter=_tuple)
    finish_reason: FinishReason = "stop"
    raw_finish_reason: str | None = None
    usage: Usage = _UNKNOWN
    cost: Decimal | None = None
    model: str = ""
    provider: str = ""
    id: str = ""
    request_id: str = ""
    tool_runs: tuple[ToolRun, ...] = field(default=(), converter=_tuple)
    output: Any = field(default=None, hash=False, kw_only=True)
    candidates: tuple[Candidate, ...] = field(default=(), converter=_tuple, kw_only=True)
    logprobs: tuple[Logprob, ...] = field(default=(), converter=_tuple, kw_only=True)
    rate_limits: tuple[RateLimit, ...] = field(default=(), converter=_tuple, eq=False, repr=False, kw_only=True)
    answered_by: str = field(default="", eq=False, kw_only=True)
    raw: Any = field(default=None, eq=False, repr=False, kw_only=True)

    @property
    def message(self) -> Message:
        """The final message of the assistant."""
        for message in reversed(self.messages):
            if message.role == "assistant":
                return message
        return _SILENCE

    @property
    def text(self) -> str:
        """The words of the final message."""
        return self.message.text

    @property
    def reasoning(self) -> str:
        """What the model thought before its final message, as far as its provider shows it."""
        return self.message.reasoning

    @property
    def refusal(self) -> str:
        """Why the model refused, in its own words; empty when it did not."""
        said = [part.value for part in self.message.parts if type(part) is Opaque and part.kind == "refusal"]
        return "".join([words for words in said if isinstance(words, str)])

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls of the final message."""
        return self.message.tool_calls


_SILENCE = Message("assistant")


# Responses that are made again and again, of what is known to fit

_Draft, _DraftOfMessage, _DraftOfText = draft(Response), draft(Message), draft(Text)
_NOTHING = Response(())


def spoken(text: str) -> Response:
    """The response of whoever says no more than *text*.

    >>> spoken("Hello") == Response((Message("assistant", "Hello"),))
    True
    """
    part, message, response = _DraftOfText(), _DraftOfMessage(), _copied(_NOTHING)
    part.text, part.state, part.__class__ = text, None, Text
    message.role, message.parts, message.name, message.__class__ = "assistant", (part,), "", Message
    response.messages, response.__class__ = (message,), Response
    return response  # type: ignore[no-any-return]  # it is one now


def altered(response: Response, **changes: Any) -> Response:
    """*response* with *changes*, which are of the types of their fields already: `evolve` at an eighth of its cost.

    >>> altered(spoken("Hello"), answered_by="desk").answered_by
    'desk'
    """
    made = _copied(response)
    for name, value in changes.items():
        setattr(made, name, value)
    made.__class__ = Response
    return made  # type: ignore[no-any-return]  # it is one now


def _copied(response: Response) -> Any:
    made = _Draft()
    made.messages = response.messages
    made.finish_reason = response.finish_reason
    made.raw_finish_reason = response.raw_finish_reason
    made.usage = response.usage
    made.cost = response.cost
    made.model = response.model
    made.provider = response.provider
    made.id = response.id
    made.request_id = response.request_id
    made.tool_runs = response.tool_runs
    made.output = response.output
    made.candidates = response.candidates
    made.logprobs = response.logprobs
    made.rate_limits = response.rate_limits
    made.answered_by = response.answered_by
    made.raw = response.raw
    return made

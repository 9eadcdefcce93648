"""Strategies for every record, and for conversations that make sense."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any, TypeVar

from arshai_kit.models import Ask, OutputSpec, Settings
from arshai_kit.records import (
    Audio,
    BackgroundFailed,
    BackgroundStarted,
    Candidate,
    Event,
    File,
    Finished,
    Image,
    Logprob,
    Message,
    Notice,
    Opaque,
    Part,
    PartialOutput,
    Paused,
    RateLimit,
    Response,
    StepFinished,
    StepStarted,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolFailed,
    ToolFinished,
    ToolProgress,
    ToolResult,
    ToolRun,
    ToolSpec,
    ToolStarted,
    Usage,
    system,
    tool_result,
    user,
)
from arshai_kit.records.vectors import Embeddings, Vector
from arshai_kit.testing._hypothesis import DrawFn, SearchStrategy, st

T = TypeVar("T")

__all__ = [
    "asks",
    "conversations",
    "embeddings",
    "events",
    "json_objects",
    "json_values",
    "messages",
    "parts",
    "pauses",
    "responses",
    "settings",
    "splits",
    "tool_calls",
    "tool_runs",
    "tool_specs",
    "usages",
    "vectors",
    "words",
]

_FINISHES = ("stop", "length", "tool_calls", "content_filter", "refusal", "error", "other")
_COUNTS = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")


def words() -> SearchStrategy[str]:
    """Text of any kind, short, seldom empty."""
    return st.text(max_size=12) | st.sampled_from(["Oslo", "naïve café", "سلام", "東京", "🧪👩‍🔬", "a\r\nb", '"\\'])


def json_values() -> SearchStrategy[Any]:
    """JSON as `json.loads` gives it: numbers of any size, keys of any letters."""
    numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | words()
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words(), inner, max_size=3),
        max_leaves=6,
    )


def json_objects() -> SearchStrategy[dict[str, Any]]:
    """JSON objects."""
    return st.dictionaries(words(), json_values(), max_size=3)


def _state() -> SearchStrategy[Any]:
    return st.none() | json_objects()


def tool_calls(names: SearchStrategy[str] | None = None) -> SearchStrategy[ToolCall]:
    """Calls of tools with any *names*, their arguments an object, or broken."""
    named = names if names is not None else words()
    whole = st.builds(ToolCall, words(), named, json_objects(), state=_state())
    return whole | st.builds(ToolCall, words(), named, broken=words(), state=_state())


def _media() -> SearchStrategy[Image | File | Audio]:
    names = {"url": words(), "media_type": words(), "state": _state()}
    data = st.binary(max_size=12)
    return (
        st.builds(Image, data, detail=st.sampled_from(["", "low"]), **names)
        | st.builds(File, data, name=words(), **names)
        | st.builds(Audio, data, **names)
    )


def _contents() -> SearchStrategy[Any]:
    told = st.builds(Text, words()) | _media()
    return words() | st.lists(told, max_size=2).map(tuple)


def parts() -> SearchStrategy[Part]:
    """Parts of every kind."""
    return (
        st.builds(Text, words(), state=_state())
        | _media()
        | st.builds(Thinking, words(), state=_state())
        | tool_calls()
        | st.builds(ToolResult, words(), words(), _contents(), st.booleans(), state=_state())
        | st.builds(Opaque, words(), json_values(), state=_state())
    )


def messages() -> SearchStrategy[Message]:
    """Messages with any parts, whether they make sense or not; see `conversations`."""
    roles = st.sampled_from(["system", "user", "assistant", "tool"])
    return st.builds(Message, roles, st.lists(parts(), max_size=3), words())


def tool_specs() -> SearchStrategy[ToolSpec]:
    """Descriptions of tools."""
    examples = st.none() | st.tuples(words(), json_objects())
    maybe = st.none() | st.booleans()
    return st.builds(ToolSpec, words(), words(), json_objects(), examples, maybe)


def usages() -> SearchStrategy[Usage]:
    """Usage, all, some or none of it reported."""
    count = st.integers(0, 10**6)
    missing = st.frozensets(st.sampled_from(_COUNTS))
    kinds = st.dictionaries(st.sampled_from(["cache_write", "audio_input", "image_output"]), count, max_size=2)
    six = {"total_tokens": count, "missing": missing, "kinds": kinds}
    return st.builds(Usage, count, count, count, count) | st.builds(Usage, count, count, count, count, **six)


def _costs() -> SearchStrategy[Any]:
    return st.none() | st.decimals(0, 1000, allow_nan=False, allow_infinity=False) | st.just(Decimal("0.10"))


def tool_runs() -> SearchStrategy[ToolRun]:
    """Calls that were answered."""
    error = st.none() | words()
    seconds = st.floats(0, 100)
    spent = {"usage": st.none() | usages(), "cost": _costs()}
    return st.builds(ToolRun, tool_calls(), _contents(), error, seconds, st.booleans(), **spent)


def responses() -> SearchStrategy[Response]:
    """Responses of every kind; their `output` is JSON."""
    said = st.lists(messages(), max_size=2)
    runs = st.lists(tool_runs(), max_size=1)
    texts = {"model": words(), "provider": words(), "id": words(), "request_id": words(), "answered_by": words()}
    return st.builds(
        *(Response, said, st.sampled_from(_FINISHES), st.none() | words(), usages(), _costs()),
        **texts,
        tool_runs=runs,
        output=json_values(),
        raw=json_values(),
        **_extras(),
    )


def pauses() -> SearchStrategy[Paused]:
    """Runs that wait for a person."""
    calls, runs = st.lists(tool_calls(), max_size=2), st.lists(tool_runs(), max_size=1)
    return st.builds(
        *(Paused, words(), st.lists(messages(), max_size=2), responses(), responses(), calls, runs),
        round=st.integers(0, 9),
        earlier=st.none() | responses(),
        handoffs=st.integers(0, 9),
        id=words(),
        seal=words(),
    )


def _extras() -> dict[str, Any]:
    """What only some replies have."""
    found = {"logprobs": _logprobs(), "candidates": _candidates(), "rate_limits": _limits()}
    return {name: st.just(()) | each for name, each in found.items()}


def _logprobs() -> SearchStrategy[tuple[Logprob, ...]]:
    return st.deferred(
        lambda: st.builds(Logprob, words(), st.floats(-50, 0), st.just((Logprob("a", -0.5),))).map(_alone)
    )


def _candidates() -> SearchStrategy[tuple[Candidate, ...]]:
    made = st.deferred(lambda: st.builds(Candidate, messages(), st.sampled_from(_FINISHES), st.none() | words()))
    return made.map(_alone)


def _limits() -> SearchStrategy[tuple[RateLimit, ...]]:
    count = st.none() | st.integers(0, 10**6)
    return st.builds(RateLimit, words(), count, count, st.none() | st.floats(0, 1000)).map(_alone)


def _alone(record: T) -> tuple[T]:
    return (record,)


def vectors() -> SearchStrategy[Vector]:
    """Vectors of a few numbers."""
    return st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=4).map(Vector.of)


def embeddings() -> SearchStrategy[Embeddings]:
    """Vectors of some texts."""
    several, texts = st.lists(vectors(), max_size=3), {"model": words(), "provider": words()}
    places = st.lists(st.integers(0, 2), max_size=2)
    return st.builds(Embeddings, several, usages(), _costs(), truncated=places, **texts)


def events() -> SearchStrategy[Event]:
    """Events of every kind."""
    call, word, path = tool_calls(), words(), {"path": words()}
    index = st.integers(0, 9)
    return st.one_of(
        st.builds(TextDelta, word, **path),
        st.builds(ThinkingDelta, word, **path),
        st.builds(ToolCallDelta, index, word, word, st.none() | call, **path),
        st.builds(PartialOutput, json_values(), **path),
        st.builds(ToolStarted, call, **path),
        st.builds(ToolProgress, call, json_values(), **path),
        st.builds(ToolFinished, call, _contents(), **path),
        st.builds(ToolFailed, call, word, **path),
        st.builds(BackgroundStarted, call, **path),
        st.builds(BackgroundFailed, call, word, **path),
        st.builds(StepStarted, word, word, **path),
        st.builds(StepFinished, word, word, word, **path),
        st.builds(Notice, word, word, word, json_values(), **path),
        st.builds(Finished, responses(), **path),
    )


def settings() -> SearchStrategy[Settings]:
    """How a model is to answer."""
    number, share, flag = st.none() | st.integers(0, 9), st.none() | st.floats(0, 2), st.none() | st.booleans()
    return st.builds(
        Settings,
        **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), share),
        **dict.fromkeys(("top_k", "max_tokens", "seed", "logprobs", "candidates"), number),
        stop=st.none() | words() | st.lists(words(), max_size=2),
        reasoning=st.none() | st.sampled_from(["low", "high"]) | st.integers(0, 999),
        tool_choice=st.none() | words().filter(bool),
        parallel_tool_calls=flag,
        extra=json_objects(),
    )


def asks() -> SearchStrategy[Ask]:
    """Questions to a model."""
    modes = st.sampled_from(["json_schema", "json_object"])
    output = st.none() | st.builds(OutputSpec, words(), json_objects(), st.none() | st.booleans(), modes)
    return st.builds(
        Ask,
        st.lists(messages(), max_size=2).map(tuple),
        st.lists(tool_specs(), max_size=2).map(tuple),
        settings(),
        output,
    )


def conversations(*, calls: bool = True) -> SearchStrategy[tuple[Message, ...]]:
    """Conversations that make sense: turns in order, every call with its result, ids that are told apart."""
    told = words().filter(str.strip)

    @st.composite
    def whole(draw: DrawFn) -> tuple[Message, ...]:
        said: list[Message] = [system(draw(told))] if draw(st.booleans()) else []
        for turn in range(draw(st.integers(1, 3))):
            said.append(user(draw(told), *draw(st.lists(st.builds(Text, told), max_size=1))))
            if calls and draw(st.booleans()):
                said += _round(draw, turn)
            said.append(Message("assistant", draw(told)))
        return tuple(said[: len(said) - draw(st.integers(0, 1))])

    return whole()


def _round(draw: DrawFn, turn: int) -> list[Message]:
    """Calls of a turn, and their results."""
    names = st.sampled_from(["add", "look_up", "now"])
    many = range(draw(st.integers(1, 3)))
    asked = [ToolCall(f"call_{turn}_{place}", draw(names), draw(json_objects())) for place in many]
    before = [Text(draw(words()))] if draw(st.booleans()) else []
    results = [tool_result(call, draw(words()), is_error=draw(st.booleans())) for call in asked]
    return [Message("assistant", (*before, *asked)), *results]


def splits(data: bytes) -> SearchStrategy[tuple[bytes, ...]]:
    """*data* cut into pieces anywhere, none of them empty."""
    cuts = st.lists(st.integers(1, max(1, len(data) - 1)), max_size=12) | st.just(range(1, len(data)))
    return cuts.map(lambda places: _cut(data, sorted({0, *places, len(data)})))


def _cut(data: bytes, places: list[int]) -> tuple[bytes, ...]:
    pieces = [data[start:end] for start, end in pairwise(places)]
    return tuple([piece for piece in pieces if piece])

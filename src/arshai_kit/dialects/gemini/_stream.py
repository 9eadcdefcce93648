"""Streams of generateContent: a fold over chunks, in a state that one plan owns.

What comes is gathered into the body that the provider would have sent as a whole, and read by the same function:
so a stream and a whole reply give the same response.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import evolve

from arshai_kit._json import freeze, loads
from arshai_kit.dialects.exchange import signature
from arshai_kit.dialects.failures import request_id, shown
from arshai_kit.dialects.gemini._candidate import Candidate
from arshai_kit.dialects.gemini._failure import told as failure
from arshai_kit.dialects.gemini._parts import feedback, read
from arshai_kit.dialects.gemini._reply import response
from arshai_kit.errors import BadReply, ProviderError, StreamIncomplete
from arshai_kit.models import Endpoint
from arshai_kit.records import Event, Finished, Message, Response, TextDelta
from arshai_kit.sse import ServerSent

__all__ = ["Told", "advance"]

Headers = tuple[tuple[str, str], ...]

_DEEP: Final = 150
_FIRST: Final = ("modelVersion", "responseId")
_OF_CHUNK: Final = frozenset({"candidates", "usageMetadata", "promptFeedback"})


class Told:
    """What a stream has told so far."""

    __slots__ = ("candidates", "done", "endpoint", "feedback", "first", "headers", "top", "usage")

    def __init__(self, endpoint: Endpoint, headers: Headers = ()) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.first: Candidate | None = None
        self.candidates: dict[int, Candidate] = {}
        self.top: dict[str, Any] = {}
        self.usage: Any = None
        self.feedback: dict[str, Any] = {}
        self.done = False

    def chunk(self, chunk: Any) -> list[Event]:
        """What *chunk* tells."""
        if isinstance(chunk, list) and len(chunk) == 1:
            chunk = chunk[0]  # an error comes in a list of its own
        if not isinstance(chunk, dict):
            raise self.bad("a chunk of the stream is no object")
        out: list[Event] = []
        self._around(chunk)
        candidates = chunk.get("candidates")
        for each in candidates if isinstance(candidates, list) else ():
            if isinstance(each, dict):
                self._candidate(each, out)
        if chunk.get("error"):
            raise self.failed(chunk)
        return out

    def _around(self, chunk: dict[str, Any]) -> None:
        """Keep what *chunk* says besides the answer; of what each one says, the last word counts."""
        before = self.top
        self.top = before | {name: value for name, value in chunk.items() if name not in _OF_CHUNK}
        for name in _FIRST:
            if before.get(name):
                self.top[name] = before[name]
        self.told_usage(chunk.get("usageMetadata"))
        told = chunk.get("promptFeedback")
        if isinstance(told, dict):
            self.feedback |= told

    def told_usage(self, usage: Any) -> None:
        """Keep *usage*: it counts all anew, or if it does not tell what went in, what has come since."""
        if isinstance(usage, dict):
            self.usage = usage if self.usage is None or "promptTokenCount" in usage else {**self.usage, **usage}

    def _candidate(self, wire: dict[str, Any], out: list[Event]) -> None:
        index = wire.get("index")
        index = index if type(index) is int else 0
        found = self.candidates.setdefault(index, Candidate(signature(self.endpoint)))
        if index == 0:
            self.first = found
        found.add(wire, out if index == 0 else [])

    def body(self, *, partial: bool = False) -> dict[str, Any]:
        """What the provider would have sent as a whole."""
        found = [each.wire(index, partial=partial) for index, each in sorted(self.candidates.items())]
        more = {"promptFeedback": self.feedback, "usageMetadata": self.usage}
        return {**self.top, "candidates": found, **{name: value for name, value in more.items() if value}}

    def partial(self) -> Response:
        """What there is of the answer, with the calls that were closed and no reason why it ended."""
        body = self.body(partial=True)
        if not self.candidates and not self.blocked():
            nothing = Message("assistant")
            return Response((nothing,), "error", provider=self.endpoint.provider, raw=body)
        found = response(self.endpoint, body, self.headers)
        return evolve(found, finish_reason="error", raw_finish_reason=None, candidates=())

    def blocked(self) -> bool:
        """Whether the provider refused the prompt."""
        return any(feedback({"promptFeedback": self.feedback}, ""))

    def complete(self) -> bool:
        """Whether the provider said that there is no more to come."""
        return self.blocked() or (
            bool(self.candidates) and all(each.finish is not None for each in self.candidates.values())
        )

    def close(self) -> list[Event]:
        """What is told of the calls that end with the reply."""
        out: list[Event] = []
        for index, each in self.candidates.items():
            each.end(out if index == 0 else [])
        return out

    def end(self) -> tuple[Event, ...]:
        """The last events of a reply that is complete."""
        out = self.close()
        self.done = True
        return (*out, Finished(response(self.endpoint, self.body(), self.headers)))

    def failed(self, body: Any) -> ProviderError:
        """The error that *body* tells in the middle of the stream."""
        return failure(self.endpoint, body, headers=self.headers, partial=self.partial())

    def incomplete(self) -> StreamIncomplete:
        """The error for an end that the provider did not announce."""
        return StreamIncomplete(
            "the stream ended before the provider said that the reply is complete",
            request_id=request_id(self.headers),
            partial=self.partial(),
        )

    def bad(self, why: str) -> BadReply:
        """The error for what makes no sense."""
        return BadReply(why, request_id=request_id(self.headers), partial=self.partial())


def advance(told: Told, event: ServerSent | None) -> tuple[Told, tuple[Event, ...]]:
    """Fold *event* into *told*, and tell what it says; `None` is the end of the bytes."""
    if event is None:
        return told, _ended(told)
    name, data = event
    try:
        chunk = loads(data)
    except ValueError:
        if data == b"[DONE]":  # a mark that some gateways add
            return told, _ended(told)
        if name == "error":
            raise told.failed(shown(told.endpoint, data)) from None
        raise told.bad(f"a chunk of the stream is no JSON: {shown(told.endpoint, data)}") from None
    if name == "error":
        raise told.failed(chunk)
    return told, _words(told, chunk) or _slowly(told, chunk, data)


def _words(told: Told, chunk: Any) -> tuple[Event, ...]:
    """What *chunk* tells if it is nothing but words of the answer, as most are; empty if there is more to it."""
    try:
        (candidate,) = chunk["candidates"]
        (part,) = candidate["content"]["parts"]
        (text,) = part.values()
        if "text" not in part or len(candidate) > 1 + ("index" in candidate) or candidate.get("index"):
            return ()
    except (KeyError, TypeError, ValueError, AttributeError):  # whatever it is, it is not that simple
        return ()
    first = told.first
    if first is None or type(text) is not str or not text or not chunk.keys() <= _USUAL:
        return ()
    usage = chunk.get("usageMetadata")
    if usage is not None:
        told.told_usage(usage)
    if first.words is None:
        first.say(text)
    else:
        first.words.append(text)
    first.finish = None  # an end before these words was none
    return (TextDelta(text),)


_USUAL: Final = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"})


def _slowly(told: Told, chunk: Any, data: bytes) -> tuple[Event, ...]:
    try:
        if data.count(b"{") + data.count(b"[") > _DEEP:  # no level without a bracket
            freeze(chunk)
        return tuple(told.chunk(read(data) if b"functionCall" in data else chunk))
    except ValueError as error:
        raise told.bad(str(error)) from None


def _ended(told: Told) -> tuple[Event, ...]:
    if told.done:
        return ()
    if not told.complete():
        raise told.incomplete()
    try:
        return told.end()
    except ValueError as error:
        raise told.bad(str(error)) from None

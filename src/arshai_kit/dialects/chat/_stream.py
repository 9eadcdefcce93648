"""Streams of Chat Completions: a fold over chunks, in a state that one plan owns.

What comes is gathered into the body that the provider would have sent as a whole, and read by the same function:
so a stream and a whole reply give the same response.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from arshai_kit._json import freeze, loads
from arshai_kit.dialects.chat._candidate import Candidate
from arshai_kit.dialects.chat._envelope import Envelope
from arshai_kit.dialects.chat._message import THOUGHTS
from arshai_kit.dialects.chat._reply import place, response, says_error
from arshai_kit.dialects.exchange import signature
from arshai_kit.dialects.failures import failure, request_id, shown
from arshai_kit.errors import BadReply, ProviderError, StreamIncomplete
from arshai_kit.models import Endpoint
from arshai_kit.records import Event, Finished, Response
from arshai_kit.sse import ServerSent

__all__ = ["Told", "advance"]

Headers = tuple[tuple[str, str], ...]

_DEEP = 150
_WORDS = frozenset({"content", *THOUGHTS})


class Told:
    """What a stream has told so far."""

    __slots__ = ("done", "endpoint", "envelope", "first", "headers", "others", "seen", "top", "usage")

    def __init__(self, endpoint: Endpoint, headers: Headers = ()) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.first = Candidate(signature(endpoint))
        self.envelope = Envelope()
        self.others: dict[str, Candidate] = {}
        self.top: dict[str, Any] = {}
        self.usage: Any = None
        self.seen = False
        self.done = False

    def chunk(self, chunk: dict[str, Any]) -> list[Event]:
        """What *chunk* tells."""
        out: list[Event] = []
        usage, top = chunk.get("usage"), self.top
        if usage:
            self.usage = usage
        named, model = top.get("id"), top.get("model")
        failed = says_error(chunk)
        if not failed:  # an error is told by its own words, from which keys are removed; the rest is kept as it came
            top.update(chunk)
        top["id"], top["model"] = named or chunk.get("id"), model or chunk.get("model")
        for choice in () if failed and not isinstance(chunk.get("choices"), list) else _listed(chunk.get("choices")):
            self._choice(choice, out)
        if failed:
            raise self.failed(chunk)
        return out

    def _choice(self, choice: dict[str, Any], out: list[Event]) -> None:
        index = choice.get("index")
        if not index:
            self.seen = True
            self.first.add(choice, out)
        else:
            self.others.setdefault(str(index), Candidate(signature(self.endpoint))).add(choice, [])
        if choice.get("error"):
            raise self.failed(choice)

    def response(self, *, partial: bool = False) -> Response:
        """The answer; a *partial* one holds only the calls that were closed, and no reason why it ended."""
        told = [(self.first.choice(0), self.first), *self._others()]
        body = {**self.top, "choices": [choice for choice, _ in told], "usage": self.usage}
        called = [each.calls.closed() for _, each in told]
        whole = response(self.endpoint, body, body["choices"], self.headers, called)
        if partial:
            return evolve(whole, finish_reason="error", raw_finish_reason=None)
        return whole

    def _others(self) -> list[tuple[dict[str, Any], Candidate]]:
        """The other answers, in their order."""
        others = [(each.choice(int(key) if key.isdecimal() else key), each) for key, each in self.others.items()]
        return sorted(others, key=lambda pair: place(pair[0]))

    def request_id(self) -> str:
        """What the provider's support wants to know."""
        told = self.top.get("request_id")
        return request_id(self.headers) or (told if isinstance(told, str) else "")

    def end(self) -> tuple[Event, ...]:
        """The last events of a reply that is complete."""
        if not self.seen and self.others:
            self.first = self.others.pop(next(iter(self.others)))
        elif not self.seen:
            raise BadReply("the stream ended without an answer: it had no choices")
        self.done = True
        out: list[Event] = []
        self.first.close(out)
        for each in self.others.values():
            each.close([])
        out.append(Finished(self.response()))
        return tuple(out)

    def failed(self, body: Any) -> ProviderError:
        """The error that *body* tells in the middle of the stream."""
        return failure(self.endpoint, body, headers=self.headers, partial=self.response(partial=True))

    def bad(self, why: str) -> BadReply:
        """The error for what makes no sense."""
        partial = self.response(partial=True)
        return BadReply(why, request_id=self.request_id(), partial=partial)


def advance(told: Told, event: ServerSent | None) -> tuple[Told, tuple[Event, ...]]:
    """Fold *event* into *told*, and tell what it says; `None` is the end of the bytes."""
    if event is None:
        return told, _ended(told)
    name, data = event
    if not name and (said := told.envelope.words(data)):
        return told, told.first.say(told.envelope.name, said)
    if data == b"[DONE]":
        return told, () if told.done else told.end()
    try:
        chunk = loads(data)
    except ValueError:
        if name == "error":
            raise told.failed(shown(told.endpoint, data)) from None
        raise told.bad(f"a chunk of the stream is no JSON: {shown(told.endpoint, data)}") from None
    if name == "error":
        raise told.failed(chunk)
    events = _words(told, chunk, data) if told.seen else None
    return told, _slowly(told, chunk, data) if events is None else events


def _words(told: Told, chunk: Any, data: bytes) -> tuple[Event, ...] | None:
    """What *chunk* tells if it is nothing but words, said or thought, as most are; `None` if there is more to it."""
    try:
        (choice,) = chunk["choices"]
        if (
            choice.get("finish_reason") is not None
            or choice.get("logprobs") is not None
            or choice.get("index")
            or chunk.get("usage") is not None
            or "error" in chunk
            or "error" in choice
        ):
            return None
        under, said, details = "", "", None
        for name, value in choice["delta"].items():
            if value and name != "role":
                if name == "reasoning_details":
                    details = value
                elif said or type(value) is not str or name not in _WORDS:
                    return None
                else:
                    under, said = name, value
    except (KeyError, TypeError, ValueError, AttributeError):  # whatever it is, it is not that simple
        return None
    if not said or (details and under == "content"):  # the details may hold a thought that is nowhere else
        return None if details else ()
    if details:
        told.first.detail(details)
    else:
        told.envelope.learn(data, under, said)
    return told.first.say(under, said)


def _slowly(told: Told, chunk: Any, data: bytes) -> tuple[Event, ...]:
    if isinstance(chunk, list) and chunk and isinstance(chunk[0], dict) and says_error(chunk[0]):
        raise told.failed(chunk)
    if not isinstance(chunk, dict):
        raise told.bad(f"a chunk of the stream is no object: {shown(told.endpoint, data)}")
    try:
        if data.count(b"{") + data.count(b"[") > _DEEP:  # no level without a bracket
            freeze(chunk)
        return tuple(told.chunk(chunk))
    except ValueError as error:
        raise told.bad(str(error)) from None


def _listed(choices: Any) -> list[dict[str, Any]]:
    """What a chunk says of each answer; what else stood there would be lost without a word."""
    if choices and not isinstance(choices, list):
        raise ValueError("the choices of a chunk are no list")
    found = [each for each in choices or () if each is not None]
    if not all(isinstance(each, dict) for each in found):
        raise ValueError("a choice of a chunk is no object")
    return found


def _ended(told: Told) -> tuple[Event, ...]:
    if told.done:
        return ()
    if told.first.ended():
        return told.end()
    raise StreamIncomplete(
        "the stream ended before the provider said that the reply is complete",
        request_id=told.request_id(),
        partial=told.response(partial=True),
    )

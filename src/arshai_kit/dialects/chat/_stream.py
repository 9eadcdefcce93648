"""Streams of Chat Completions: a fold over chunks, in a state that one plan owns.

What comes is gathered into the body that the provider would have sent as a whole, and read by the same function:
so a stream and a whole reply give the same response.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arshai_kit._json import dumps, freeze, loads
from arshai_kit.dialects.chat._calls import Calls
from arshai_kit.dialects.chat._message import THOUGHTS, thought, void
from arshai_kit.dialects.chat._reply import complete, response, says_error
from arshai_kit.dialects.failures import came, failure, scrubbed
from arshai_kit.errors import BadReply, ProviderError, StreamIncomplete
from arshai_kit.models import Endpoint
from arshai_kit.records import Event, Finished, Response, TextDelta, ThinkingDelta
from arshai_kit.sse import ServerSent

__all__ = ["Told", "advanced"]

_DEEP = 150
_TOLD_APART = frozenset({"role", "content", "reasoning_details", "tool_calls", "function_call", "refusal", *THOUGHTS})


class _Thought:
    """A thought in a list of content."""

    __slots__ = ("rest", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self.rest: dict[str, Any] = {}

    def part(self) -> dict[str, Any]:
        """The thought as an entry of the list."""
        return {"type": "thinking", "thinking": [{"type": "text", "text": "".join(self.words)}], **self.rest}


class _Candidate:
    """One of the answers that the provider writes side by side."""

    __slots__ = ("calls", "details", "finish", "rest", "runs", "text", "thoughts", "under", "wire")

    def __init__(self, provider: str) -> None:
        self.text: list[str] = []
        self.runs: list[Any] = [self.text]
        self.thoughts: list[str] = []
        self.under = ""
        self.details: list[dict[str, Any]] = []
        self.calls = Calls(provider)
        self.wire: dict[str, Any] = {}
        self.rest: dict[str, Any] = {}
        self.finish: str | None = None

    def delta(self, delta: Mapping[str, Any]) -> Iterator[Event]:
        """What *delta* adds."""
        yield from self._thought(delta)
        if content := delta.get("content"):
            yield from self._content(content)
        for each in _list(delta.get("tool_calls")):
            if isinstance(each, dict):
                yield from self.calls.fragment(each)
        legacy = delta.get("function_call")
        if isinstance(legacy, dict) and not void(legacy):
            yield from self.calls.fragment({"function": legacy}, legacy=True)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            self.wire["refusal"] = self.wire.get("refusal", "") + refusal
        for name, value in delta.items():
            if name not in _TOLD_APART and not void(value):
                _merge(self.wire, name, value)

    def _thought(self, delta: Mapping[str, Any]) -> Iterator[Event]:
        text, name = thought(delta)
        for each in _list(delta.get("reasoning_details")):
            if isinstance(each, dict):
                _join(self.details, each)
        if text:
            self.under = self.under or name
            self.thoughts.append(text)
            yield ThinkingDelta(text)

    def _content(self, content: Any) -> Iterator[Event]:
        content = dumps(content).decode() if isinstance(content, dict) else content
        for each in content if isinstance(content, list) else (content,):
            match each:
                case str(text) | {"type": "text", "text": str(text)}:
                    self.text.append(text)
                    if text:
                        yield TextDelta(text)
                case {"type": "thinking", "thinking": [{"type": "text", "text": str(text), **other}], **rest} if not other:
                    self._thinks(text, rest)
                    if text:
                        yield ThinkingDelta(text)
                case dict():
                    self.text = []
                    self.runs += each, self.text

    def _thinks(self, text: str, rest: dict[str, Any]) -> None:
        """Put a thought behind the text so far, or go on with the one that is there."""
        if any(self.text) or len(self.runs) == 1 or not isinstance(self.runs[-2], _Thought):
            self.text = []
            self.runs += _Thought(), self.text
        last = self.runs[-2]
        last.words.append(text)
        last.rest.update(rest)

    def message(self) -> dict[str, Any]:
        """The message that was streamed."""
        runs = ["".join(run) if isinstance(run, list) else run for run in self.runs]
        parts = [run.part() if isinstance(run, _Thought) else run for run in runs if run]
        found: dict[str, Any] = {"role": "assistant", "content": runs[0] if len(runs) == 1 else parts}
        if self.under:
            found[self.under] = "".join(self.thoughts)
        if self.details:
            found["reasoning_details"] = self.details
        return {**found, **self.wire}


class Told:
    """What a stream has told so far."""

    __slots__ = ("done", "endpoint", "first", "others", "seen", "top")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.first = _Candidate(endpoint.provider)
        self.others: dict[Any, _Candidate] = {}
        self.top: dict[str, Any] = {}
        self.seen = False
        self.done = False

    def chunk(self, chunk: dict[str, Any]) -> Iterator[Event]:
        """What *chunk* tells."""
        for name, value in chunk.items():
            if value is not None and name != "choices" and not (value == "" and name in self.top):
                self.top[name] = value if name not in {"id", "model"} else self.top.get(name) or value
        for choice in _list(chunk.get("choices")):
            if isinstance(choice, dict):
                yield from self._choice(choice)
        if says_error(chunk):
            raise self.failed(chunk)

    def _choice(self, choice: dict[str, Any]) -> Iterator[Event]:
        place = choice.get("index") or 0
        candidate = self.first if place == 0 else self.others.setdefault(str(place), _Candidate(self.endpoint.provider))
        self.seen = self.seen or candidate is self.first
        events = _choice_events(candidate, choice)
        if candidate is self.first:
            yield from events
        else:
            list(events)
        if choice.get("error"):
            raise self.failed(choice)

    def response(self, *, partial: bool = False) -> Response:
        """The answer; a *partial* one holds only the calls that were closed, and no reason why it ended."""
        others = [_body(index, each) for index, each in self.others.items()]
        body = {**self.top, "choices": [_body(0, self.first), *others]}
        whole = response(self.endpoint, body, body["choices"][0], "", self.first.calls.closed())
        if partial:
            from attrs import evolve

            return evolve(whole, finish_reason="error", raw_finish_reason=None)
        return whole

    def end(self) -> Iterator[Event]:
        """The last events of a reply that is complete."""
        if not self.seen and self.others:
            self.first = self.others.pop(next(iter(self.others)))
        elif not self.seen:
            raise BadReply("the stream ended without an answer: it had no choices")
        self.done = True
        yield from self.first.calls.close(done=True, complete=complete(self.first.finish))
        yield Finished(self.response())

    def failed(self, body: Any) -> ProviderError:
        """The error that *body* tells in the middle of the stream."""
        return failure(self.endpoint, body, partial=self.response(partial=True))

    def bad(self, why: str) -> BadReply:
        """The error for what makes no sense."""
        return BadReply(scrubbed(self.endpoint, why), partial=self.response(partial=True))


def advanced(told: Told, event: ServerSent | None) -> tuple[Event, ...]:
    """What *event* tells; `None` is the end of the bytes."""
    if event is None:
        return _ended(told)
    name, data = event
    if data == b"[DONE]":
        return () if told.done else tuple(told.end())
    try:
        chunk = loads(data)
    except ValueError:
        if name == "error":
            raise told.failed(came(data)) from None
        raise told.bad(f"a chunk of the stream is no JSON: {came(data)}") from None
    if name == "error":
        raise told.failed(chunk)
    try:
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        text = delta["content"]
    except (KeyError, TypeError, ValueError):
        return _slowly(told, chunk, data)
    if (
        told.seen
        and type(text) is str
        and (len(delta) == 1 or (len(delta) == 2 and "role" in delta))
        and choice.get("finish_reason") is choice.get("logprobs") is chunk.get("usage") is None
        and not choice.get("index")
        and "error" not in chunk
        and "error" not in choice
    ):  # the hot path: nothing but words
        told.first.text.append(text)
        return (TextDelta(text),) if text else ()
    return _slowly(told, chunk, data)


def _slowly(told: Told, chunk: Any, data: bytes) -> tuple[Event, ...]:
    if not isinstance(chunk, dict):
        raise told.bad(f"a chunk of the stream is no object: {came(data)}")
    try:
        if data.count(b"{") + data.count(b"[") > _DEEP:  # no level without a bracket
            freeze(chunk)
        return tuple(told.chunk(chunk))
    except ValueError as error:
        raise told.bad(str(error)) from None


def _ended(told: Told) -> tuple[Event, ...]:
    if told.done:
        return ()
    if told.first.finish:
        return tuple(told.end())
    raise StreamIncomplete(
        "the stream ended before the provider said that the reply is complete; what came is in .partial",
        partial=told.response(partial=True),
    )


def _choice_events(candidate: _Candidate, choice: dict[str, Any]) -> Iterator[Event]:
    delta = choice.get("delta")
    if delta is None and not any(candidate.runs):
        delta = choice.get("message")  # a whole message, from a server that streams it as one chunk
    if isinstance(delta, dict):
        yield from candidate.delta(delta)
    for name, value in choice.items():
        if name not in {"index", "delta", "message", "finish_reason"} and value is not None:
            _merge(candidate.rest, name, value)
    finish = choice.get("finish_reason")
    if finish:
        candidate.finish = str(finish)
        yield from candidate.calls.close(done=True, complete=complete(candidate.finish))


def _body(index: Any, candidate: _Candidate) -> dict[str, Any]:
    return {
        **candidate.rest,
        "index": int(index) if str(index).isdecimal() else index,
        "message": candidate.message(),
        "finish_reason": candidate.finish,
    }


def _merge(into: dict[str, Any], name: str, value: Any) -> None:
    """Add *value* to what came under *name*: lists grow, objects too, of anything else the last one counts."""
    old = into.get(name)
    if isinstance(old, list) and isinstance(value, list):
        into[name] = old + value
    elif isinstance(old, dict) and isinstance(value, dict):
        merged = dict(old)
        for key, each in value.items():
            _merge(merged, key, each)
        into[name] = merged
    else:
        into[name] = value


def _join(details: list[dict[str, Any]], fragment: dict[str, Any]) -> None:
    """Add *fragment* to *details*: words go on with those of the same type and index, what is encrypted stands alone."""
    last = details[-1] if details else {}
    same = last.get("type") == fragment.get("type") and last.get("index") == fragment.get("index")
    if not same or not any(name in fragment for name in ("text", "summary", "signature")):
        details.append(dict(fragment))
        return
    for name, value in fragment.items():
        if name in {"text", "summary"} and isinstance(value, str):
            last[name] = (last.get(name) or "") + value
        elif not void(value) or name not in last:
            last[name] = value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

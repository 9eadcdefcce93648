"""One candidate of a streamed reply: gathers what comes into the message that it would be as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arshai_kit._json import dumps
from arshai_kit.dialects.chat._calls import Calls
from arshai_kit.dialects.chat._message import THOUGHTS, fits, thought, void
from arshai_kit.dialects.chat._reply import complete
from arshai_kit.dialects.halves import FIRST, LAST, joined, parted
from arshai_kit.records import Event, TextDelta, ThinkingDelta

__all__ = ["Candidate"]

_THINKS = frozenset({"reasoning_details", *THOUGHTS})
_WORDS = frozenset({"text", "summary"})
_DELTAS = {"content": TextDelta}
_OF_CHOICE = frozenset({"index", "delta", "message", "finish_reason"})


class _Thought:
    """A thought in a list of content."""

    __slots__ = ("rest", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self.rest: dict[str, Any] = {}

    def part(self) -> dict[str, Any]:
        """The thought as an entry of the list."""
        return {"type": "thinking", "thinking": [{"type": "text", "text": "".join(self.words)}], **self.rest}


class Candidate:
    """One of the answers that the provider writes side by side."""

    __slots__ = ("calls", "details", "finish", "halves", "rest", "runs", "size", "text", "thoughts", "under", "wire")

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
        self.halves: dict[str, str] = {}  # letters of which the other half has not come, by the field that they are in
        self.size: tuple[int, ...] = ()

    def add(self, choice: dict[str, Any], out: list[Event]) -> None:
        """Add *choice*, one chunk's news of this candidate, and what it tells to *out*."""
        delta = choice.get("delta")
        if delta is None and isinstance(choice.get("text"), str) and "message" not in choice:
            delta = {"content": choice["text"]}  # as the older Completions
            choice = {name: value for name, value in choice.items() if name != "text"}
        if delta is None and not any(self.runs):
            delta = choice.get("message")  # a whole message, from a server that streams it as one chunk
        if isinstance(delta, dict):
            self._delta(delta, out)
        elif not void(delta):
            raise ValueError("the delta of a chunk is no object")  # what it tells would be lost without a word
        for name, value in choice.items():
            if value is not None and name not in _OF_CHOICE:
                _merge(self.rest, name, value)
        finish = choice.get("finish_reason")
        if finish:
            self._finished(str(finish))
            self.close(out)

    def _finished(self, finish: str) -> None:
        """Keep why it ended: that it was cut off is not unsaid by a better end, unless it went on in between."""
        if not self.ended() or complete(self.finish):
            self.finish = finish
        self.size = self._size()

    def ended(self) -> bool:
        """Whether the provider said that it came to its end, and nothing came behind that."""
        return self.finish is not None and self.size == self._size()

    def _size(self) -> tuple[int, ...]:
        return len(self.runs), len(self.text), len(self.thoughts), len(self.calls)

    def close(self, out: list[Event]) -> None:
        """Close the calls: the provider says that it is done."""
        out += [_DELTAS.get(name, ThinkingDelta)(half) for name, half in self.halves.items()]
        self.halves.clear()
        self.calls.close(out, done=True, complete=complete(self.finish))

    def choice(self, index: Any) -> dict[str, Any]:
        """What the provider would have sent as a whole."""
        return {**self.rest, "index": index, "message": self._message(), "finish_reason": self.finish}

    def _delta(self, delta: Mapping[str, Any], out: list[Event]) -> None:
        """Add *delta*, and what it tells to *out*."""
        thinks = False
        for name, value in delta.items():
            if not value or name == "role":
                continue
            if name in _THINKS and fits(name, value):
                thinks = True
            elif name == "content":
                self._content(value, out)
            elif name == "tool_calls" and isinstance(value, list):
                self._calls(value, out)
            elif name != "function_call" or not delta.get("tool_calls"):  # a call told in both shapes counts once
                self._rest(name, value, out)
        if thinks:
            self._thought(delta, out)

    def say(self, name: str, text: str) -> tuple[Event, ...]:
        """What *text* tells that came as the field *name*: words, or a thought."""
        if name == "content":
            self.text.append(text)
        else:
            self.under = self.under or name
            self.thoughts.append(text)
        if self.halves or FIRST <= text[-1] <= LAST:
            text, half = parted(self.halves.pop(name, ""), text)
            if half:
                self.halves[name] = half
            if not text:
                return ()
        return (TextDelta(text) if name == "content" else ThinkingDelta(text),)

    def _thought(self, delta: Mapping[str, Any], out: list[Event]) -> None:
        text, name = thought(delta)
        self.detail(delta.get("reasoning_details"))
        if text and (name or not self.under):  # what has a field of its own is said again in the details
            out += self.say(name, text)

    def detail(self, details: Any) -> None:
        """Add to the `reasoning_details`, which go back as they are."""
        for each in _list(details):
            if isinstance(each, dict):
                _join(self.details, each)

    def _content(self, content: Any, out: list[Event]) -> None:
        content = dumps(content).decode() if isinstance(content, dict) else content
        for each in content if isinstance(content, list) else (content,):
            match each:
                case str(text):
                    self._said(text, out)
                case {"type": "text", "text": str(text), **rest} if not rest:
                    self._said(text, out)
                case {"type": "thinking", "thinking": [{"type": "text", "text": str(text), **rest}], **more} if (
                    not rest
                ):
                    self._part(text, more)
                    if text:
                        out.append(ThinkingDelta(text))
                case _ if each:
                    words = each.get("text") if isinstance(each, dict) and each.get("type") == "text" else ""
                    if words and isinstance(words, str):
                        out.append(TextDelta(words))
                    self.text = []
                    self.runs += tuple(each) if isinstance(each, list) else each, self.text

    def _said(self, text: str, out: list[Event]) -> None:
        if text:
            out += self.say("content", text)

    def _part(self, text: str, rest: dict[Any, Any]) -> None:
        """Put a thought behind the text so far, or go on with the one that is there."""
        if any(self.text) or len(self.runs) == 1 or not isinstance(self.runs[-2], _Thought):
            self.text = []
            self.runs += _Thought(), self.text
        last = self.runs[-2]
        last.words.append(text)
        last.rest.update(rest)

    def _calls(self, fragments: list[Any], out: list[Event]) -> None:
        for each in fragments:
            if isinstance(each, dict):
                self.calls.fragment(each, out)
            elif not void(each):
                self.calls.odd(each)

    def _rest(self, name: str, value: Any, out: list[Event]) -> None:
        if void(value):
            return
        if name == "function_call" and isinstance(value, dict):
            self.calls.fragment({"function": value}, out, legacy=True)
        elif name == "refusal" and isinstance(value, str) and isinstance(said := self.wire.get(name, ""), str):
            self.wire[name] = said + value
        else:
            _merge(self.wire, name, value)

    def _message(self) -> dict[str, Any]:
        """The message that was streamed."""
        runs = [joined("".join(run)) if isinstance(run, list) else run for run in self.runs]
        parts = [run.part() if isinstance(run, _Thought) else run for run in runs if run]
        found: dict[str, Any] = {"role": "assistant", "content": runs[0] if len(runs) == 1 else parts}
        if self.under:
            found[self.under] = joined("".join(self.thoughts))
        if self.details:
            found["reasoning_details"] = list(map(_joined, self.details))
        return {**self.wire, **found, **self.calls.wire()}


def _merge(into: dict[str, Any], name: str, value: Any) -> None:
    """Add *value* to what came under *name*: lists grow, objects too, of anything else the last one counts."""
    old = into.get(name)
    if isinstance(old, list) and isinstance(value, list):
        old += value
    elif isinstance(old, dict) and isinstance(value, dict):
        for key, each in value.items():
            _merge(old, key, each)
    else:
        into[name] = value


def _join(details: list[dict[str, Any]], fragment: dict[str, Any]) -> None:
    """Add *fragment* to *details*: words go on with those of their type and index, what is encrypted stands alone."""
    last = details[-1] if details else {}
    same = last.get("type") == fragment.get("type") and last.get("index") == fragment.get("index")
    if not same or not any(name in fragment for name in ("text", "summary", "signature")):
        last = {}
        details.append(last)
    for name, value in fragment.items():
        if name in _WORDS:
            last.setdefault(name, []).append(value if isinstance(value, str) else "")
        elif not void(value) or name not in last:
            last[name] = value


def _joined(detail: dict[str, Any]) -> dict[str, Any]:
    """*detail*, its words in one piece."""
    return {name: "".join(value) if name in _WORDS else value for name, value in detail.items()}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

"""One candidate of a streamed reply: gathers what comes into the candidate that it would be as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from arshai_kit.dialects.gemini._growing import Growing
from arshai_kit.dialects.gemini._reply import finished
from arshai_kit.records import Event, TextDelta, ThinkingDelta, ToolCallDelta

__all__ = ["Candidate"]

_WORDS: Final = frozenset({"text", "thought"})
_OF_CANDIDATE: Final = frozenset({"content", "finishReason", "index"})
_GATHERED: Final = frozenset({"citationMetadata", "groundingMetadata", "logprobsResult", "urlContextMetadata"})
_UNFINISHED: Final = frozenset({"length", "content_filter", "error"})


class _Run:
    """Words with nothing to them but whether they are a thought."""

    __slots__ = ("thought", "words")

    def __init__(self, *, thought: bool) -> None:
        self.thought = thought
        self.words: list[str] = []

    def part(self) -> dict[str, Any]:
        """The words as a part."""
        text = "".join(self.words)
        return {"text": text, "thought": True} if self.thought else {"text": text}


class Candidate:
    """One of the answers that the provider writes side by side; *words* are those that go on, if any do."""

    __slots__ = ("calls", "finish", "parts", "provider", "rest", "words")

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.parts: list[Any] = []
        self.words: list[str] | None = None
        self.calls: list[Growing] = []
        self.rest: dict[str, Any] = {}
        self.finish: Any = None

    def add(self, wire: Mapping[str, Any], out: list[Event]) -> None:
        """Add *wire*, one chunk's news of this candidate, and what it tells to *out*."""
        content = wire.get("content")
        told = content.get("parts") if isinstance(content, dict) else None
        for part in told if isinstance(told, list) else ():
            if isinstance(part, dict):
                self._part(part, out)
            elif part is not None:
                self._keep(part)
        for name, value in wire.items():
            if name not in _OF_CANDIDATE and value is not None:
                self.rest[name] = _gathered(self.rest.get(name), value) if name in _GATHERED else value
        self.finish = wire.get("finishReason") or (None if _goes_on(told) else self.finish)

    def say(self, text: str, *, thought: bool = False) -> None:
        """Add *text* to the words before it, if they are of one kind."""
        last = self.parts[-1] if self.parts else None
        if type(last) is not _Run or last.thought is not thought:
            last = _Run(thought=thought)
            self._keep(last)
            self.words = None if thought else last.words
        last.words.append(text)

    def _keep(self, part: Any) -> None:
        """Add *part*, behind which other words begin."""
        self.parts.append(part)
        self.words = None

    def end(self, out: list[Event]) -> None:
        """Close the last call, if the provider says that it came to its end."""
        complete = self.finish is not None and finished(self.finish, self.provider) not in _UNFINISHED
        if complete and self.calls and not self.calls[-1].closed:
            self._close(self.calls[-1], out, news=False)

    def wire(self, index: int, *, partial: bool = False) -> dict[str, Any]:
        """What the provider would have sent as a whole; a *partial* one has only calls that were closed."""
        parts = [part for each in self.parts for part in _whole(each, partial=partial)]
        ended = {} if self.finish is None or partial else {"finishReason": self.finish}
        return {**self.rest, "index": index, "content": {"role": "model", "parts": parts}, **ended}

    def _part(self, part: dict[str, Any], out: list[Event]) -> None:
        told, text = part.get("functionCall"), part.get("text")
        name = told.get("name") if isinstance(told, dict) else None
        if isinstance(told, dict) and (isinstance(name, str) or not name) and (name or self.calls):
            self._call(told, {name: value for name, value in part.items() if name != "functionCall"}, out)
        elif isinstance(text, str):
            self._words(part, text, out)
        else:
            self._keep(part)

    def _words(self, part: dict[str, Any], text: str, out: list[Event]) -> None:
        thought = part.get("thought") is True
        if not part.keys() <= _WORDS:
            self._keep(part)  # a signature stays on the part that carried it
        elif text:
            self.say(text, thought=thought)
        if text:
            out.append(ThinkingDelta(text) if thought else TextDelta(text))

    def _call(self, told: Mapping[str, Any], rest: dict[str, Any], out: list[Event]) -> None:
        growing = self.calls[-1] if self.calls else None
        news = growing is None or not growing.goes_on_with(told)
        if growing is None or news:
            if not told.get("name"):
                return  # the end of what has ended
            if growing is not None and not growing.closed:
                self._close(growing, out, news=False)
            growing = Growing(len(self.calls))
            self.calls.append(growing)
            self._keep(growing)
        growing.add(told, rest)
        if not told.get("willContinue"):
            self._close(growing, out, news=news)
        elif news:
            out.append(ToolCallDelta(growing.index, str(told["name"])))

    def _close(self, growing: Growing, out: list[Event], *, news: bool) -> None:
        out.append(growing.close(self.provider, news=news))


def _whole(each: Any, *, partial: bool) -> Iterable[Any]:
    match each:
        case _Run():
            return (each.part(),)
        case Growing(closed=None):
            return () if partial else (each.part(cut=True),)
        case Growing():
            return (each.part(),)
    return (each,)


def _goes_on(told: Any) -> bool:
    """Whether *told*, the parts of a chunk, go on with the answer, so that an end before them was none."""
    return isinstance(told, list) and any(part and part != {"text": ""} for part in told)


def _gathered(old: Any, new: Any) -> Any:
    """*new* and *old*, of which one chunk tells a piece or all so far: lists grow, objects too."""
    if isinstance(old, list) and isinstance(new, list):
        return new if new[: len(old)] == old else old + new
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: _gathered(old.get(name), value) for name, value in new.items()}}
    return new

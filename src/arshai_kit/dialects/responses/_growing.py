"""What a stream is writing: the items of the output as far as they have come, and the words that were told of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arshai_kit.dialects.responses._items import BREAK, called, thoughts
from arshai_kit.records import Event, TextDelta, ThinkingDelta, ToolCallDelta

__all__ = ["Growing", "Output"]

Key = tuple[Any, str, Any]

_TEXT, _REFUSAL, _SUMMARY, _SHOWN = "output_text", "refusal", "summary_text", "reasoning_text"
_PLACES = {_TEXT: "content", _REFUSAL: "content", _SUMMARY: "summary", _SHOWN: "content"}
_WORDS = {_TEXT: "text", _REFUSAL: "refusal", _SUMMARY: "text", _SHOWN: "text"}


class Growing:
    """One item of the output: *wire* is what came of it last, whole when it is *done*."""

    __slots__ = ("arguments", "closed", "done", "place", "wire")

    def __init__(self, wire: dict[str, Any]) -> None:
        self.wire = wire
        self.done = False
        self.place = -1
        self.arguments: list[str] = []
        self.closed = False


class Output:
    """The output of a response while it is written: its items, and the runs of words in them."""

    __slots__ = ("_calls", "_thought", "items", "runs")

    def __init__(self) -> None:
        self.items: dict[Any, Growing] = {}
        self.runs: dict[Key, list[str]] = {}
        self._calls = 0
        self._thought = False

    def begin(self, index: Any, wire: dict[str, Any], out: list[Event]) -> Growing:
        """The item at *index*, which has begun as *wire*; one that has begun without a type gets that of *wire*."""
        growing = self.items.get(index)
        if growing is None or not growing.wire.get("type"):
            growing = self.items.setdefault(index, Growing({}))
            growing.wire = {**growing.wire, **wire}
            if wire.get("type") == "function_call":
                growing.place, self._calls = self._calls, self._calls + 1
                out.append(ToolCallDelta(growing.place, str(wire.get("name") or ""), ""))
                self.write(index, wire.get("arguments"), out)
        return growing

    def say(self, key: Key, text: Any, out: list[Event]) -> None:
        """Go on with the run of words that *key* names: the index of its item, its kind, and its place there."""
        if not text or not isinstance(text, str):
            return
        run = self.runs.get(key)
        first = run is None
        if run is None:
            self.begin(key[0], {"type": "message" if key[1] in {_TEXT, _REFUSAL} else "reasoning"}, out)
            run = self.runs[key] = []
        run.append(text)
        if key[1] == _TEXT:
            out.append(TextDelta(text))
        elif key[1] != _REFUSAL:
            out.append(ThinkingDelta(BREAK + text if first and self._thought else text))
            self._thought = True

    def settle(self, key: Key, text: Any, out: list[Event]) -> None:
        """Tell what is missing of *text*, which is what the run *key* has become."""
        told = "".join(self.runs.get(key, ()))
        if isinstance(text, str) and text.startswith(told):
            self.say(key, text[len(told) :], out)

    def write(self, index: Any, text: Any, out: list[Event]) -> None:
        """Go on with the arguments of the call at *index*."""
        growing = self.items.get(index)
        if growing is not None and growing.place >= 0 and text and isinstance(text, str) and not growing.closed:
            growing.arguments.append(text)
            out.append(ToolCallDelta(growing.place, "", text))

    def close(self, index: Any, sign: Mapping[str, Any], arguments: Any, out: list[Event]) -> None:
        """Close the call at *index*, whose *arguments* are whole, if it is one."""
        growing = self.items.get(index)
        if growing is None or growing.place < 0 or growing.closed or growing.wire.get("status") == "incomplete":
            return
        told = "".join(growing.arguments)
        if isinstance(arguments, str) and arguments.startswith(told):
            self.write(index, arguments[len(told) :], out)
        whole = arguments if arguments is not None else told
        growing.wire = {**growing.wire, "arguments": whole, "status": "completed"}
        growing.closed = True
        call = called(growing.wire, sign)
        out.append(ToolCallDelta(growing.place, "", "", call))

    def end(self, index: Any, wire: dict[str, Any], sign: Mapping[str, Any], out: list[Event]) -> None:
        """Take *wire* for what the item at *index* has become, and tell what is missing of it."""
        growing = self.begin(index, wire, out)
        if growing.done:
            return
        kind = wire.get("type")
        if kind == growing.wire.get("type"):
            growing.wire, growing.done = wire, True
            if kind == "message":
                self._said(index, wire, out)
            elif kind == "reasoning":
                self._reasoned(index, wire, out)
            elif kind == "function_call":
                self.close(index, sign, wire.get("arguments"), out)

    def finish(self, output: list[Any], sign: Mapping[str, Any], out: list[Event]) -> list[Any]:
        """Tell what is missing of the *output* as a whole, whose items may stand elsewhere, and under other ids.

        Gives it back, where a message that it holds without content has what came of that.
        """
        whole: list[Any] = []
        heard: dict[str, list[Any]] = {}
        for index in sorted(self.items, key=_order):
            heard.setdefault(str(self.items[index].wire.get("type")), []).append(index)
        for item in output:
            if isinstance(item, dict):
                same = heard.get(str(item.get("type")))
                index = same.pop(0) if same else ("new", len(self.items))
                whole.append(self._filled(index, item))
                self.end(index, whole[-1], sign, out)
            else:
                whole.append(item)
        return whole

    def _filled(self, index: Any, wire: dict[str, Any]) -> dict[str, Any]:
        """*wire*, what the item at *index* has become, with the content that came of it if it has none."""
        came = self._kept(index) if wire.get("type") == "message" and not wire.get("content") else None
        return {**wire, "content": came["content"]} if came and came.get("content") else wire

    def _said(self, index: Any, wire: Mapping[str, Any], out: list[Event]) -> None:
        for place, part in enumerate(_list(wire.get("content"))):
            if isinstance(part, dict) and part.get("type") == _TEXT:
                self.settle((index, _TEXT, place), part.get("text"), out)

    def _reasoned(self, index: Any, wire: Mapping[str, Any], out: list[Event]) -> None:
        told = any(key[0] == index for key in self.runs)
        if not told:  # what was told as it came is not told again
            for place, text in enumerate(thoughts(wire)):
                self.say((index, _SUMMARY, place), text, out)

    def wires(self) -> Iterator[dict[str, Any]]:
        """The items as far as they can be kept: those that are done, and of the others the words."""
        for index in sorted(self.items, key=_order):
            if (wire := self._kept(index)) is not None:
                yield wire

    def _kept(self, index: Any) -> dict[str, Any] | None:
        growing = self.items.get(index)
        if growing is None or growing.done or growing.closed:
            return None if growing is None else growing.wire
        words = self._words(index)
        return {**growing.wire, **words} if words else None

    def _words(self, index: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for (item, kind, _), run in self.runs.items():
            if item == index:
                found.setdefault(_PLACES[kind], []).append({"type": kind, _WORDS[kind]: "".join(run)})
        return found


def _order(index: Any) -> Any:
    return index if isinstance(index, int) else -1


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

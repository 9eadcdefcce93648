"""Tool calls that come in fragments, and when each is closed: only then may it run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from arshai_kit._json import dumps
from arshai_kit.dialects.chat._message import call, odd_call, void
from arshai_kit.dialects.halves import FIRST, LAST, joined, parted
from arshai_kit.records import Event, Part, ToolCall, ToolCallDelta

__all__ = ["Calls", "Reopened"]

_OF_FRAGMENT = frozenset({"id", "type", "index", "function"})


class Reopened(ValueError):
    """A fragment belongs to a call that was handed over as closed."""


class _Growing:
    """A call that is being written."""

    __slots__ = ("arguments", "closed", "extra", "half", "id", "index", "legacy", "name", "place", "seen")

    def __init__(self, place: int, index: Any, key: str, *, legacy: bool) -> None:
        self.place, self.index, self.id, self.legacy = place, index, key, legacy
        self.name = ""
        self.seen = 0  # of its fragments, when it was found to be no JSON object yet
        self.arguments: list[str] = []
        self.extra: dict[str, Any] = {}
        self.half = ""  # of a letter, of which the other half has not come
        self.closed: ToolCall | None = None

    def wire(self) -> dict[str, Any]:
        """The call as it would come as a whole."""
        function = {"name": self.name, "arguments": joined("".join(self.arguments))}
        return {"id": self.id, "type": "function", "function": function, **self.extra}

    def read(self, provider: str, *, complete: bool) -> ToolCall:
        """The call as it is so far."""
        state: dict[str, Any] = {"chat": provider}
        if self.extra:
            state["extra"] = self.extra
        if self.legacy:
            state["legacy"] = True
        told = state if len(state) > 1 else None
        return call(self.id, self.name, joined("".join(self.arguments)), complete=complete, state=told)


class Calls:
    """The calls of one candidate.

    A fragment joins the last call with its index, unless it brings another id; without an index the id decides, and
    without either it goes on with the last call, unless that has its arguments and this one brings a name. A call is
    closed when its arguments are a JSON object and a later call has begun, or when the provider says that it is done.
    """

    __slots__ = ("_growing", "_last", "_odd", "_open", "_provider")

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._growing: list[_Growing] = []
        self._open: list[_Growing] = []
        self._last: dict[tuple[Any, bool], _Growing] = {}
        self._odd: list[Any] = []

    def __len__(self) -> int:
        return len(self._growing) + len(self._odd)

    def odd(self, wire: Any) -> None:
        """Keep *wire*, which is no fragment of a call."""
        self._odd.append(wire)

    def fragment(self, wire: Mapping[str, Any], out: list[Event], *, legacy: bool = False) -> None:
        """Add *wire*; what it adds and which calls it closes goes to *out*."""
        function = wire.get("function")
        function = function if isinstance(function, dict) else {}
        name, text = function.get("name") or "", function.get("arguments")
        text = text if isinstance(text, str) else "" if text is None else dumps(text).decode()
        growing = self._target(wire, name=bool(name), legacy=legacy)
        if growing is None:
            growing = self._begun(wire.get("index"), _key(wire), legacy=legacy)
            self.close(out, done=False)
        if growing.closed:
            self._reopened(growing, text)
        else:
            self._grown(growing, wire, str(name), text, out)

    def wire(self) -> dict[str, Any]:
        """The fields of a message that hold these calls, as they would come as a whole."""
        told = [*[each.wire() for each in self._growing if not each.legacy], *self._odd]
        legacy = [each.wire()["function"] for each in self._growing if each.legacy]
        return {**({"tool_calls": told} if told else {}), **({"function_call": legacy[-1]} if legacy else {})}

    def close(self, out: list[Event], *, done: bool, complete: bool = False) -> None:
        """Close all calls if the provider is *done*, else those before the last that are whole.

        When it is done because it was cut off (not *complete*), the answer has them, but no event says that they may
        run: what came of the last one may be valid by chance.
        """
        last = self._growing[-1] if self._growing else None
        for growing in self._open if done else [each for each in self._open if each is not last]:
            if done or len(growing.arguments) > growing.seen:
                told = growing.read(self._provider, complete=done and complete)
                growing.seen = len(growing.arguments)
                if done or told.broken is None:
                    growing.closed = told
                    if complete or not done:
                        out.append(ToolCallDelta(growing.place, told.name, "", told))
        self._open = [each for each in self._open if each.closed is None]

    def closed(self) -> Iterator[Part]:
        """The calls that may run, and what is none."""
        yield from (growing.closed for growing in self._growing if growing.closed is not None)
        yield from (odd_call(each, self._provider) for each in self._odd)

    def _begun(self, index: Any, key: str, *, legacy: bool) -> _Growing:
        """A new call."""
        growing = _Growing(len(self._growing), index, key, legacy=legacy)
        self._growing.append(growing)
        self._open.append(growing)
        with suppress(TypeError):  # an index may be anything, also what no table takes
            self._last[index, legacy] = growing
        return growing

    def _grown(self, growing: _Growing, wire: Mapping[str, Any], name: str, text: str, out: list[Event]) -> None:
        growing.id = growing.id or _key(wire)
        news = name if name != growing.name else ""
        growing.name += news
        if news:
            growing.seen = 0
        if text:
            growing.arguments.append(text)
            if growing.half or FIRST <= text[-1] <= LAST:
                text, growing.half = parted(growing.half, text)
        if len(wire) > len(_OF_FRAGMENT & wire.keys()):
            growing.extra.update((k, v) for k, v in wire.items() if k not in _OF_FRAGMENT and not void(v))
        if news or text:
            out.append(ToolCallDelta(growing.place, news, text))
        if growing is not self._growing[-1]:
            self.close(out, done=False)

    def _target(self, wire: Mapping[str, Any], *, name: bool, legacy: bool) -> _Growing | None:
        """The call that *wire* goes on with."""
        index, key = wire.get("index"), _key(wire)
        if index is not None or legacy:
            same = self._of_index(index, legacy=legacy)
            return same if same is not None and (not key or not same.id or same.id == key) else None
        if key:
            return next((each for each in reversed(self._growing) if each.id == key), None)
        last = self._growing[-1] if self._growing else None
        return None if last is None or (name and last.arguments) else last

    def _of_index(self, index: Any, *, legacy: bool) -> _Growing | None:
        """The last call with *index*."""
        try:
            return self._last.get((index, legacy))
        except TypeError:
            same = (each for each in reversed(self._growing) if each.index == index and each.legacy == legacy)
            return next(same, None)

    def _reopened(self, growing: _Growing, text: str) -> None:
        """Refuse *text* for a call that may be running; what only says again what was said is let pass."""
        if text and joined(text) != joined("".join(growing.arguments)):
            raise Reopened(f"the provider went on with a call of {growing.name!r} that was complete")


def _key(wire: Mapping[str, Any]) -> str:
    key = wire.get("id")
    return key if isinstance(key, str) else "" if key is None else str(key)

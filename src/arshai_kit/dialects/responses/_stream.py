"""Streams of the Responses API: a fold over events, in a state that one plan owns.

The last event holds the whole response, which is read as a reply is; where its output is left out, what was gathered
stands in. Events of unknown types are let pass: whatever they told is in the item that they belong to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from attrs import evolve

from arshai_kit._json import loads
from arshai_kit.dialects.exchange import signature
from arshai_kit.dialects.failures import failure, request_id, shown
from arshai_kit.dialects.responses._growing import Output
from arshai_kit.dialects.responses._items import mark
from arshai_kit.dialects.responses._reply import broken, response
from arshai_kit.errors import BadReply, StreamIncomplete
from arshai_kit.models import Endpoint
from arshai_kit.records import Event, Finished, Response, TextDelta, ThinkingDelta
from arshai_kit.sse import ServerSent

__all__ = ["Told", "advance"]

Headers = tuple[tuple[str, str], ...]
Chunk: TypeAlias = dict[str, Any]

_SAYS: Final = {
    "response.output_text.delta": ("output_text", "content_index"),
    "response.reasoning_summary_text.delta": ("summary_text", "summary_index"),
    "response.reasoning_text.delta": ("reasoning_text", "content_index"),
}
_REFUSES: Final = {"response.refusal.delta": ("refusal", "content_index")}
_SPEAKS: Final = {**_SAYS, **_REFUSES}
_SAID: Final = {name.removesuffix("delta") + "done": how for name, how in _SPEAKS.items()}
_LAST: Final = frozenset({"response.completed", "response.incomplete", "response.cancelled"})


class Told:
    """What a stream has told so far."""

    __slots__ = ("done", "endpoint", "headers", "output", "top")

    def __init__(self, endpoint: Endpoint, headers: Headers = ()) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.output = Output()
        self.top: Chunk = {}
        self.done = False

    def hear(self, kind: str, chunk: Chunk) -> list[Event]:
        """What *chunk*, an event of the type *kind*, tells."""
        out: list[Event] = []
        if kind in _SPEAKS:
            name, place = _SPEAKS[kind]
            self.output.say((self._index(chunk), name, _number(chunk.get(place))), chunk.get("delta"), out)
        elif kind in _SAID:
            name, place = _SAID[kind]
            text = chunk.get("refusal" if name == "refusal" else "text")
            self.output.settle((self._index(chunk), name, _number(chunk.get(place))), text, out)
        elif kind in _LAST:
            self._end(kind, chunk, out)
        elif kind in _HEARD:
            _HEARD[kind](self, chunk, out)
        elif kind == "error" or chunk.get("error"):
            raise failure(self.endpoint, chunk, headers=self.headers, partial=self.partial())
        return out

    def begun(self, chunk: Chunk, _: list[Event]) -> None:
        """Keep what the response says of itself, which the last event says again."""
        self.top.update(_dict(chunk.get("response")))

    def added(self, chunk: Chunk, out: list[Event]) -> None:
        """Begin an item."""
        self.output.begin(self._index(chunk), _dict(chunk.get("item")), out)

    def ended(self, chunk: Chunk, out: list[Event]) -> None:
        """End an item."""
        self.output.end(self._index(chunk), _dict(chunk.get("item")), self._sign(), out)

    def written(self, chunk: Chunk, out: list[Event]) -> None:
        """Go on with the arguments of a call."""
        self.output.write(self._index(chunk), chunk.get("delta"), out)

    def whole(self, chunk: Chunk, out: list[Event]) -> None:
        """Close a call, whose arguments are whole."""
        self.output.close(self._index(chunk), self._sign(), chunk.get("arguments"), out)

    def failed(self, chunk: Chunk, _: list[Event]) -> None:
        """Raise what the provider says went wrong."""
        raise broken(self.endpoint, _dict(chunk.get("response")), self.headers, self.partial())

    def _end(self, kind: str, chunk: Chunk, out: list[Event]) -> None:
        last = {name: value for name, value in _dict(chunk.get("response")).items() if value is not None}
        body = {**self.top, "status": kind.removeprefix("response."), **last}
        output = body.get("output")
        if isinstance(output, list) and output:
            body["output"] = self.output.finish(output, self._sign(), out)
        else:
            body["output"] = list(self.output.wires())
        self.done = True
        out.append(Finished(response(self.endpoint, body, self.headers)))

    def partial(self) -> Response | None:
        """What has come, of the calls only those that were closed; nothing of what no record can hold."""
        try:
            body = {**self.top, "output": list(self.output.wires())}
            return evolve(response(self.endpoint, body, self.headers), finish_reason="error", raw_finish_reason=None)
        except ValueError:
            return None

    def bad(self, why: str) -> BadReply:
        """The error for what makes no sense."""
        return BadReply(why, request_id=request_id(self.headers), partial=self.partial())

    def _sign(self) -> Chunk:
        return mark(signature(self.endpoint), stored=self.top.get("store") is True)

    def _index(self, chunk: Chunk) -> Any:
        """Which item *chunk* belongs to; without an index, the one with the id that it names, or the last one."""
        index = chunk.get("output_index")
        if type(index) is int:
            return index
        items, key = self.output.items, chunk.get("item_id")
        named = [place for place, growing in items.items() if key and growing.wire.get("id") == key]
        if named:
            return named[-1]
        return len(items) if chunk.get("type") == "response.output_item.added" or not items else [*items][-1]


_HEARD: Final[dict[str, Callable[[Told, Chunk, list[Event]], None]]] = {
    "response.created": Told.begun,
    "response.queued": Told.begun,
    "response.in_progress": Told.begun,
    "response.output_item.added": Told.added,
    "response.output_item.done": Told.ended,
    "response.function_call_arguments.delta": Told.written,
    "response.function_call_arguments.done": Told.whole,
    "response.failed": Told.failed,
}


def advance(told: Told, event: ServerSent | None) -> tuple[Told, tuple[Event, ...]]:
    """Fold *event* into *told*, and tell what it says; `None` is the end of the bytes."""
    if event is None:
        return told, _ended(told)
    name, data = event
    try:
        chunk = loads(data)
    except ValueError:
        return told, _no_json(told, name, data)
    try:
        kind = chunk["type"]
        if kind in _SAYS:  # as most are
            name, place = _SAYS[kind]
            said = chunk["delta"]
            if said and type(said) is str:
                told.output.runs[chunk["output_index"], name, chunk[place]].append(said)
                return told, (TextDelta(said) if name == "output_text" else ThinkingDelta(said),)
    except (KeyError, TypeError):  # the first words of a run, or whatever it is
        pass
    return told, _slowly(told, name, chunk, data)


def _slowly(told: Told, name: str, chunk: Any, data: bytes) -> tuple[Event, ...]:
    if not isinstance(chunk, dict):
        raise told.bad(f"an event of the stream is no object: {shown(told.endpoint, data)}")
    kind = chunk.get("type")
    try:
        return tuple(told.hear(kind if isinstance(kind, str) else name, chunk))
    except ValueError as error:
        raise told.bad(f"what came cannot be kept: {error}") from None


def _no_json(told: Told, name: str, data: bytes) -> tuple[Event, ...]:
    """What *data* tells that is no JSON: an end mark, which nobody needs here, or an error."""
    if data == b"[DONE]":
        return ()
    if name == "error":
        body = shown(told.endpoint, data)
        raise failure(told.endpoint, body, headers=told.headers, partial=told.partial())
    raise told.bad(f"an event of the stream is no JSON: {shown(told.endpoint, data)}")


def _ended(told: Told) -> tuple[Event, ...]:
    if told.done:
        return ()
    raise StreamIncomplete(
        "the stream ended before the provider said that the reply is complete",
        request_id=request_id(told.headers),
        partial=told.partial(),
    )


def _dict(value: Any) -> Chunk:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return value if type(value) is int else 0

"""Replies as they come, one network read at a time: tried again while nothing has been told, or begun anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from arshai_kit._record import Record
from arshai_kit.effects import Channel, Close, Emit, Open, Plan, Read, Reply, Request
from arshai_kit.errors import ProviderError, StreamIncomplete, Unreachable, too_large
from arshai_kit.models.protocol import retold
from arshai_kit.records import Event, Finished, Response
from arshai_kit.sse import Splitter

__all__ = ["Hand", "begun", "replied", "rest"]


_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
"""A byte order mark, and what may stand between events."""
_PEEK: Final = 16 * 1024


@frozen(eq=False, repr=False)
class Hand(Record):
    """How the reply of an endpoint is read: the functions of its dialect, which know the endpoint."""

    parse: Callable[[Reply], Response]
    start: Callable[[tuple[tuple[str, str], ...]], Any]
    advance: Callable[[Any, Any], tuple[Any, tuple[Event, ...]]]
    max_body: int


class _Stream:
    """A streamed reply and what it has told so far; owned by one plan."""

    __slots__ = ("advance", "channel", "error", "eventful", "left", "most", "response", "split", "state", "told")

    def __init__(self, hand: Hand, channel: Channel) -> None:
        self.channel = channel
        self.split = Splitter(hand.max_body).feed
        self.left = self.most = hand.max_body
        self.state = hand.start(channel.headers)
        self.advance = hand.advance
        self.eventful = False
        self.told: tuple[Event, ...] = ()
        self.response: Response | None = None
        self.error: ProviderError | None = None

    def feed(self, data: bytes) -> tuple[Event, ...]:
        """What *data* tells; no bytes are the end of the stream. What fails waits in `error` behind what was told."""
        told = self._fed(data)
        self.left -= len(data)
        if self.left < 0 and data and self.response is None and self.error is None:
            self.told = told = told + self.cut(too_large(self.most))
        return told

    def _fed(self, data: bytes) -> tuple[Event, ...]:
        told: list[Event] = []
        advance, state = self.advance, self.state
        try:
            for sent in self.split(data):
                self.eventful = True
                state, more = advance(state, sent)
                told += more
            if not data and self.response is None:
                state, more = advance(state, None)
                told += more
        except ProviderError as error:
            self.error = error
        self.state = state
        for place, event in enumerate(told):
            if type(event) is Finished:
                self.response, self.error = event.response, None
                del told[place:]
                break
        self.told = tuple(told)
        return self.told

    def whole(self, response: Response) -> _Stream:
        """This stream, when all there is has come as one *response*."""
        self.response, self.error, self.told = response, None, retold(response)
        return self

    def cut(self, error: ProviderError) -> tuple[Event, ...]:
        """What is still to tell when the connection is lost: nothing is, if the reply was complete already."""
        told = self.feed(b"")
        if self.error is not None:
            error.partial = self.error.partial
            broken = StreamIncomplete(f"{self.error}: {error}", request_id=error.request_id, partial=error.partial)
            broken.__cause__ = error
            self.error = broken if isinstance(error, Unreachable) else error
        return told


def begun(hand: Hand, request: Request, until: float) -> Plan[_Stream]:
    """The reply to *request*, up to the first event that it tells: so far it may be tried again."""
    channel = yield from Open(request, until)
    try:
        return (yield from _first(hand, channel))
    except ProviderError:
        yield from Close(channel)
        raise


def _first(hand: Hand, channel: Channel) -> Plan[_Stream]:
    stream = _Stream(hand, channel)
    parts, silent = [(yield from Read(channel))], Read(channel, heard=False)
    size = len(parts[0])
    while parts[-1] and not parts[-1].lstrip(_BLANK):  # the first bytes may be too few to tell what this is
        if size > hand.max_body:
            parts.clear()  # they would live as long as the error
            raise too_large(hand.max_body)
        parts.append((yield silent))
        size += len(parts[-1])
    data = b"".join(parts)
    if channel.status >= 300 or data.lstrip(_BLANK)[:1] in (b"{", b"[", b"<"):
        return stream.whole((yield from _not_streamed(hand, channel, data)))
    came = data
    while not stream.feed(data) and stream.error is None and stream.response is None:
        data = yield silent
        if not stream.eventful and len(came) < _PEEK:
            came += data
    if stream.error is not None and not stream.told:
        if not stream.eventful and type(stream.error) is StreamIncomplete and not _begins(came.lstrip(_BLANK)):
            return stream.whole(hand.parse(Reply(channel.status, channel.headers, came)))  # no stream: what it is then
        raise stream.error
    return stream


def _begins(came: bytes) -> bool:
    """Whether an event may begin with what *came*, even if that is only a piece of its first line.

    >>> _begins(b"dat"), _begins(b": ping"), _begins(b"upstream is down")
    (True, True, False)
    """
    name = came.partition(b":")[0]
    return any(field.startswith(name) for field in (b"data", b"event", b"id", b"retry"))


def _not_streamed(hand: Hand, channel: Channel, data: bytes) -> Plan[Response]:
    """The reply as a whole: an error, or the answer of a server that does not stream."""
    read, parts, size = Read(channel, heard=False), [data], len(data)
    while data and size <= hand.max_body:
        data = yield read
        parts.append(data)
        size += len(data)
    if size > hand.max_body:
        parts.clear()  # as above
        raise too_large(hand.max_body)
    return hand.parse(Reply(channel.status, channel.headers, b"".join(parts)))


def replied(hand: Hand, request: Request, until: float, spoken: list[bool]) -> Plan[Response]:
    """The whole reply to *request*, told as it comes; *spoken* notes that something was told, should it break."""
    stream = yield from begun(hand, request, until)
    try:
        return (yield from rest(stream, spoken))
    except ProviderError:
        yield from Close(stream.channel)
        raise


def rest(stream: _Stream, spoken: list[bool] | None = None) -> Plan[Response]:
    """The response of a stream that has begun, its events told one network read at a time."""
    heard, silent = Read(stream.channel), Read(stream.channel, heard=False)
    told = stream.told
    while True:
        if told:
            if spoken is not None:
                spoken[:] = (True,)
            yield Emit(told)
        if stream.response is not None:
            break
        if stream.error is not None:
            raise stream.error
        try:
            data = yield heard if told else silent
        except ProviderError as error:
            told = stream.cut(error)
        else:
            told = stream.feed(data)
    yield from Close(stream.channel)
    return stream.response

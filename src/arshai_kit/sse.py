"""Server-sent events from any split of bytes: pure, bytes in, events out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from arshai_kit._json import loads
from arshai_kit.errors import too_large

__all__ = ["ServerSent", "Splitter", "events"]

_BLANK = re.compile(rb"\n+")
_BOM = b"\xef\xbb\xbf"
_CR, _LF = b"\r\n"
_DONE = b"[DONE]"
_FIELDS = frozenset({b"data", b"event", b"id", b"retry"})


class ServerSent(NamedTuple):
    """One event: its name, empty unless it says one, and its data."""

    name: str
    data: bytes


_event = partial(tuple.__new__, ServerSent)  # a third of the time that calling the class takes: one for every chunk


class Splitter:
    r"""Splits what the network brings into events; where it was cut never matters, and no bytes are its end.

    An event ends with an empty line. At the end of the bytes the last one counts without, if it is whole: a JSON
    document, `[DONE]`, or an error. An event of more than *limit* bytes raises `BadReply`.

    >>> Splitter(1000).feed(b'data: {"a":1}\n\ndata: {"b"')
    [ServerSent(name='', data=b'{"a":1}')]
    """

    __slots__ = ("_after_cr", "_fresh", "_held", "_limit", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: list[bytes] = []
        self._size = 0
        self._fresh = True
        self._after_cr = False

    def feed(self, data: bytes) -> Sequence[ServerSent]:
        """The events that *data* completes."""
        if not data:
            return self._end()
        held, plain = self._held, not (self._fresh or self._after_cr)
        if plain and not held and (event := _alone(data)):
            return (event,)  # the hot path: a read that brings one event
        if not plain or _CR in data:
            data = self._plain(data)
        if held:
            if data.find(b"\n\n") < 0 and not (data[:1] == b"\n" and held[-1][-1:] == b"\n"):
                return self._keep(data)
            held.append(data)
            data = b"".join(held)
            held.clear()
            self._size = 0
        told, start = _split(data)
        return self._keep(data[start:], told) if start < len(data) else told

    def _keep(self, data: bytes, told: Sequence[ServerSent] = ()) -> Sequence[ServerSent]:
        """*told*, with *data* put by; pieces are joined once, or a long event in many pieces costs their square."""
        self._size += len(data)
        if self._size > self._limit:
            self._held.clear()  # whoever keeps the error would keep all this with its traceback
            raise too_large(self._limit)
        if data:
            self._held.append(data)
        return told

    def _plain(self, data: bytes) -> bytes:
        """*data* with a line feed for every end of line, and without a byte order mark at the start."""
        after_cr, self._after_cr = self._after_cr, data[-1:] == b"\r"
        if after_cr and data[:1] == b"\n":
            data = data[1:]
        if self._fresh:
            data = b"".join((*self._held, data))
            self._held.clear()
            self._size = 0
            self._fresh = len(data) < len(_BOM) and _BOM.startswith(data)
            data = data if self._fresh else data.removeprefix(_BOM)
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if _CR in data else data

    def _end(self) -> Sequence[ServerSent]:
        if not self._held:  # as most streams end
            return ()
        block = b"".join(self._held)
        self._held.clear()
        *told, last = events(block) or [ServerSent("", b"")]
        return [*told, last] if last.name == "error" or _whole(last.data) else told


def _alone(data: bytes) -> ServerSent | None:
    """The event that *data* is, if it is one and no more, as most reads are."""
    end, size = data.find(_LF), len(data)
    if data[:6] == b"data: ":
        if end == size - 2 > 6 and data[-1] == _LF and _CR not in data:
            return _event(("", data[6:end]))
        if end == size - 3 > 7 and data[-4:] == b"\r\n\r\n" and data.find(_CR) == end - 1:
            return _event(("", data[6 : end - 1]))
    elif (
        data[:7] == b"event: "
        and data.startswith(b"data: ", end + 1)
        and data.find(_LF, end + 1) == size - 2 > end + 7
        and data[-1] == _LF
        and _CR not in data
    ):
        return _event((data[7:end].decode("utf-8", "replace"), data[end + 7 : -2]))
    return None


def _split(data: bytes) -> tuple[list[ServerSent], int]:
    """The events of *data*, and where the first one begins that is not complete: the hot path."""
    told: list[ServerSent] = []
    start, size = 0, len(data)
    while start < size:
        place, name = start, ""
        end = data.find(_LF, start)
        if data.startswith(b"event: ", start) and data.startswith(b"data: ", end + 1):
            place, name = end + 1, data[start + 7 : end].decode(errors="replace")
            end = data.find(_LF, place)
        if place + 6 < end < size - 1 and data[end + 1] == _LF and data.startswith(b"data: ", place):
            told.append(_event((name, data[place + 6 : end])))
        else:
            end = data.find(b"\n\n", start)
            if end < 0:
                break
            if end == start:  # a server may send any number of blank lines
                end = _BLANK.match(data, start).end() - 2  # type: ignore[union-attr]  # it has just been found
            else:
                told += events(data[start:end])
        start = end + 2
    return told, start


def events(block: bytes) -> list[ServerSent]:
    r"""The events of a *block* of lines: one, and those of lines that are no field but must not be lost.

    Some servers tell an error on a line of its own, as `error: {…}` or as bare JSON.

    >>> events(b'event: ping\ndata: 1\ndata: 2')
    [ServerSent(name='ping', data=b'1\n2')]
    >>> events(b'error: {"message": "out of memory"}')
    [ServerSent(name='error', data=b'{"message": "out of memory"}')]
    """
    return list(_told(block.split(b"\n")))


def _told(lines: list[bytes]) -> Iterator[ServerSent]:
    name, data, bare = b"", list[bytes](), list[bytes]()
    for line in lines:
        field, _, value = line.partition(b":")
        if field in _FIELDS or field == b"error":
            if bare:
                yield ServerSent("", b"\n".join(bare))
                bare = []
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
            elif field == b"error":
                yield ServerSent("error", value)
        elif bare or line[:1] in (b"{", b"["):
            bare.append(line)
    if bare:
        yield ServerSent("", b"\n".join(bare))
    if any(data) or name == b"error":
        yield ServerSent(name.decode(errors="replace"), b"\n".join(data))


def _whole(data: bytes) -> bool:
    if data == _DONE:
        return True
    try:
        loads(data)
    except ValueError:
        return False
    return True

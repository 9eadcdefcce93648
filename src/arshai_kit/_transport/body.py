"""Bodies of replies: decoded as they come, and never larger than was allowed."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

from arshai_kit.errors import BadReply, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Gathering", "Inflation", "headers_of", "inflation"]

PIECE = 64 * 1024

Headers = tuple[tuple[str, str], ...]


@lru_cache(maxsize=512)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of a reply as text, names in lower case.

    >>> headers_of([(b"Content-Type", b"text/plain")])
    (('content-type', 'text/plain'),)
    """
    return tuple([(_name(name), value.decode("latin-1")) for name, value in raw])


def value_of(headers: Headers, name: str) -> str:
    """The value of a header, empty without it.

    >>> value_of((("a", "1"), ("b", "2")), "b"), value_of((), "b")
    ('2', '')
    """
    for each, value in headers:
        if each == name:
            return value
    return ""


def inflation(host: str, headers: Headers) -> Inflation | None:
    """What undoes the content-encoding that *headers* tell of; `None` when there is nothing to undo."""
    codings = [word for part in value_of(headers, "content-encoding").split(",") if (word := part.strip().lower())]
    match [coding for coding in codings if coding != "identity"]:
        case []:
            return None
        case ["gzip" | "x-gzip"]:
            return Inflation(host, "gzip")
        case ["deflate"]:
            return Inflation(host, "deflate")
        case _:
            raise BadReply(f"{host} sent a body with content-encoding {', '.join(codings)}, which nobody asked for")


class Inflation:
    """Undoes gzip or deflate, in pieces of at most 64 KiB, so that no small body grows large before it is noticed."""

    __slots__ = ("_begun", "_coding", "_host", "_inflater")

    def __init__(self, host: str, coding: str) -> None:
        self._host = host
        self._coding = coding
        self._inflater = _inflater(coding)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that *data* makes."""
        full = False
        while data or full:
            if self._inflater.eof:
                if data[:1] != b"\x1f":
                    return  # what follows the end and is no further gzip member means nothing, as for browsers
                self._inflater = _inflater("gzip")
            piece = self._inflated(data)
            data = self._inflater.unconsumed_tail or self._inflater.unused_data
            # A full piece may have left more inside even when all input is used up.
            full = len(piece) == PIECE and not self._inflater.eof
            if piece:
                yield piece

    def end(self) -> None:
        """Raise if the body ended before its last byte was told."""
        if self._begun and not self._inflater.eof:
            raise Unreachable(f"the reply of {self._host} was cut: its {self._coding} data has no end")

    def _inflated(self, data: bytes) -> bytes:
        first, self._begun = not self._begun, True
        try:
            return self._inflater.decompress(data, PIECE)
        except zlib.error as error:
            if first and self._coding == "deflate":  # some servers send deflate without the zlib frame
                self._inflater, self._coding = _inflater("raw"), "raw deflate"
                return self._inflated(data)
            raise BadReply(f"the body that {self._host} sent is not {self._coding}, as it says it is") from error


def _inflater(coding: str) -> zlib._Decompress:  # its type has no other name
    return zlib.decompressobj({"gzip": 31, "deflate": 15, "raw": -15}[coding])


class Gathering:
    """The body of a reply as it gathers, to at most *most* bytes."""

    __slots__ = ("_host", "_inflation", "_most", "_parts", "_size")

    def __init__(self, host: str, headers: Headers, most: int) -> None:
        self._host = host
        self._most = most
        self._inflation = inflation(host, headers)
        self._parts: list[bytes] = []
        self._size = 0
        if (length := value_of(headers, "content-length")).isdecimal() and int(length) > most:
            raise too_large(host, most)

    def add(self, part: bytes) -> None:
        """Take the next part as it came from the network."""
        if self._inflation is None:
            self._take(part)
        else:
            for piece in self._inflation.feed(part):
                self._take(piece)

    def whole(self) -> bytes:
        """All of the body, decoded."""
        if self._inflation is not None:
            self._inflation.end()
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            self._parts.clear()
            raise too_large(self._host, self._most)
        self._parts.append(piece)


def too_large(host: str, most: int) -> BadReply:
    """The body is larger than was allowed."""
    return BadReply(f"the reply of {host} is larger than {most} bytes, the limit for a body: raise it with max_body=")

"""Chat Completions, the wire format that nearly every provider speaks, read leniently and written plainly."""

from __future__ import annotations

from functools import lru_cache

from attrs import frozen

from arshai_kit._record import Record
from arshai_kit.dialects.chat._reply import parsed
from arshai_kit.dialects.chat._request import STANDARD, Style, body, messages, request
from arshai_kit.dialects.chat._stream import Told, advance
from arshai_kit.effects import Reply, Request
from arshai_kit.models import Ask, Dialect, Endpoint
from arshai_kit.records import Response

__all__ = [
    "CHAT",
    "STANDARD",
    "Style",
    "advance",
    "body",
    "build",
    "chat_dialect",
    "messages",
    "parse",
    "request",
    "start",
]


@frozen(eq=False, repr=False)
class _Built(Record):
    """Builds requests in *style*; a record, so that dialects of one style are equal, also in another process."""

    style: Style

    def __call__(self, endpoint: Endpoint, ask: Ask, stream: bool) -> Request:  # noqa: FBT001  # as Dialect says
        """The request that puts *ask* to *endpoint*."""
        return request(endpoint, ask, self.style, stream=stream)


build = _Built(STANDARD)


def parse(endpoint: Endpoint, reply: Reply) -> Response:
    """The response that *reply* holds as a whole; raises the error that it tells."""
    return parsed(endpoint, reply)


def start(endpoint: Endpoint, headers: tuple[tuple[str, str], ...] = ()) -> Told:
    """The state of a stream of which nothing has come yet."""
    return Told(endpoint, headers)


@lru_cache(maxsize=64)
def chat_dialect(style: Style = STANDARD) -> Dialect:
    """Chat Completions, written in *style*.

    >>> chat_dialect(Style()) == CHAT
    True
    """
    return Dialect(_Built(style), parse, start, advance)


CHAT = chat_dialect()

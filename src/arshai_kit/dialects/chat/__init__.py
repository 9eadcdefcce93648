"""Chat Completions, the wire format that nearly every provider speaks, read leniently and written plainly."""

from __future__ import annotations

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
    "messages",
    "parse",
    "request",
    "start",
]


def build(endpoint: Endpoint, ask: Ask, stream: bool) -> Request:  # noqa: FBT001  # as Dialect says
    """The request that puts *ask* to *endpoint*."""
    return request(endpoint, ask, STANDARD, stream=stream)


def parse(endpoint: Endpoint, reply: Reply) -> Response:
    """The response that *reply* holds as a whole; raises the error that it tells."""
    return parsed(endpoint, reply)


def start(endpoint: Endpoint, headers: tuple[tuple[str, str], ...] = ()) -> Told:
    """The state of a stream of which nothing has come yet."""
    return Told(endpoint, headers)


CHAT = Dialect(build, parse, start, advance)

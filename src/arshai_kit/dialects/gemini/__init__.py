"""generateContent, the wire format of Google's Gemini models, at the Gemini API and at Vertex AI."""

from __future__ import annotations

from typing import Any

from arshai_kit.dialects.failures import decoded, request_id
from arshai_kit.dialects.gemini._contents import generation
from arshai_kit.dialects.gemini._failure import refused, told
from arshai_kit.dialects.gemini._parts import read
from arshai_kit.dialects.gemini._reply import response
from arshai_kit.dialects.gemini._request import address, asked, body, counting, effort, path
from arshai_kit.dialects.gemini._stream import Told, advance
from arshai_kit.effects import Reply, Request
from arshai_kit.errors import BadReply
from arshai_kit.models import Ask, Dialect, Endpoint
from arshai_kit.records import Response

__all__ = [
    "GEMINI",
    "address",
    "advance",
    "body",
    "build",
    "count",
    "counted",
    "effort",
    "generation",
    "parse",
    "path",
    "refused",
    "start",
    "told",
]


def build(endpoint: Endpoint, ask: Ask, stream: bool) -> Request:  # noqa: FBT001  # as Dialect says
    """The request that puts *ask* to *endpoint*."""
    return asked(endpoint, ask, stream=stream)


def parse(endpoint: Endpoint, reply: Reply) -> Response:
    """The response that *reply* holds as a whole; a stream without `alt=sse` is a list of chunks."""
    body = _body(endpoint, reply)
    try:
        if isinstance(body, list):
            return _folded(endpoint, reply, body)
        if body.get("error"):
            raise told(endpoint, body, headers=reply.headers)
        return response(endpoint, body, reply.headers)
    except ValueError as error:
        called = request_id(reply.headers)
        raise BadReply(f"what came cannot be kept: {error}", status=reply.status, request_id=called) from error


def _body(endpoint: Endpoint, reply: Reply) -> Any:
    if reply.status >= 300:
        raise refused(endpoint, reply)
    try:
        body = read(reply.body)
    except ValueError:
        body = None  # what comes next tells what is wrong
    return body if isinstance(body, dict | list) else decoded(endpoint, reply)


def _folded(endpoint: Endpoint, reply: Reply, chunks: list[Any]) -> Response:
    state = start(endpoint, reply.headers)
    for each in chunks:
        state.chunk(each)
    state.close()
    found = response(endpoint, state.body(), reply.headers)
    if not state.complete():
        raise state.incomplete()
    return found


def start(endpoint: Endpoint, headers: tuple[tuple[str, str], ...] = ()) -> Told:
    """The state of a stream of which nothing has come yet."""
    return Told(endpoint, headers)


def count(endpoint: Endpoint, ask: Ask) -> Request:
    """The request that counts the tokens of *ask*."""
    return counting(endpoint, ask)


def counted(endpoint: Endpoint, reply: Reply) -> int:
    """The tokens that *reply* counts."""
    found = _body(endpoint, reply)
    total = found.get("totalTokens") if isinstance(found, dict) else None
    if type(total) is not int:
        raise BadReply(
            "what came counts no tokens: it has no totalTokens",
            status=reply.status,
            request_id=request_id(reply.headers),
        )
    return total


GEMINI = Dialect(build, parse, start, advance, count, counted)

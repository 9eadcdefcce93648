"""Whoever reads a recorded stream: a bare splitter with a JSON parser, ours, and the SDKs of OpenAI and Google."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

from arshai_kit.errors import ProviderError
from arshai_kit.models import Dialect, Endpoint
from arshai_kit.records import Finished
from arshai_kit.sse import Splitter
from benchmarks.recordings import Recorded

Reader: TypeAlias = Callable[[Recorded], object]
SDKS: Mapping[str, str] = {"chat": "openai", "responses": "openai", "gemini": "google-genai"}
"""Whose accumulation of a dialect's streams is timed beside ours."""


def bare(loads: Callable[[bytes], Any]) -> Reader:
    """Split by hand on blank lines, and parse what is data with *loads*; nothing is made of it."""

    def read(stream: Recorded) -> None:
        for data in events(stream.pieces):
            try:  # noqa: SIM105  # `suppress` is slower
                loads(data)
            except ValueError:  # a few of the recordings hold what is no JSON
                pass

    return read


def events(pieces: Iterable[bytes]) -> Iterator[bytes]:
    r"""The data of the events in *pieces*.

    >>> list(events([b'event: a\r\ndata: 1\r', b'\n\r\nda', b'ta: [DONE]\n\n']))
    [b' 1']
    """
    held = b""
    for piece in pieces:
        held += piece
        if b"\r" in held:
            held = held.replace(b"\r\n", b"\n")
        *blocks, held = held.split(b"\n\n")
        for block in blocks:
            for line in block.split(b"\n"):
                if line.startswith(b"data:") and not line.endswith(b"[DONE]"):
                    yield line[5:]


def kit(dialect: str) -> Reader:
    """Ours: bytes to events and the response."""
    endpoint = Endpoint(name="recorded", base_url="http://127.0.0.1/v1", dialect=spoken(dialect), api_key="k")

    def read(stream: Recorded) -> bool:
        try:
            return type(told(endpoint, stream)[-1]) is Finished
        except ProviderError:  # what is recorded is an error, or a stream that was cut
            return False

    return read


def told(endpoint: Endpoint, stream: Recorded) -> list[Any]:
    """All events that *stream* tells, as a plan hears them."""
    split, advance = Splitter(endpoint.max_body).feed, endpoint.dialect.advance
    state, out = endpoint.dialect.start(endpoint, stream.headers), list[Any]()
    for piece in (*stream.pieces, b""):
        for sent in split(piece):
            state, more = advance(state, sent)
            out += more
    out += advance(state, None)[1]
    return out


def spoken(dialect: str) -> Dialect:
    """The dialect with this name."""
    if dialect == "chat":
        from arshai_kit.dialects.chat import CHAT

        return CHAT
    if dialect == "responses":
        from arshai_kit.dialects.responses import RESPONSES

        return RESPONSES
    from arshai_kit.dialects.gemini import GEMINI

    return GEMINI


def installed(dialect: str) -> str:
    """The version of the SDK for *dialect*; empty if it is not installed."""
    try:
        return version(SDKS[dialect])
    except PackageNotFoundError:
        return ""


def sdk(dialect: str) -> Reader:
    """The SDK's way with the streams of *dialect*: bytes to its own records, and what it puts together of them."""
    return {"chat": openai_chat, "responses": openai_responses, "gemini": google_genai}[dialect]()


class _Body:
    """As much of an HTTP response as OpenAI's `Stream` reads."""

    request: Any = None

    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        self.pieces = pieces

    def iter_bytes(self) -> Iterator[bytes]:
        """The bytes."""
        return iter(self.pieces)

    def close(self) -> None:
        """Nothing is open."""


@cache
def openai_client() -> Any:
    """A client that never sends anything."""
    from openai import OpenAI

    return OpenAI(api_key="k", base_url="http://127.0.0.1/v1")


def openai_chat() -> Reader:
    """Chunks, put together by `ChatCompletionStreamState`."""
    from openai import Stream
    from openai.lib.streaming.chat import ChatCompletionStreamState
    from openai.types.chat import ChatCompletionChunk

    def read(stream: Recorded) -> object:
        state = ChatCompletionStreamState()
        body: Any = _Body(stream.pieces)
        for chunk in Stream(cast_to=ChatCompletionChunk, response=body, client=openai_client()):
            for _ in state.handle_chunk(chunk):
                pass
        return state.current_completion_snapshot

    return read


def openai_responses() -> Reader:
    """Events, put together by `ResponseStreamState`."""
    from openai import Stream
    from openai._types import omit
    from openai.lib.streaming.responses._responses import ResponseStreamState
    from openai.types.responses import ResponseStreamEvent

    def read(stream: Recorded) -> object:
        state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
        body: Any = _Body(stream.pieces)
        cast_to: Any = ResponseStreamEvent
        for event in Stream(cast_to=cast_to, response=body, client=openai_client()):
            state.handle_event(event)
        return state

    return read


def google_genai() -> Reader:
    """Chunks only: this SDK puts nothing together."""
    import httpx
    from google.genai import types
    from google.genai._api_client import HttpResponse
    from google.genai.models import _GenerateContentResponse_from_mldev as studio
    from google.genai.models import _GenerateContentResponse_from_vertex as vertex

    def read(stream: Recorded) -> object:
        shape: Any = vertex if "vertex" in stream.name else studio
        body = HttpResponse({}, httpx.Response(200, content=iter(stream.pieces)))
        return [
            types.GenerateContentResponse._from_response(response=shape(chunk, None, None), kwargs={})
            for chunk in body.segments()
        ]

    return read

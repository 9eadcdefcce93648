"""The twelve ways of asking: once or with a tool, as a whole or streamed, by blocking, on asyncio and on trio."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import define, field, frozen

from arshai_kit import Finished, Response, TextDelta, aio, complete, openai_compatible, run_tools, stream
from arshai_kit.errors import ArshaiError
from arshai_kit.models import Endpoint
from arshai_kit.records import Event
from tests.transport.server import Behaviour, Peer, Server, serving

KEY = "sk-very-private/0123456789-abcdef"
TESTS = str(Path(__file__).parents[1])
SECOND = 60.0
"""Seconds that nothing here ever takes, unless it hangs."""


@define
class Came:
    """What came of a question: what was told, the answer or the error, and how often the tool ran."""

    events: list[Event] = field(factory=list)
    response: Response | None = None
    error: BaseException | None = None
    ran: list[str] = field(factory=list)

    @property
    def told(self) -> str:
        """The words that a listener has seen."""
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))


@frozen
class Way:
    """How a model is asked."""

    mode: str
    backend: str = ""

    @property
    def name(self) -> str:
        """What a test of it is called."""
        return f"{self.mode}-{self.backend or 'sync'}"

    @property
    def streams(self) -> bool:
        """Whether the reply is asked for as a stream."""
        return self.mode.endswith("stream")

    @property
    def loops(self) -> bool:
        """Whether there is a tool, and a round with it before the reply that is looked at."""
        return self.mode.startswith("tools")

    def ask(self, model: Endpoint, prompt: Any = "What is the weather in Oslo?", **options: Any) -> Came:
        """What comes of asking *model*; no exception but those of ours leaves it."""
        came = Came()

        def weather(city: str) -> str:
            """Tell the weather of a city."""
            came.ran.append(city)
            return f"rain in {city}"

        if self.loops:
            options.setdefault("tools", [weather])
        try:
            self._asked(came, model, prompt, options)
        except ArshaiError as error:
            came.error = error
        return came

    def _asked(self, came: Came, model: Endpoint, prompt: Any, options: dict[str, Any]) -> None:
        if self.backend:
            anyio.run(self._awaited, came, model, prompt, options, backend=self.backend)
        elif self.streams:
            with stream(model, prompt, **options) as events:
                for event in events:
                    _heard(came, event)
        else:
            came.response = (run_tools if self.loops else complete)(model, prompt, **options)

    async def _awaited(self, came: Came, model: Endpoint, prompt: Any, options: dict[str, Any]) -> None:
        if self.streams:
            async with aio.stream(model, prompt, **options) as events:
                async for event in events:
                    _heard(came, event)
        else:
            asked: Any = aio.run_tools if self.loops else aio.complete
            came.response = await asked(model, prompt, **options)


def _heard(came: Came, event: Event) -> None:
    came.events.append(event)
    if isinstance(event, Finished):
        came.response = event.response


WAYS = tuple(
    Way(mode, backend)
    for mode in ("complete", "stream", "tools", "tools-stream")
    for backend in ("", "asyncio", "trio")
)


def ways(fits: Callable[[Way], bool] = lambda _: True) -> pytest.MarkDecorator:
    """Every way that *fits*, as a parameter of that name."""
    return pytest.mark.parametrize("way", [pytest.param(way, id=way.name) for way in WAYS if fits(way)])


everyway = ways()
streaming = ways(lambda way: way.streams)


# What a server says

Act = bytes | Behaviour
"""A reply, after which the connection is kept; or what is done with the connection, which is closed then."""


def body(data: Any, *headers: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """A whole reply."""
    content: bytes = data if isinstance(data, bytes) else json.dumps(data).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def sent(*pieces: bytes, end: bool = True, kind: str = "text/event-stream") -> bytes:
    """A streamed reply, one chunk for each piece; without its *end*, it is cut."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    told = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces)
    return head + told + (b"0\r\n\r\n" if end else b"")


def cut(data: bytes, *, rudely: bool = False) -> Behaviour:
    """Say *data*, and hang up."""

    def act(peer: Peer) -> None:
        peer.send(data)
        if rudely:
            peer.reset()

    return act


def chunk(delta: Any, finish: str | None = None, **more: Any) -> bytes:
    """One chunk of an answer, as a server-sent event."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c-1", "model": "toy-1", "choices": [choice], **more}).encode() + b"\n\n"


def calling(arguments: str, index: Any = 0, key: str = "call_1", name: str = "weather") -> bytes:
    """A fragment of a call."""
    call = {"index": index, "id": key, "type": "function", "function": {"name": name, "arguments": arguments}}
    return chunk({"tool_calls": [{name: value for name, value in call.items() if value is not None}]})


def message(told: Any, finish: Any = "stop") -> Any:
    """The body of a whole answer."""
    return {
        "id": "c-1",
        "model": "toy-1",
        "choices": [{"index": 0, "message": {"role": "assistant", **told}, "finish_reason": finish}],
    }


DONE = b"data: [DONE]\n\n"
_CALL = {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bergen"}'}}
FIRST = message({"content": "Let me see.", "tool_calls": [_CALL]}, "tool_calls")
FIRST_STREAMED = sent(
    chunk({"role": "assistant", "content": "Let me see."}),
    calling('{"city": "Bergen"}', key="call_0"),
    chunk({}, "tool_calls"),
    DONE,
)


@contextmanager
def answering(*acts: Act) -> Iterator[Server]:
    """A server that answers each request with the next of *acts*, whatever the connection; the last one stays."""
    turns = count()

    def behave(peer: Peer) -> None:
        while peer.request():
            act = acts[min(next(turns), len(acts) - 1)]
            if not isinstance(act, bytes):
                act(peer)
                return
            peer.send(act)

    with serving(behave) as server:
        yield server


def before(way: Way) -> Sequence[Act]:
    """The round with a tool that goes before what *way* looks at, if it has one."""
    return () if not way.loops else (FIRST_STREAMED if way.streams else body(FIRST),)


def model_at(server: Server | str, **options: Any) -> Endpoint:
    """A model that lives at *server*."""
    address = server if isinstance(server, str) else f"{server.url}/v1"
    return openai_compatible("toy-1", base_url=address, **{"api_key": KEY, "retry": None, **options})


def asked(way: Way, *acts: Act, **options: Any) -> Came:
    """What comes of asking, this *way*, a server that acts so; a round with a tool goes before."""
    with answering(*before(way), *acts) as server:
        return way.ask(model_at(server, **options))


# What holds for every error


def kept(error: BaseException | None, way: Way) -> Response | None:
    """What the failed reply itself left in `partial`; what the rounds before had is looked at here."""
    assert isinstance(error, ArshaiError)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.partial) == (type(error), str(error), error.partial)
    partial = error.partial
    if not way.loops:
        return partial  # type: ignore[no-any-return]  # an error may hold anything
    assert isinstance(partial, Response)
    assert [run.result for run in partial.tool_runs][:1] == ["rain in Bergen"]
    assert [each.role for each in partial.messages[:2]] == ["assistant", "tool"]
    return None if len(partial.messages) == 2 else Response(partial.messages[2:])


def shows_no_key(error: BaseException | None, log: Iterable[logging.LogRecord] = ()) -> None:
    """Nothing that an error says or a log holds has the key in it, nor half of it."""
    told = "" if error is None else "".join((str(error), repr(error), repr(vars(error)), *_traced(error)))
    told += "".join(record.getMessage() for record in log)
    for secret in (KEY, KEY.replace("/", "\\/"), KEY[:12], KEY[-12:]):
        assert secret not in told
    if error is not None:
        assert KEY.encode() not in pickle.dumps(error)


def _traced(error: BaseException) -> Sequence[str]:
    return traceback.format_exception(error)


def variables(error: BaseException | None) -> Iterator[str]:
    """What tools that report errors with the variables of each frame show, but for those of the tests."""
    told = None if error is None else traceback.TracebackException.from_exception(error, capture_locals=True)
    while told is not None:
        for frame in told.stack:
            if not frame.filename.startswith(TESTS):
                yield from [f"{name}={value} in {frame}" for name, value in (frame.locals or {}).items()]
        told = told.__cause__ or told.__context__

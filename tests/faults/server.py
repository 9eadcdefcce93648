"""A server of models that does, byte by byte, what a row says, and notes what it saw."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, repeat
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from tests.badinput.ways import DONE, FIRST, FIRST_STREAMED, body, chunk, message, sent
from tests.transport.server import SOON, relay, server_context


@frozen
class Mark:
    """What is done with a connection, beside sending."""

    name: str


STALL: Final = Mark("stall")
"""Say nothing until the client hangs up."""
RESET: Final = Mark("reset")
"""Hang up in the rudest way."""
CLOSE: Final = Mark("close")
"""Hang up."""
LEAVE: Final = Mark("leave")
"""Hang up on a client that has its whole reply, and may not know of it until it asks again."""
RELAY: Final = Mark("relay")
"""As a proxy, pass on all bytes to where a CONNECT wanted to go."""


@frozen
class Again:
    """*data* again and again, a *pause* between: for ever (until the client hangs up), or so many *times*."""

    data: bytes
    pause: float = 0.0
    times: int | None = None


@frozen
class Drip:
    """*data* byte by byte, a *pause* between, and from its begin again until the client hangs up."""

    data: bytes
    pause: float = 0.02


@frozen
class Pause:
    """Nothing for some *seconds*, or until the client hangs up."""

    seconds: float


Piece: TypeAlias = bytes | Mark | Again | Drip | Pause
Script: TypeAlias = Sequence[Piece]
Act: TypeAlias = "Script | Callable[[Asked], Script]"


@frozen
class Asked:
    """One request: when it came, on which connection, what it said; *looked_at* unless it is the round before."""

    when: float
    line: int
    head: bytes
    content: Any
    elsewhere: str = ""
    looked_at: bool = True

    @property
    def streamed(self) -> bool:
        """Whether it asks for a stream."""
        return isinstance(self.content, dict) and bool(self.content.get("stream"))

    @property
    def target(self) -> str:
        """Where it wants to go."""
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers, names in small letters."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def begins(self) -> bool:
        """Whether it begins a loop: it has tools, and no result of one."""
        if not isinstance(self.content, dict) or not self.content.get("tools"):
            return False
        return all(each.get("role") != "tool" for each in self.content["messages"])


# What a server says


def says(text: str) -> Act:
    """An answer of these words: a stream to whom asks for one, in one event for each word."""

    def script(asked: Asked) -> Script:
        if not asked.streamed:
            return (body(message({"content": text})),)
        words = [chunk({"content": word}) for word in text.splitlines(keepends=True)]
        return (sent(chunk({"role": "assistant"}), *words, chunk({}, "stop"), DONE),)

    return script


hello: Final = says("Hello")
"""The ordinary answer."""


def either(whole: Act, streamed: Act) -> Act:
    """This *whole* act, or the *streamed* one to whom asks for a stream."""

    def script(asked: Asked) -> Script:
        act = streamed if asked.streamed else whole
        return act(asked) if callable(act) else act

    return script


def then(act: Act, *pieces: Piece) -> Act:
    """*act*, and these *pieces* after it."""
    return lambda asked: (*(act(asked) if callable(act) else act), *pieces)


def cut_at(act: Act, at: int, *pieces: Piece) -> Act:
    """The first *at* bytes (the last are left out, below zero) of what *act* says, and these *pieces* after them."""

    def script(asked: Asked) -> Script:
        (said,) = act(asked) if callable(act) else act
        assert isinstance(said, bytes)
        return (said[:at], *pieces)

    return script


def status(code: int, *headers: str, content: Any = None, kind: str = "application/json") -> Script:
    """A reply that tells of a failure as OpenAI does."""
    told = {"error": {"message": f"told so: {code}", "type": "told", "code": None}} if content is None else content
    return (body(told, *headers, status=f"{code} Told", kind=kind),)


# The server


@define
class Line:
    """One connection: who ended it, and whether what was last said leaves it open."""

    number: int
    sock: socket.socket
    kept: bool = True
    closed_by: str = ""
    over: Event = field(factory=Event)
    buffer: bytes = b""

    def read(self) -> bool:
        """Wait for more bytes; false at the end."""
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def hung_up(self, seconds: float) -> bool:
        """Wait so long for the client to hang up."""
        self.sock.settimeout(seconds)
        try:
            while self.read():
                pass
        except TimeoutError:
            return False
        finally:
            self.sock.settimeout(SOON)
        return True

    def reset(self) -> None:
        """Hang up in the rudest way, also below TLS."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class _TheyClosedError(Exception):
    """The client has hung up."""


class FaultServer:
    """Answers each request with the next of *acts*; *greets* is done before any request, and instead of TLS.

    With *before*, the first request of a tool loop is answered by a call, and none of *acts* is used up.
    """

    def __init__(
        self, acts: Sequence[Act], *, greets: Script = (), tls: bool = False, before: bool = True, elsewhere: str = ""
    ) -> None:
        self.acts, self.greets, self.before, self.elsewhere = acts, greets, before, elsewhere
        self.asked: list[Asked] = []
        self.lines: list[Line] = []
        self.errors: list[BaseException] = []
        self._turns, self._lock = count(), Lock()
        self._tls = server_context() if tls else None
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads = [Thread(target=self._accept, daemon=True, name="fault server")]
        self._threads[0].start()

    @property
    def seen(self) -> list[Asked]:
        """The requests that are looked at."""
        return [asked for asked in self.asked if asked.looked_at]

    def close(self) -> None:
        """Stop, and hang up on whoever is still there."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for line in self.lines:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(line.sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SOON)
        assert not any(thread.is_alive() for thread in self._threads), "a thread of the server does not end"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            line = Line(len(self.lines), sock)
            self.lines.append(line)
            thread = Thread(target=self._serve, args=(line,), daemon=True, name="fault server")
            self._threads.append(thread)
            thread.start()

    def _serve(self, line: Line) -> None:
        line.sock.settimeout(SOON)
        line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._spoken(line)
        except _TheyClosedError:
            line.closed_by = "them"
        except (OSError, ssl.SSLError):
            line.closed_by = line.closed_by or "them"
        except BaseException as error:  # it fails the test
            self.errors.append(error)
        finally:
            with contextlib.suppress(OSError):
                line.sock.close()
            line.over.set()

    def _spoken(self, line: Line) -> None:
        for piece in self.greets:
            line.kept = False
            self._do(line, piece, None)
        if self._tls is not None:
            line.sock = self._tls.wrap_socket(line.sock, server_side=True)
        while line.closed_by != "us":
            asked = self._request(line)
            script = self._next(asked)
            line.kept = False
            for piece in script:
                self._do(line, piece, asked)
            line.kept = line.kept or line.closed_by == ""

    def _next(self, asked: Asked) -> Script:
        if not asked.looked_at:
            return (FIRST_STREAMED if asked.streamed else body(FIRST),)
        with self._lock:
            turn = next(self._turns)
        act = self.acts[min(turn, len(self.acts) - 1)]
        return act(asked) if callable(act) else act

    def _request(self, line: Line) -> Asked:
        while b"\r\n\r\n" not in line.buffer:
            if not line.read():
                raise _TheyClosedError
        head, _, line.buffer = line.buffer.partition(b"\r\n\r\n")
        size = next((int(each[15:]) for each in head.lower().split(b"\r\n") if each.startswith(b"content-length:")), 0)
        while len(line.buffer) < size:
            if not line.read():
                raise _TheyClosedError
        content, line.buffer = line.buffer[:size], line.buffer[size:]
        asked = Asked(monotonic(), line.number, head, json.loads(content) if content else None, self.elsewhere)
        if self.before and asked.begins:
            asked = Asked(asked.when, line.number, head, asked.content, looked_at=False)
        self.asked.append(asked)
        return asked

    def _do(self, line: Line, piece: Piece, asked: Asked | None) -> None:
        match piece:
            case bytes():
                line.sock.sendall(piece)
            case Again(data, pause, times):
                for _ in repeat(None) if times is None else range(times):
                    line.sock.sendall(data)
                    self._rest(line, pause)
            case Drip(data, pause):
                while True:
                    for letter in data:
                        line.sock.sendall(bytes([letter]))
                        self._rest(line, pause)
            case Pause(seconds):
                self._rest(line, seconds)
            case Mark():
                self._mark(line, piece, asked)

    def _mark(self, line: Line, mark: Mark, asked: Asked | None) -> None:
        match mark.name:
            case "relay":
                assert asked is not None
                host, _, port = asked.target.rpartition(":")
                line.kept = True
                with socket.create_connection((host, int(port)), SOON) as upstream:
                    relay(line.sock, upstream)
                raise _TheyClosedError
            case "stall":
                self._rest(line, SOON)
            case "reset":
                line.closed_by = "us"
                line.reset()
            case _:
                line.kept = mark is LEAVE
                line.sock.shutdown(socket.SHUT_WR)
                line.closed_by = "us"
                line.hung_up(SOON)

    def _rest(self, line: Line, seconds: float) -> None:
        if seconds and line.hung_up(seconds):
            raise _TheyClosedError


@contextlib.contextmanager
def faulty(acts: Sequence[Act], **options: Any) -> Iterator[FaultServer]:
    """A server that acts so while the block runs; what went wrong in itself fails the test."""
    server = FaultServer(acts, **options)
    try:
        yield server
    finally:
        server.close()
        if server.errors:
            raise server.errors[0]

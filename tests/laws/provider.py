"""A provider on a real socket, whose replies a test writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from attrs import define, field, frozen

from arshai_kit.models import Endpoint
from arshai_kit.providers import openai_compatible

__all__ = ["Provider", "Sent", "provider", "whole"]

KEY = "sk-law-abiding-1234567890"


@frozen
class Sent:
    """One reply: its body in pieces, each flushed; *cut* breaks the connection behind them."""

    pieces: Sequence[bytes]
    status: int = 200
    kind: str = "text/event-stream"
    cut: bool = False
    headers: Sequence[tuple[str, str]] = ()


def whole(body: Any, status: int = 200, *headers: tuple[str, str]) -> Sent:
    """*body* as one JSON document."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Sent((data,), status, "application/json", headers=headers)


Answering = Callable[[dict[str, Any]], Sent]


@define
class Provider:
    """What it was asked, in order, and how it answers; *address* is where it lives."""

    address: str
    asked: list[dict[str, Any]] = field(factory=list)
    answering: Answering = lambda _: whole({}, 500)
    lock: Lock = field(factory=Lock)

    def answers(self, *replies: Sent) -> None:
        """Answer with *replies*, in their order, from now on."""
        left = list(replies)
        self.asked.clear()
        self.answering = lambda _: left.pop(0)

    def model(self, **options: Any) -> Endpoint:
        """A model that lives here."""
        return openai_compatible("toy-1", base_url=self.address, api_key=KEY, **options)


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that lives as long as the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with living.lock:
                living.asked.append(asked)
                sent = living.answering(asked)
            self.send_response(sent.status)
            self.send_header("content-type", sent.kind)
            self.send_header("transfer-encoding", "chunked")
            self.send_header("set-cookie", "session=very-private-4711")
            for name, value in sent.headers:
                self.send_header(name, value)
            self.end_headers()
            self._body(sent)

        def _body(self, sent: Sent) -> None:
            try:
                for piece in filter(None, sent.pieces):  # an empty chunk would be the end
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                if not sent.cut:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True
            self.close_connection |= sent.cut

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        living = Provider(f"http://127.0.0.1:{server.server_port}/v1")
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield living
        finally:
            server.shutdown()

"""Recorded exchanges on a real socket: one reply after another, whole or in random fragments."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

from attrs import define, field, frozen

from arshai_kit.models import Endpoint
from arshai_kit.providers import azure, gemini, openai, openai_compatible, openrouter
from tests.wire.agreement import Exchange, bytes_of, cut

__all__ = ["Asked", "Served", "model_of", "served"]

Talk = dict[str, Any]
KEY = "sk-not-a-real-key-0815"
PIECES = 150


@frozen
class Asked:
    """What was asked: *path* without its query, and *body*, parsed."""

    method: str
    path: str
    query: str
    body: Any


@define
class Served:
    """A provider that answers what was recorded, in its order, and keeps what it was asked."""

    address: str
    left: list[Exchange] = field(factory=list)
    asked: list[Asked] = field(factory=list)
    seed: int | None = None

    def answers(self, exchanges: Iterable[Exchange], seed: int | None = None) -> None:
        """Answer with *exchanges* from now on, in fragments that *seed* draws, or each in one piece."""
        self.left, self.seed = list(exchanges), seed
        self.asked.clear()

    def pieces(self, data: bytes) -> Iterable[bytes]:
        """*data* in the fragments of this time, which are small where there is not much."""
        if self.seed is None:
            return [data] if data else []
        return cut(data, random.Random(self.seed), max(40, 2 * len(data) // PIECES))


@contextmanager
def served() -> Iterator[Served]:
    """A provider that lives as long as the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            path, _, query = unquote(self.path).partition("?")
            content = self.rfile.read(int(self.headers["content-length"] or 0))
            living.asked.append(Asked(self.command, path, query, json.loads(content) if content else None))
            self._answer(living.left.pop(0))

        def do_GET(self) -> None:
            self.do_POST()

        def _answer(self, exchange: Exchange) -> None:
            data = bytes_of(exchange)
            self.send_response(exchange["status"])
            for name, value in exchange["response_headers"].items():
                self.send_header(name, value)
            if living.seed is None:
                self.send_header("content-length", str(len(data)))
            else:
                self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                self._body(data)
            except OSError:  # a stream that is read to its last event is left there
                self.close_connection = True

        def _body(self, data: bytes) -> None:
            chunked = living.seed is not None
            for piece in living.pieces(data):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            self.wfile.write(b"0\r\n\r\n" if chunked else b"")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        living = Served(f"http://127.0.0.1:{server.server_port}")
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield living
        finally:
            server.shutdown()


def model_of(talk: Talk, exchange: Exchange, address: str, **settings: Any) -> Endpoint:
    """The model that was asked in *exchange*, by the constructor that is made for its provider."""
    if talk["provider"] == "gemini":
        return _gemini(talk, exchange, address, settings)
    path, operation = exchange["url_path"], exchange["operation"]
    name = (exchange["request_body"] or {}).get("model") or "recorded"
    settings |= {"api_key": KEY}
    base = address + path.removesuffix("/chat/completions").partition("/responses")[0]
    if talk["provider"] == "azure" and path.startswith("/openai/"):
        dated = (exchange.get("query") or {}).get("api-version")
        name = path.split("/")[3] if "/deployments/" in path else name
        return azure(name, endpoint=address, api_version=dated, api=operation, **settings)
    if talk["provider"] in ("openai-chat", "openai-responses"):
        return openai(name, base_url=base, api=operation, **settings)
    if talk["provider"] == "openrouter" and operation == "chat":
        return openrouter(name, base_url=base, **settings)
    query = "&".join(f"{key}={value}" for key, value in (exchange.get("query") or {}).items())
    return openai_compatible(name, base_url=base + (f"?{query}" if query else ""), api=operation, **settings)


def _gemini(talk: Talk, exchange: Exchange, address: str, settings: dict[str, Any]) -> Endpoint:
    base, _, name = exchange["url_path"].partition("/models/")
    name = name.partition(":")[0]
    if talk["vendor"] == "vertex":
        return gemini(name, base_url=address + base, project="test-project", token=lambda: KEY, **settings)
    return gemini(name, base_url=address + base, api_key=KEY, **settings)

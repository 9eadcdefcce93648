"""What providers really sent as vectors, over a real socket: read as they must be, and asked for as recorded."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import pytest
from attrs import define, field

from arshai_kit.embeddings import embed
from arshai_kit.errors import ProviderError
from arshai_kit.providers.embedders import (
    RemoteEmbedder,
    azure_embedder,
    gemini_embedder,
    openai_compatible_embedder,
    openai_embedder,
)
from tests.wire.agreement import Exchange, bytes_of, cut

HERE = Path(__file__).parent / "data"
OPERATIONS = {"embeddings", "batchEmbedContents", "embedContent", "predict"}
KEY = "sk-not-a-real-key-0815"

INT8 = dict.fromkeys(
    ("dimensions", "first_values"), "a byte is a number here; `expected` was written by reading four of them as one"
)
"""What `expected` has otherwise."""


@define
class Replay:
    """A provider that answers what was recorded, in fragments, and keeps what it was asked."""

    address: str = ""
    exchange: Exchange = field(factory=dict)
    path: str = ""
    body: Any = None
    headers: dict[str, str] = field(factory=dict)


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    living = Replay()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            living.path, living.headers = unquote(self.path), {k.lower(): v for k, v in self.headers.items()}
            living.body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(living.exchange["status"])
            for name, value in living.exchange["response_headers"].items():
                self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in cut(bytes_of(living.exchange), random.Random(living.path), 5000):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        living.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield living
        server.shutdown()


def exchanges(folder: Path) -> Iterator[tuple[str, dict[str, Any], Exchange]]:
    for path in sorted(folder.rglob("*.json")):
        talk = json.loads(path.read_text("utf-8"))
        for place, exchange in enumerate(talk["exchanges"]):
            if exchange["operation"] in OPERATIONS:
                yield f"{talk['id']}[{place}]", talk, exchange


def asked(exchange: Exchange) -> tuple[list[str], dict[str, Any]]:
    """The texts that were sent, and the first of the objects that say how."""
    body = exchange["request_body"]
    match exchange["operation"]:
        case "embeddings":
            given = body["input"]
            return [given] if isinstance(given, str) else given, body
        case "predict":
            return [each["content"] for each in body["instances"]], body["instances"][0]
    requests = body.get("requests", [body])
    return [each["content"]["parts"][0]["text"] for each in requests], requests[0]


def embedder(talk: dict[str, Any], exchange: Exchange, address: str) -> RemoteEmbedder:
    """The embedder that asks as it was asked."""
    path, (_, how) = exchange["url_path"], asked(exchange)
    options: Any = {"retry": None}
    options["dimensions"] = how.get("dimensions") or how.get("outputDimensionality")
    if talk["provider"] == "gemini":
        base, _, name = path.partition("/models/")
        name = name.partition(":")[0]
        if talk["vendor"] == "vertex":
            task = "question answering" if name == "gemini-embedding-2" else ""
            options |= {"token": lambda: KEY, "project": "test-project", "max_batch": 250, "task": task}
            return gemini_embedder(name, base_url=address + base, **options)
        return gemini_embedder(name, base_url=address + base, api_key=KEY, **options)
    if talk["provider"] == "azure":
        dated = exchange.get("query", {}).get("api-version")
        name = path.split("/")[3] if dated else how["model"]
        return azure_embedder(name, endpoint=address, api_version=dated, api_key=KEY, **options)
    base = address + path.removesuffix("/embeddings")
    if talk["provider"] == "openai-chat":
        return openai_embedder(how["model"], base_url=base, api_key=KEY, **options)
    return openai_compatible_embedder(how["model"], base_url=base, api_key=KEY, **options)


def disagreements(talk: dict[str, Any], exchange: Exchange, replay: Replay) -> dict[str, Any]:
    """Each field of `expected` that our result has otherwise, with both."""
    replay.exchange, expected = exchange, exchange["expected"]
    texts, how = asked(exchange)
    own = embedder(talk, exchange, replay.address)
    kinds: Any = {"RETRIEVAL_QUERY": "query", "RETRIEVAL_DOCUMENT": "document"}
    kind = None if own.query.prefix else kinds.get(how.get("taskType", how.get("task_type")))
    texts = [text.removeprefix(own.plain.prefix) for text in texts]
    try:
        got = embed(own, texts, kind=kind)
    except ProviderError as error:
        told = expected["error"] or {}
        theirs: dict[str, Any] = {
            "status": told.get("status"),
            "code": str(told.get("type" if talk["provider"] == "gemini" else "code")),  # Google's code is a word
            "message": told.get("message"),
        }
        ours: dict[str, Any] = {"status": error.status, "code": error.code, "message": str(error).partition(": ")[2]}
        return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}
    usage = expected["usage"] or {}
    ours = {
        "embedding_count": len(got),
        "dimensions": [len(vector) for vector in got],
        "first_values": [pytest.approx(vector[:3], abs=1e-6, rel=1e-5) for vector in got[:2]],
        "model": got.model or None,
        "response_id": got.id or None,
        "error": None,
        **{name: value for name, value in _counted(got.usage).items() if usage.get(name) is not None},
    }
    return {
        name: (value, _of(expected, usage, name)) for name, value in ours.items() if value != _of(expected, usage, name)
    }


def _of(expected: dict[str, Any], usage: dict[str, Any], name: str) -> Any:
    return usage[name] if name in usage else expected[name]


def _counted(usage: Any) -> dict[str, Any]:
    return {"input": usage.input_tokens, "total": usage.total_tokens} if usage.reported else {}


def sent_otherwise(talk: dict[str, Any], exchange: Exchange, replay: Replay) -> list[Any]:
    """What we sent in another way than the recorded client did."""
    wrong: list[Any] = []
    query = exchange.get("query") or {}
    path = exchange["url_path"] + "".join(f"?{name}={value}" for name, value in query.items())
    if replay.path != path:
        wrong.append((replay.path, path))
    keys = {"azure": ("api-key", KEY), "google-ai": ("x-goog-api-key", KEY)}
    name, key = keys.get(talk["vendor"] or talk["provider"], ("authorization", f"Bearer {KEY}"))
    if replay.headers.get(name) != key:
        wrong.append(replay.headers)
    if "inline_data" not in json.dumps(exchange["request_body"]) and _plain(replay.body) != _plain(
        exchange["request_body"]
    ):
        wrong.append((replay.body, exchange["request_body"]))
    return wrong


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    """*body* without what may be said in several ways."""
    plain = {name: value for name, value in body.items() if name not in {"encoding_format", "model"}}
    if isinstance(plain.get("input"), str):
        plain["input"] = [plain["input"]]
    for each in plain.get("requests", ()):
        if "embedding-2" in each["model"]:
            each.pop("taskType", None)
    return plain


def wrong(folder: Path, replay: Replay) -> tuple[int, dict[str, Any]]:
    """How many exchanges there are in *folder*, and what is wrong with which."""
    count, found = 0, dict[str, Any]()
    for name, talk, exchange in exchanges(folder):
        count += 1
        differ = disagreements(talk, exchange, replay)
        if talk["vendor"] == "perplexity":
            assert differ.keys() == INT8.keys()
            assert differ["dimensions"][0] == [exchange["request_body"]["dimensions"]] * 3
            differ = {}
        if differ or (
            differ := {str(place): sent for place, sent in enumerate(sent_otherwise(talk, exchange, replay))}
        ):
            found[name] = differ
    return count, found


def test_a_recording_is_read_and_asked_for_as_it_must_be(replay: Replay) -> None:
    count, found = wrong(HERE, replay)
    assert found == {}
    assert count >= 14


def test_every_recording_is_read_and_asked_for_as_it_must_be(wire: Path, replay: Replay) -> None:
    count, found = wrong(wire / "data", replay)
    assert found == {}
    assert count == 45

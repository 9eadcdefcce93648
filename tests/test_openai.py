"""OpenAI: a name and a key make a model, over either of its APIs; whole loops go over a real socket as recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from arshai_kit import Finished, complete, evolve, request, run_tools, stream
from arshai_kit.aio import run as arun
from arshai_kit.dialects.chat import CHAT
from arshai_kit.dialects.responses import RESPONSES
from arshai_kit.effects import Secret
from arshai_kit.errors import MissingKey, Misuse, Unsupported
from arshai_kit.models import Ask, Capabilities
from arshai_kit.providers import openai, openai_compatible, retrieve
from arshai_kit.providers.openai import known
from arshai_kit.records import Response, ToolCall, assistant, user
from arshai_kit.testing import scripted

VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
RECORDED = Path(__file__).parent / "wire" / "data"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_environment_fills_in_and_what_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, ("k1", "https://gate.example/v1", "org", "proj"), strict=True):
        monkeypatch.setenv(name, value)
    model = openai("gpt-5.6-luna")
    assert (model.name, model.provider, model.base_url) == ("gpt-5.6-luna", "openai", "https://gate.example/v1")
    assert (model.api_key, model.dialect) == (Secret("k1"), RESPONSES)
    assert dict(model.headers) == {"OpenAI-Organization": "org", "OpenAI-Project": "proj"}
    given = openai(
        "m",
        api_key="k2",
        base_url="https://x.example",
        organization="",
        project="p2",
        headers={"X-Team": "a"},
        temperature=0,
    )
    assert (given.api_key, given.base_url, given.temperature) == (Secret("k2"), "https://x.example", 0)
    assert given.headers == (("OpenAI-Project", "p2"), ("X-Team", "a"))


def test_a_key_is_needed_unless_none_is_wanted() -> None:
    with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
        openai("m")
    assert openai("m", api_key="").base_url == "https://api.openai.com/v1"


def test_chat_completions_are_written_as_openai_takes_them() -> None:
    model = openai("gpt-4o", api_key="k", api="chat", max_tokens=5)
    request = model.dialect.build(model, Ask((user("Hi"),)), False)
    assert request.url == "https://api.openai.com/v1/chat/completions"
    assert json.loads(request.content)["max_completion_tokens"] == 5
    with pytest.raises(Misuse, match="'responses' or 'chat'"):
        openai("m", api_key="k", api="completions")  # type: ignore[arg-type]  # that is the point


def test_other_servers_may_speak_either() -> None:
    base = "http://localhost:11434/v1"
    assert openai_compatible("m", base_url=base).dialect == CHAT
    assert openai_compatible("m", base_url=base, api="responses").dialect == RESPONSES


@pytest.mark.parametrize("name", ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "gpt-5-2025-08-07"])
def test_models_that_always_reason_are_known_to_refuse_a_temperature(name: str) -> None:
    assert "temperature" in known(name).refused
    with pytest.raises(Unsupported, match="takes no temperature="):
        complete(openai(name, api_key="k", base_url="http://127.0.0.1:9", temperature=0), "Hi")


@pytest.mark.parametrize("name", ["o3", "o3-2025-04-16", "o4-mini", "gpt-5", "gpt-5-nano"])
def test_the_later_of_them_refuse_to_stop_where_they_are_told(name: str) -> None:
    """The first ones, which took it, and those of which nothing is known are asked."""
    with pytest.raises(Unsupported, match="takes no stop="):
        request(openai(name, api_key="k", api="chat", stop="x"), "Hi")
    for other in ("o1", "o3-mini", "o3-mini-2025-01-31", "gpt-5.1"):
        sent = request(openai(other, api_key="k", api="chat", stop="x"), "Hi")
        assert json.loads(sent.content)["stop"] in ("x", ["x"])


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-5.1", "gpt-5-chat-latest", "gpt-5.6-luna", "o5", "ft:gpt-4.1:me"])
def test_what_is_not_known_is_tried(name: str) -> None:
    assert known(name) == Capabilities()
    assert openai("o3", api_key="k", capabilities=Capabilities(tools=True)).capabilities == Capabilities(tools=True)


# Over a socket


class Replay(BaseHTTPRequestHandler):
    """Answers with the recorded exchanges of one conversation, in their order."""

    protocol_version = "HTTP/1.1"
    exchanges: list[dict[str, Any]]
    asked: list[Any]

    def do_POST(self) -> None:
        """Answer with the next exchange."""
        self.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with the next exchange."""
        exchange = self.exchanges.pop(0)
        body = exchange["response_body"]
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        assert self.path.split("?")[0] == exchange["url_path"]
        self.send_response(exchange["status"])
        self.send_header("content-type", exchange["response_headers"]["content-type"])
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def replaying(name: str) -> Iterator[tuple[str, list[dict[str, Any]], list[Any]]]:
    exchanges = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))["exchanges"]
    asked: list[Any] = []
    handler = type("Handler", (Replay,), {"exchanges": list(exchanges), "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", exchanges, asked
        server.shutdown()


def get_capital(country: str) -> str:
    """Say what the capital of a country is."""
    return f"Potato City, of {country}"


def add(a: int, b: int) -> str:
    """Add."""
    return str(a + b)


def multiply(a: int, b: int) -> str:
    """Multiply."""
    return str(a * b)


def test_a_recorded_loop_with_calls_side_by_side_runs_over_a_socket() -> None:
    with replaying("oairesp-0021") as (base, exchanges, asked):
        model = openai("gpt-4o", api_key="k", base_url=f"{base}/v1", retry=None)
        reply = run_tools(model, "2 and 3?", tools=[add, multiply])
    assert reply.text == exchanges[1]["expected"]["text"]
    assert [run.result for run in reply.tool_runs] == ["5", "6"]
    results = [item for item in asked[1]["input"] if item.get("type") == "function_call_output"]
    ids = [call["id"] for call in exchanges[0]["expected"]["tool_calls"]]
    assert [(item["call_id"], item["output"]) for item in results] == [*zip(ids, ["5", "6"], strict=True)]
    kinds = [item.get("type") for item in exchanges[1]["request_body"]["input"] if "type" in item]
    assert [item["type"] for item in asked[1]["input"] if "type" in item] == kinds


def test_a_recorded_stream_with_sealed_thoughts_runs_over_a_socket() -> None:
    with replaying("oairesp-0103") as (base, exchanges, asked):
        model = openai("gpt-5", api_key="k", base_url=f"{base}/v1", retry=None)
        *_, last = stream(model, "The capital of PotatoLand?", tools=[get_capital])
    assert isinstance(last, Finished)
    assert last.response.text == exchanges[1]["expected"]["text"]
    thought = next(item for item in asked[1]["input"] if item.get("type") == "reasoning")
    assert thought["encrypted_content"] in exchanges[0]["response_body"]
    assert (asked[0]["store"], asked[0]["include"]) == (False, ["reasoning.encrypted_content"])


@pytest.mark.anyio
async def test_what_works_in_the_background_is_asked_for_until_it_is_done() -> None:
    with replaying("oairesp-0070") as (base, _, asked):
        model = openai("m", api_key="k", base_url=f"{base}/v1", retry=None, extra={"background": True})
        queued = complete(model, "What is 2 + 2?")
        assert (queued.raw_finish_reason, queued.finish_reason, queued.message.parts) == ("queued", "other", ())
        done = await arun(retrieve, model, queued.id)
        assert (done.raw_finish_reason, done.id, bool(done.text)) == ("completed", queued.id, True)
    assert "store" not in asked[0]


def test_only_the_responses_api_keeps_responses() -> None:
    with pytest.raises(Misuse, match="api='responses'"):
        retrieve(evolve(openai("m", api_key="k", api="chat"), retry=None), "resp_1")


def test_calls_of_what_is_still_in_the_making_are_not_run() -> None:
    ran: list[str] = []

    def add(a: int) -> int:
        """Add."""
        ran.append("add")
        return a

    call = ToolCall("c", "add", {"a": 1})
    for raw in ("queued", "in_progress"):
        with scripted(Response((assistant(call),), "other", raw)):
            response = run_tools(openai("m", api_key="k"), "Add.", tools=[add])
        assert (response.finish_reason, ran) == ("other", [])
        assert "not run" in str(response.tool_runs[0].result)

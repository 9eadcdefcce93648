"""A provider on the loopback that behaves as the first part of its path says: `http://127.0.0.1:4711/cut/v1`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import MappingProxyType
from typing import Any

from attrs import define, field

SOON = 120.0
"""Seconds that nothing here ever takes, unless it hangs."""


@define
class Provider:
    """The server: where it is, what it was asked, and whether the test is over."""

    port: int
    asked: list[dict[str, Any]] = field(factory=list)
    keys: list[str | None] = field(factory=list)
    over: Event = field(factory=Event)
    gone: Event = field(factory=Event)

    def url(self, behaviour: str = "echo") -> str:
        """The base URL at which the server behaves so."""
        return f"http://127.0.0.1:{self.port}/{behaviour}/v1"

    def model(self, behaviour: str = "echo") -> str:
        """The same, as `--model` takes it."""
        return f"openai-compatible:tiny@{self.url(behaviour)}"


class Conversation(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    provider: Provider

    def do_GET(self) -> None:
        """List the models."""
        self.provider.keys.append(self.headers["authorization"])
        behaviour = self.path.split("/")[1]
        if behaviour == "echo":
            self.whole({"object": "list", "data": [{"id": "tiny"}, {"id": "large"}]})
        else:
            BEHAVIOURS[behaviour](self, {"stream": False, "messages": []})

    def do_POST(self) -> None:
        """Answer a question as the path says."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.provider.asked.append(body)
        self.provider.keys.append(self.headers["authorization"])
        try:
            BEHAVIOURS[self.path.split("/")[1]](self, body)
        except OSError:
            self.provider.gone.set()
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def whole(self, body: Any, status: int = 200, kind: str = "application/json") -> None:
        """Answer at once."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def begin(self) -> None:
        """Open a stream that ends when the connection does."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def tell(self, delta: Mapping[str, Any], finish: str | None = None) -> None:
        """Send a piece of a streamed answer."""
        chunk = {"model": "tiny-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def end(self, finish: str = "stop") -> None:
        """Say that the answer is complete."""
        self.tell({}, finish)
        self.wfile.write(b"data: [DONE]\n\n")

    def answer(self, message: Mapping[str, Any], finish: str = "stop", *, streamed: bool) -> None:
        """Answer with *message*, its words one by one where that was asked for."""
        if not streamed:
            choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
            self.whole({"model": "tiny-1", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
            return
        self.begin()
        for word in str(message.get("content") or "").splitlines(keepends=True):
            for piece in word.replace(" ", " \0").split("\0"):
                self.tell({"content": piece})
        rest = {name: value for name, value in message.items() if name != "content"}
        if rest:
            self.tell(rest)
        self.end(finish)


Behaviour = Callable[[Conversation, dict[str, Any]], None]


def _last(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", f"<{part['type']}>") for part in content)


def echo(to: Conversation, body: dict[str, Any]) -> None:
    """Say again what was said last, and how many messages there were."""
    to.answer({"content": f"{len(body['messages'])}: {_last(body)}"}, streamed=bool(body.get("stream")))


def fixed(message: dict[str, Any], finish: str = "stop") -> Behaviour:
    """Always the same answer."""
    return lambda to, body: to.answer(message, finish, streamed=bool(body.get("stream")))


def refusing(status: int, body: Any, kind: str = "application/json") -> Behaviour:
    """Always the same status."""
    return lambda to, _: to.whole(body, status, kind)


def multiplying(to: Conversation, body: dict[str, Any]) -> None:
    """Let me see, then a call of `multiply`, then its result in a sentence."""
    if body["messages"][-1]["role"] == "tool":
        to.answer({"content": f"It is {_last(body)}."}, streamed=bool(body.get("stream")))
        return
    function = {"name": "multiply", "arguments": '{"a": 23, "b": 17}'}
    call = {"index": 0, "id": "c1", "type": "function", "function": function}
    to.answer({"content": "Let me see.", "tool_calls": [call]}, "tool_calls", streamed=bool(body.get("stream")))


def garbled(to: Conversation, body: dict[str, Any]) -> None:
    """A call whose arguments are no JSON, then what it was told."""
    if body["messages"][-1]["role"] == "tool":
        to.answer({"content": _last(body)}, streamed=bool(body.get("stream")))
        return
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 23,'}}
    to.answer({"tool_calls": [call]}, "tool_calls", streamed=bool(body.get("stream")))


def typed(to: Conversation, body: dict[str, Any]) -> None:
    """JSON, if a schema came along."""
    assert body["response_format"]["json_schema"]["schema"]["properties"] == {"name": {"type": "string"}}
    to.answer({"content": '{"name": "Ann"}'}, streamed=bool(body.get("stream")))


def cut(to: Conversation, _: dict[str, Any]) -> None:
    """Begin, and hang up."""
    to.begin()
    to.tell({"content": "Once upon"})


def endless(to: Conversation, _: dict[str, Any]) -> None:
    """Say a word, and go on until the client hangs up or the test is over."""
    to.begin()
    to.tell({"content": "begun "})
    while not to.provider.over.wait(0.02):
        to.tell({"content": "more\n"})


def silent(to: Conversation, body: dict[str, Any]) -> None:
    """Say nothing for as long as the test takes."""
    to.begin()
    to.provider.over.wait(SOON)


def first_endless(to: Conversation, body: dict[str, Any]) -> None:
    """Never stop answering the first question of a conversation, and echo the others."""
    (endless if len(to.provider.asked) == 1 else echo)(to, body)


def first_failing(to: Conversation, body: dict[str, Any]) -> None:
    """Refuse the first question, and echo the others."""
    (refusing(400, {"error": {"message": "not now"}}) if len(to.provider.asked) == 1 else echo)(to, body)


def leaking(to: Conversation, _: dict[str, Any]) -> None:
    """Refuse a key, and repeat it."""
    to.whole({"error": {"message": f"Incorrect API key: {to.headers['authorization']}"}}, 401)


BEHAVIOURS: Mapping[str, Behaviour] = MappingProxyType(
    {
        "blocked": fixed({"content": "Well"}, "content_filter"),
        "citing": fixed({"content": "The owner repairs the roof [1]. Elephants fly to Mars at noon."}),
        "colours": fixed({"content": "a\x1b[31mb\rc\u009bd"}),
        "cut": cut,
        "echo": echo,
        "empty": fixed({"content": ""}),
        "endless": endless,
        "garbled": garbled,
        "first-endless": first_endless,
        "first-failing": first_failing,
        "html": refusing(200, b"<html><title>Welcome</title></html>", "text/html"),
        "leaking": leaking,
        "length": fixed({"content": "Once upon"}, "length"),
        "missing": refusing(404, {"error": {"message": "no model 'tiny'"}}),
        "multiply": multiplying,
        "nonsense": fixed({"content": "no JSON"}),
        "refusal": fixed({"refusal": "I would rather not."}),
        "silent": silent,
        "surrogate": refusing(200, b'{"choices":[{"message":{"content":"a\\ud800b"},"finish_reason":"stop"}]}'),
        "thinking": fixed({"content": "So.", "reasoning_content": "Hm."}),
        "typed": typed,
    }
)


@contextmanager
def providing() -> Iterator[Provider]:
    """The server, while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Conversation)
    provider = Provider(server.server_address[1])
    server.RequestHandlerClass = type("Bound", (Conversation,), {"provider": provider})
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.over.set()
        server.shutdown()
        server.server_close()
        thread.join(SOON)

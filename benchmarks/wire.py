"""The replies of the fake provider as ready bytes; a scenario is the first part of a path, such as `stream-400`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from json import dumps
from typing import Any

ROUNDS, CALLS = 5, 4
"""The agent row: so many rounds, with so many tool calls side by side in each."""

USAGE = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}


def compact(value: Any) -> str:
    """*value* in JSON without spaces, as providers send it.

    >>> compact({"a": [1, 2]})
    '{"a":[1,2]}'
    """
    return dumps(value, separators=(",", ":"))


def choice(message: dict[str, Any], finish: str) -> dict[str, Any]:
    """The one choice of a whole reply."""
    return {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish}


def reply(message: dict[str, Any], finish: str = "stop") -> bytes:
    """A whole Chat Completions reply, head and body."""
    body = {"id": "chatcmpl-bench", "object": "chat.completion", "created": 1700000000, "model": "bench-1"}
    return framed(200, {**body, "choices": [choice(message, finish)], "usage": USAGE})


def framed(status: int, body: Any, *headers: str) -> bytes:
    """An HTTP/1.1 reply that leaves the connection open."""
    data = compact(body).encode()
    lines = [f"HTTP/1.1 {status} -", "content-type: application/json", f"content-length: {len(data)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + data


def chunk(data: bytes) -> bytes:
    r"""One server-sent event in an HTTP chunk of its own, as providers send them.

    >>> chunk(b"[DONE]")
    b'e\r\ndata: [DONE]\n\n\r\n'
    """
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def delta(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """One chunk of a streamed reply."""
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1700000000, "model": "bench-1"}
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return chunk(compact({**head, "system_fingerprint": "fp_bench", "choices": choices}).encode())


STREAM_HEAD = b"HTTP/1.1 200 -\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def word(n: int) -> str:
    """The text of the n-th streamed chunk.

    >>> "".join(map(word, range(3)))
    'word0 word1 word2 '
    """
    return f"word{n} "


@cache
def streamed(chunks: int) -> tuple[bytes, ...]:
    """A streamed reply of *chunks* words, one part a write."""
    texts = [delta({"content": word(n)}) for n in range(chunks)]
    usage = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "model": "bench-1", "choices": []}
    tail = delta({}, "stop") + chunk(compact({**usage, "usage": USAGE}).encode()) + chunk(b"[DONE]") + b"0\r\n\r\n"
    return (STREAM_HEAD + delta({"role": "assistant", "content": ""}), *texts, tail)


@cache
def asking(number: int) -> bytes:
    """The reply of one agent round: *CALLS* tool calls."""
    calls = [
        {"id": f"call_{number}_{n}", "type": "function", "function": {"name": "weather", "arguments": arguments(n)}}
        for n in range(CALLS)
    ]
    return reply({"content": None, "tool_calls": calls}, "tool_calls")


def arguments(n: int) -> str:
    """What the n-th call of a round asks for."""
    return compact({"city": f"City {n}", "days": n})


def items(count: int) -> list[dict[str, Any]]:
    """The list that a typed answer holds."""
    return [{"name": f"item {n}", "price": n * 1.5, "count": n, "tags": ["new", "red"]} for n in range(count)]


SAID = "The Karun, the Sefid-Rud and the Karkheh. " * 5
TEXT = reply({"content": SAID})


def rounds_done(body: bytes) -> int:
    """How many rounds of tool calls a request already holds the answers of."""
    return (body.count(b'"role":"tool"') + body.count(b'"role": "tool"')) // CALLS


@cache
def listed(count: int, key: str) -> bytes:
    """A reply whose text is a JSON object with a list of *count* items under *key*."""
    return reply({"content": compact({key: items(count)})})


def refused(status: int) -> bytes:
    """An error as the provider words it."""
    return framed(status, {"error": {"message": "no", "type": "bench", "code": "bench"}}, "retry-after: 0")


def whole(scenario: str, body: bytes) -> bytes:
    """What the provider answers at once.

    >>> whole("error-429", b"")[:12]
    b'HTTP/1.1 429'
    """
    match scenario.split("-"):
        case ["agent"]:
            done = rounds_done(body)
            return asking(done) if done < ROUNDS else TEXT
        case ["list", count, key]:
            return listed(int(count), key)
        case ["stream", count]:
            return b"".join(streamed(int(count)))
        case ["error", status]:
            return refused(int(status))
        case _:
            return TEXT


def dripped(scenario: str) -> tuple[Iterator[bytes], float] | None:
    """The parts of a slow stream and the seconds between them: `drip-20-10` is 20 words, 10 ms apart."""
    match scenario.split("-"):
        case ["drip", count, pause]:
            return iter(streamed(int(count))), int(pause) / 1000
        case _:
            return None

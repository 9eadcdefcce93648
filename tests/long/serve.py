"""A provider in a process of its own: quick, for thousands of connections, and telling how many there were.

`python -m tests.long.serve` prints its port. The first part of a path says how it behaves:
`http://127.0.0.1:4711/talk/v1/chat/completions`; `GET /counts` tells what it has seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from attrs import define

WORDS = ("once ", "upon ", "a ", "time ", "there ", "was ", "a ", "small ", "model ", "here. ")
PAUSE = 0.01
"""Seconds between the words of a slow stream."""


@define
class Counts:
    """What the server has seen: connections open now and at most, exchanges under way now and at most, and in all."""

    connections: int = 0
    most_connections: int = 0
    under_way: int = 0
    most_under_way: int = 0
    asked: int = 0
    given_up: int = 0


def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """One chunk, as a chunk of HTTP."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = b"data: " + json.dumps({"id": "c", "model": "toy", "choices": [choice]}).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def calls(number: int) -> list[dict[str, Any]]:
    """Calls of `double`."""
    return [
        {"index": place, "id": f"c{place}", "function": {"name": "double", "arguments": json.dumps({"number": place})}}
        for place in range(number)
    ]


BEGIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


async def told(behaviour: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
    """The reply, in pieces; an empty one breaks the connection."""
    wants_calls = behaviour == "tools" and body["messages"][-1]["role"] != "tool"
    if behaviour == "busy":
        yield b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    elif not body.get("stream"):
        content = {"tool_calls": calls(2)} if wants_calls else {"content": "".join(WORDS)}
        choice = {"index": 0, "message": content, "finish_reason": "tool_calls" if wants_calls else "stop"}
        data = json.dumps({"id": "c", "model": "toy", "choices": [choice]}).encode()
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data
    elif wants_calls:
        yield BEGIN + b"".join(event({"tool_calls": [call]}) for call in calls(2)) + event({}, "tool_calls") + END
    else:
        yield BEGIN
        for place, word in enumerate(WORDS):
            if behaviour == "cut" and place == 5:
                yield b""
            if behaviour == "slow":
                await asyncio.sleep(PAUSE)
            yield event({"content": word})
        yield event({}, "stop") + END


class Provider:
    """All connections."""

    def __init__(self) -> None:
        self.counts = Counts()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        counts = self.counts
        counts.connections += 1
        counts.most_connections = max(counts.most_connections, counts.connections)
        try:
            while await self.exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            counts.connections -= 1
            writer.close()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        _, path, _ = head.split(b" ", 2)
        if path == b"/counts":
            data = json.dumps({name: getattr(self.counts, name) for name in Counts.__slots__ if name[0] != "_"})
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n{data}".encode())
            await writer.drain()
            return True
        size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = json.loads(await reader.readexactly(size))
        return await self.answered(path.split(b"/")[1].decode(), body, writer)

    async def answered(self, behaviour: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Say the reply; whether it came to its end."""
        counts = self.counts
        counts.asked += 1
        counts.under_way += 1
        counts.most_under_way = max(counts.most_under_way, counts.under_way)
        try:
            async for piece in told(behaviour, body):
                if not piece:
                    return False
                writer.write(piece)
                await writer.drain()
        except OSError:
            counts.given_up += 1
            raise
        finally:
            counts.under_way -= 1
        return True


async def main() -> None:
    """Serve until the parent hangs up."""
    server = await asyncio.start_server(Provider().serve, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)  # connections that are still open are of no interest


if __name__ == "__main__":
    asyncio.run(main())

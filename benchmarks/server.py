"""A fake provider in a process of its own: it reads requests, and answers with ready bytes as its path says."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from benchmarks import otherwire, wire

BACKLOG = 4096
ROOT = Path(__file__).parent.parent


class Conversation(asyncio.Protocol):
    """One kept-alive connection; requests come one after another."""

    def __init__(self) -> None:
        self.data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self.data += data
        while (request := taken(self.data)) is not None:
            self.answer(*request)

    def answer(self, scenario: str, body: bytes) -> None:
        """Write the reply, at once or dripping."""
        if slow := wire.dripped(scenario):
            self.drip(*slow)
        else:
            self.transport.write(otherwire.whole(scenario) or wire.whole(scenario, body))

    def drip(self, parts: Iterator[bytes], pause: float) -> None:
        """Write the next part now and the others *pause* seconds apart."""
        part = next(parts, None)
        if part is not None and not self.transport.is_closing():
            self.transport.write(part)
            asyncio.get_running_loop().call_later(pause, self.drip, parts, pause)


def taken(data: bytearray) -> tuple[str, bytes] | None:
    r"""The scenario and body of the first request in *data*, which is removed from it.

    >>> taken(bytearray(b"POST /text/v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"))
    ('text', b'{}')
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(data[:end]).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
    if len(data) < end + 4 + length:
        return None
    body = bytes(data[end + 4 : end + 4 + length])
    del data[: end + 4 + length]
    return head.split(b" ", 2)[1].split(b"/")[1].decode(), body


async def serve() -> None:
    """Listen until the parent closes our standard input; the first line printed is the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Conversation, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run the server in a child process; yields its address, such as `http://127.0.0.1:4711`."""
    command = [sys.executable, "-m", "benchmarks.server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as child:  # noqa: S603  # all ours
        port = int(cast(IO[str], child.stdout).readline())
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            cast(IO[str], child.stdin).close()


if __name__ == "__main__":
    asyncio.run(serve())

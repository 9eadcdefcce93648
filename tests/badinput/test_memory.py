"""Too much of anything takes at most twice the memory that a body may have, and ends in a typed error."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from tests.badinput.ways import body, message, model_at
from tests.transport.server import Peer, serving

pytestmark = pytest.mark.long  # in every run, tests/faults does so at a smaller size
MIB = 1024 * 1024
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
PACKED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"


@cache
def member() -> bytes:
    """64 MiB, packed into some 64 KiB."""
    return gzip.compress(b'{"x": "' + bytes(64 * MIB))


def pieces(row: str) -> Iterable[bytes]:
    """What the server says."""
    filling = b"x" * MIB
    match row:
        case "bomb":  # 512 MiB
            yield PACKED + member()
            yield from [member()] * 7
        case "json":
            yield PLAIN + b'{"x": "'
            yield from [filling] * 256
        case "event":
            yield STREAM + b'data: {"x": "'
            yield from [filling] * 128
        case "events in drops":
            yield STREAM
            yield from [b"data: " + b"x" * 1000 + b"\n"] * 130_000
        case "told":
            yield b"HTTP/1.1 200 OK\r\nContent-Length: 268435456\r\n\r\n"
            yield from [filling] * 256
        case _:
            yield body(message({"content": "Hello"}))


def behave(peer: Peer) -> None:
    """Answer what the path asks for."""
    while head := peer.request():
        row = head.split(b" ")[1].split(b"/")[1].decode().replace("_", " ")
        for piece in pieces(row):
            peer.send(piece)
        if row != "small":
            return


@pytest.mark.parametrize("backend", ["", "asyncio", "trio"])
@pytest.mark.parametrize("row", ["told", "json", "bomb", "event", "events_in_drops"])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process so")
def test_memory_is_bounded_whatever_comes(row: str, backend: str) -> None:
    with serving(behave) as server:
        command = [sys.executable, "-m", "tests.badinput.hungry", server.url, backend, row]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 2 * model_at("http://localhost").max_body

"""Bytes of a stream to events, and messages to the bytes of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from arshai_kit import openai_compatible
from arshai_kit.effects import Reply
from arshai_kit.models import Ask, thread
from arshai_kit.sse import Splitter
from benchmarks import wire
from benchmarks.kit import history
from benchmarks.rows import past

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_benchmark.fixture import BenchmarkFixture

CHUNKS = 1000
HEADERS = (("content-type", "text/event-stream"),)
MODEL: Any = openai_compatible("bench-1", base_url="http://127.0.0.1:9/v1", api_key="k")


def events_on_the_wire() -> list[bytes]:
    """The server-sent events of a stream, as a network read each."""
    framed = b"".join(wire.streamed(CHUNKS)).partition(b"\r\n\r\n")[2].split(b"\r\n")
    return [line for line in framed if line.startswith(b"data: ")]


def split(reads: Sequence[bytes]) -> int:
    """How many events *reads* hold."""
    feed = Splitter(2**26).feed
    return sum(len(feed(read)) for read in reads)


@pytest.mark.parametrize("together", [1, 16, CHUNKS])
def test_splitting_1000_events(benchmark: BenchmarkFixture, together: int) -> None:
    """Bytes to events, *together* of them in each network read."""
    parts = events_on_the_wire()
    reads = [b"".join(parts[place : place + together]) for place in range(0, len(parts), together)]
    assert benchmark(split, reads) == len(parts)


def told(events: Sequence[Any]) -> int:
    """How many events of ours the server's *events* tell."""
    state, count = MODEL.dialect.start(MODEL, ()), 0
    for event in events:
        state, more = MODEL.dialect.advance(state, event)
        count += len(more)
    return count


def test_advancing_1000_chunks(benchmark: BenchmarkFixture) -> None:
    """Server-sent events to deltas, and the fold of them all."""
    assert benchmark(told, Splitter(2**26).feed(b"".join(events_on_the_wire()))) > CHUNKS


@pytest.mark.parametrize("count", [1, 500, 1000])
def test_writing_a_request(benchmark: BenchmarkFixture, count: int) -> None:
    """Records to the bytes that are sent."""
    ask = Ask(thread(history(past(count))))
    assert benchmark(MODEL.dialect.build, MODEL, ask, False).content.count(b'"role"') == count


def test_reading_a_reply(benchmark: BenchmarkFixture) -> None:
    """The bytes of a whole reply to a response."""
    reply = Reply(200, (("content-type", "application/json"),), wire.TEXT.partition(b"\r\n\r\n")[2])
    assert benchmark(MODEL.dialect.parse, MODEL, reply).text.startswith("The Karun")

"""Clients of other libraries do the exchanges of every face, sync and async, and stay usable and unclosed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import anyio
import pytest

from arshai_kit import aio, complete, openai_compatible, stream, using
from arshai_kit.errors import RateLimited, StreamIncomplete, TimedOut, Unreachable
from tests.badinput.ways import (
    DONE,
    WAYS,
    Act,
    Came,
    Way,
    answering,
    before,
    body,
    chunk,
    message,
    model_at,
    sent,
)
from tests.laws.provider import KEY
from tests.transport.server import Server, silent

pytestmark = pytest.mark.peers

LIBRARIES = (pytest.param("httpx"), pytest.param("httpx2", marks=pytest.mark.needs("httpx2")))
libraries = pytest.mark.parametrize("library", LIBRARIES)
everyway = pytest.mark.parametrize("way", [pytest.param(way, id=way.name) for way in WAYS])

HELLO = body(message({"content": "Hello"}))
STREAM = sent(chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop"), DONE)


def asked(library: str, way: Way, server: Server, **options: Any) -> tuple[Came, Any]:
    """What comes of asking through a client of *library*, and the client, which is open still."""
    model = model_at(server, **options)
    if not way.backend:
        client = import_module(library).Client()
        with using(client=client):
            came = way.ask(model)
        assert not client.is_closed
        client.close()
        return came, client

    async def main() -> tuple[Came, Any]:
        async with import_module(library).AsyncClient() as client:
            with using(client=client):
                came = Came()
                await _awaited(came, way, model)
            assert not client.is_closed
        return came, client

    return anyio.run(main, backend=way.backend)


async def _awaited(came: Came, way: Way, model: Any) -> None:
    from arshai_kit.errors import ArshaiError

    def weather(city: str) -> str:
        came.ran.append(city)
        return f"rain in {city}"

    try:
        await way._awaited(came, model, "Weather?", {"tools": [weather]} if way.loops else {})
    except ArshaiError as error:
        came.error = error


@contextmanager
def serving(way: Way, *acts: Act) -> Iterator[Server]:
    """A server that acts so, after a round with a tool if *way* has one."""
    with answering(*before(way), *acts) as server:
        yield server


@libraries
@everyway
def test_an_answer(library: str, way: Way) -> None:
    with serving(way, STREAM if way.streams else HELLO) as server:
        came, _ = asked(library, way, server)
        heads = server.heads
    assert came.error is None
    assert came.response is not None
    assert came.response.text == "Hello"
    assert came.ran == ["Bergen"] * way.loops
    assert len(heads) == 1 + way.loops
    assert all(b"uthorization: Bearer sk-" in head for head in heads)


@libraries
@everyway
def test_a_refusal_a_cut_a_silence_and_nobody(library: str, way: Way) -> None:
    refusal = body({"error": {"message": "slow down"}}, "Retry-After: 7", status="429 Too Many Requests")
    with serving(way, refusal) as server:
        came, _ = asked(library, way, server)
    assert isinstance(came.error, RateLimited)
    assert came.error.retry_after == 7.0
    with serving(way, sent(chunk({"content": "Hel"}))) as server:
        came, _ = asked(library, way, server)
    if way.streams:
        assert isinstance(came.error, StreamIncomplete)
        assert came.error.partial.text == "Hel"
    with serving(way, silent) as server:
        came, _ = asked(library, way, server, timeout=0.3)
    assert isinstance(came.error, TimedOut)
    came, _ = asked(library, way, server)
    assert isinstance(came.error, Unreachable)


@pytest.mark.needs("llama-server")
@libraries
def test_a_real_model_through_its_blocking_client(library: str, llama: str) -> None:
    model = openai_compatible("smol", base_url=llama, api_key=KEY, temperature=0, max_tokens=30)
    with import_module(library).Client() as client, using(client=client):
        assert "Paris" in complete(model, "What is the capital of France?").text
        assert "".join(getattr(event, "text", "") for event in stream(model, "What is the capital of France?"))


@pytest.mark.anyio
@pytest.mark.needs("llama-server")
@libraries
async def test_a_real_model_through_its_async_client(library: str, llama: str) -> None:
    model = openai_compatible("smol", base_url=llama, api_key=KEY, temperature=0, max_tokens=30)
    async with import_module(library).AsyncClient() as client:
        with using(client=client):
            assert "Paris" in (await aio.complete(model, "What is the capital of France?")).text
            async with aio.stream(model, "What is the capital of France?") as events:
                assert [event async for event in events]

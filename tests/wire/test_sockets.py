"""What providers really sent, over real sockets and by the public functions: read as a correct parser must."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from arshai_kit import Finished, Response, ToolCall, aio, complete, stream
from arshai_kit.completion import count_tokens
from arshai_kit.errors import ProviderError
from arshai_kit.faces import awaiting
from arshai_kit.models import Endpoint
from arshai_kit.providers.openai import retrieve
from tests.wire import agreement, gemini, responses, test_gemini, test_recordings, test_responses
from tests.wire.agreement import Exchange, told_by
from tests.wire.served import Served, Talk, model_of, served

HERE = Path(__file__).parent / "data"
SEEDS = (1, 2, 3)
EXCEPTIONS = test_recordings.EXCEPTIONS | test_responses.EXCEPTIONS | test_gemini.EXCEPTIONS
ELSEWHERE = {"embeddings", "embedContent", "batchEmbedContents", "predict"}
"""What `test_embeddings` sends over a socket."""


@frozen
class Outcome:
    """What an exchange came to: what was answered, and the error that there was."""

    model: Endpoint
    response: Response | None = None
    tokens: int | None = None
    error: ProviderError | None = None


@pytest.fixture(scope="module")
def replay() -> Iterator[Served]:
    with served() as living:
        yield living


def recorded(folder: Path) -> Iterator[tuple[str, Talk, Exchange]]:
    for path in sorted(folder.rglob("*.json")):
        talk = json.loads(path.read_text("utf-8"))
        for place, exchange in enumerate(talk["exchanges"]):
            yield f"{talk['id']}[{place}]", talk, exchange


def asked(model: Endpoint, exchange: Exchange) -> Outcome:
    """Ask *model* what was asked in *exchange*: for a stream, for tokens, for what is kept, or for an answer."""
    try:
        if exchange["operation"] == "countTokens":
            return Outcome(model, tokens=count_tokens(model, "q"))
        if exchange["stream"]:
            return Outcome(model, streamed(list(stream(model, "q"))))
        if exchange["method"] == "GET":
            return Outcome(model, retrieve(model, exchange["url_path"].rpartition("/")[2]))
        return Outcome(model, nameless(complete(model, "q")))
    except ProviderError as error:
        return Outcome(model, error.partial, error=error)


async def awaited(model: Endpoint, exchange: Exchange) -> Outcome:
    """What `asked` does, in async code."""
    try:
        if exchange["operation"] == "countTokens":
            return Outcome(model, tokens=await awaiting(count_tokens)(model, "q"))
        if exchange["stream"]:
            async with aio.stream(model, "q") as told:
                return Outcome(model, streamed([event async for event in told]))
        return Outcome(model, nameless(await aio.complete(model, "q")))
    except ProviderError as error:
        return Outcome(model, error.partial, error=error)


def streamed(events: list[Any]) -> Response:
    """The response of a stream; its events add up to it."""
    assert isinstance(events[-1], Finished)
    response = nameless(events[-1].response)
    assert told_by(events) == (response.text, response.reasoning, response.tool_calls)
    return response


def nameless(response: Response) -> Response:
    """*response*, without the ids that the core gives to calls that came without one."""
    message = response.message
    parts = (_nameless(part) if isinstance(part, ToolCall) else part for part in message.parts)
    return evolve(response, messages=(evolve(message, parts=tuple(parts)),))


def _nameless(call: ToolCall) -> ToolCall:
    return evolve(call, id="") if call.id.startswith("call001") else call


def disagreements(talk: Talk, exchange: Exchange, got: Outcome) -> dict[str, Any]:
    """The fields in which *got* and `expected` differ, that no table explains; ours first."""
    found = _told(exchange, got)
    differ = {name: pair for name, pair in found.items() if pair[0] != pair[1]}
    explained = EXCEPTIONS.keys()
    return {name: each for name, each in differ.items() if not {(name, talk["id"]), (name, talk["vendor"])} & explained}


def _told(exchange: Exchange, got: Outcome) -> dict[str, tuple[Any, Any]]:
    told, home = exchange["expected"], _home(exchange)
    if (told["error"] is None) != (got.error is None):
        return {"error": (got.error, told["error"])}
    found: dict[str, tuple[Any, Any]] = {} if got.error is None else home._error(got.error, told["error"])
    if got.tokens is not None:
        return {"tokens": (got.tokens, told["usage"]["total"])}
    if got.response is None:
        said = told["text"] or told["reasoning_text"] or told["tool_calls"]
        return {**found, **({"partial": (None, told["text"])} if said else {})}
    if home is agreement:
        return {**found, **agreement._answer(got.response, told, partial=got.error is not None)}
    return {**found, **home._answer(_at_home(got) if home is responses else got.response, told)}


def _home(exchange: Exchange) -> Any:
    """The module that knows what the fields of *exchange* are."""
    return {"chat": agreement, "responses": responses}.get(exchange["operation"], gemini)


def _at_home(got: Outcome) -> Response:
    """The response, its items as OpenAI's: the comparison sends them back to where it takes them to be from."""
    assert got.response is not None
    message = got.response.message
    parts = (evolve(part, state={**part.state, "responses": "openai"}) for part in message.parts)
    return evolve(got.response, messages=(evolve(message, parts=tuple(parts)),))


def seeds(exchange: Exchange) -> tuple[int | None, ...]:
    """How often, and how, *exchange* is served: in fragments if it streams, else also in one piece."""
    return SEEDS if exchange["stream"] else (None, SEEDS[0])


def misdirected(exchange: Exchange, replay: Served) -> list[Any]:
    """Where the request went, if that is not where the recorded one did (compaction has an address of its own)."""
    (request,) = replay.asked
    there = exchange["url_path"].removesuffix("/compact")
    version = (exchange.get("query") or {}).get("api-version", "")
    followed = exchange["method"] == "GET" and exchange["stream"]
    return [] if followed or (request.path == there and version in request.query) else [request, there]


def wrong(folder: Path, replay: Served) -> tuple[Counter[str], dict[str, Any]]:
    """How many exchanges of each operation *folder* holds, and what is wrong with which."""
    count, found = Counter[str](), dict[str, Any]()
    for name, talk, exchange in recorded(folder):
        count[exchange["operation"]] += 1
        if exchange["operation"] in ELSEWHERE | {"transcription"}:
            continue
        model = model_of(talk, exchange, replay.address, retry=None)
        for seed in seeds(exchange):
            replay.answers([exchange], seed)
            got = asked(model, exchange)
            if bad := disagreements(talk, exchange, got) or misdirected(exchange, replay):
                found[f"{name} {seed}"] = bad
    return count, found


def test_what_was_recorded_is_read_as_it_must_be_over_a_socket(replay: Served) -> None:
    count, found = wrong(HERE, replay)
    assert found == {}
    assert count.keys() >= {"chat", "responses", "generateContent", "streamGenerateContent", "countTokens"}


@pytest.mark.anyio
async def test_what_was_recorded_is_read_as_it_must_be_in_async_code(replay: Served) -> None:
    found = dict[str, Any]()
    for name, talk, exchange in recorded(HERE):
        if exchange["operation"] not in ELSEWHERE and exchange["method"] == "POST":
            replay.answers([exchange], SEEDS[0])
            got = await awaited(model_of(talk, exchange, replay.address, retry=None), exchange)
            found |= {name: bad} if (bad := disagreements(talk, exchange, got)) else {}
    assert found == {}


def test_every_exchange_is_read_as_it_must_be_over_a_socket(wire: Path, replay: Served) -> None:
    """All 1,222 that are no transcriptions: 1,177 here, and 45 in `test_embeddings`."""
    count, found = wrong(wire / "data", replay)
    assert found == {}
    assert (count["chat"], count["responses"], count["countTokens"]) == (635, 282, 10)
    assert (count["generateContent"], count["streamGenerateContent"]) == (180, 70)
    assert sum(count[each] for each in ELSEWHERE) == 45
    assert count.total() - count["transcription"] == 1222

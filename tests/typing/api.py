"""What a type checker makes of the library: read by mypy, never run.

What must be refused is marked `type: ignore[code]`; mypy complains when it is not refused.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict, assert_type

import attrs

from arshai_kit import (
    Response,
    TextDelta,
    Usage,
    agent,
    aio,
    azure,
    complete,
    embed,
    evolve,
    extract,
    gateway,
    gemini,
    openai,
    openai_compatible,
    openrouter,
    parallel,
    pipe,
    retrieve,
    route,
    run_tools,
    stream,
    tool,
    user,
    using,
)
from arshai_kit.agents import (
    Agent,
    Approving,
    Pausing,
    approve,
    as_tool,
    guard,
    handoff,
    insist,
    to_mermaid,
    whose_turn,
)
from arshai_kit.effects import Call, Effect, Emit, Handle, Join, Now, Outcome, Plan, Reply, Request, Send, Start, Step
from arshai_kit.index import Filter, Hit, Index, Passage, field, in_memory_index, sqlite_index, where
from arshai_kit.local import local_embedder
from arshai_kit.models import Endpoint
from arshai_kit.records import Event, Finished, Message, ToolSpec, ToolStarted
from arshai_kit.records.vectors import Embeddings
from arshai_kit.resilience import Cached, CachedEmbedder, MemoryCache, cached
from arshai_kit.retrieval import Checked, Report, check, cite, ingest
from arshai_kit.testing import hashed_embedder
from arshai_kit.tools import Tool


@attrs.frozen
class City:
    """A record to ask for."""

    name: str
    people: int


class Trip(TypedDict):
    """A dictionary to ask for."""

    to: str


def weather(city: str) -> str:
    """Say what the weather is."""
    return city


async def slow(city: str) -> int:
    """Count, slowly."""
    return len(city)


model = openai_compatible("m", base_url="http://localhost/v1", api_key="k")
assert_type(model, Endpoint)
assert_type(evolve(model, temperature=0), Endpoint)
assert_type(openai("m", api_key="k"), Endpoint)
assert_type(azure("m", endpoint="https://me.example.org", api_key="k"), Endpoint)
assert_type(gemini("m", api_key="k"), Endpoint)
assert_type(openrouter("m", api_key="k"), Endpoint)
assert_type(gateway(model, headers={"x-team": "7"}), Endpoint)
assert_type(embed(hashed_embedder(), "Hello"), Embeddings)
assert_type(cached(hashed_embedder(), MemoryCache()), CachedEmbedder)
assert_type(cached(openai("any", api_key="k"), MemoryCache()), Cached)
assert_type(embed(cached(local_embedder(), MemoryCache()), ["Hello"]), Embeddings)


@attrs.frozen(kw_only=True)
class Manual(Passage):
    """Fields of one's own."""

    year: int | None = None


assert_type(in_memory_index(), Index[Passage])
assert_type(sqlite_index("manuals.sqlite", Manual), Index[Manual])
assert_type(where(language="fa") & (field("year") >= 2020), Filter)
assert_type(ingest(in_memory_index(), "manuals", embedder=local_embedder()), Report)
hits = retrieve(in_memory_index(), "How?", embedder=local_embedder())
assert_type(hits, tuple[Hit[Any], ...])
assert_type(complete(model, cite("How?", hits)), Response)
assert_type(check("So.", hits), Checked)


assert_type(agent(model, name="ann"), Agent)
assert_type(agent(model)("Hello"), Response)
assert_type(pipe(weather, agent(model))("Hello"), Response)
assert_type(parallel(slow, weather)("Hello"), Response)
assert_type(route(model, {"slow": slow}, default=weather)("Hello"), Response)
assert_type(insist(weather, slow)("Hello"), Response)
assert_type(as_tool(weather), Tool)
assert_type(to_mermaid(slow), str)
assert_type(guard(weather, before=slow)("Hello"), Response)
assert_type(handoff(agent(model), name="ann"), Tool)
assert_type(whose_turn(agent(model), "Hello"), str)
assert_type(approve(agent(model)), Pausing)
assert_type(approve(agent(model), secret="s3cret")("Hello"), Response)
assert_type(approve(weather, lambda call: call.name != "pay"), Approving)


def values() -> None:
    """Records keep their types."""
    assert_type(user("hello"), Message)
    assert_type(Usage() + Usage(), Usage)
    assert_type(tool(weather).spec, ToolSpec)


def sync_face() -> None:
    """What runs blocks, and returns what it says."""
    reply = complete(model, "hello")
    assert_type(reply, Response)
    assert_type(reply.text, str)
    assert_type(complete(model, (user("one"), reply, "three"), system="Be brief."), Response)
    assert_type(run_tools(model, "hello", tools=[weather, slow], max_rounds=3), Response)
    assert_type(extract(model, "where?", City), City)
    assert_type(extract(model, "where?", list[City]), list[City])
    assert_type(extract(model, "where?", Trip), Trip)
    assert_type(extract(model, "how many?", int), int)
    assert_type(extract(model, "which?", Literal["a", "b"]), Literal["a", "b"])
    assert_type(extract(model, "which?", City | Trip), City | Trip)
    complete(model)  # type: ignore[call-arg]


def streaming() -> None:
    """Events are told apart by their class."""
    with stream(model, "hello", tools=[weather]) as events:
        for event in events:
            assert_type(event, Event)
            match event:
                case TextDelta(text):
                    assert_type(text, str)
                case ToolStarted(call):
                    assert_type(call.name, str)
                case Finished(response):
                    assert_type(response, Response)


async def async_face() -> None:
    """The same names, awaited."""
    assert_type(await aio.complete(model, "hello"), Response)
    assert_type(await aio.run_tools(model, "hello", tools=[weather]), Response)
    assert_type(await aio.extract(model, "where?", City), City)
    async with aio.stream(model, "hello") as events:
        async for event in events:
            assert_type(event, Event)
    await aio.complete(model)  # type: ignore[call-arg]


def scopes() -> None:
    """`using` is a block."""
    with using(tags={"user": "7"}):
        assert_type(complete(model, "hello"), Response)


def plans() -> Plan[str]:
    """An effect is typed by its answer."""
    reply = yield from Send(Request("GET", "http://localhost"))
    assert_type(reply, Reply)
    assert_type((yield from Now()), float)
    assert_type((yield from Call(weather, "Tehran")), str)
    handle = yield from Start(other())
    assert_type(handle, Handle[int])
    assert_type((yield from Join((handle,))), tuple[Outcome[Any], ...])
    assert_type((yield from Step("agent", "other", None, other)), int)
    assert_type((yield from complete.plan(model, "hello")), Response)
    yield from Emit((TextDelta("done"),))
    Call(weather, 3)  # type: ignore[call-overload]
    return "done"


def other() -> Plan[int]:
    """A plan of a number."""
    yield from Now()
    return 3


def an_effect_is_not_its_answer(effect: Effect[float]) -> float:
    """Forgetting `yield from` is an error that a type checker tells."""
    return effect  # type: ignore[return-value]

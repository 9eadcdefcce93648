"""What is done around models is done around embedders: limits, deadlines and circuits, one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import field, frozen

from arshai_kit.effects import Call, Plan, Sleep
from arshai_kit.embeddings import Embedder, Embeddings, Vector, embed
from arshai_kit.errors import CircuitOpen, Misuse, OverLimit, RateLimited, ServerFailed, TimedOut
from arshai_kit.providers import openai_compatible_embedder
from arshai_kit.records import RateLimit, Usage
from arshai_kit.resilience import (
    Budget,
    Circuit,
    CircuitRules,
    MemoryCache,
    Quota,
    breaker,
    budgeted,
    cached,
    deadline,
    fallback,
    limited,
)
from arshai_kit.testing import hashed_embedder
from tests.core.worlds import World, everywhere


def nothing() -> Plan[None]:
    yield from ()


@frozen
class Toy:
    """An embedder that does *what* it is told before it answers."""

    what: Callable[[], Plan[Any]] = nothing
    asked: list[str] = field(factory=list, eq=False)
    limits: tuple[RateLimit, ...] = ()
    name: str = "toy"
    provider: str = "me"
    dimensions: int | None = 1
    max_batch: int | None = 1

    def embed(self, texts: Sequence[str], *, kind: Any) -> Plan[Embeddings]:
        self.asked.extend(texts)
        yield from self.what()
        vectors = [Vector.of([len(text)]) for text in texts]
        return Embeddings(vectors, Usage(10 * len(texts)), rate_limits=self.limits)


def failing() -> Plan[None]:
    yield from ()
    raise ServerFailed("down", status=503)


@everywhere
def test_no_more_requests_are_under_way_than_the_quota_has_places_for(world: World) -> None:
    inside, most, lock = [0], [0], threading.Lock()

    def changed(by: int) -> None:
        with lock:
            inside[0] += by
            most[0] = max(most[0], inside[0])

    def what() -> Plan[None]:
        yield from Call(changed, 1)
        yield from Call(changed, -1)

    toy = Toy(what)
    found = world.run(lambda: embed.plan(limited(toy, concurrent=2), list("abcdefgh"), side_by_side=6))
    assert (len(found), found.usage, most[0] <= 2) == (8, Usage(80), True)
    assert sorted(toy.asked) == list("abcdefgh")


def test_a_quota_counts_the_requests_and_the_tokens() -> None:
    toy = Toy()
    embedder = limited(toy, requests_per_minute=3, wait=False)
    with pytest.raises(OverLimit) as caught:
        embed(embedder, list("abcde"), side_by_side=1)
    assert (toy.asked, len(caught.value.partial), caught.value.limit) == (["a", "b", "c"], 3, "requests_per_minute")
    for estimate, asked in ((None, 4), (30, 1), (lambda texts: 9 * len(texts), 3)):
        toy = Toy()
        with pytest.raises(OverLimit):
            embed(limited(toy, tokens_per_minute=34, wait=False, estimate=estimate), list("abcde"), side_by_side=1)
        assert len(toy.asked) == asked


@frozen
class Counting(Toy):
    """An embedder that counts, too high."""

    def count(self, text: str) -> int:
        return 20


def test_the_tokens_are_those_that_the_embedder_counts() -> None:
    toy = Counting()
    with pytest.raises(OverLimit, match="tokens_per_minute"):
        embed(limited(toy, tokens_per_minute=34, wait=False), list("abcde"), side_by_side=1)
    assert toy.asked == ["a", "b"]
    words: Any = lambda _: "7"  # noqa: E731
    with pytest.raises(Misuse, match="a whole number of tokens"):
        embed(limited(toy, tokens_per_minute=3, estimate=words), "x")


def test_what_the_provider_says_is_heeded() -> None:
    told = RateLimit("requests", limit=10, remaining=0, reset=60.0)
    embedder = limited(Toy(limits=(told,)), concurrent=4, wait=False)
    with pytest.raises(OverLimit) as caught:
        embed(embedder, ["a", "b"], side_by_side=1)
    assert caught.value.limit == "provider"

    def busy() -> Plan[None]:
        yield from ()
        raise RateLimited("slowly", retry_after=60.0)

    refused = limited(Toy(busy), concurrent=4, wait=False)
    with pytest.raises(RateLimited, match="slowly"):
        embed(refused, "a")
    with pytest.raises(OverLimit, match="the limit that its provider set"):
        embed(refused, "a")


@everywhere
def test_a_request_ends_at_its_deadline(world: World) -> None:
    def slow() -> Plan[None]:
        yield from Sleep(600)

    with pytest.raises(TimedOut, match="toy takes longer than"):
        world.run(lambda: embed.plan(deadline(Toy(slow), 0.05), ["a", "b"]))
    assert len(embed(deadline(Toy(), 60), ["a", "b"])) == 2


def test_an_embedder_that_fails_too_often_is_left_alone() -> None:
    toy = Toy(failing)
    embedder = breaker(toy, failures=2)
    for _ in range(2):
        with pytest.raises(ServerFailed):
            embed(embedder, "a")
    with pytest.raises(CircuitOpen, match="toy has failed too often"):
        embed(embedder, "a")
    assert toy.asked == ["a", "a"]


def test_wrappers_stack_and_are_embedders() -> None:
    toy = hashed_embedder(dimensions=8, max_batch=2)
    inner = limited(breaker(deadline(toy, 60), failures=9), concurrent=3)
    embedder = cached(inner, MemoryCache())
    for each in (inner, embedder):
        assert isinstance(each, Embedder)
        assert (each.name, each.provider, each.dimensions, each.max_batch) == ("hashed", "testing", 8, 2)
    found = embed(embedder, list("abcab"))
    assert [*found] == [*embed(toy, list("abcab"))]
    assert embed(embedder, list("abcd")).usage == Usage(1)
    assert embed(limited(embedder, concurrent=1), list("abcd")).usage == Usage(0)
    plain = cached(openai_compatible_embedder("m", base_url="http://a", api_key="k"), MemoryCache())
    around = cached(deadline(openai_compatible_embedder("m", base_url="http://a", api_key="k"), 5), MemoryCache())
    assert plain.keys_of(["a"], "query") == around.keys_of(["a"], "query")


def test_a_state_that_would_wait_for_itself_is_refused() -> None:
    quota, circuit, cache = Quota(concurrent=1), Circuit(CircuitRules(failures=1)), MemoryCache()
    with pytest.raises(Misuse, match="wrap it once"):
        limited(deadline(limited(Toy(), quota), 9), quota)
    with pytest.raises(Misuse, match="wrap it once"):
        breaker(cached(breaker(Toy(), circuit), cache), circuit)
    with pytest.raises(Misuse, match="wrap it once"):
        cached(limited(cached(Toy(), cache), quota), cache)


def test_what_has_no_meaning_for_vectors_is_refused() -> None:
    """The vectors of a second embedder are of another space."""
    wraps: tuple[Any, ...] = (fallback, lambda toy: budgeted(toy, Budget(money=1)))
    for wrap in wraps:
        with pytest.raises(Misuse, match="a model, or an agent"):
            wrap(Toy())

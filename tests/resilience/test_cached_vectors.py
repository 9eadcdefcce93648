"""What was embedded once is never asked for again, and is the same to the bit; whatever the cache does."""

from __future__ import annotations

import contextlib
import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit.effects import Call, Emit, Plan
from arshai_kit.embeddings import Embedder, EmbeddingProgress, Embeddings, Kind, Vector, embed
from arshai_kit.errors import BadReply, BadRequest, Misuse, ProviderError, ScriptError
from arshai_kit.faces import Stream
from arshai_kit.providers import openai_compatible_embedder
from arshai_kit.records import Notice, Usage
from arshai_kit.resilience import CachedEmbedder, MemoryCache, RedisCache, SqliteCache, cached
from arshai_kit.resilience.caching_vectors import read, written
from arshai_kit.testing import hashed_embedder
from tests.core.worlds import World, everywhere
from tests.resilience import embedding
from tests.resilience.redis_server import RedisServer

texts = st.lists(st.sampled_from(["a", "b", "c", "d", "語", "\ud800", "a b", " a"]), max_size=12)


@frozen
class Toy:
    """An embedder that notes what it is asked; the text `long` is too long for it, and `bad` is refused."""

    max_batch: int | None = None
    asked: list[str] = field(factory=list, eq=False)
    name: str = "toy"
    provider: str = "me"
    dimensions: int | None = 2
    max_bytes: int | None = None
    lost: int = 0

    def embed(self, texts: Sequence[str], *, kind: Any) -> Plan[Embeddings]:
        yield from Call(self.asked.extend, texts)
        if "bad" in texts:
            raise BadRequest("that is no language")
        cut = [place for place, text in enumerate(texts) if text == "long"]
        vectors = [vector(text, kind) for text in texts[self.lost :]]
        return Embeddings(vectors, Usage(len(texts)), Decimal(len(texts)), "toy-1", "me", cut)


def vector(text: str, kind: Any = None) -> Vector:
    return Vector.of([crc32(text.encode("utf-8", "surrogatepass")) % 4096 / 64, len(kind or "")])


class Plain:
    """The least that a cache can be, and one that is asked by awaiting."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def get(self, key: str, now: float, /) -> str | None:
        return self.kept.get(key)

    async def put(self, key: str, text: str, now: float, /) -> None:
        self.kept[key] = text


STORES: tuple[Callable[[Path], Any], ...] = (
    lambda _: MemoryCache(),
    lambda folder: SqliteCache(folder / "vectors.db"),
    lambda _: Plain(),
)
each_store = pytest.mark.parametrize("make", STORES, ids=["memory", "sqlite", "plain"])


# -- the law --


@each_store
@settings(max_examples=25)
@given(before=texts, given=texts, most=st.integers(1, 4), beside=st.integers(1, 3))
def test_vectors_are_those_of_the_embedder_and_no_text_is_asked_for_twice(
    make: Any, tmp_path_factory: pytest.TempPathFactory, before: list[str], given: list[str], most: int, beside: int
) -> None:
    toy = Toy(most)
    embedder = cached(toy, make(tmp_path_factory.mktemp("cache")))
    embed(embedder, before, side_by_side=beside)
    found = embed(embedder, given, side_by_side=beside)
    new = set(given) - set(before)
    assert [*found] == [vector(text) for text in given]
    assert sorted(toy.asked) == sorted(set(before) | set(given))
    assert (found.usage, found.cost) == (Usage(len(new)), Decimal(len(new)))
    assert (found.model or "toy-1", found.provider or "me") == ("toy-1" if new or not given else "toy", "me")


@everywhere
def test_every_world_gives_the_same(world: World, tmp_path: Path) -> None:
    toy, cache = Toy(2), SqliteCache(tmp_path / "vectors.db")
    for _ in range(2):
        found = world.run(lambda: embed.plan(cached(toy, cache), ["a", "long", "b", "a", "c"], side_by_side=2))
        assert [*found] == [vector(text) for text in ["a", "long", "b", "a", "c"]]
        assert found.truncated == (1,)
    assert sorted(toy.asked) == ["a", "b", "c", "long"]
    cache.close()


@pytest.mark.needs("redis")
def test_redis_keeps_vectors_for_all_who_ask_it(redis_server: RedisServer) -> None:
    toys = [Toy(3), Toy(3)]
    caches = [RedisCache(redis_server.url, prefix="vectors:", ttl=60) for _ in toys]
    for toy, cache in zip(toys, caches, strict=True):
        assert [*embed(cached(toy, cache), "abcda")] == [vector("abcda")]
        assert [*embed(cached(toy, cache), list("abcda"))] == [vector(text) for text in "abcda"]
    assert (sorted(toys[0].asked), toys[1].asked) == (["a", "abcda", "b", "c", "d"], [])
    assert all(redis_server.client().ttl(key) > 0 for key in redis_server.client().scan_iter("vectors:*"))


def test_an_embedder_may_be_asked_without_embed() -> None:
    toy = Toy()
    embedder = cached(toy, MemoryCache())
    for expected in (Usage(2), Usage(0)):
        found = World().run(lambda: embedder.embed(("a", "long", "a"), kind=None))
        assert ([*found], found.truncated, found.usage) == ([vector(t) for t in ("a", "long", "a")], (1,), expected)
    assert toy.asked == ["a", "long"]


def test_what_is_kept_is_told() -> None:
    embedder = cached(Toy(), MemoryCache())
    embed(embedder, ["a", "b"])
    told = [event for event in Stream(embed.plan(embedder, ["a", "b", "b", "c"])) if isinstance(event, Notice)]
    assert [(each.kind, each.name, each.data) for each in told] == [("cache_hit", "toy", {"texts": 2})]


def test_progress_counts_what_was_known_and_what_came() -> None:
    embedder, told = cached(Toy(2), MemoryCache()), list[EmbeddingProgress]()
    embed(embedder, ["a", "b"])
    embed(embedder, ["a", "c", "d", "e", "a"], side_by_side=1, progress=told.append)
    assert told == [EmbeddingProgress(2, 5, 2), EmbeddingProgress(4, 5, 2), EmbeddingProgress(5, 5, 2)]


# -- what is the same --


def test_what_tells_two_vectors_apart_tells_what_is_kept_apart() -> None:
    cache = MemoryCache()
    others = [Toy(), Toy(name="other"), Toy(provider="other"), Toy(dimensions=None)]
    for toy in others:
        for kind in (None, "query", "document"):
            embed(cached(toy, cache), "a", kind=kind)
        assert toy.asked == ["a"] * 3
    assert len(cache) == 12


@pytest.mark.parametrize("kind", ["query", None])
def test_how_much_is_asked_at_a_time_and_with_which_key_changes_nothing(kind: Kind) -> None:
    def keys(**options: Any) -> dict[str, str]:
        where: dict[str, Any] = {"base_url": "http://localhost", "api_key": "k", **options}
        return cached(openai_compatible_embedder("m", **where), MemoryCache()).keys_of(["a", "b"], kind)

    assert keys() == keys(api_key="other", max_batch=3, max_bytes=9, max_batch_tokens=5, retry=9, timeout=2)
    others: Any = [{"base_url": "http://other"}, {"dimensions": 3}, {"extra": {"user": "ann"}}]
    assert len({key for options in ({}, *others) for key in keys(**options).values()}) == 8
    assert (keys(query_prefix="q: ") == keys()) == (kind is None)


def test_a_kind_that_the_embedder_does_not_tell_apart_is_the_same() -> None:
    embedder = openai_compatible_embedder("m", base_url="http://localhost", api_key="k")
    found = [cached(embedder, MemoryCache()).keys_of("a", kind) for kind in (None, "query", "document")]
    assert found[0] == found[1] == found[2]


def test_a_key_of_ones_own_tells_what_is_the_same() -> None:
    toy = Toy()
    embedder = cached(toy, MemoryCache(), key=lambda _, text, kind: [text.strip().lower(), kind])
    embed(embedder, ["a"])
    assert [*embed(embedder, [" A "])] == [vector("a")]
    assert toy.asked == ["a"]
    with pytest.raises(Misuse, match="JSON"):
        embed(cached(toy, MemoryCache(), key=lambda *_: {1, 2}), "a")


def test_a_fresh_one_asks_again_and_keeps_that() -> None:
    toy, cache = Toy(), MemoryCache()
    embed(cached(toy, cache), ["a", "b"])
    assert embed(evolve(cached(toy, cache), fresh=True), ["a", "a"]).usage == Usage(1)
    assert toy.asked == ["a", "b", "a"]
    assert len(cache) == 2


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9), st.booleans())
def test_what_is_kept_is_the_vector_to_the_bit(values: list[float], cut: bool) -> None:
    made = Vector.of(values)
    assert read(written(made, cut), len(values)) == read(written(made, cut).encode(), None) == (made, cut)
    assert read(written(made, cut), len(values) + 1) is None
    assert len(written(made, cut)) <= 4 * (len(made.data) // 3 + 1) + 1


WRONG = (None, 7, "", "~", "AAA", "é", b"\xff", "{}", "AACAPwAAAEA=x", "AADAfw==", "AACAPwAAAEAAAEBA")


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_vector_of_the_size_is_not_there(text: Any) -> None:
    toy, cache = Toy(), Plain()
    embedder = cached(toy, cache)
    cache.kept[embedder.keys_of("a", None)["a"]] = text
    assert [*embed(embedder, "a")] == [vector("a")]
    assert [*embed(embedder, "a")] == [vector("a")]
    assert toy.asked == ["a"]


# -- what fails --


class Broken(Plain):
    """A cache that cannot be read, or not be written."""

    def __init__(self, *, reads: bool = False, writes: bool = False, error: Exception | None = None) -> None:
        super().__init__()
        self.reads, self.writes, self.error = reads, writes, error or OSError("the disk is full")

    async def get(self, key: str, now: float, /) -> str | None:
        if not self.reads:
            raise self.error
        return await super().get(key, now)

    async def put(self, key: str, text: str, now: float, /) -> None:
        if not self.writes:
            raise self.error
        await super().put(key, text, now)


@pytest.mark.parametrize(("reads", "writes"), [(True, False), (False, True), (False, False)])
def test_a_cache_that_fails_is_told_and_passed_over(reads: bool, writes: bool) -> None:
    cache, toy = Broken(reads=reads, writes=writes), Toy()
    told = [event for event in Stream(embed.plan(cached(toy, cache), ["a", "b"])) if isinstance(event, Notice)]
    assert {each.kind for each in told} == {"cache_failed"}
    words = {"read": not reads, "written": not writes}
    assert all(
        any(f"cannot be {word}: OSError" in each.text for each in told) == is_so for word, is_so in words.items()
    )
    assert toy.asked == ["a", "b"]
    assert len(cache.kept) == (2 if writes else 0)


@pytest.mark.parametrize(("reads", "writes"), [(True, False), (False, True)])
def test_what_ends_the_run_ends_it(reads: bool, writes: bool) -> None:
    with pytest.raises(ScriptError):
        embed(cached(Toy(), Broken(reads=reads, writes=writes, error=ScriptError("no"))), "a")


def test_what_came_before_an_error_is_in_it_and_is_kept() -> None:
    toy, cache = Toy(2), MemoryCache()
    embed(cached(toy, cache), ["b", "c"])
    with pytest.raises(BadRequest, match="no language") as caught:
        embed(cached(toy, cache), ["a", "b", "x", "c", "y", "bad", "a", "z"], side_by_side=1)
    assert caught.value.__notes__ == ["of texts 4 to 5"]
    partial = caught.value.partial
    assert [*partial] == [vector(text) for text in ["a", "b", "x", "c"]]
    assert (partial.usage, partial.cost) == (Usage(2), 2)
    toy.asked.clear()
    assert len(embed(cached(toy, cache), ["a", "b", "x", "c", "y", "a", "z"])) == 7
    assert toy.asked == ["y", "z"]


def test_texts_that_got_no_vectors_are_not_kept() -> None:
    cache = MemoryCache()
    with pytest.raises(BadReply, match="2 texts went to toy, 1 came back"):
        embed(cached(Toy(lost=1), cache), ["a", "b"])
    assert len(cache) == 0


def test_a_process_that_is_killed_has_kept_all_that_it_was_told(tmp_path: Path) -> None:
    path = tmp_path / "vectors.db"
    child = subprocess.Popen(
        [sys.executable, embedding.__file__, str(path), "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"\n" * 4)
    child.stdin.flush()
    assert [int(child.stdout.readline()) for _ in range(4)] == [5, 10, 15, 20]
    child.kill()
    child.wait(60)
    child.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    inner = hashed_embedder(dimensions=8, max_batch=5)
    given, told = [f"text {number}" for number in range(60)], list[EmbeddingProgress]()
    found = embed(cached(inner, SqliteCache(path)), given, progress=told.append)
    assert told[0] == EmbeddingProgress(20, 60, 20)
    assert [*found] == [*embed(inner, given)]
    assert found.usage == embed(inner, given[20:]).usage


# -- several at a time --


@frozen
class Slow(Toy):
    """A toy that says when it is asked, and answers when it may."""

    come: threading.Event = field(factory=threading.Event, eq=False)
    may: threading.Event = field(factory=threading.Event, eq=False)
    fails: list[Exception] = field(factory=list, eq=False)

    def embed(self, texts: Sequence[str], *, kind: Any) -> Plan[Embeddings]:
        first = not self.come.is_set()
        self.come.set()
        yield from Emit(())
        if first:
            yield from Call(self.may.wait, 30)
            if self.fails:
                raise self.fails.pop()
        return (yield from Toy.embed(self, texts, kind=kind))


def two_at_once(slow: Slow, first: list[str], second: list[str], **options: Any) -> list[Any]:
    """What each of two is answered, the second of whom asks while the first waits for the embedder."""
    embedder, answers = evolve(cached(slow, MemoryCache()), **options), list[Any]([None, None])

    def ask(place: int, given: list[str]) -> None:
        try:
            answers[place] = embed(embedder, given)
        except ProviderError as error:
            answers[place] = error

    threads = [threading.Thread(target=ask, args=each) for each in enumerate((first, second))]
    threads[0].start()
    assert slow.come.wait(30)
    threads[1].start()
    while threads[1].is_alive() and not any(each.followers for each in embedder.flights._flying.values()):
        threads[1].join(0.001)
    slow.may.set()
    for thread in threads:
        thread.join(30)
    return answers


def test_what_another_asks_for_right_now_is_waited_for() -> None:
    slow = Slow()
    first, second = two_at_once(slow, ["a", "b", "long"], ["b", "c", "long"])
    assert [*first] == [vector(text) for text in ("a", "b", "long")]
    assert [*second] == [vector(text) for text in ("b", "c", "long")]
    assert (first.truncated, second.truncated) == ((2,), (2,))
    assert (first.usage, second.usage) == (Usage(3), Usage(1))
    assert sorted(slow.asked) == ["a", "b", "c", "long"]


def test_what_another_fails_at_is_asked_for() -> None:
    slow = Slow(fails=[ProviderError("no")])
    first, second = two_at_once(slow, ["a", "b"], ["b", "c"])
    assert isinstance(first, ProviderError)
    assert [*second] == [vector("b"), vector("c")]
    assert sorted(slow.asked) == ["b", "c"]


def test_nobody_waits_for_longer_than_there_is_patience() -> None:
    slow = Slow()
    first, second = two_at_once(slow, ["a"], ["a"], patience=0)
    assert [*first] == [*second] == [vector("a")]
    assert slow.asked == ["a", "a"]


# -- what is passed in --


def test_it_is_an_embedder_itself() -> None:
    inner = openai_compatible_embedder("m", base_url="http://localhost", api_key="k", dimensions=7, max_batch_tokens=9)
    embedder = cached(inner, MemoryCache())
    assert isinstance(embedder, CachedEmbedder)
    assert isinstance(embedder, Embedder)
    told = (embedder.name, embedder.provider, embedder.dimensions, embedder.max_batch, embedder.max_bytes)
    assert told == (inner.name, inner.provider, 7, inner.max_batch, inner.max_bytes)
    assert (embedder.max_batch_tokens, embedder.count) == (9, inner.count)
    assert not hasattr(cached(Toy(), MemoryCache()), "count")
    assert not hasattr(embedder, "max_tokens")


def test_two_caches_are_asked_one_after_the_other() -> None:
    toy, near, far = Toy(), MemoryCache(), MemoryCache()
    embed(cached(toy, far), "a")
    assert [*embed(cached(cached(toy, far), near), "a")] == [vector("a")]
    assert (toy.asked, len(near)) == (["a"], 1)


def test_copies_and_pickles_are_equal(tmp_path: Path) -> None:
    embedder = cached(hashed_embedder(dimensions=8), SqliteCache(tmp_path / "vectors.db"))
    embed(embedder, ["a", "b"])
    sent: Any = pickle.loads(pickle.dumps(embedder))
    assert sent.embedder == embedder.embedder == copy.copy(embedder).embedder
    assert embed(sent, ["a", "b"]).usage == Usage(0)
    for each in (embedder, sent):
        each.cache.close()


def test_mistakes_are_refused() -> None:
    cache = MemoryCache()
    with pytest.raises(Misuse, match="wrap it once"):
        cached(cached(cached(Toy(), cache), MemoryCache()), cache)
    with pytest.raises(Misuse, match="a model or an embedder, not len"):
        cached(len, cache)
    with pytest.raises(Misuse, match="get and put"):
        cached(Toy(), {})
    with pytest.raises(Misuse, match="progress="):
        embed(Toy(), "a", progress=7)  # type: ignore[arg-type]

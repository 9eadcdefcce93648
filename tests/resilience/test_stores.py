"""Stores of answers: what was put last is found, within bounds and time, by threads and processes, after a crash."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import complete
from arshai_kit.errors import Misuse, StoreUnreachable
from arshai_kit.resilience import (
    MemoryCache,
    RedisCache,
    RedisCircuit,
    RedisLedger,
    RedisQuota,
    SqliteCache,
    breaker,
    cached,
    limited,
)
from arshai_kit.resilience.reach import REST, Reach
from tests.resilience.fixed import Fixed, said
from tests.resilience.redis_server import RedisServer

NOW = 1_000_000_000.0
KEYS = st.sampled_from("abcde")
STEPS = st.lists(
    st.tuples(st.just("put"), KEYS, st.text(max_size=300)) | st.tuples(st.just("get"), KEYS, st.just("")), max_size=60
)


class Model:
    """What a memory cache is to do, done plainly."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.max_entries, self.max_bytes = max_entries, max_bytes
        self.kept: list[tuple[str, str]] = []

    def get(self, key: str) -> str | None:
        found = [each for each in self.kept if each[0] == key]
        self.kept = [each for each in self.kept if each[0] != key] + found
        return found[0][1] if found else None

    def put(self, key: str, text: str) -> None:
        self.kept = [each for each in self.kept if each[0] != key]
        if text.__sizeof__() + 400 <= self.max_bytes:
            self.kept.append((key, text))
        while len(self.kept) > self.max_entries or self.size() > self.max_bytes:
            self.kept.pop(0)

    def size(self) -> int:
        return sum(text.__sizeof__() + 400 for _, text in self.kept)


@given(STEPS, st.integers(1, 5), st.integers(500, 3000))
def test_memory_keeps_what_was_used_last_within_its_bounds(steps: list[Any], entries: int, most: int) -> None:
    cache, model = MemoryCache(max_entries=entries, max_bytes=most), Model(entries, most)
    for what, key, text in steps:
        if what == "put":
            cache.put(key, text, NOW)
            model.put(key, text)
        else:
            assert cache.get(key, NOW) == model.get(key)
        assert (len(cache), cache.bytes) == (len(model.kept), model.size())
        assert cache.bytes <= most


def test_memory_without_bounds_and_cleared() -> None:
    cache = MemoryCache(max_entries=None, max_bytes=None)
    for number in range(2000):
        cache.put(str(number), "x" * number, NOW)
    assert len(cache) == 2000
    assert not len(pickle.loads(pickle.dumps(cache)))
    cache.clear()
    assert (len(cache), cache.bytes, bool(cache)) == (0, 0, True)


STORES: tuple[Callable[[Path], Any], ...] = (
    lambda _: MemoryCache(ttl=60),
    lambda folder: SqliteCache(folder / "answers.db", ttl=60),
)


@pytest.mark.parametrize("make", STORES, ids=["memory", "sqlite"])
def test_many_are_as_one_after_the_other(make: Callable[[Path], Any], tmp_path: Path) -> None:
    cache = make(tmp_path)
    assert cache.get_many([], NOW) == cache.get_many(["k"], NOW) == {}
    many = {f"k{number}": f"سلام {number}" for number in range(900)}
    cache.put_many(many, NOW)
    cache.put_many({"k1": "other", "m": "more"}, NOW + 30)
    assert cache.get_many([*many, "m", "absent"], NOW + 59) == {**many, "k1": "other", "m": "more"}
    assert cache.get_many([*many, "m", "absent"], NOW + 61) == {"k1": "other", "m": "more"}
    assert cache.get("m", NOW + 61) == "more"
    cache.put_many({}, NOW + 95)
    assert cache.get_many(["k1"], NOW + 61) == ({} if isinstance(cache, SqliteCache) else {"k1": "other"})


def test_many_are_kept_in_a_file_together_or_not_at_all(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "answers.db")
    with pytest.raises(sqlite3.Error):
        cache.put_many({"a": "one", "b": object()}, NOW)  # type: ignore[dict-item]
    assert cache.get_many(["a", "b"], NOW) == {}
    cache.put_many({"a": "one"}, NOW)
    assert cache.get("a", NOW) == "one"
    cache.close()


@pytest.mark.parametrize("make", STORES, ids=["memory", "sqlite"])
def test_what_was_put_last_is_found_for_its_time(make: Callable[[Path], Any], tmp_path: Path) -> None:
    cache = make(tmp_path)
    assert cache.get("k", NOW) is None
    for text in ("one", "سلام 🙂"):
        cache.put("k", text, NOW)
        assert cache.get("k", NOW) == text
    cache.put("l", "other", NOW + 30)
    assert cache.get("k", NOW + 59.9) == "سلام 🙂"
    assert cache.get("k", NOW + 60) is None
    cache.put("m", "more", NOW + 61)
    assert [cache.get(key, NOW + 61) for key in "klm"] == [None, "other", "more"]
    cache.clear()
    assert cache.get("l", NOW + 61) is None


@pytest.mark.parametrize("options", [{"ttl": 0}, {"ttl": float("inf")}, {"ttl": -1}, {"ttl": "1h"}])
def test_bounds_that_bound_nothing_are_refused(options: Any) -> None:
    for make in (MemoryCache, lambda **more: SqliteCache("x", **more), lambda **more: RedisCache(None, **more)):
        with pytest.raises(Misuse, match="ttl="):
            make(**options)
    with pytest.raises(Misuse, match="max_bytes="):
        MemoryCache(max_bytes=0)


# -- SQLite --


def test_a_file_outlives_its_process_and_threads_share_it(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "answers.db")
    put = f"SqliteCache({cache.path!r}).put('k', 'other', 1.0)"
    code = f"import os; from arshai_kit.resilience import SqliteCache; {put}; os._exit(1)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert cache.get("k", NOW) == "other"

    def work(number: int) -> None:
        for turn in range(20):
            cache.put(f"{number}-{turn}", str(turn), NOW)
            assert cache.get(f"{number}-{turn}", NOW) == str(turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = pickle.loads(pickle.dumps(cache))
    assert [again.get(f"{number}-19", NOW) for number in range(4)] == ["19"] * 4
    assert repr(again) == f"SqliteCache({cache.path!r}, ttl=None)"
    cache.close()
    cache.close()
    assert cache.get("k", NOW) == "other"
    again.close()


WRITER = """
import sys
from arshai_kit.resilience import SqliteCache
cache = SqliteCache(sys.argv[1], ttl=60)
for turn in range(100):
    cache.put(f"{sys.argv[2]}-{turn}", "x" * 1000, 1e9)
    cache.put("all", sys.argv[2], 1e9)
"""


def test_processes_write_side_by_side(tmp_path: Path) -> None:
    path = str(tmp_path / "answers.db")
    writers = [subprocess.Popen([sys.executable, "-W", "error", "-c", WRITER, path, each]) for each in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    cache = SqliteCache(path)
    assert all(cache.get(f"{each}-{turn}", 1e9) == "x" * 1000 for each in "ab" for turn in range(100))
    assert cache.get("all", 1e9) in ("a", "b")
    cache.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_opens_the_file_anew(tmp_path: Path) -> None:
    cache = SqliteCache(tmp_path / "answers.db")
    cache.put("k", "before", NOW)

    def child() -> None:
        cache.close()
        found = cache.get("k", NOW)
        cache.put("k", f"{found} and in the fork", NOW)
        cache.close()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert cache.get("k", NOW) == "before and in the fork"
    cache.put("k", "after", NOW)
    assert cache.get("k", NOW) == "after"
    cache.close()


def test_a_file_that_is_none_is_no_answer(tmp_path: Path) -> None:
    """The model is asked, whatever lies there."""
    path = tmp_path / "answers.db"
    path.write_bytes(b"this is no database" * 100)
    cache = SqliteCache(path)
    with pytest.raises(sqlite3.DatabaseError):
        cache.get("k", NOW)
    model = cached(Fixed((said("hello"),)), cache)
    assert [complete(model, "Hi").text for _ in range(2)] == ["hello"] * 2
    path.unlink()
    assert [complete(model, "Hi").usage.total_tokens for _ in range(2)] == [20, 0]
    cache.close()


def test_a_path_that_leads_nowhere_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = cached(Fixed((said("hello"),)), SqliteCache(tmp_path / "mistyped" / "answers.db"))
    assert [complete(model, "Hi").text for _ in range(2)] == ["hello"] * 2
    (told,) = [each.getMessage() for each in caplog.records if each.name == "arshai_kit.resilience"]
    assert "mistyped" in told


def test_nobody_has_to_close_it(tmp_path: Path) -> None:
    code = "import sys; from arshai_kit.resilience import SqliteCache as C; c = C(sys.argv[1]); c.put('k', 't', 1.0)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "a.db")], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert os.listdir(tmp_path) == ["a.db"]  # noqa: PTH208  # as text


# -- Redis --


@pytest.mark.needs("redis")
def test_redis_keeps_answers_for_their_time(redis_server: RedisServer) -> None:
    from redis import Redis

    cache = RedisCache(redis_server.url, ttl=60, prefix="test_stores:")
    assert cache.get("k", NOW) is None
    cache.put("k", "سلام", NOW)
    with redis_server.client() as client, Redis.from_url(redis_server.url, decode_responses=True) as texts:
        assert 59_000 < client.pttl("test_stores:k") <= 60_000
        assert RedisCache(texts, prefix="test_stores:").get("k", NOW) == "سلام"
        lasting = RedisCache(client, prefix="test_stores:")
        lasting.put("k", "for ever", NOW)
        assert client.pttl("test_stores:k") == -1
        assert repr(lasting) == "RedisCache(Redis, ttl=None, prefix='test_stores:')"
    assert pickle.loads(pickle.dumps(cache)).get("k", NOW) == "for ever"


@pytest.mark.needs("redis")
def test_a_redis_that_is_killed_is_done_without_until_it_is_back(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        cache = RedisCache(server.url)
        model = cached(Fixed((said("hello"),)), cache)
        totals = [complete(model, "Hi").usage.total_tokens for _ in range(2)]
        server.kill()
        totals += [complete(model, "Hi").usage.total_tokens for _ in range(2)]
        server.start()
        totals += [complete(model, "Hi").usage.total_tokens for _ in range(2)]
        assert totals == [20, 0, 20, 20, 20, 0]
        cache._client.close()


@pytest.mark.needs("redis")
def test_one_call_waits_once_for_a_redis_that_is_silent() -> None:
    """Whatever asks it, as cache, circuit, quota or ledger: the others do without at once."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        port, sent = silent.getsockname()[1], list[Any]()
        with Redis(port=port, socket_timeout=0.05, retry=Retry(NoBackoff(), 0)) as client:
            execute = client.execute_command

            def noting(*args: Any, **more: Any) -> Any:
                sent.append(args)
                return execute(*args, **more)

            client.execute_command = noting
            cache, ledger = RedisCache(client), RedisLedger("c", client)
            quota = RedisQuota("b", client, concurrent=1, when_away="allow")
            cache._reach.clock = lambda: 0.0
            guarded = breaker(limited(Fixed((said("hello"),)), quota), RedisCircuit("a", client, when_away="allow"))
            for words in ("Hi", "Ho"):
                assert complete(cached(guarded, cache), words).text == "hello"
            with pytest.raises(StoreUnreachable, match="a moment ago"):
                ledger.held((0, ""))
    assert [args[0] for args in sent] == ["GET"]
    assert RedisCache("redis://x/0")._reach is not RedisCache("redis://y/0")._reach
    one = RedisCache("redis://x/0")
    assert one._reach is RedisQuota("b", "redis://x/0", concurrent=1)._store._reach


@pytest.mark.needs("redis")
def test_a_silent_redis_is_tried_by_one_after_a_moment() -> None:
    from redis.exceptions import TimeoutError as Silence

    now, asked = [0.0], list[float]()
    reach = Reach(clock=lambda: now[0])

    def silence() -> None:
        asked.append(now[0])
        with pytest.raises(StoreUnreachable, match="a moment ago"):
            reach.asked("it", lambda: None)  # nobody waits beside who does, once it was silent
        raise Silence

    def broken() -> None:
        raise ConnectionError("reset")

    with pytest.raises(StoreUnreachable, match="cannot be asked: TimeoutError"):
        reach.asked("it", _raising(Silence()))
    for seconds in (0.0, REST - 1, 1.0, 1.0, REST):
        now[0] += seconds
        with pytest.raises(StoreUnreachable):
            reach.asked("it", silence)
    assert asked == [REST, 2 * REST + 1]
    now[0] += REST
    with pytest.raises(StoreUnreachable, match="reset"):
        reach.asked("it", broken)
    assert reach.asked("it", lambda: "well") == "well"  # who is refused at once may come back at once


def _raising(error: Exception) -> Callable[[], None]:
    def ask() -> None:
        raise error

    return ask


@pytest.mark.needs("redis")
def test_a_client_of_asyncio_is_refused() -> None:
    from redis.asyncio import Redis

    client = Redis()
    makers: list[Callable[[], Any]] = [
        lambda: RedisCache(client),
        lambda: RedisQuota("a", client, concurrent=1),
        lambda: RedisCircuit("a", client),
        lambda: RedisLedger("a", client),
    ]
    for make in makers:
        with pytest.raises(Misuse, match="sync client"):
            make()


def test_a_client_of_another_package_needs_no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """It speaks the same, and its errors are those of sockets, or its own."""
    monkeypatch.setitem(sys.modules, "redis.exceptions", None)
    kept: dict[str, str] = {}

    class Client:
        def get(self, key: str) -> str | None:
            return kept.get(key)

        def set(self, key: str, text: str, px: int | None) -> None:
            if px:
                raise ConnectionError("gone")
            kept[key] = text

    cache = RedisCache(Client())
    cache.put("k", "text", NOW)
    assert cache.get("k", NOW) == "text"
    with pytest.raises(StoreUnreachable, match="gone"):
        RedisCache(Client(), ttl=1).put("k", "text", NOW)


@pytest.mark.needs("redis")
def test_no_password_shows() -> None:
    assert "secret" not in repr(RedisCache("redis://me:secret@127.0.0.1:1/0"))


def test_redis_without_its_package_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"arshai-kit\[redis\]"):
        RedisCache("redis://127.0.0.1/0")

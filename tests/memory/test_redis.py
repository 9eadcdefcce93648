"""Memory in Redis: its layout, its clients, how long it keeps, and what it tells whoever watches."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from arshai_kit import aio, assistant, testing, user
from arshai_kit.errors import BadRecord, Conflict, ForeignFormat, Misuse, StoreFull, StoreRefused, StoreUnreachable
from arshai_kit.faces import drive
from arshai_kit.memory import Conversation, remembering
from arshai_kit.memory.in_redis import RedisStore, redis_memory
from arshai_kit.memory.redis_watch import Change
from tests.core.worlds import World, everywhere, on_both
from tests.memory.redis_parts import LONG, cluster, patient, redis_client, way_to
from tests.resilience.redis_server import RedisServer

pytestmark = pytest.mark.needs("redis")

PREFIXES = (f"prefix {number}" for number in count())
ODD = ["a", "{a}b", "}{", "%7B", "ключ 🧪", "\ud800", "nul\0", "a:turn", "{}"]


@pytest.fixture
def admin(redis_server: RedisServer) -> Iterator[Any]:
    with redis_client(redis_server.client) as client:
        yield client


@pytest.fixture
def made(redis_server: RedisServer) -> Iterator[Callable[..., Any]]:
    """Makes memories of one prefix, each with connections of its own."""
    prefix, memories = next(PREFIXES), []

    def make(redis: Any = redis_server.url, **how: Any) -> Any:
        memories.append(redis_memory(redis, **{"prefix": prefix, **how}))
        return memories[-1]

    yield make
    for memory in memories:
        memory.backend.close()


def at(memory: Any, key: str) -> bytes:
    """The key of Redis that a conversation is kept under."""
    return memory.backend.keys(key)[0]  # type: ignore[no-any-return]


# -- the layout --


def test_the_layout_is_as_documented(made: Any, admin: Any) -> None:
    memory = made()
    first = memory.append("k", [user("Hi"), assistant("Hello!")], "turn-1")
    second = memory.append("k", [user("Bye")], "turn-2")
    noted = memory.note("k", "summary", "a greeting")
    base = first - 1
    found = admin.hgetall(at(memory, "k"))
    written = found.pop(b"noted:summary")
    assert written.startswith(b"%d " % noted)
    assert found == {
        b"format": b"1",
        b"base": b"%d" % base,
        b"count": b"2",
        b"first": b"1",
        b"bytes": b"%d" % sum(len(found[field]) for field in (b"1", b"2", b"note:summary")),
        b"1": b'[1,{"role":"user","text":"Hi"},{"role":"assistant","text":"Hello!"}]',
        b"2": b'[1,{"role":"user","text":"Bye"}]',
        b"id:turn-1": b"1",
        b"id:turn-2": b"2",
        b"note:summary": b'[1,"a greeting"]',
    }
    assert at(memory, "k") == memory.backend.prefix.encode() + b":{k}"
    memory.replace("k", [user("all")], second)
    found = admin.hgetall(at(memory, "k"))
    assert (b"1" in found, b"2" in found, found[b"first"], found[b"3"]) == (
        *(False, False),
        *(b"3", b'[1,{"role":"user","text":"all"}]'),
    )


@everywhere
def test_a_remembered_turn_takes_two_round_trips(world: World, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, redis_client(server.client) as client, redis_client(server.client) as other:
        chat = remembering(lambda said: f"That makes {len(said)}.", redis_memory(client))
        for count_ in (1, 3, 5):
            other.config_resetstat()
            assert world.run(lambda: chat.plan("Hi", key="k")).text == f"That makes {count_}."
        calls = {name: figures["calls"] for name, figures in other.info("commandstats").items()}
        assert calls.pop("cmdstat_evalsha") == 2
        assert not {name for name in calls if name.startswith(("cmdstat_eval", "cmdstat_script", "cmdstat_client"))}


def test_turns_begun_and_ended_so_are_taken_one_after_the_other(made: Any) -> None:
    """Each reads what is there and says how much that was; nobody says the same."""

    def speak() -> None:
        memory = made()
        own = threading.current_thread().name
        pause = threading.Event()
        for _ in range(5):
            while (found := memory.begin("k", own, 60.0))[0]:
                pause.wait(found[0])
            memory.end("k", [user(str(len(found[1].messages)))], "", own)

    threads = [threading.Thread(target=speak, name=f"thread {number}", daemon=True) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(LONG)
    assert [each.text for each in made().load("k").messages] == [str(number) for number in range(20)]


def test_a_newer_format_is_refused_and_left_as_it_is(made: Any, admin: Any) -> None:
    memory = made()
    version = memory.append("k", [user("Hi")])
    for format_ in ("2", "x", ""):
        admin.hset(at(memory, "k"), "format", format_)
        before = admin.dump(at(memory, "k"))
        acts: list[Callable[[], Any]] = [
            lambda: memory.load("k"),
            lambda: memory.append("k", [user("more")]),
            lambda: memory.replace("k", [], version),
            lambda: memory.note("k", "n", 1),
            lambda: memory.noted("k", "n"),
            lambda: memory.begin("k", "turn", 60),
            lambda: next(memory.watch("k")),
        ]
        for act in acts:
            with pytest.raises(ForeignFormat, match="left as it is"):
                act()
        assert admin.dump(at(memory, "k")) == before
    memory.forget("k")  # whoever asks for that is obeyed
    assert not admin.exists(*memory.backend.keys("k"))


def test_what_was_changed_by_hand_is_refused(made: Any, admin: Any) -> None:
    memory = made()
    memory.append("k", [user("one")])
    memory.append("k", [user("two")])
    for value in (b"[1,{", b"[]\n[]", b"", b"[1,{}]"):
        admin.hset(at(memory, "k"), "1", value)
        with pytest.raises((BadRecord, ForeignFormat)):
            memory.load("k")
    admin.hdel(at(memory, "k"), "1")
    with pytest.raises(BadRecord):
        memory.load("k")
    for field in ("count", "bytes"):
        memory.forget("k")
        version = memory.append("k", [user("one")])
        admin.hset(at(memory, "k"), field, "many")
        before = admin.dump(at(memory, "k"))
        with pytest.raises(BadRecord, match="changed by hand"):
            memory.append("k", [user("two")])
        with pytest.raises(BadRecord, match="changed by hand"):
            memory.replace("k", [], version)
        assert admin.dump(at(memory, "k")) == before


def test_what_redis_cannot_count_is_for_ever_and_what_is_no_text_is_misuse(made: Any, admin: Any) -> None:
    memory = made(ttl=1e30)
    version = memory.append("k", [user("Hi")])
    assert admin.pttl(at(memory, "k")) == -1
    assert memory.enter("k", "turn", 1e300) == 0.0
    with pytest.raises(Conflict):
        memory.replace("k", [], None)
    acts: list[Callable[[], Any]] = [
        lambda: memory.append("k", [user("Hi")], 5),
        lambda: memory.note("k", 3, "a"),
        lambda: made(prefix=3),
    ]
    for act in acts:
        with pytest.raises(Misuse, match="is text, not int"):
            act()
    assert memory.load("k").version == version


RENAME = "redis.call('HSET', KEYS[1], 'note:new', redis.call('HGET', KEYS[1], 'note:old')); "
RENAME += "redis.call('HSET', KEYS[1], 'noted:new', redis.call('HGET', KEYS[1], 'noted:old')); "
RENAME += "redis.call('HDEL', KEYS[1], 'note:old', 'noted:old')"


def test_an_older_format_is_brought_up_to_date_once_by_whoever_comes_first(
    redis_server: RedisServer, made: Any, admin: Any
) -> None:
    """A step such as a later format may need: in it, a note has another name."""
    old = made()
    version = old.append("k", [user("Hi")], "id")
    noted = old.note("k", "old", [1])
    before = old.load("k")
    with way_to(redis_server, every=7) as way:
        stores = [
            RedisStore(url, prefix=old.backend.prefix, migrations={1: RENAME}, when_away=LONG)
            for url in (way.url, way.url, redis_server.url)
        ]
        found: list[Any] = []
        threads = [threading.Thread(target=lambda s=s: found.append(drive(s.load("k"))), daemon=True) for s in stores]
        for each in threads:
            each.start()
        for each in threads:
            each.join(LONG)
        assert found == [before] * 3
        assert drive(stores[0].noted("k", "new")).version == noted
        assert drive(stores[0].append("k", [user("Hi")], "id")) == version
        for store in stores:
            store.close()
    assert admin.hget(at(old, "k"), "format") == b"2"
    with pytest.raises(ForeignFormat, match="upgrade"):
        old.load("k")


# -- how long it keeps --


def test_each_use_renews_the_time_of_a_conversation_or_none_does(made: Any, admin: Any) -> None:
    renewed, fixed = made(ttl=100), made(ttl=100, renew=False, prefix="fixed")
    for memory in (renewed, fixed):
        version = memory.append("k", [user("Hi")], "id")
        acts: list[Callable[[], Any]] = [
            lambda memory=memory: memory.load("k"),  # type: ignore[misc]
            lambda memory=memory: memory.append("k", [user("Hi")], "id"),  # type: ignore[misc]
            lambda memory=memory: memory.append("k", [user("more")]),  # type: ignore[misc]
            lambda memory=memory: memory.note("k", "n", 1),  # type: ignore[misc]
            lambda memory=memory: memory.noted("k", "n"),  # type: ignore[misc]
            lambda memory=memory, version=version: memory.replace("k", [], version + 1),  # type: ignore[misc]
        ]
        for act in acts:
            assert 0 < admin.pttl(at(memory, "k")) <= 100_000
            admin.pexpire(at(memory, "k"), 50_000)
            act()
            assert (admin.pttl(at(memory, "k")) > 50_000) == (memory is renewed)
    assert renewed.enter("k", "turn", 5.0) == 0.0
    assert renewed.enter("k", "other", 5.0) > 0
    assert all(admin.ttl(key) > 0 for key in renewed.backend.keys("k"))


def test_the_time_ends_and_all_is_gone(made: Any, admin: Any) -> None:
    memory = made(ttl=0.001)
    memory.append("k", [user("Hi")])
    patient(lambda: memory.load("k") == Conversation(), "it never expires")
    assert not admin.exists(*memory.backend.keys("k"))


def test_what_the_environment_says(made: Any, admin: Any, redis_server: RedisServer, monkeypatch: Any) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("REDIS_TTL", "60")
    memory = made(None)
    memory.append("k", [user("Hi")])
    assert 0 < admin.ttl(at(memory, "k")) <= 60
    assert made(None, ttl=float("inf")).backend.ttl is None
    assert made(None, ttl=5).backend.ttl == 5
    for wrong in ("soon", "-1", "nan", "0"):
        monkeypatch.setenv("REDIS_TTL", wrong)
        with pytest.raises(Misuse, match="REDIS_TTL"):
            made(None)
    monkeypatch.delenv("REDIS_TTL")
    assert made(None).backend.ttl is None
    monkeypatch.delenv("REDIS_URL")
    with pytest.raises(Misuse, match="REDIS_URL"):
        made(None)


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"ttl": 0}, {"ttl": True}, {"max_bytes": 0}, {"max_bytes": True}, {"when_away": "wait"}, {"when_away": -1}],
        *[{"when_away": float("inf")}, {"redis": 7}, {"redis": "localhost"}],
    ],
)
def test_what_cannot_be_meant_is_misuse(wrong: Any) -> None:
    with pytest.raises(Misuse):
        redis_memory(**{"redis": "redis://127.0.0.1:1", **wrong})


# -- its clients --


def exercised(memory: Any) -> None:
    """Use all of its functions, under odd keys."""
    for key in ODD:
        version = memory.append(key, [user(key.encode(errors="replace").decode())])
        assert memory.load(key).version == version
        noted = memory.note(key, "n", key.encode(errors="replace").decode())
        assert memory.noted(key, "n").version == noted
        assert memory.enter(key, "turn", 60) == 0.0
        memory.leave(key, "turn")
        assert memory.replace(key, [user("all")], version) > version
        memory.forget(key)
        assert memory.load(key) == Conversation()


def test_a_cluster_keeps_a_conversation_on_one_of_its_nodes(tmp_path: Path) -> None:
    from redis import RedisCluster

    with cluster(tmp_path) as nodes, redis_client(RedisCluster.from_url, nodes[0].url) as client:
        memory: Any = redis_memory(client)
        exercised(memory)
        keys = [memory.backend.keys(key) for key in ODD]
        assert all(len({client.keyslot(each) for each in of_one}) == 1 for of_one in keys)
        for number in range(30):
            memory.append(f"key {number}", [user("Hi")])
        sizes = []
        for node in nodes:
            with redis_client(node.client) as direct:
                sizes.append(direct.dbsize())
        assert sum(sizes) == 30
        assert min(sizes) > 0
        with memory.watch("key 1") as changes:
            memory.append("key 1", [user("more")])
            assert next(changes).messages == (user("more"),)
        anyio.run(_in_asyncio_cluster, nodes[1].url)


async def _in_asyncio_cluster(url: str) -> None:
    from redis.asyncio import RedisCluster

    client: Any = RedisCluster.from_url(url)
    memory: Any = redis_memory(client)
    assert len((await aio.run(memory.load, "key 1")).messages) == 2
    await aio.run(memory.append, "key 2", [user("more")])
    assert len((await aio.run(memory.load, "key 2")).messages) == 2
    await client.aclose()


def test_over_tls(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="pass-word") as server, way_to(server, secure=True) as way:
        memory = redis_memory(way.url.replace("rediss://", "rediss://:pass-word@"))
        exercised(memory)
        assert "pass-word" not in f"{memory!r} {memory.backend!r}"
        stranger = redis_memory(way.url.partition("?")[0])  # a certificate that it does not know
        with pytest.raises(StoreUnreachable):
            stranger.load("k")
        memory.backend.close()
        stranger.backend.close()


def test_without_redis_py_the_extra_is_named(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match="redis"):
        redis_memory("redis://127.0.0.1:1")


def test_a_client_that_decodes_what_comes(redis_server: RedisServer, made: Any) -> None:
    from redis import Redis

    with redis_client(Redis.from_url, redis_server.url, decode_responses=True) as client:
        memory = made(client)
        exercised(memory)
        for key in ODD:
            with memory.watch(key, since=0) as changes:
                memory.append(key, [user("Hi")])
                assert next(changes).messages == (user("Hi"),)
        found = {bytes(memory.backend.keys(key)[0]).decode() for key in (*ODD, "%D800", "\ud801")}
        assert len(found) == len(ODD) + 2


def test_a_server_that_lost_the_scripts_is_told_them_anew(made: Any, admin: Any) -> None:
    memory = made()
    memory.append("k", [user("Hi")])
    admin.script_flush()
    assert len(memory.load("k").messages) == 1


@everywhere
def test_a_client_of_asyncio_is_for_asyncio(world: World, redis_server: RedisServer) -> None:
    from redis.asyncio import Redis

    async def main() -> None:
        client: Any = Redis.from_url(redis_server.url)
        memory = redis_memory(client, prefix=next(PREFIXES))
        await aio.run(memory.append, "k", [user("Hi")])
        assert len((await aio.run(memory.load, "k")).messages) == 1
        await client.aclose()

    if world.backend == "asyncio":
        anyio.run(main)
        return
    elsewhere: Any = redis_memory(Redis.from_url(redis_server.url))
    if world.backend == "trio":
        with pytest.raises(Misuse, match="is for asyncio"):
            world.run(lambda: elsewhere.backend.load("k"))


def test_a_client_of_asyncio_belongs_to_one_loop(redis_server: RedisServer) -> None:
    from redis.asyncio import Redis

    client: Any = Redis.from_url(redis_server.url)
    memory: Any = redis_memory(client, prefix=next(PREFIXES))

    async def main() -> None:
        version = await aio.run(memory.append, "k", [user("Hi")])
        found = await anyio.to_thread.run_sync(memory.load, "k")  # from elsewhere, while the loop runs
        assert found == Conversation([user("Hi")], version)
        with pytest.raises(Misuse, match="its own event loop"):
            await anyio.to_thread.run_sync(next, memory.watch("k"))
        await client.aclose()

    anyio.run(main)
    with pytest.raises(Misuse, match="loop of this client"):
        anyio.run(main)


def test_a_loop_that_does_not_run_is_not_waited_for_for_ever(redis_server: RedisServer, monkeypatch: Any) -> None:
    from redis.asyncio import Redis

    from arshai_kit.memory import redis_client as module

    client: Any = Redis.from_url(redis_server.url)
    memory = redis_memory(client, prefix=next(PREFIXES))
    with asyncio.Runner() as runner:
        runner.run(aio.run(memory.load, "k"))
        monkeypatch.setattr(module, "PATIENCE", 0.01)
        with pytest.raises(StoreUnreachable, match="does not come"):
            memory.load("k")
        runner.run(client.aclose())
    assert repr(memory.backend).startswith("RedisStore(asyncio.Redis, ")


def test_a_turn_that_is_cancelled_as_its_loop_ends_is_given_back(redis_server: RedisServer) -> None:
    """The steps are those of `asyncio.run`; between the last two, there is time to close the client."""
    from redis.asyncio import Redis

    prefix, taken = next(PREFIXES), asyncio.Event()
    client: Any = Redis.from_url(redis_server.url)

    async def waits(_: Any) -> str:
        taken.set()
        await asyncio.sleep(LONG)
        return "too late"

    async def cancelled(task: asyncio.Task[Any]) -> bool:
        await taken.wait()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    loop = asyncio.new_event_loop()
    chat = remembering(waits, redis_memory(client, prefix=prefix))
    assert loop.run_until_complete(cancelled(loop.create_task(aio.run(chat, "Hi", key="k"))))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    elsewhere: Any = redis_memory(redis_server.url, prefix=prefix)
    assert elsewhere.enter("k", "another", 60) == 0.0
    elsewhere.backend.close()
    loop.run_until_complete(client.aclose())
    loop.close()


@pytest.mark.anyio
async def test_a_client_of_asyncio_is_told_of_a_master_that_is_a_replica_now(
    anyio_backend_name: str, tmp_path: Path
) -> None:
    from redis.asyncio import Redis

    if anyio_backend_name == "trio":
        return
    with RedisServer(tmp_path) as server, redis_client(server.client) as admin:
        async with Redis.from_url(server.url) as client:
            memory = redis_memory(client)
            admin.replicaof("127.0.0.1", "1")
            with pytest.raises(StoreUnreachable, match="ReadOnly"):
                await aio.run(memory.append, "k", [user("Hi")])
            admin.replicaof("NO", "ONE")
            await aio.run(memory.append, "k", [user("Hi")])


def test_what_redis_was_asked_is_recorded_and_replayed(made: Any, admin: Any, tmp_path: Path) -> None:
    memory = made()

    def talk() -> Any:
        version = memory.append("k", [user("Hi")], "id")
        return version, memory.load("k"), memory.note("k", "n", {"a": 1})

    def recorded() -> Any:
        with testing.recorded(tmp_path / "talk.jsonl"):
            return talk()

    found = recorded()
    admin.delete(at(memory, "k"))
    with testing.replayed(tmp_path / "talk.jsonl"):
        assert talk() == found
    assert not admin.exists(at(memory, "k"))


def test_what_goes_wrong_has_a_name_of_ours(made: Any) -> None:
    """Those that a test cannot bring about at will."""
    from redis import exceptions as theirs

    from arshai_kit.memory.redis_client import told

    expected = {
        theirs.BusyLoadingError("Redis is loading the dataset in memory"): StoreUnreachable,
        theirs.ClusterDownError("The cluster is down"): StoreUnreachable,
        theirs.RedisClusterException("no node"): StoreUnreachable,
        theirs.ResponseError("BUSY Redis is busy running a script"): StoreUnreachable,
        theirs.ResponseError("NOREPLICAS Not enough good replicas to write."): StoreUnreachable,
        theirs.ResponseError("MISCONF Errors writing to the AOF file"): StoreFull,
        theirs.NoPermissionError("no"): StoreRefused,
        theirs.ResponseError("unknown command 'EVALSHA'"): StoreRefused,
        OSError("reset"): StoreUnreachable,
    }
    for error, kind in expected.items():
        assert type(told(error, "load")) is kind, error
    assert told(ValueError("ours"), "load") is None


def test_a_memory_is_a_value(redis_server: RedisServer, made: Any) -> None:
    memory = made(ttl=60, max_bytes=1000, when_away=2.0)
    again = pickle.loads(pickle.dumps(memory))
    assert again == memory
    assert hash(again) == hash(memory)
    assert again.backend.ttl == 60
    assert made() != memory
    assert memory.backend != "memory"
    again.append("k", [user("Hi")])
    assert len(memory.load("k").messages) == 1
    again.backend.close()
    client = redis_server.client()
    made(client).backend.close()  # a client of the user's is the user's to close
    assert client.ping()
    client.close()


# -- watching --


def test_another_process_is_told_what_is_said(made: Any) -> None:
    speaker, version = made(), made().append("k", [user("before")])
    with made().watch("k") as changes:
        assert iter(changes) is changes
        first = speaker.append("k", [user("one")])
        assert next(changes) == Change("append", [user("one")], first)
        speaker.append("k", [user("two")])
        second = speaker.append("k", [user("three")])
        found: list[Any] = []
        while len(found) < 2:  # what has come together is told together
            found += next(changes).messages
        assert found == [user("two"), user("three")]
        third = speaker.replace("k", [user("all")], second)
        assert next(changes) == Change("replace", [user("all")], third)
        speaker.forget("k")
        assert next(changes) == Change("forget")
        fourth = speaker.append("k", [user("anew")])
        assert next(changes) == Change("append", [user("anew")], fourth)
    with pytest.raises(StopIteration):
        next(changes)
    with made().watch("k", since=version) as changes:  # what that version was of is forgotten
        assert next(changes) == Change("forget", [user("anew")], fourth)
    with made().watch("k", since=0) as changes:
        assert next(changes).messages == (user("anew"),)
    assert repr(changes) == "Watch('k')"


def test_a_watch_that_is_wrong_is_misuse(made: Any) -> None:
    with pytest.raises(Misuse, match="since="):
        made().watch("k", since=-1)
    with pytest.raises(Misuse, match="key="):
        made().watch("")
    watch = made().watch("k")
    watch.close()
    with pytest.raises(Misuse, match="was closed"):
        watch.__enter__()


def test_what_cannot_hear_cannot_watch() -> None:
    class Mute:
        def execute_command(self, *_: Any, **__: Any) -> None:
            """Say nothing."""

    with pytest.raises(Misuse, match="cannot watch"):
        next(redis_memory(Mute()).watch("k"))  # type: ignore[misc]  # it has one


def test_a_watch_begins_once_redis_is_there(tmp_path: Path) -> None:
    server = RedisServer(tmp_path).start()
    server.kill()
    memories: list[Any] = [redis_memory(server.url), redis_memory(server.url, when_away=LONG)]
    strict, patient_ = memories
    watch = strict.watch("k")
    with pytest.raises(StoreUnreachable):
        next(watch)
    threading.Timer(0.2, server.start).start()
    with patient_.watch("k", since=0) as changes, watch:
        version = patient_.append("k", [user("Hi")])
        assert next(changes) == next(watch) == Change("append", [user("Hi")], version)
    server.kill()
    for each in memories:
        each.backend.close()


def test_a_watch_whose_connection_breaks_misses_nothing(redis_server: RedisServer, made: Any, admin: Any) -> None:
    speaker, listener = made(), made(when_away=LONG)
    found: list[str] = []
    with listener.watch("k") as changes:
        for number in range(6):
            if number % 2:
                admin.client_kill_filter(_type="pubsub")
            speaker.append("k", [user(str(number))])
            while len(found) <= number:
                found += [each.text for each in next(changes).messages]
    assert found == [str(number) for number in range(6)]


def test_a_watch_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    with RedisServer(tmp_path, keeps=True) as server:
        memories: list[Any] = [redis_memory(server.url, when_away=each) for each in (LONG, LONG, "raise")]
        speaker, listener, strict = memories
        with listener.watch("k") as changes, strict.watch("k") as impatient:
            speaker.append("k", [user("one")])
            assert next(changes).messages == next(impatient).messages == (user("one"),)
            server.kill()
            with pytest.raises(StoreUnreachable):
                next(impatient)
            server.start()
            speaker.append("k", [user("two")])
            assert next(changes).messages == (user("two"),)
        for each in memories:
            each.backend.close()


@on_both
@pytest.mark.parametrize("native", [False, True])
def test_a_task_watches(backend: str, native: bool, redis_server: RedisServer) -> None:
    """By the client of asyncio, or by worker threads; whoever leaves early leaves no connection behind."""
    from redis.asyncio import Redis

    if native and backend == "trio":
        return
    prefix = next(PREFIXES)
    speaker: Any = redis_memory(redis_server.url, prefix=prefix)

    async def main() -> None:
        client: Any = Redis.from_url(redis_server.url) if native else redis_server.url
        memory: Any = redis_memory(client, prefix=prefix)
        async with memory.watch("k") as changes:
            found: list[Any] = []
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(aio.run, speaker.append, "k", [user(str(number))])
                while len(found) < 5:
                    found += (await anext(changes)).messages
            assert tuple(found) == (await aio.run(memory.load, "k")).messages
            with anyio.move_on_after(0.05):
                await anext(changes)
            await aio.run(speaker.append, "k", [user("late")])
            async for change in changes:
                assert change.messages == (user("late"),)
                break
        with pytest.raises(StopAsyncIteration):
            await anext(changes)
        if native:
            with pytest.raises(Misuse, match="aclose"):
                changes.close()
            await client.aclose()
        else:
            memory.backend.close()

    anyio.run(main, backend=backend)
    with redis_client(redis_server.client) as admin:
        channel = speaker.backend.keys("k")[0]
        patient(lambda: admin.pubsub_numsub(channel)[0][1] == 0, "somebody still listens")
    speaker.backend.close()

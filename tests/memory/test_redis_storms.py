"""Redis at its worst: replies lost, servers killed, a standby takes over, no room, no answer, no permission."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import define, field

from arshai_kit import Notice, aio, stream, user, using
from arshai_kit.effects import Call
from arshai_kit.errors import ForeignFormat, Misuse, StoreFull, StoreRefused, StoreUnreachable
from arshai_kit.memory import Memory, remembering
from arshai_kit.memory.in_redis import redis_memory
from arshai_kit.testing import clock
from tests.core.worlds import BACKENDS, World, everywhere, on_both
from tests.memory.redis_parts import LONG, hold_still, patient, redis_client, standby, take_over, way_to
from tests.resilience.redis_server import RedisServer

pytestmark = pytest.mark.needs("redis")

WRITERS = TIMES = 20
GATE = 15
"""The number that nobody says before the server was killed."""
KEY = "all of us"
NOWHERE = "redis://127.0.0.1:1/0"


@define
class Told:
    """What writers were told has been kept."""

    kept: list[str] = field(factory=list)
    gate: threading.Event = field(factory=threading.Event)
    _some: threading.Condition = field(factory=threading.Condition)

    def add(self, text: str) -> None:
        with self._some:
            self.kept.append(text)
            self._some.notify_all()

    def wait_for(self, number: int) -> None:
        with self._some:
            assert self._some.wait_for(lambda: len(self.kept) >= number, LONG)


def texts(memory: Memory) -> list[str]:
    return [message.text for message in memory.load(KEY).messages]


def write(memory: Memory, writer: int, told: Told) -> None:
    for number in range(TIMES):
        if number == GATE:
            assert told.gate.wait(LONG)
        memory.append(KEY, [user(f"{writer}:{number}")])
        told.add(f"{writer}:{number}")


def in_threads(url: str, told: Told) -> threading.Thread:
    """Writers, five to a memory of its own."""

    def work() -> None:
        memories = [redis_memory(url, when_away=LONG) for _ in range(WRITERS // 5)]
        threads = [
            threading.Thread(target=write, args=(memories[each // 5], each, told), daemon=True)
            for each in range(WRITERS)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        for memory in memories:
            memory.backend.close()

    return begun(work)


def in_tasks(url: str, told: Told, backend: str) -> threading.Thread:
    """The same by tasks: of the asyncio client, or of worker threads under trio."""

    async def write_here(memory: Memory, writer: int) -> None:
        for number in range(TIMES):
            if number == GATE:
                await anyio.to_thread.run_sync(told.gate.wait, LONG)
            await aio.run(memory.append, KEY, [user(f"{writer}:{number}")])
            told.add(f"{writer}:{number}")

    async def main() -> None:
        from redis.asyncio import Redis

        client: Any = Redis.from_url(url) if backend == "asyncio" else url
        memory = redis_memory(client, when_away=LONG)
        async with anyio.create_task_group() as group:
            for each in range(WRITERS):
                group.start_soon(write_here, memory, each)
        if backend == "asyncio":
            await client.aclose()
        else:
            memory.backend.close()

    return begun(lambda: anyio.run(main, backend=backend))


def begun(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ended(thread: threading.Thread) -> None:
    thread.join(2 * LONG)
    assert not thread.is_alive()


def in_order(found: Sequence[str]) -> bool:
    """Whether what each writer said stands in its order."""
    numbers: dict[str, list[int]] = {}
    for text in found:
        writer, number = text.split(":")
        numbers.setdefault(writer, []).append(int(number))
    return all(each == sorted(each) for each in numbers.values())


@contextmanager
def readers(url: str, number: int = 2) -> Iterator[list[Memory]]:
    memories = [redis_memory(url) for _ in range(number)]
    yield memories
    for each in memories:
        each.backend.close()


@pytest.mark.parametrize("kind", ["threads", *BACKENDS])
def test_nothing_is_lost_or_said_twice_when_replies_are_lost_and_the_server_is_killed(
    kind: str, tmp_path: Path
) -> None:
    """20 writers, 20 appends each; each ninth reply is lost; the server, which keeps each write, dies in the middle."""
    told = Told()
    with RedisServer(tmp_path, keeps=True) as server, way_to(server, every=9) as way:
        thread = in_threads(way.url, told) if kind == "threads" else in_tasks(way.url, told, kind)
        told.wait_for(100)
        server.kill()
        known = len(told.kept)
        told.gate.set()
        server.start()
        ended(thread)
        assert way.lost > 20
        assert 100 <= known < WRITERS * TIMES
        with readers(server.url) as memories:
            found = texts(memories[0])
            assert sorted(found) == sorted(told.kept) == sorted(f"{w}:{n}" for w in range(20) for n in range(20))
            assert in_order(found)
            assert texts(memories[1]) == found


def test_a_client_that_repeats_a_command_by_itself_says_nothing_twice(tmp_path: Path) -> None:
    """redis-py asks again when a reply is lost; the same with a list keeps it twice."""
    from redis import Redis, exceptions
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with ExitStack() as stack:
        way = stack.enter_context(way_to(stack.enter_context(RedisServer(tmp_path))))
        repeating: Any = {"retry": Retry(NoBackoff(), 3), "retry_on_error": [exceptions.ConnectionError]}
        with redis_client(Redis.from_url, way.url, **repeating) as client:
            memory: Any = redis_memory(client)
            version = memory.append(KEY, [user("one")])
            client.rpush("by hand", "one")
            for _ in range(2):
                way.lose_next()
                version = memory.replace(KEY, [user("one"), user("two")], version)
                way.lose_next()
                assert memory.append(KEY, [user("three")]) == version + 1
                way.lose_next()
                note = memory.note(KEY, "name", "Ann", memory.noted(KEY, "name").version)
                assert memory.noted(KEY, "name").version == note
                assert texts(memory) == ["one", "two", "three"]
                version += 1
            way.lose_next()
            client.rpush("by hand", "two")
            assert client.lrange("by hand", 0, -1) == [b"one", b"two", b"two"]
            assert way.lost == 7


def test_without_a_file_a_killed_server_forgets_all_and_says_so(tmp_path: Path) -> None:
    """The honest figure: without AOF, whatever was acknowledged is gone with the process; nobody is told a half."""
    with RedisServer(tmp_path) as server, readers(server.url, 1) as [memory]:
        version = memory.append(KEY, [user("one")])
        server.kill()
        with pytest.raises(StoreUnreachable, match="cannot be asked now"):
            memory.load(KEY)
        server.start()
        assert memory.load(KEY) == redis_memory(server.url).load("nobody")
        with pytest.raises(Exception, match="is of version 0 by now"):
            memory.replace(KEY, [user("two")], version)
        assert memory.append(KEY, [user("three")]) > version


def test_conversations_go_on_when_a_standby_takes_over(tmp_path: Path) -> None:
    """The master is killed while five write: what its replica had is there, and what is said afterwards."""
    told = Told()
    with (
        standby(tmp_path) as (master, _, sentinel),
        redis_client(sentinel.master_for, "ours", socket_timeout=5) as client,
    ):
        memory = redis_memory(client, when_away=LONG)
        threads = [begun(partial(write, memory, each, told)) for each in range(5)]
        told.wait_for(30)
        with redis_client(master.client) as direct:
            before = list(told.kept)
            direct.set("a mark", "behind all that was kept before")
            patient(lambda: direct.wait(1, 1000), "the replica does not follow")
        take_over(master, sentinel)
        told.gate.set()
        for thread in threads:
            ended(thread)
        found = texts(memory)
        assert len(told.kept) == 100
        assert set(before) <= set(found) <= set(told.kept)
        assert len(found) == len(set(found))
        assert in_order(found)
        assert found[-1] in told.kept[-5:]


@pytest.mark.parametrize("kind", ["threads", *BACKENDS])
def test_turns_of_a_conversation_go_on_when_a_standby_takes_over(kind: str, tmp_path: Path) -> None:
    """Three speak to one agent, which says how much was said; in the middle, the master is held and killed."""
    heard, some = [], threading.Condition()

    def agent(said: Sequence[Any]) -> str:
        with some:
            heard.append(len(said))
            some.notify_all()
        return str(len(said))

    with standby(tmp_path) as (master, _, sentinel), ExitStack() as stack:
        client = stack.enter_context(redis_client(sentinel.master_for, "ours", socket_timeout=5))
        chat = remembering(agent, redis_memory(client, when_away=LONG))

        def speak() -> None:
            for _ in range(8):
                chat("How many?", key=KEY)

        async def main() -> None:
            async def speak_() -> None:
                for _ in range(8):
                    await aio.run(chat, "How many?", key=KEY)

            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(speak_)

        if kind == "threads":
            threads = [begun(speak) for _ in range(3)]
        else:
            threads = [begun(lambda: anyio.run(main, backend=kind))]
        with some:
            assert some.wait_for(lambda: len(heard) >= 8, LONG)
        hold_still(master)
        take_over(master, sentinel)
        for each in threads:
            ended(each)
        said = redis_memory(client).load(KEY).messages
        asked, answers = said[::2], said[1::2]
        assert {each.text for each in asked} == {"How many?"}
        assert [int(each.text) for each in answers] == [2 * place + 1 for place in range(len(answers))]
        assert len(answers) == 24


def test_a_master_that_has_become_a_replica_is_not_written_to(tmp_path: Path) -> None:
    """A client of its address, which no sentinel leads elsewhere, is told; and goes on once it is a master again."""
    with RedisServer(tmp_path) as server, redis_client(server.client) as admin, readers(server.url, 1) as [memory]:
        memory.append(KEY, [user("one")])
        admin.replicaof("127.0.0.1", "1")
        with pytest.raises(StoreUnreachable, match="ReadOnly"):
            memory.append(KEY, [user("two")])
        admin.replicaof("NO", "ONE")
        memory.append(KEY, [user("two")])
        assert texts(memory) == ["one", "two"]


@everywhere
def test_a_server_that_does_not_answer_in_time_is_away_and_has_done_it_all_the_same(
    world: World, tmp_path: Path
) -> None:
    with RedisServer(tmp_path) as server, way_to(server) as way:
        memory = redis_memory(f"{way.url}?socket_timeout=0.05")

        def is_connected() -> bool:
            with suppress(StoreUnreachable):
                return bool(memory.load(KEY).version == 0)
            return False

        patient(is_connected, "it never answers in time")
        way.hold()
        with pytest.raises(StoreUnreachable, match="Timeout"):
            world.run(lambda: memory.backend.append(KEY, [user("one")], "the same"))
        way.release()
        way.cut()
        patiently = redis_memory(server.url, when_away=LONG)
        world.run(lambda: patiently.backend.append(KEY, [user("one")], "the same"))
        assert texts(patiently) == ["one"]
        for each in (memory, patiently):
            each.backend.close()


@everywhere
def test_a_server_that_hangs_is_asked_for_as_long_as_was_said(world: World, redis_server: RedisServer) -> None:
    """Once within a second, by a client of ours, and by one of the user's, which would wait for ever."""
    from redis import Redis

    asked: list[str] = []

    def on_call(call: Any, _: Any) -> Any:
        asked.append(call.name)
        return (yield from call)

    with way_to(redis_server) as way, redis_client(Redis.from_url, way.url, socket_timeout=None) as theirs:
        way.hold()
        for client in (way.url, theirs):
            memory: Any = redis_memory(client, when_away=0.5)
            asked.clear()
            with using(layers=[{Call: on_call}]), pytest.raises(StoreUnreachable):
                world.run(partial(memory.backend.load, KEY))
            assert asked == ["ask"]
            memory.backend.close()


def test_an_answer_that_does_not_come_is_waited_for_once(redis_server: RedisServer) -> None:
    with way_to(redis_server) as way:
        memory: Any = redis_memory(f"{way.url}?socket_timeout=0.1")
        way.hold()
        with pytest.raises(StoreUnreachable):
            memory.load(KEY)
        memory.backend.close()
    assert len(way._open) <= 2  # there and on: one connection


@on_both
def test_who_waits_for_a_server_that_is_away_can_be_cancelled(backend: str) -> None:
    memory = redis_memory(NOWHERE, when_away=LONG)

    async def main() -> None:
        with anyio.move_on_after(0.2) as scope:
            await aio.run(memory.load, KEY)
        assert scope.cancelled_caught

    anyio.run(main, backend=backend)
    memory.backend.close()


def test_who_waits_gives_up_in_time() -> None:
    memory = redis_memory(NOWHERE, when_away=0.1)
    with pytest.raises(StoreUnreachable):
        memory.load(KEY)
    memory.backend.close()


def test_who_streams_is_told_once_that_redis_is_waited_for() -> None:
    memory = redis_memory(NOWHERE, when_away=10.0)
    told: list[Any] = []
    with clock(), pytest.raises(StoreUnreachable):
        told.extend(stream(memory.load, KEY))  # what is told until then is in it
    notices = [event for event in told if isinstance(event, Notice)]
    assert [(each.kind, each.name, each.path) for each in notices] == [("waiting", "redis", "")]
    assert "cannot be asked now" in notices[0].text
    assert notices[0].data["seconds"] == 10.0
    memory.backend.close()


def test_a_redis_without_room_keeps_what_it_has_and_says_so(tmp_path: Path) -> None:
    """At `maxmemory` (and no eviction): nothing is written by halves, all can be read, and forgetting makes room."""
    large = [user("x" * 100_000)]
    with (
        RedisServer(tmp_path, options=("--maxmemory", "8mb", "--maxmemory-policy", "noeviction")) as server,
        readers(server.url, 1) as [memory],
    ):
        kept: list[int] = []

        def fill() -> None:
            while len(kept) < 200:
                memory.append(KEY, large)
                kept.append(1)

        with pytest.raises(StoreFull, match="has no room"):
            fill()
        assert len(memory.load(KEY).messages) == len(kept) > 10
        with pytest.raises(StoreFull):
            memory.append("another", large)
        assert memory.load("another").version == 0
        memory.forget(KEY)

        def has_room() -> bool:  # what was forgotten is freed in the background
            with suppress(StoreFull):
                return bool(memory.append("another", large))
            return False

        patient(has_room, "forgetting makes no room")


def test_where_redis_lets_keys_go_a_conversation_goes_as_a_whole(tmp_path: Path) -> None:
    """With `allkeys-lru` Redis drops what was used long ago: a conversation is one key, so never a part of it."""
    words = [user("y" * 20_000)]
    with (
        RedisServer(tmp_path, options=("--maxmemory", "6mb", "--maxmemory-policy", "allkeys-lru")) as server,
        readers(server.url, 1) as [memory],
    ):
        for number in range(300):
            memory.append(f"key {number}", words)
            memory.append(f"key {number}", words)
        sizes = {len(memory.load(f"key {number}").messages) for number in range(300)}
        assert {0} < sizes <= {0, 1, 2}  # 1: it went, and began anew


def test_a_wrong_password_is_told_and_shown_nowhere(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="right-one") as server:
        wrong = redis_memory(server.url.replace("right-one", "wrong-one"), when_away=LONG)
        with pytest.raises(StoreRefused, match="look at its address, name, password") as caught:
            wrong.load(KEY)
        nobody = redis_memory(server.url.replace(":right-one@", ""))
        with pytest.raises(StoreRefused):
            nobody.load(KEY)
        right = redis_memory(server.url)
        right.append(KEY, [user("one")])
        shown = f"{wrong!r} {wrong.backend!r} {right.backend!r} {caught.value} {caught.value!r}"
        assert "wrong-one" not in shown
        assert "right-one" not in shown
        for each in (wrong, nobody, right):
            each.backend.close()


def test_who_may_not_write_is_told(tmp_path: Path) -> None:
    """An account of Redis that may read, and may not tell others: nothing is written, or nobody is told."""
    with RedisServer(tmp_path) as server, redis_client(server.client) as admin:
        admin.execute_command(
            "ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+@scripting", "+@connection", "+time"
        )
        silent = ("ACL", "SETUSER", "silent", "on", ">pw", "~*", "resetchannels", "+@all")
        admin.execute_command(*silent)
        addresses = [server.url.replace("redis://", f"redis://{name}:pw@") for name in ("reader", "silent")]
        with readers(addresses[0], 1) as [reader], readers(addresses[1], 1) as [unheard]:
            with pytest.raises(StoreRefused):
                reader.append(KEY, [user("one")])
            unheard.append(KEY, [user("one")])
            assert texts(reader) == texts(unheard) == ["one"]


def test_what_another_program_keeps_there_is_left_alone(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, redis_client(server.client) as admin, readers(server.url, 1) as [memory]:
        (itself, *_) = memory.backend.keys(KEY)
        acts: list[Callable[[], Any]] = [
            lambda: memory.load(KEY),
            lambda: memory.append(KEY, [user("one")]),
            lambda: memory.forget(KEY),
        ]
        admin.set(itself, "theirs")
        for act in acts:
            with pytest.raises(ForeignFormat):
                act()
        assert admin.get(itself) == b"theirs"
        admin.delete(itself)
        admin.hset(itself, "their", "own")
        for act in acts:
            with pytest.raises(ForeignFormat, match="another program"):
                act()
        assert admin.hgetall(itself) == {b"their": b"own"}


def test_an_address_that_is_none_is_misuse() -> None:
    with pytest.raises(Misuse, match="no address"):
        redis_memory("http://localhost")

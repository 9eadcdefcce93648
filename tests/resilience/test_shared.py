"""Many processes, one ceiling: Redis says what memory says, is killed and comes back, and a step may be run twice."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import aio, complete
from arshai_kit.errors import CircuitOpen, Misuse, ServerFailed, StoreUnreachable
from arshai_kit.records import RateLimit, Usage
from arshai_kit.resilience import (
    Circuit,
    CircuitRules,
    Quota,
    RedisCache,
    RedisCircuit,
    RedisLedger,
    RedisQuota,
    breaker,
    limited,
)
from tests.core.worlds import World, everywhere
from tests.resilience.redis_server import RedisServer
from tests.resilience.toys import Toy, said, talk, until
from tests.transport.server import eventually

pytestmark = pytest.mark.needs("redis")

NAMES = (f"name {number}" for number in count())
DOWN = ServerFailed("down", status=503)


def _nowhere() -> str:
    return "redis://127.0.0.1:1/0"


def _two() -> RedisQuota:
    return RedisQuota("a", _nowhere(), concurrent=2)


def running(quota: RedisQuota) -> int:
    return int(quota._store.client.zcard(quota._store.keys[3]))


# -- Redis says what memory says --

CALLS = st.integers(0, 7)
QUOTA_STEPS = st.lists(
    st.tuples(st.just("enter"), CALLS, st.integers(0, 40))
    | st.tuples(st.just("settle"), CALLS, st.none() | st.integers(0, 60))
    | st.tuples(st.just("told"), CALLS, st.integers(0, 50))
    | st.tuples(st.just("leave"), CALLS, st.none()),
    max_size=40,
)


@given(QUOTA_STEPS, st.integers(1, 8), st.integers(40, 120), st.integers(1, 4))
def test_a_shared_quota_answers_as_one_in_memory(
    redis_server: RedisServer, steps: list[Any], requests: int, tokens: int, concurrent: int
) -> None:
    """Within a moment, so that no minute passes: who may start, and what the others wait for, and how long at least."""
    limits = {"requests_per_minute": requests, "tokens_per_minute": tokens, "concurrent": concurrent}
    here, there = Quota(**limits), RedisQuota(next(NAMES), redis_server.url, **limits)  # type: ignore[arg-type]
    gone: set[str] = set()
    for number, (what, call, value) in enumerate(steps):
        key = str(call)
        if key in gone:
            continue  # a call ends once
        if what == "enter":
            (pause, least, limit), (its_pause, its_least, its_limit) = here.enter(key, value), there.enter(key, value)
            kinds = [each if each in ("", "concurrent") else "time" for each in (limit, its_limit)]
            assert (not pause, kinds[0]) == (not its_pause, kinds[1]), number  # of two equal waits either is told
            assert least == pytest.approx(its_least, abs=5)
        elif what in ("settle", "told"):
            told = (("tokens", value, 30.0), ("tokens", value + 9, 30.0)) if what == "told" else ()
            used = value if what == "settle" else None
            for quota in (here, there):
                quota.settle(key, used, told, None)
            gone.add(key)
        elif what == "leave":
            here.leave(key)
            there.settle(key, None, (), None)  # what leaving comes to, at once
            gone.add(key)
    assert running(there) == here.running


CIRCUIT_STEPS = st.lists(
    st.tuples(st.sampled_from("enter settle leave".split()), CALLS, st.sampled_from([True, False, None]))
)


@given(CIRCUIT_STEPS, st.sampled_from([CircuitRules(failures=2), CircuitRules(rate=0.5, minimum=3), CircuitRules()]))
def test_a_shared_circuit_answers_as_one_in_memory(
    redis_server: RedisServer, steps: list[Any], rules: CircuitRules
) -> None:
    here, there = Circuit(rules), RedisCircuit(next(NAMES), redis_server.url, rules)
    turns: dict[str, int] = {}
    for number, (what, call, went) in enumerate(steps):
        key = f"{call}-{number}" if what == "enter" else next((k for k in turns if k.startswith(f"{call}-")), "")
        if what == "enter":
            (state, turns[key], left), (its_state, its_turn, its_left) = here.enter(key), there.enter(key)
            assert (state, turns[key]) == (its_state, its_turn)
            assert left == pytest.approx(its_left, abs=5)
        elif key:
            if what == "settle":
                told = here.settle(key, turns[key], went)
                assert told == there.settle(key, turns[key], went)
                assert told == there.settle(key, turns[key], went)  # the answer was lost, and the client asks again
            del turns[key]


# -- around a call --


@everywhere
def test_models_of_two_quotas_of_one_name_share_its_limits(world: World, redis_server: RedisServer) -> None:
    name = next(NAMES)
    models = [
        limited(
            Toy(lambda: said(usage=Usage(40, 20))),
            RedisQuota(name, redis_server.url, tokens_per_minute=120),
            wait=False,
        )
        for _ in range(2)
    ]
    for model in models:
        assert world.run(talk(model, stream=world.listening)).text == "It is me."
    for model in models:
        with pytest.raises(Exception, match="tokens_per_minute is used up"):
            world.run(talk(model, stream=world.listening))
    assert running(models[0].quota) == 0


def test_tokens_that_may_come_back_are_looked_for_soon(redis_server: RedisServer) -> None:
    """As in memory: while a call runs, or somebody before needs more, nobody sleeps through half a minute."""
    quota = RedisQuota(next(NAMES), redis_server.url, tokens_per_minute=1000)
    quota.enter("before", 900)
    pause, least, limit = quota.enter("big", 900)
    assert (pause <= 1.0, least, limit) == (True, 0.0, "tokens_per_minute")
    quota.settle("before", None, (), None)
    assert 5 < quota.enter("big", 900)[0] <= 30  # it needed all of it
    pause, least, _ = quota.enter("small", 10)
    assert (pause <= 2.0, least) == (True, 0.0)
    quota.leave("big")
    while quota.enter("small", 10)[0]:  # a worker tells Redis
        pass


@everywhere
def test_what_a_provider_told_one_holds_the_others_back(world: World, redis_server: RedisServer) -> None:
    name = next(NAMES)
    told = said(rate_limits=[RateLimit("requests", 9, 0, 40.0)])
    world.run(
        talk(limited(Toy(lambda: told), RedisQuota(name, redis_server.url, concurrent=5)), stream=world.listening)
    )
    with pytest.raises(Exception, match="its provider set is used up"):
        world.run(talk(limited(Toy(), RedisQuota(name, redis_server.url, concurrent=5), wait=30.0)))


@everywhere
def test_a_circuit_that_one_opened_is_open_for_the_others(world: World, redis_server: RedisServer) -> None:
    name, rules = next(NAMES), CircuitRules(failures=1)
    ours, theirs = (breaker(Toy(lambda: DOWN), RedisCircuit(name, redis_server.url, rules)) for _ in range(2))
    with pytest.raises(ServerFailed):
        world.run(talk(ours, stream=world.listening))
    with pytest.raises(CircuitOpen):
        world.run(talk(theirs, stream=world.listening))


@everywhere
def test_a_circuit_that_one_closed_is_closed_for_the_others(world: World, redis_server: RedisServer) -> None:
    """Its first try fails, and its second one does not."""
    name, rules, answers = next(NAMES), CircuitRules(failures=1, reset=0.001), iter([DOWN, DOWN, said()])
    model = breaker(Toy(lambda: next(answers)), RedisCircuit(name, redis_server.url, rules))
    seen: list[str] = []
    while "Response" not in seen:
        try:
            seen.append(type(world.run(talk(model, stream=world.listening))).__name__)
        except (ServerFailed, CircuitOpen) as error:
            seen.append(type(error).__name__)
    assert [each for each in seen if each != "CircuitOpen"] == ["ServerFailed", "ServerFailed", "Response"]
    other = RedisCircuit(name, redis_server.url, rules)
    assert (other.enter("a")[0], other.enter("b")[0]) == ("closed", "closed")


@pytest.mark.anyio
async def test_who_is_cancelled_gives_its_place_back(anyio_backend: str, redis_server: RedisServer) -> None:
    name, busy = next(NAMES), threading.Event()
    quota = RedisQuota(name, redis_server.url, concurrent=1)
    async with anyio.create_task_group() as group:
        group.start_soon(aio.complete, limited(Toy(lambda: busy.wait() and said()), quota), "Hi")
        await until(lambda: running(quota))
        group.cancel_scope.cancel()
        busy.set()
    await until(lambda: not running(quota))  # a worker tells Redis
    circuit = RedisCircuit(name, redis_server.url, CircuitRules(failures=1, reset=0.001))
    circuit.settle("a", circuit.enter("a")[1], went=False)
    await until(lambda: circuit.enter("b")[0] == "probe")
    circuit.leave("b")
    await until(lambda: circuit.enter("c")[0] == "probe")


def test_what_one_thread_is_about_to_tell_another_tells_too() -> None:
    """Else it would be refused for the sake of calls that have ended, of which the first has not yet told."""
    store = RedisQuota("a", _nowhere(), concurrent=1)._store
    told: list[Any] = []

    def slowly(names: Any) -> None:
        told.append(names)
        store.telling(told.append)
        store.end("c")

    store.end("a")
    store.end("b")
    store.telling(slowly)
    store.telling(told.append)
    store.telling(told.append)
    assert told == [["a", "b"], ["a", "b"], ["c"], []]


def test_who_left_before_it_came_holds_no_place(redis_server: RedisServer) -> None:
    """The thread that enters may be slower than whoever gives up."""
    quota = RedisQuota(next(NAMES), redis_server.url, concurrent=1)
    quota.leave("late")
    while quota._store.ended:
        quota.settle("nobody", None, (), None)
    quota.enter("late", 0)
    assert quota.enter("next", 0) == (0.0, 0.0, "")
    circuit = RedisCircuit(next(NAMES), redis_server.url, CircuitRules(failures=1, reset=0.001))
    circuit.settle("a", circuit.enter("a")[1], went=False)
    circuit.leave("late")
    while circuit.enter("late")[0] != "probe":
        pass
    assert circuit.enter("next")[0] == "probe"


def test_who_dies_is_forgotten(redis_server: RedisServer) -> None:
    """A lease ends, and who does not ask again loses its place in the line."""
    name = next(NAMES)
    dead = RedisQuota(name, redis_server.url, concurrent=1, lease=0.01)
    assert dead.enter("a", 0) == (0.0, 0.0, "")
    alive = RedisQuota(name, redis_server.url, concurrent=1, lease=0.01)
    while alive.enter("b", 0)[0]:
        pass
    client, keys = alive._store.client, alive._store.keys
    keeper = RedisQuota(name, redis_server.url, concurrent=1)
    while keeper.enter("c", 0)[0]:
        pass
    assert keeper.enter("waits", 0)[2] == keeper.enter("behind", 0)[2] == "concurrent"
    client.zadd(keys[2], {keeper._store.key("waits"): 1.0})  # it should have asked again long ago
    keeper.settle("c", None, (), None)
    assert keeper.enter("behind", 0) == (0.0, 0.0, "")
    assert all(client.ttl(key) > 0 for key in keys if client.exists(key))


# -- Redis is away --


@everywhere
def test_when_redis_is_away_calls_say_so_or_go(world: World) -> None:
    strict = limited(Toy(), RedisQuota("a", _nowhere(), concurrent=1))
    with pytest.raises(StoreUnreachable, match="arshai:quota"):
        world.run(talk(strict, stream=world.listening))
    guarded = breaker(Toy(), RedisCircuit("a", _nowhere()))
    with pytest.raises(StoreUnreachable, match="arshai:circuit"):
        world.run(talk(guarded, stream=world.listening))
    lenient = limited(
        breaker(Toy(), RedisCircuit("a", _nowhere(), when_away="allow")),
        RedisQuota("a", _nowhere(), concurrent=1, when_away="allow"),
    )
    assert world.run(talk(lenient, stream=world.listening)).text == "It is me."
    lenient.quota.leave("x")
    lenient.model.circuit.leave("x")


def test_an_answer_is_not_lost_when_redis_goes_away_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be told is told by the next call, once Redis, which remembers, is back."""
    told: list[bool] = []

    def telling(*args: object) -> None:
        tell(*args)
        told.append(True)

    with RedisServer(tmp_path, keeps=True) as server:
        quota = RedisQuota("a", server.url, concurrent=1)
        tell = quota._told
        monkeypatch.setattr(quota, "_told", telling)

        def answer() -> Any:
            server.kill()
            return said()

        model = limited(breaker(Toy(answer), RedisCircuit("a", server.url)), quota, wait=False)
        assert complete(model, "Hi").text == "It is me."
        with pytest.raises(StoreUnreachable):
            complete(model, "Hi")
        eventually(lambda: len(told) == 2)  # the end of the first call, and that the second was left, by a worker
        server.start()
        assert running(quota) == 1
        assert complete(limited(Toy(), quota, wait=False), "Hi").text == "It is me."
        assert running(quota) == 0


WORKER = """
import os, sys, time
from pathlib import Path
from arshai_kit.errors import OverLimit, StoreUnreachable
from arshai_kit.resilience import RedisQuota, limited

url, folder, calls = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
quota = RedisQuota("processes", url, requests_per_minute=40, concurrent=2)

def work(number):
    mine = folder / f"inside-{os.getpid()}"
    mine.touch()
    inside = len([*folder.glob("inside-*")])
    time.sleep(0.002)
    mine.unlink()
    return inside

agent = limited(work, quota, wait=20)
most = done = away = 0
number = 0
while number < calls:
    try:
        most = max(most, agent(number))
        done += 1
    except StoreUnreachable:
        away += 1
        (folder / "away").touch()
        time.sleep(0.005)
        continue
    except OverLimit as error:
        if error.limit == "requests_per_minute":
            break
    number += 1
    if number == 5:
        (folder / f"ready-{os.getpid()}").touch()
        while not (folder / "killed").exists():
            time.sleep(0.005)
print(most, done, away)
"""


def await_files(folder: Path, pattern: str, number: int, workers: list[Any]) -> None:
    pause = threading.Event()
    while len([*folder.glob(pattern)]) < number:
        assert all(worker.poll() is None for worker in workers)
        pause.wait(0.002)


def test_processes_share_one_ceiling_while_redis_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Four processes want 80 calls, and 40 a minute are allowed, two at a time; meanwhile Redis crashes."""
    folder = tmp_path / "seen"
    folder.mkdir()
    tmp_path.joinpath("redis").mkdir()

    with RedisServer(tmp_path / "redis", keeps=True) as server:
        command = [sys.executable, "-c", WORKER, server.url, str(folder), "20"]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        await_files(folder, "ready-*", 4, workers)
        server.kill()
        folder.joinpath("killed").touch()
        await_files(folder, "away", 1, workers)
        server.start()
        told = [worker.communicate(timeout=180)[0].split() for worker in workers]
    most, done, away = (tuple(int(each[place]) for each in told) for place in range(3))
    assert max(most) <= 2
    assert 40 - len(workers) <= sum(done) <= 40  # an admission whose answer was lost is used up
    assert sum(away) > 0


# -- values --


def test_shared_states_are_values_that_show_no_password() -> None:
    url = "redis://:secret@127.0.0.1:1/0"
    quota = RedisQuota("a", url, requests_per_minute=3, lease=5.0, when_away="allow")
    circuit = RedisCircuit("a", url, CircuitRules(failures=3), prefix="other")
    assert repr(quota) == "RedisQuota('a', requests_per_minute=3)"
    assert repr(circuit) == "RedisCircuit('a', CircuitRules(failures=3))"
    again, other = pickle.loads(pickle.dumps((quota, circuit)))
    assert (repr(again), again.lease, again._store.when_away) == (repr(quota), 5.0, "allow")
    assert (repr(other), other._store.keys) == (repr(circuit), circuit._store.keys)
    with pytest.raises(StoreUnreachable) as caught:
        other.enter("a")
    assert "secret" not in str(caught.value)


def test_a_client_of_the_user_is_used(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        assert RedisQuota(next(NAMES), client, concurrent=1)._store.client is client
    with type(client).from_url(redis_server.url, decode_responses=True) as decoding:
        assert RedisQuota(next(NAMES), decoding, concurrent=1).enter("a", 1) == (0.0, 0.0, "")
        circuit = RedisCircuit(next(NAMES), decoding, CircuitRules(failures=1))
        assert circuit.settle("a", circuit.enter("a")[1], went=False) == "open"


def test_who_is_gone_leaves_no_connection_open(redis_server: RedisServer) -> None:
    """Not even for the garbage collector, which warns of a socket that it finds before it finds its client."""
    quota, circuit = RedisQuota("g", redis_server.url, concurrent=1), RedisCircuit("g", redis_server.url)
    ledger, cache = RedisLedger("g", redis_server.url), RedisCache(redis_server.url)
    clients = [quota._store.client, circuit._store.client, ledger._client, cache._client]
    sockets = []
    for client in clients:
        client.ping()
        sockets += [each._sock for each in client.connection_pool._available_connections]
    assert len(sockets) == 4
    assert min(each.fileno() for each in sockets) > 0
    del quota, circuit, ledger, cache
    assert {each.fileno() for each in sockets} == {-1}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: RedisQuota("a", _nowhere()),
        lambda: RedisQuota("a", _nowhere(), concurrent=1, lease=0),
        lambda: RedisQuota("a", _nowhere(), concurrent=1, when_away="wait"),  # type: ignore[arg-type]
        lambda: RedisCircuit("a", _nowhere(), CircuitRules(reset=-1)),
        lambda: RedisCircuit("a", _nowhere(), lease=float("inf")),
        lambda: limited(limited(Toy(), _two()), _two()),
        lambda: breaker(breaker(Toy(), RedisCircuit("a", _nowhere())), RedisCircuit("a", _nowhere())),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(Misuse):
        wrong()


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"arshai-kit\[redis\]"):
        RedisQuota("a", _nowhere(), concurrent=1)

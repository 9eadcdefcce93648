"""Whatever a call does, it ends in time, says what it was doing, and keeps what was there."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import aio, complete, evolve, openai_compatible, run_tools, stream, testing, using
from arshai_kit.completion import run
from arshai_kit.effects import Call, Join, Now, Plan, Send, Sleep, Spawn, Start, Step, call
from arshai_kit.errors import Misuse, RateLimited, ServerFailed, TimedOut
from arshai_kit.models import Endpoint
from arshai_kit.records import Response, TextDelta, ToolCall
from arshai_kit.resilience import (
    Circuit,
    CircuitRules,
    RedisCache,
    RedisCircuit,
    RedisQuota,
    breaker,
    cached,
    deadline,
    limited,
)
from arshai_kit.resilience.deadlines import Bound
from arshai_kit.scope import background_tasks
from tests.core.worlds import World, everywhere, listening
from tests.faults.ways import within
from tests.laws.provider import Provider, provider, whole
from tests.resilience.toys import ASK, Toy, said, talk
from tests.transport.server import Peer, at_some_pace, chunked, eventually
from tests.transport.server import serving as listening_at

SHORT = 0.06
"""Seconds that are over soon."""
ENOUGH = 0.25
"""Seconds in which a busy machine gets somewhere."""
LONG = 600.0
BLANK = openai_compatible("m", base_url="http://localhost:1/v1", api_key="")


@frozen
class Agent:
    """An agent that is a plan."""

    plan: Callable[..., Plan[Any]]

    def __call__(self, prompt: Any) -> Any:
        """Never called: it has a plan."""
        raise AssertionError


def agent(plan: Callable[[], Plan[Any]], seconds: float = SHORT) -> Callable[[], Plan[Any]]:
    """A plan that asks an agent that does *plan*, and has *seconds*."""

    def made(_: Any) -> Plan[Any]:
        return (yield from plan())

    return lambda: call(deadline(Agent(made), seconds), "Go")


def over(world: World, plan: Callable[[], Plan[Any]], doing: str) -> TimedOut:
    """How *plan* ends, in time."""
    began = time.monotonic()
    with pytest.raises(TimedOut, match=f"its deadline: there was no time for {doing}") as caught:
        world.run(plan)
    assert time.monotonic() - began < 60  # else it hangs
    return caught.value


def ends(world: World, plan: Callable[[], Plan[Any]], doing: str = "") -> None:
    """Have *plan* end in time; a hang fails."""

    def row() -> None:
        over(world, plan, doing)

    within(60.0, row)


# -- whatever it does --


HEAD = chunked(end=False)
PING = b"8\r\n: ping\n\n\r\n"


@contextmanager
def dripping(first: bytes, again: bytes) -> Iterator[Endpoint]:
    """A model whose server sends *first*, and then *again* for ever."""
    gone = Event()

    def behave(peer: Peer) -> None:
        peer.request()
        peer.send(first)
        while not gone.wait(0.02):
            peer.send(again)

    with listening_at(behave) as server:
        try:
            yield openai_compatible("toy-1", base_url=f"{server.url}/v1", api_key="")
        finally:
            gone.set()


@everywhere
@pytest.mark.parametrize(
    ("first", "again"),
    [(b"", b""), (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"), (HEAD, b"1\r\nd\r\n"), (HEAD, PING)],
    ids=["silent", "slow headers", "a byte at a time", "pings"],
)
def test_a_server_that_never_ends(world: World, first: bytes, again: bytes) -> None:
    def late(pace: float) -> None:
        bounded = deadline(model, SHORT * pace)
        error = over(world, talk(bounded, stream=world.listening), "the (answer of 127.0.0.1|rest of a)")
        assert error.seconds == SHORT * pace

    with dripping(first, again) as model:
        at_some_pace(late)


@listening
def test_what_was_told_is_kept(world: World) -> None:
    told = b'data: {"choices":[{"delta":{"content":"Once upon"}}]}\n\n'

    def late(pace: float) -> None:
        teller = Agent(lambda prompt: stream.plan(model, prompt))
        plans = (
            lambda: stream.plan(deadline(model, ENOUGH * pace), "A tale"),
            lambda: call(deadline(teller, ENOUGH * pace), "A tale"),
        )
        here = slice(None) if world.backend == "" else slice(1)
        for plan, where in [*zip(plans, ("", " in model toy-1"), strict=True)][here]:
            assert over(world, plan, f"the rest of a reply{where}$").partial.text == "Once upon"

    with dripping(HEAD + b"%x\r\n%s\r\n" % (len(told), told), PING) as model:
        at_some_pace(late)


def sleeps() -> Plan[None]:
    yield from Sleep(LONG)


def starts() -> Plan[None]:
    (yield from Join(((yield from Start(sleeps())),)))[0].unwrap()


def searches() -> Plan[None]:
    yield from Step("search", "shelf", None, starts)


OVER = Event()


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    """What hangs in a test ends with it."""
    OVER.clear()
    yield
    OVER.set()


def hangs() -> None:
    OVER.wait(180)


async def awaits() -> None:
    await anyio.sleep(LONG)


@everywhere
@pytest.mark.parametrize(
    ("plan", "doing"),
    [
        (sleeps, "a wait of 600 s"),
        (starts, "a wait of 600 s"),
        (searches, "a wait of 600 s in search shelf"),
        (lambda: call(hangs), "hangs"),
        (lambda: call(awaits), "awaits"),
    ],
    ids=["sleeps", "starts", "searches", "hangs", "awaits"],
)
def test_whatever_a_plan_waits_for(world: World, plan: Callable[[], Plan[Any]], doing: str) -> None:

    def late(pace: float) -> None:
        seconds = 5.0 if "600" in doing else SHORT * pace  # a wait that would end too late is not begun
        error = over(world, agent(plan, seconds), doing)
        for each in (error, pickle.loads(pickle.dumps(error))):
            assert (each.doing, each.seconds) == (doing, seconds)

    at_some_pace(late)


@everywhere
def test_once_it_is_over_nothing_is_asked(world: World) -> None:
    """Whoever catches that time is up can go on, but does nothing more."""
    did: list[str] = []

    def stubborn() -> Plan[str]:
        yield from Sleep(4.0)
        yield from Call(clock.advance, 2.0)
        request = BLANK.request(ASK, stream=False)
        for effect in (Call(did.append, "called"), Sleep(0.0), Step("model", "m", None, sleeps), Send(request)):
            with pytest.raises(TimedOut):
                yield from effect
        return "gave up"

    with testing.clock() as clock:
        assert world.run(agent(stubborn, 5.0)) == "gave up"
    assert did == []


# -- and nothing else changes --


@everywhere
def test_what_ends_in_time_is_as_it_was(world: World) -> None:
    for answer in (said("Oslo."), ServerFailed("down", status=503), TimedOut("it was silent")):
        model = Toy(partial(getattr, SimpleNamespace(answer=answer), "answer"))

        def asked(model: Any) -> Any:
            try:
                return world.run(talk(model, stream=world.listening))
            except Exception as error:
                return type(error), str(error), getattr(error, "seconds", None)

        assert asked(deadline(model, LONG)) == asked(deadline(model, float("inf"))) == asked(model)


@everywhere
@pytest.mark.parametrize("first", [b"", HEAD + PING], ids=["silent", "pings"])
def test_a_server_that_is_silent_for_too_long_is_blamed_for_that(world: World, first: bytes) -> None:
    with dripping(first, b"") as model, pytest.raises(TimedOut) as caught:
        world.run(talk(deadline(evolve(model, timeout=SHORT), LONG), stream=world.listening))
    assert (caught.value.seconds, caught.value.doing) == (None, "")


@everywhere
def test_a_function_that_has_less_time_says_so_itself(world: World) -> None:
    def impatient() -> Plan[None]:
        yield from Call(awaits).within(0.01)

    with pytest.raises(TimeoutError, match=r"awaits took longer than 0\.01 s"):
        world.run(agent(impatient, LONG))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 9))
def test_the_nearest_of_several_counts(seconds: list[int], wait: int) -> None:
    def waits(_: Any) -> Plan[str]:
        yield from Sleep(wait)
        return "awake"

    sleeper: Any = Agent(waits)
    for each in seconds:
        sleeper = deadline(sleeper, each)
    with testing.clock():
        if wait <= min(seconds):
            assert run(sleeper, "Go") == "awake"
        else:
            with pytest.raises(TimedOut) as caught:
                run(sleeper, "Go")
            assert caught.value.seconds in {each for each in seconds if each < wait}


@everywhere
def test_an_inner_one_may_be_caught_and_what_is_left_be_used(world: World) -> None:
    def tries(_: Any) -> Plan[str]:
        with pytest.raises(TimedOut) as caught:
            yield from call(deadline(Agent(lambda _: sleeps()), 5.0), "Go")
        assert caught.value.seconds == 5.0
        yield from Sleep(3.0)
        return "went on"

    with testing.clock() as clock:
        assert world.run(lambda: call(deadline(Agent(tries), 10.0), "Go")) == "went on"
    assert clock.now == 1_000_000_003.0


# -- together with tools, limits, retries --


@everywhere
def test_a_run_is_bounded_and_keeps_what_it_has_done(world: World) -> None:
    """A tool that overruns is answered, and then nobody is asked any more."""

    def look() -> str:
        """Look."""
        return "a hat"

    def dream() -> str:
        """Dream."""
        raise AssertionError("it has a plan")

    def dreaming() -> Plan[str]:
        yield from Call(clock.advance, 10.0)
        yield from Sleep(1.0)
        return "never"

    dream.plan = dreaming  # type: ignore[attr-defined]
    asking = run_tools.plan if not world.listening else stream.plan

    def plan() -> Plan[Response]:
        bounded = deadline(Agent(lambda prompt: asking(BLANK, prompt, tools=[look, dream])), 5.0)
        return (yield from call(bounded, "Look, then dream"))  # type: ignore[no-any-return]

    calls = ToolCall("", "look"), ToolCall("", "dream")
    with testing.clock() as clock, testing.scripted(*calls), pytest.raises(TimedOut) as it:
        world.run(plan)
    assert [made.call.name for made in it.value.partial.tool_runs] == ["look", "dream"]
    assert it.value.partial.tool_runs[0].result == "a hat"
    assert "there was no time for a wait of 1 s in tool dream" in it.value.partial.tool_runs[1].result
    assert it.value.doing == "model m"


@everywhere
def test_each_call_of_a_run_is_bounded(world: World) -> None:
    """Tools, and the time that others take, do not count."""

    def plan() -> Plan[Any]:
        return (yield from run_tools.plan(deadline(Toy(lambda: next(answers)), 5.0), "Go", [waits]))

    def waits() -> str:
        """Wait."""
        return "done"

    def slowly() -> Plan[str]:
        yield from Sleep(8.0)
        return "done"

    waits.plan = slowly  # type: ignore[attr-defined]
    answers = iter([said_call("waits"), said_call("waits"), said("All done.")])
    with testing.clock() as clock:
        assert world.run(plan).text == "All done."
    assert clock.now == 1_000_000_016.0


def said_call(name: str) -> Response:
    return Response((evolve(said("").message, parts=(ToolCall("c", name),)),), "tool_calls")


@pytest.fixture(scope="module")
def there() -> Iterator[Provider]:
    with provider() as living:
        yield living


@everywhere
def test_a_retry_that_would_come_too_late_is_none(there: Provider, world: World) -> None:
    """The error of the provider says more than that there was no time."""
    busy = whole({"error": {"message": "busy"}}, 429, ("retry-after", "30"))
    there.answers(busy, busy, busy)
    with testing.clock(), pytest.raises(RateLimited) as caught:
        world.run(talk(deadline(there.model(), 50.0), stream=world.listening))
    assert (len(there.asked), caught.value.retry_after) == (2, 30.0)
    assert any("deadline" in note for note in caught.value.__notes__)


@everywhere
def test_waiting_in_line_counts(world: World) -> None:
    """And what has been taken is given back."""
    time = [0.0]
    model = limited(Toy(), requests_per_minute=1)
    model.quota.clock = lambda: time[0]
    world.run(talk(model))
    error = over(world, talk(deadline(model, 5.0)), "a wait of")
    assert error.seconds == 5.0
    time[0] = 61.0
    assert world.run(talk(deadline(model, 5.0))).text == "It is me."


@everywhere
def test_who_is_too_slow_is_counted_by_what_is_inside(world: World) -> None:
    def late(pace: float) -> None:
        circuit = Circuit(CircuitRules(failures=1))
        with pytest.raises(TimedOut):
            world.run(talk(deadline(breaker(Toy(awaits), circuit), SHORT * pace)))
        assert circuit.state == "open"

    at_some_pace(late)


@everywhere
def test_a_wait_in_line_that_ends_too_late_is_not_begun(world: World) -> None:
    """Whoever waits looks again before its turn; that it will be in vain is known at once."""
    with testing.clock(0.0) as clock:
        model = limited(Toy(), requests_per_minute=1)
        model.quota.clock = lambda: clock.now
        world.run(talk(model))
        for seconds in (5.0, 29.0, 31.0, 40.0, 55.0):
            over(world, talk(deadline(model, seconds), stream=world.listening), "a wait of 60 s")
            assert clock.now == 0.0
        assert world.run(talk(deadline(model, 61.0), stream=world.listening)).text == "It is me."
        assert clock.now == pytest.approx(60.0)


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The address of a Redis that takes what it is asked, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


STORES: dict[str, Callable[[str], Any]] = {
    "limited": lambda url: limited(Toy(), RedisQuota("q", url, concurrent=1)),
    "breaker": lambda url: breaker(Toy(), RedisCircuit("c", url)),
    "cached": lambda url: cached(Toy(), RedisCache(url)),
}


@pytest.mark.needs("redis")
@everywhere
@pytest.mark.parametrize("store", STORES)
def test_a_store_that_never_answers(world: World, store: str, black_hole: str) -> None:
    model = deadline(STORES[store](black_hole), SHORT)
    ends(world, talk(model, stream=world.listening))


@pytest.mark.parametrize("name", ["enter", "reserve", "get", "put", "settle", "tell"])
def test_only_what_notes_how_a_call_ended_may_come_late(name: str) -> None:
    """With half a second left, it has half a second, or its second of grace."""

    def asked() -> None: ...

    asked.__name__, asked.__module__ = name, "arshai_kit.resilience.elsewhere"
    plan = Bound("toy", 5.0, 100.0).plan(iter(Call(asked)))
    assert isinstance(next(plan), Now)
    effect: Any = plan.send(99.5)
    assert (effect.name, effect.seconds) == (name, 1.0 if name in ("settle", "tell") else 0.5)
    plan.close()


@define
class Away:
    """A quota elsewhere that never answers who wants to enter; it notes what else it is asked."""

    asked: list[str] = field(factory=list)
    busy: Event = field(factory=Event)

    def enter(self, key: str, tokens: int) -> Any:
        """Nothing."""
        self.busy.wait(180)

    def settle(self, *_: Any) -> None:
        """Note that."""
        self.asked.append("settle")

    def leave(self, key: str) -> None:
        """Note that."""
        self.asked.append("leave")


@everywhere
def test_who_never_entered_has_nothing_to_settle(world: World) -> None:
    def late(pace: float) -> None:
        quota = Away()
        try:
            ends(world, talk(deadline(limited(Toy(), quota), SHORT * pace)), "enter")
            assert quota.asked == ["leave"]
        finally:
            quota.busy.set()

    at_some_pace(late)


# -- what runs elsewhere --


@everywhere
def test_runs_that_an_agent_starts_itself_are_bounded(world: World) -> None:
    """Plain functions that ask a model, by blocking or by awaiting: their requests end, and they may say so."""
    blamed: list[str] = []
    with dripping(b"", b"") as model:

        def asks(prompt: str) -> str:
            try:
                return complete(model, prompt).text
            except TimedOut as error:
                blamed.append(error.doing)
                raise

        async def awaited(prompt: str) -> str:
            return (await aio.complete(model, prompt)).text

        def late(pace: float) -> None:
            blamed.clear()
            over(world, lambda: call(deadline(asks, SHORT * pace), "Go"), "(the answer of 127.0.0.1|asks)")
            over(world, lambda: call(deadline(awaited, SHORT * pace), "Go"), "(the answer of 127.0.0.1|awaited)")
            eventually(lambda: blamed)  # who was left behind ends too
            assert "the answer of 127.0.0.1" in blamed[0]

        at_some_pace(late)


@everywhere
def test_what_a_function_has_gathered_is_kept(world: World) -> None:
    """A plain function around a loop of tools, one of which overruns: the loop says how far it got."""

    def hang() -> str:
        """Hang."""
        hangs()
        return "never"

    def desk(prompt: str) -> str:
        return run_tools(BLANK, prompt, [hang]).text

    def late(pace: float) -> None:
        with testing.scripted(ToolCall("", "hang")):
            error = over(world, lambda: call(deadline(desk, ENOUGH * pace), "Go"), "(model m|desk)$")
        assert error.doing == "desk" or [made.call.name for made in error.partial.tool_runs] == ["hang"]

    at_some_pace(late)


@everywhere
def test_an_agent_that_tells_as_it_goes_is_bounded(world: World) -> None:
    """All its steps have one time; what it told before is told."""

    async def counts(prompt: str) -> Any:
        yield prompt
        clock.advance(10.0)
        yield "and on"
        yield "never"

    told: list[str] = []

    def plan() -> Plan[None]:
        try:
            yield from run.plan(deadline(counts, 5.0), "Go")
        except TimedOut as error:
            told.append(error.doing)

    with testing.clock() as clock:
        events = world.events(plan) if world.listening else world.run(plan)
    assert told == ["the next step of a generator"]
    assert not world.listening or events == [TextDelta("Go"), TextDelta("and on")]


@everywhere
def test_a_replay_ends_as_the_run_did(world: World, tmp_path: Path) -> None:
    """Time is up at the same place, and nothing is waited for."""
    where = []
    for block in (testing.recorded(tmp_path / "run.jsonl"), testing.replayed(tmp_path / "run.jsonl")):
        with block, pytest.raises(TimedOut) as caught:
            world.run(agent(lambda: call(awaits)))
        where.append((str(caught.value), caught.value.doing))
    assert where[0] == where[1]


def test_what_goes_on_in_the_background_is_not() -> None:
    go, ended = Event(), list[bool]()

    def background() -> Plan[None]:
        yield from Call(go.wait, 60)
        yield from Sleep(1.0)
        ended.append(True)

    def plan(_: Any) -> Plan[str]:
        yield from Step("tool", "later", None, lambda: iter(Spawn("later", background)))
        return "started"

    with testing.clock() as clock, using(drain=60):
        assert run(deadline(Agent(plan), 5.0), "Go") == "started"
        assert [task.name for task in background_tasks()] == ["later"]
        clock.advance(10.0)
        go.set()
    assert ended == [True]


# -- a value --


def test_it_is_a_model_and_a_value() -> None:
    model = deadline(BLANK, 20)
    assert model == deadline(BLANK, 20) != deadline(BLANK, 21)
    assert hash(model) == hash(deadline(BLANK, 20))
    assert evolve(model, temperature=0, seconds=5) == deadline(evolve(BLANK, temperature=0), 5)
    assert (model.name, model.provider, model.capabilities) == (BLANK.name, BLANK.provider, BLANK.capabilities)
    assert repr(deadline(len, 3)) == "AgentAround(<built-in function len>, policy=Bounding(3))"
    assert deadline(len, 3)("four") == 4


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), True, "5", None])
def test_what_is_no_time_is_refused(wrong: Any) -> None:
    with pytest.raises(Misuse, match="a number of seconds above zero"):
        deadline(BLANK, wrong)
    with pytest.raises(Misuse, match="wraps a model, or an agent"):
        deadline(7, 5.0)


@listening
def test_events_are_told_as_they_are(world: World) -> None:
    model = deadline(Toy(), LONG)
    assert TextDelta("It is me.") in world.events(lambda: stream.plan(model, "Hi"))

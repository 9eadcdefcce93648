"""A quota is never exceeded under any schedule, nobody is delayed by who came later, and places are given back."""

from __future__ import annotations

import gc
import heapq
import pickle
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import anyio
import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import Finished, aio, complete, evolve, run_tools, stream, testing
from arshai_kit.effects import Now, Plan, side_by_side
from arshai_kit.errors import Misuse, OverLimit, RateLimited, ServerFailed
from arshai_kit.faces import Stream, drive
from arshai_kit.models import Ask, OutputSpec, Settings
from arshai_kit.records import (
    Image,
    Notice,
    Opaque,
    RateLimit,
    Response,
    Thinking,
    ToolCall,
    ToolSpec,
    Usage,
    assistant,
    tool_result,
    user,
)
from arshai_kit.resilience import Quota, estimated_tokens, fallback, limited
from arshai_kit.resilience.quotas import LATE, MINUTE
from arshai_kit.testing.clock import Clock
from tests.core.worlds import World, everywhere
from tests.resilience.fixed import Fixed
from tests.resilience.fixed import said as told
from tests.resilience.toys import ASK, Toy, said, talk, until

# -- the law --


@define
class Caller:
    """Who comes at a time, asks late by so much each time, or never again, and works or gives up after so long."""

    comes: float
    tokens: int
    works: float
    late: float
    patience: float


NEVER = float("inf")
callers = st.lists(
    st.builds(
        Caller,
        st.floats(0, 90).map(lambda at: round(at, 2)),
        st.integers(0, 60),
        st.floats(0, 80).map(lambda seconds: round(seconds, 2)),
        st.sampled_from([0.0, 0.0, 0.3, 7.0, NEVER]),
        st.sampled_from([1e9, 1e9, 20.0]),
    ),
    min_size=1,
    max_size=25,
)


class Street:
    """A simulated day of *callers* before one quota: who started when, and what held then."""

    def __init__(self, who: list[Caller], **limits: Any) -> None:
        self.now, self.order = 1_000_000.0, count()
        self.quota = Quota(**limits, clock=lambda: self.now)
        self.limits, self.who = limits, who
        self.started: dict[str, tuple[float, int]] = {}
        self.ended: set[str] = set()
        self.line: list[str] = []
        self.due: dict[str, float] = {}
        self.queue = [(self.now + each.comes, next(self.order), "asks", str(i), each) for i, each in enumerate(who)]
        heapq.heapify(self.queue)

    def later(self, seconds: float, what: str, key: str, who: Caller) -> None:
        heapq.heappush(self.queue, (self.now + seconds, next(self.order), what, key, who))

    def walk(self) -> None:
        while self.queue:
            self.now, _, what, key, who = heapq.heappop(self.queue)
            if what == "ends":
                self.quota.settle(key, max(who.tokens - 5, 0), (), None)
                self.ended.add(key)
            else:
                self.asks(key, who)

    def asks(self, key: str, who: Caller) -> None:
        if key not in self.line:
            self.line.append(key)
        pause, least, _ = self.quota.enter(key, who.tokens)
        if not pause:
            self.starts(key, who)
        elif self.now - 1_000_000.0 - who.comes > who.patience:
            self.quota.leave(key)
            self.line.remove(key)
        else:
            assert least >= 0
            self.due[key] = self.now + pause + LATE
            if who.late != NEVER:
                self.later(pause + who.late, "asks", key, who)

    def starts(self, key: str, who: Caller) -> None:
        ahead = self.line.index(key)
        others = [each for each in self.line[:ahead] if self.due[each] > self.now]
        self.line.remove(key)
        self.started[key] = self.now, who.tokens
        recent = [(at, tokens) for at, tokens in self.started.values() if at > self.now - MINUTE]
        running = len(self.started) - len(self.ended)
        # nobody before it who still asks is kept from starting by it, and no limit is exceeded
        if most := self.limits.get("requests_per_minute"):
            assert len(recent) + len(others) <= most
        if most := self.limits.get("concurrent"):
            assert running + len(others) <= most
        if most := self.limits.get("tokens_per_minute"):
            used = sum(
                max(t - 5, 0) if k in self.ended else t for k, (at, t) in self.started.items() if at > self.now - MINUTE
            )
            assert used + sum(self.who[int(each)].tokens for each in others) <= most
        self.later(who.works, "ends", key, who)


def looking(who: list[Caller], **limits: Any) -> tuple[Street, int]:
    """What became of *who*, and how often they looked."""
    street, looks = Street(who, **limits), count()
    enter = street.quota.enter
    street.quota.enter = lambda key, tokens: (next(looks), enter(key, tokens))[1]  # type: ignore[method-assign]
    street.walk()
    return street, next(looks)


@given(callers, st.integers(1, 6), st.integers(60, 150), st.integers(1, 4), st.sets(st.sampled_from("rtc"), min_size=1))
def test_no_schedule_exceeds_a_quota_or_jumps_its_line(
    who: list[Caller], requests: int, tokens: int, concurrent: int, which: set[str]
) -> None:
    numbers = {
        "r": ("requests_per_minute", requests),
        "t": ("tokens_per_minute", tokens),
        "c": ("concurrent", concurrent),
    }
    street = Street(who, **dict(numbers[each] for each in sorted(which)))
    street.walk()
    assert all(who[int(each)].late == NEVER for each in street.line)
    assert (street.quota.running, street.quota.waiting) == (0, len(street.line))
    assert all(str(i) in street.started for i, each in enumerate(who) if each.patience == 1e9 and each.late != NEVER)


def test_thousands_who_wait_look_seldom_and_start_in_their_order() -> None:
    """The answer is how long to sleep: about ten looks for each, though the last one waits for half an hour."""
    street, looks = looking([Caller(0.0, 0, 0.0, 0.0, 1e9)] * 3000, requests_per_minute=100)
    assert [*street.started] == [str(number) for number in range(3000)]
    assert max(at for at, _ in street.started.values()) == pytest.approx(1_000_000.0 + 29 * MINUTE, abs=1)
    assert looks < 3000 * 14


def test_who_came_is_answered_the_same_again() -> None:
    """A step that is repeated, as by a resumed run, takes no second place; who left has none, also who never came."""
    quota = Quota(concurrent=1)
    assert quota.enter("a", 1) == quota.enter("a", 1) == (0.0, 0.0, "")
    assert quota.enter("b", 1)[2] == quota.enter("b", 1)[2] == "concurrent"
    assert (quota.running, quota.waiting) == (1, 1)
    quota.leave("b")
    quota.leave("c")
    assert quota.enter("c", 1)[2] == "concurrent"
    assert (quota.running, quota.waiting) == (1, 1)


def test_threads_share_a_quota() -> None:
    quota, most, inside, lock = Quota(concurrent=3), [0], [0], threading.Lock()

    def work() -> Response:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        with lock:
            inside[0] -= 1
        return said()

    model = limited(Toy(work), quota)
    threads = [threading.Thread(target=lambda: [complete(model, "Hi") for _ in range(10)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most[0] <= 3
    assert (quota.running, quota.waiting) == (0, 0)


# -- around a call --


def on_clock(world: World, plan: Callable[[Clock], Plan[Any]]) -> Any:
    with testing.clock(0.0) as clock:
        return world.run(lambda: plan(clock))


@everywhere
def test_models_that_share_a_quota_take_turns(world: World) -> None:
    """Two a minute, of five calls to two models: the third waits a minute, and so on, in their order."""

    def plan(clock: Clock) -> Plan[list[float]]:
        quota, times = Quota(requests_per_minute=2, clock=lambda: clock.now), list[float]()
        models = [limited(Toy(), quota), limited(Toy(name="other"), quota)]
        for number in range(5):
            assert (yield from models[number % 2].ask(ASK, stream=world.listening)).text == "It is me."
            times.append((yield from Now()))
        return times

    assert on_clock(world, plan) == pytest.approx([0.0, 0.0, 60.0, 60.0, 120.0])


@everywhere
def test_many_side_by_side_are_never_more_than_there_is_room_for(world: World) -> None:
    inside: list[int] = []
    quota = Quota(concurrent=2)

    def noting() -> Response:
        inside.append(quota.running)
        return said()

    model = limited(Toy(noting), quota)
    outcomes = world.run(lambda: side_by_side(model.ask(ASK, stream=world.listening) for _ in range(12)))
    assert [each.unwrap().text for each in outcomes] == ["It is me."] * 12
    assert set(inside) <= {1, 2}
    assert (quota.running, quota.waiting) == (0, 0)


@everywhere
def test_who_does_not_wait_is_refused(world: World) -> None:
    quota = Quota(requests_per_minute=1)
    world.run(talk(limited(Toy(), quota), stream=world.listening))
    for wait in (False, 0, 30.0):
        with pytest.raises(OverLimit, match="toy is not asked: requests_per_minute is used up") as caught:
            world.run(talk(limited(Toy(), quota, wait=wait)))
        assert caught.value.limit == "requests_per_minute"
        assert 50 < (caught.value.retry_after or 0) <= 60
    assert (quota.running, quota.waiting) == (0, 0)


@everywhere
def test_who_waits_for_room_gives_up_when_its_time_is_over(world: World) -> None:
    """Nobody knows when a call ends, so it is waited for: but no longer than was said."""

    def plan(clock: Clock) -> Plan[float]:
        quota = Quota(concurrent=1, clock=lambda: clock.now)
        quota.enter("somebody else", 0)
        with pytest.raises(OverLimit, match="concurrent"):
            yield from limited(Toy(), quota, wait=3.0).ask(ASK, stream=False)
        assert quota.waiting == 0
        return (yield from Now())

    assert on_clock(world, plan) == pytest.approx(3.0)


@pytest.mark.parametrize("backend", ["", "asyncio", "trio"])
def test_who_waits_is_told_so_once(backend: str) -> None:
    with testing.clock(0.0) as clock:
        quota = Quota(requests_per_minute=1, clock=lambda: clock.now)
        model = limited(Toy(), quota)
        quota.enter("somebody else", 0)
        events = World(backend, listening=True).events(talk(model, stream=True))
    notices = [event for event in events if isinstance(event, Notice)]
    assert notices == [Notice("waiting", "toy", "requests_per_minute", {"seconds": 60.0})]


@everywhere
def test_what_the_provider_says_holds_everybody_back(world: World) -> None:
    """Nothing left for 5 s; fewer tokens left than are needed for 3 s; come back after 7 s."""
    said_so = [
        said(rate_limits=[RateLimit("requests", 9, 0, 5.0), RateLimit("tokens", 9, 100, 5.0)]),
        said(rate_limits=[RateLimit("input-tokens", 900, 3, 3.0), RateLimit("tokens", 900, 100, 3.0)]),
        RateLimited("busy", status=429, retry_after=7.0),
        said(rate_limits=[RateLimit("requests", 9, 0, None), RateLimit("requests", 9)]),
        said(),
    ]

    def plan(clock: Clock) -> Plan[list[float]]:
        answers, times = iter(said_so), list[float]()
        model = limited(Toy(lambda: next(answers)), Quota(concurrent=9, clock=lambda: clock.now))
        for _ in said_so:
            try:
                yield from model.ask(ASK, stream=world.listening)
            except RateLimited as error:
                assert error.retry_after == 7.0  # noqa: PT017
            times.append((yield from Now()))
        return times

    assert on_clock(world, plan) == pytest.approx([0.0, 5.0, 8.0, 15.0, 15.0])


DAY = 86_400.0


@everywhere
@pytest.mark.parametrize(
    "told",
    [
        RateLimited("come back tomorrow", status=429, retry_after=DAY),
        said(rate_limits=[RateLimit("requests", 9, 0, DAY)]),
    ],
)
def test_no_provider_parks_who_waits_as_long_as_it_takes(world: World, told: Any) -> None:
    """It is refused at once, and goes on elsewhere; a day is waited for only by who says so."""

    def plan(clock: Clock) -> Plan[None]:
        answers = iter([told, said(), said()])
        model = limited(Toy(lambda: next(answers)), Quota(concurrent=9, clock=lambda: clock.now))
        with suppress(RateLimited):
            yield from model.ask(ASK, stream=world.listening)
        with pytest.raises(OverLimit, match="the limit that its provider set") as caught:
            yield from model.ask(ASK, stream=world.listening)
        assert (caught.value.retry_after, (yield from Now())) == (DAY, 0.0)
        assert (yield from fallback(model, Toy()).ask(ASK, stream=world.listening)).text == "It is me."
        assert (yield from Now()) == 0.0
        assert (model.quota.running, model.quota.waiting) == (0, 0)
        patient = evolve(model, wait=float("inf"))
        assert (yield from patient.ask(ASK, stream=world.listening)).text == "It is me."
        assert (yield from Now()) == pytest.approx(DAY)

    on_clock(world, plan)


def test_a_line_may_take_as_long_as_it_takes() -> None:
    """It ends for sure: after more than half an hour here, where the provider says each time to wait a bit longer."""
    with testing.clock(0.0) as clock:
        model = limited(Toy(lambda: said(rate_limits=[RateLimit("requests", 9, 0, 61.0)])), requests_per_minute=1)
        model.quota.clock = lambda: clock.now
        outcomes = drive(side_by_side(model.ask(ASK, stream=False) for _ in range(31)))
        assert [each.unwrap().text for each in outcomes] == ["It is me."] * 31
        assert clock.now >= 30 * 61.0


def test_no_more_start_than_the_provider_has_left() -> None:
    """Also before the answers of those that started say so again."""
    quota = Quota(concurrent=9)
    quota.settle("before", None, (("requests", 2, 30.0), ("tokens", 100, 30.0)), None)
    assert quota.enter("a", 60) == (0.0, 0.0, "")
    assert quota.enter("b", 60)[2] == "provider"
    quota.leave("b")
    assert quota.enter("c", 40) == (0.0, 0.0, "")
    assert quota.enter("d", 0)[2] == "provider"


def test_tokens_are_put_right_by_what_was_used() -> None:
    quota = Quota(tokens_per_minute=1000)
    model = limited(Toy(lambda: said(usage=Usage(100, 50)), max_tokens=800), quota)
    complete(model, "Hi")
    assert quota._spent == 150
    complete(limited(Toy(), quota, estimate=100), "Hi")  # nobody knows: the estimate stands
    assert quota._spent == 250
    with pytest.raises(RateLimited):
        complete(limited(Toy(lambda: RateLimited(status=429)), quota, estimate=lambda ask: 300), "Hi")
    assert quota._spent == 250  # the provider refused it
    with pytest.raises(OverLimit, match="tokens_per_minute"):
        complete(evolve(model, wait=False), "Hi")
    complete(evolve(model, max_tokens=100), "Hi")
    broken = ServerFailed(status=500, partial=said(usage=Usage(1, 1)))
    with pytest.raises(ServerFailed):
        complete(limited(Toy(lambda: broken), quota, estimate=5), "Hi")
    assert quota._spent == 250 + 150 + 2


def test_a_call_that_needs_more_than_there_ever_is_goes_alone() -> None:
    quota = Quota(tokens_per_minute=10, clock=lambda: 0.0)
    model = limited(Toy(), quota, estimate=1_000_000, wait=False)
    complete(model, "Hi")
    with pytest.raises(OverLimit):
        complete(model, "Hi")
    assert quota.enter("x", 1_000_000) == (MINUTE / 2, MINUTE, "tokens_per_minute")
    assert quota.enter("y", 10)[1] == MINUTE
    assert quota.enter("z", 10)[1] == MINUTE


@everywhere
def test_tokens_that_were_not_needed_are_had_by_who_waits(world: World) -> None:
    """Each of four needs 805 of 1,000 tokens a minute at worst, and 50 in truth: one after the other they are done."""
    model = Fixed((told("Oslo.", 20, 30),), max_tokens=800, pause=0.5)

    def plan(clock: Clock) -> Plan[float]:
        ours = limited(model, Quota(tokens_per_minute=1000, clock=lambda: clock.now), wait=20.0)
        for outcome in (yield from side_by_side(ours.ask(ASK, stream=world.listening) for _ in range(4))):
            assert outcome.unwrap().text == "Oslo."
        return (yield from Now())

    assert 2.0 <= on_clock(world, plan) <= 4.0


def test_who_waits_behind_one_that_leaves_hears_of_it() -> None:
    quota = Quota(tokens_per_minute=1000, clock=lambda: 0.0)
    quota.enter("before", 900)
    quota.settle("before", None, (), None)
    assert quota.enter("big", 900) == (MINUTE / 2, MINUTE, "tokens_per_minute")  # nothing helps it but time
    assert quota.enter("small", 10) == (1.5, 0.0, "tokens_per_minute")
    assert quota.enter("last", 10) == (2.0, 0.0, "tokens_per_minute")
    quota.leave("big")
    assert quota.enter("small", 10) == (0.0, 0.0, "")


@pytest.mark.parametrize(("calls", "concurrent", "seconds"), [(200, 1, 0.002), (300, 50, 0.05), (300, 10, 0.05)])
def test_short_calls_follow_each_other_closely(calls: int, concurrent: int, seconds: float) -> None:
    """They take little more than what they take by themselves."""
    street, looks = looking([Caller(0.0, 0, seconds, 0.0, 1e9)] * calls, concurrent=concurrent)
    assert street.now - 1_000_000.0 <= 1.5 * calls * seconds / concurrent
    assert looks < 20 * calls


def test_who_waits_for_a_long_call_looks_seldom_though_those_before_were_short() -> None:
    short, long = Caller(0.0, 0, 0.002, 0.0, 1e9), Caller(0.0, 0, 600.0, 0.0, 1e9)
    _, looks = looking([*[short] * 50, long, *[short] * 50], concurrent=1)
    assert looks < 60_000  # they wait for 30,000 seconds in all


def test_what_a_question_needs_is_estimated() -> None:
    def asking(*parts: Any, **more: Any) -> int:
        return estimated_tokens(Toy(), Ask((user(*parts),), **more))

    assert asking("12345678") == 2
    assert asking(Thinking("1234"), Opaque("sound", "x" * 99)) == 1
    assert asking(Image(b"x", media_type="image/png")) == 1000
    assert asking("12345678", settings=Settings(max_tokens=50)) == 52
    assert asking("1234", output=OutputSpec("a", {"type": "object"})) == 1 + 5
    assert asking("1234", tools=(ToolSpec("add", "12345678"),)) == 4
    call = ToolCall("1", "add", {"a": 1})
    told = Ask((assistant(call), tool_result(call, "12345"), tool_result(call, (Image(b"x", media_type="image/png"),))))
    assert estimated_tokens(Toy(), told) == 1004
    assert estimated_tokens(limited(Toy(max_tokens=7), concurrent=1), Ask(())) == 7


def test_an_agent_and_a_tool_loop_are_limited_as_well() -> None:
    quota = Quota(requests_per_minute=3, tokens_per_minute=100)
    agent = limited(lambda prompt: said(usage=Usage(10, 10)), quota, wait=False)
    assert (agent("Hi").text, quota._spent) == ("It is me.", 20)
    answers = iter([Response((assistant(ToolCall("1", "tell")),), "tool_calls"), said("Done.")])
    model = limited(Toy(lambda: next(answers)), quota, wait=False, estimate=1)

    def tell() -> str:
        """Tell."""
        return "told"

    assert run_tools(model, "Hi", [tell]).text == "Done."
    with pytest.raises(OverLimit):
        agent("Hi")


# -- leaving --


@everywhere
def test_who_waits_and_listens_no_more_holds_nobody_up(world: World) -> None:
    """It was told that it waits, and its listener reads no further; when it does, it is its turn before all others."""
    now = [0.0]
    quota = Quota(concurrent=1, clock=lambda: now[0])
    model, strict = limited(Toy(), quota), limited(Toy(), quota, wait=False)
    quota.enter("somebody else", 0)
    with stream(model, "Hi") as events:
        assert any(isinstance(event, Notice) for event in events)
        quota.settle("somebody else", None, (), None)
        with pytest.raises(OverLimit):
            world.run(talk(strict, stream=world.listening))  # it is late by now, but not by much
        now[0] += LATE + 1.0
        assert world.run(talk(strict, stream=world.listening)).text == "It is me."
        quota.enter("somebody else", 0)
        quota.enter("behind", 0)
        quota.settle("somebody else", None, (), None)
        response = next(event for event in events if isinstance(event, Finished)).response
    assert response.text == "It is me."
    assert (quota.running, quota.waiting) == (0, 1)


@pytest.mark.anyio
async def test_who_is_cancelled_gives_its_place_back(anyio_backend: str) -> None:
    quota = Quota(concurrent=1)
    busy = threading.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(aio.complete, limited(Toy(lambda: busy.wait() and said()), quota), "Hi")
        await until(lambda: quota.running)
        async with anyio.create_task_group() as inner:
            inner.start_soon(aio.complete, limited(Toy(), quota), "Hi")
            await until(lambda: quota.waiting)
            inner.cancel_scope.cancel()
        assert (quota.running, quota.waiting) == (1, 0)
        group.cancel_scope.cancel()
        busy.set()
    assert (quota.running, quota.waiting) == (0, 0)


def test_a_stream_that_is_left_gives_its_place_back() -> None:
    quota = Quota(concurrent=1)
    model = limited(Toy(), quota)

    def plan() -> Plan[Response]:
        response = yield from model.ask(ASK, stream=True)
        raise AssertionError(response)

    with Stream(plan()) as events:
        next(events)
        del events
    gc.collect()
    assert (quota.running, quota.waiting) == (0, 0)
    waiting = limited(Toy(), quota).ask(ASK, stream=False)
    next(waiting)
    waiting.close()
    assert quota.enter("next", 0) == (0.0, 0.0, "")


# -- values --


def test_a_limited_model_is_a_value_that_shows_what_it_shares() -> None:
    quota = Quota(requests_per_minute=60, concurrent=4)
    model = limited(Toy(), quota)
    assert model == limited(Toy(), quota)
    assert hash(model) == hash(limited(Toy(), quota))
    assert model != limited(Toy(), requests_per_minute=60, concurrent=4)
    assert repr(quota) == "Quota(requests_per_minute=60, concurrent=4)"
    assert "Quota(requests_per_minute=60, concurrent=4)" in repr(model)
    assert (model.name, model.provider) == ("toy", "box")
    quota.enter("a", 0)
    copied = pickle.loads(pickle.dumps(quota))
    assert (copied.limits, copied.running) == (quota.limits, 0)
    assert evolve(model, max_tokens=5).model.max_tokens == 5


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: limited(Toy()),
        lambda: limited(Toy(), concurrent=0),
        lambda: limited(Toy(), requests_per_minute=1.5),  # type: ignore[arg-type]
        lambda: limited(Toy(), tokens_per_minute=True),
        lambda: limited(Toy(), Quota(concurrent=1), concurrent=2),
        lambda: limited(Toy(), 60),
        lambda: limited(Toy(), concurrent=1, wait=-1),
        lambda: limited(Toy(), concurrent=1, wait="long"),  # type: ignore[arg-type]
        lambda: limited(Toy(), concurrent=1, wait=None),  # type: ignore[arg-type]
        lambda: limited(Toy(), concurrent=1, wait=float("nan")),
        lambda: limited(Toy(), concurrent=1, estimate=1.5),  # type: ignore[arg-type]
        lambda: limited(Toy(), concurrent=1, estimate=-5),
        lambda: limited(Toy(), concurrent=1, estimate="x"),  # type: ignore[arg-type]
        lambda: limited(3, concurrent=1),
        lambda: limited(len, concurrent=1, estimate=lambda ask: 3),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(Misuse):
        wrong()


def test_a_quota_is_not_put_around_itself() -> None:
    """A call that has a place would wait for another one, and once all have one, for ever."""
    quota, other = Quota(concurrent=1), Quota(concurrent=1)
    inner = limited(Toy(), quota)
    for outer in (inner, fallback(Toy(), inner), limited(inner, other)):
        with pytest.raises(Misuse, match="limited by this quota already"):
            limited(outer, quota)
    with pytest.raises(Misuse, match="limited by this quota already"):
        evolve(limited(inner, other), quota=quota)
    with pytest.raises(Misuse, match="limited by this quota already"):
        limited(fallback(limited(lambda prompt: said(), quota), lambda prompt: said()), quota)
    assert complete(fallback(inner, limited(Toy(), quota)), "Hi").text == "It is me."  # beside each other they may be


@pytest.mark.parametrize("wrong", [1.5, None, "x", -5, True, float("nan")])
def test_what_is_no_estimate_is_refused(wrong: Any) -> None:
    quota = Quota(tokens_per_minute=100, concurrent=1)
    with pytest.raises(Misuse, match="a whole number of tokens from 0"):
        complete(limited(Toy(), quota, estimate=lambda ask: wrong), "Hi")
    assert (quota.running, quota.waiting) == (0, 0)


def test_a_recorded_run_replays_without_the_quota(tmp_path: Any) -> None:
    """What the quota answered is on the record, so the replay neither asks it nor waits."""
    quota = Quota(requests_per_minute=1)

    def agent(prompt: str) -> Plan[Any]:
        return (yield from limited(Toy(), quota, wait=False).ask(ASK, stream=False))

    def asking() -> Any:
        return drive(agent("Hi"))

    with testing.recorded(tmp_path / "run.jsonl"):
        first = asking()
    with testing.replayed(tmp_path / "run.jsonl"):
        assert asking() == first
    assert quota.running == 0

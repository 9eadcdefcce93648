"""Wrappers in any order: what succeeds is the same; what the order changes is what the table of the page says."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import Finished, TextDelta, ToolCall, Usage, aio, complete, run_tools, stream, tool
from arshai_kit._record import Record
from arshai_kit.cost import Prices
from arshai_kit.effects import Call, Plan
from arshai_kit.errors import CircuitOpen, Misuse, OverBudget, OverLimit, ProviderError, ServerFailed, TimedOut
from arshai_kit.faces import blocking
from arshai_kit.models import UNKNOWN, Ask, Capabilities
from arshai_kit.records import Notice, Response
from arshai_kit.resilience import (
    Budget,
    Circuit,
    CircuitRules,
    MemoryCache,
    Quota,
    balanced,
    batch,
    breaker,
    budgeted,
    cached,
    deadline,
    fallback,
    limited,
)
from arshai_kit.testing import clock, scripted
from tests.core.worlds import WORLDS, World, everywhere, listening
from tests.resilience.fixed import Fixed, said

PAGE = Path(__file__).parents[2] / "docs" / "resilience" / "index.md"
PRICES = Prices({"fixed": {"input": 2, "output": 8}})
CALL = said(ToolCall("c1", "add", {"a": 1, "b": 2}), finish_reason="tool_calls")
DOWN = ServerFailed("down", status=503)


@define(eq=False)
class Asked:
    """Counts, as what happens before an answer; any two are equal to a cache."""

    times: int = field(default=0, eq=False)

    def __call__(self) -> None:
        self.times += 1


@frozen(eq=False, repr=False)
class Turns(Record):
    """A model that gives one of *answers* after the other, or raises it."""

    answers: list[Any] = field(eq=False)
    name: str = "fixed"
    provider: str = "here"
    capabilities: Capabilities = UNKNOWN
    max_tokens: int = 100

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The next one."""
        answer = yield from Call(self.answers.pop, 0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]  # a response


def fixed(*answers: Any, **more: Any) -> tuple[Fixed, Asked]:
    """A model that answers with *answers*, and how often it was asked."""
    asked = Asked()
    return Fixed(answers or (said("It is me."),), before=asked, **more), asked


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "deadline": lambda model: deadline(model, 50),
    "fallback": lambda model: fallback(model, Fixed((said("the spare"),) * 2)),
    "balanced": lambda model: balanced(model, model),
    "breaker": breaker,
    "limited": lambda model: limited(model, requests_per_minute=100, concurrent=5),
    "cached": lambda model: cached(model, MemoryCache()),
    "budgeted": lambda model: budgeted(model, Budget(money=1, tokens=1_000_000), prices=PRICES),
}
STACKS = st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=7)


def stacked(model: Any, order: list[str]) -> Any:
    """*model* in the wrappers that *order* names, the last of them outermost."""
    for name in order:
        model = WRAPPERS[name](model)
    return model


# -- what is the same --


@given(STACKS, st.sampled_from(WORLDS))
def test_a_success_is_the_same_in_every_order(order: list[str], world: World) -> None:
    """Sync, on asyncio and on trio, streamed or not, in a loop of tools: messages, usage, and how often it is asked."""
    bare, once = fixed(CALL, said("3"))
    inner, asked = fixed(CALL, said("3"))
    model = stacked(inner, order)
    plain = world.run(lambda: run_tools.plan(bare, "1 + 2?", [add]))
    wrapped = world.run(lambda: run_tools.plan(model, "1 + 2?", [add]))
    assert wrapped == plain
    assert asked.times == once.times == 2


@given(STACKS, st.sampled_from([world for world in WORLDS if world.listening]))
def test_what_is_told_is_the_same_but_for_notices(order: list[str], world: World) -> None:
    model = stacked(fixed(CALL, said("3"))[0], order)

    def told(model: Any) -> list[tuple[str, Any]]:
        events = world.events(lambda: run_tools.plan(model, "1 + 2?", [add]))
        kept = [event for event in events if not isinstance(event, Notice)]
        return [(type(event).__name__, getattr(event, "text", getattr(event, "call", None))) for event in kept]

    assert told(model) == told(fixed(CALL, said("3"))[0])


@listening
@pytest.mark.parametrize("around", ["deadline", "limited", "breaker", "budgeted"])
def test_an_agent_that_is_wrapped_still_streams_by_a_script(world: World, around: str) -> None:
    """Whoever answers in place of a model is heard through the wrapper: words come, calls start at once."""

    @blocking
    def agent(prompt: str) -> Plan[Response]:
        return (yield from run_tools.plan(fixed()[0], prompt, [add], eager=True))

    def told(agent: Any) -> list[Any]:
        with scripted(ToolCall("c1", "add", {"a": 1, "b": 2}), "It is 3."):
            events = world.events(lambda: stream.plan(agent, "1 + 2?"))
        return [event for event in events if not isinstance(event, Notice | Finished)]

    wrapped = deadline(agent, 50) if around == "deadline" else WRAPPERS[around](agent)
    assert told(wrapped) == told(agent)
    assert TextDelta("It is 3.") in told(wrapped)


@listening
def test_an_agent_that_is_a_tool_with_a_time_still_streams_by_a_script(world: World) -> None:
    @blocking
    def agent(question: str) -> Plan[Response]:
        return (yield from complete.plan(fixed()[0], question))

    with scripted(ToolCall("c1", "agent", {"question": "1 + 2?"}), "It is 3.", "Three."):
        events = world.events(lambda: stream.plan(fixed()[0], "Ask!", tools=[tool(agent, timeout=30)]))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["It is 3.", "Three."]


@given(STACKS.filter(lambda order: "fallback" not in order), st.sampled_from(WORLDS))
def test_an_error_is_the_same_in_every_order(order: list[str], world: World) -> None:
    model = stacked(Turns([DOWN]), order)
    with pytest.raises(ProviderError) as raised:
        world.run(lambda: complete.plan(model, "Hello"))
    assert raised.value is DOWN


@given(STACKS)
def test_a_stack_is_named_as_what_it_wraps_and_takes_the_same(order: list[str]) -> None:
    inner, _ = fixed()
    model = stacked(inner, [name for name in order if name not in ("fallback", "balanced")])
    assert (model.name, model.provider, model.capabilities) == (inner.name, inner.provider, inner.capabilities)
    assert model == model
    assert hash(model) == hash(model)


@everywhere
def test_limits_of_one_kind_commute_and_the_nearest_counts(world: World) -> None:
    for seconds in ((5, 50), (50, 5)):
        with clock():
            model = deadline(deadline(fixed(pause=20.0)[0], seconds[0]), seconds[1])
            with pytest.raises(TimedOut, match="takes longer than 5 s"):
                world.run(partial(complete.plan, model, "Hi"))
    for sizes in ((1, 5), (5, 1)):
        model = fixed()[0]
        for size in sizes:
            model = limited(model, requests_per_minute=size, wait=False)
        world.run(partial(complete.plan, model, "Hi"))
        with pytest.raises(OverLimit):
            world.run(partial(complete.plan, model, "Hi"))


# -- what the order changes --


def test_cached_and_limited() -> None:
    """Outside, what is found needs no room; inside, it takes some."""
    for outside, places in ((True, 1), (False, 3)):
        quota, (inner, asked) = Quota(requests_per_minute=100), fixed()
        model = (
            cached(limited(inner, quota), MemoryCache()) if outside else limited(cached(inner, MemoryCache()), quota)
        )
        for _ in range(3):
            complete(model, "Hi")
        assert (asked.times, _begun(quota)) == (1, places)


def _begun(quota: Quota) -> int:
    """How many requests have been let through in this minute: so many fewer are free."""
    free = 0
    model = limited(fixed()[0], quota, wait=False)
    while True:
        try:
            complete(model, "Hi")
        except OverLimit:
            return 100 - free
        free += 1


def test_cached_and_budgeted() -> None:
    """What is found costs nothing either way; but outside, it needs nothing either."""
    for outside in (True, False):
        budget, (inner, asked), cache = Budget(tokens=1000), fixed(), MemoryCache()
        model = cached(budgeted(inner, budget), cache) if outside else budgeted(cached(inner, cache), budget)
        for _ in range(3):
            complete(model, "Hi")
        assert (asked.times, budget.spent().tokens) == (1, 20)
        budgeted_too = budgeted(Fixed((said("x", 900, 50),)), budget)
        complete(budgeted_too, "Hi")
        if outside:
            assert complete(model, "Hi").usage == Usage()
        else:
            with pytest.raises(OverBudget):
                complete(model, "Hi")


def test_cached_and_breaker() -> None:
    """Outside, what is kept is found while the server is down."""
    for outside in (True, False):
        circuit, (inner, _), cache = Circuit(CircuitRules(failures=1)), fixed(), MemoryCache()
        model = cached(breaker(inner, circuit), cache) if outside else breaker(cached(inner, cache), circuit)
        complete(model, "Hi")
        with pytest.raises(ServerFailed):
            complete(breaker(fixed(DOWN)[0], circuit), "Hi")
        if outside:
            assert complete(model, "Hi").text == "It is me."
        else:
            with pytest.raises(CircuitOpen):
                complete(model, "Hi")


def test_cached_and_fallback() -> None:
    """Around the whole, what the second said is found when the first is well again; around each, the first is asked."""
    for around_all in (True, False):
        first, second = Turns([DOWN, said("the first")]), Fixed((said("the second"),), name="second")
        store = MemoryCache()
        model = fallback(first, second)
        model = cached(model, store) if around_all else fallback(cached(first, store), cached(second, store))
        assert [complete(model, "Hi").text for _ in range(2)] == [
            "the second",
            "the second" if around_all else "the first",
        ]


def test_deadline_and_limited() -> None:
    """Around a limit, the wait in line counts: one that would end too late is not begun."""
    for around in (True, False):
        with clock(start=0.0) as time:
            quota, (inner, _) = Quota(requests_per_minute=1, clock=lambda: time.now), fixed()
            model = deadline(limited(inner, quota), 5) if around else limited(deadline(inner, 5), quota)
            complete(model, "Hi")
            if around:
                with pytest.raises(TimedOut):
                    complete(model, "Hi")
                assert time.now < 5
            else:
                complete(model, "Hi")
                assert time.now >= 60


def test_deadline_and_fallback() -> None:
    """Around one, the next is asked when its time is up; around all, the whole ends."""
    with clock(start=0.0) as time:
        slow, fast = Fixed((said("slow"),), before=lambda: time.advance(6), pause=0.01), fixed(said("fast"))[0]
        assert complete(fallback(deadline(slow, 5), fast), "Hi").text == "fast"
        with pytest.raises(TimedOut):
            complete(deadline(fallback(slow, fast), 5), "Hi")


def test_limited_and_fallback() -> None:
    """Around the whole, one question is one place, whoever is asked; around each, each has a limit of its own."""
    for around_all, places in ((True, 1), (False, 2)):
        quota = Quota(requests_per_minute=100)
        bad, good = fixed(DOWN)[0], fixed()[0]
        model = fallback(bad, good)
        model = limited(model, quota) if around_all else fallback(limited(bad, quota), limited(good, quota))
        complete(model, "Hi")
        assert _begun(quota) == places


def test_limited_and_breaker() -> None:
    """Who is refused by a circuit outside takes no place; by one inside, it does."""
    for outside, places in ((True, 1), (False, 4)):
        quota, (inner, asked) = Quota(requests_per_minute=100), fixed(DOWN)
        model = breaker(limited(inner, quota), failures=1) if outside else limited(breaker(inner, failures=1), quota)
        for _ in range(4):
            with pytest.raises((ServerFailed, CircuitOpen)):
                complete(model, "Hi")
        assert (asked.times, _begun(quota)) == (1, places)


def test_budgeted_and_fallback() -> None:
    """Around each, a refusal may be answered by who is paid otherwise; around the whole, it is refused."""
    dear, free = fixed()[0], fixed(said("for nothing"))[0]
    broke = Budget(tokens=10)
    assert complete(fallback(budgeted(dear, broke), free, on=OverBudget), "Hi").text == "for nothing"
    with pytest.raises(OverBudget):
        complete(budgeted(fallback(dear, free, on=OverBudget), broke), "Hi")


def test_breaker_and_balanced() -> None:
    """Around each, who fails is left alone and the other answers; around the whole, all of it is left alone."""
    for around_each in (True, False):
        bad, good = fixed(DOWN)[0], fixed()[0]
        if around_each:
            model = balanced(breaker(bad, failures=1), breaker(good, failures=1), tries=2)
            assert [complete(model, "Hi").text for _ in range(4)] == ["It is me."] * 4
        else:
            model = breaker(balanced(bad, good), failures=1)
            with pytest.raises(ServerFailed):
                complete(model, "Hi")
            with pytest.raises(CircuitOpen):
                complete(model, "Hi")


def test_a_batch_over_budget_ends_with_outcomes() -> None:
    """However many are under way, the ceiling holds, and each item has its outcome."""
    budget, (inner, asked) = Budget(tokens=1000), fixed(max_tokens=20)
    outcomes = batch(cached(budgeted(inner, budget), MemoryCache()), [f"Question {number}" for number in range(200)])
    errors = {type(outcome.error) for outcome in outcomes if outcome.error is not None}
    assert errors == {OverBudget}
    assert budget.spent().tokens == 20 * asked.times <= 1000
    assert len(outcomes) == 200


# -- the page --


def test_the_page_names_each_of_these_and_nothing_else() -> None:
    told = set(re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8")))
    here = {name for name in globals() if re.fullmatch(r"test_[a-z]+_and_[a-z]+", name)}
    assert here <= told
    assert told <= set(globals())


AROUND: dict[str, Any] = {
    "deadline": lambda agent: deadline(agent, 60),
    "fallback": lambda agent: fallback(agent, agent),
    "balanced": lambda agent: balanced(agent, agent),
    "limited": lambda agent: limited(agent, concurrent=2),
    "breaker": breaker,
    "budgeted": lambda agent: budgeted(agent, Budget(tokens=1000)),
}


async def clerk(question: str, times: int = 1) -> str:
    """Answer what is asked.

    Args:
        question: In words.
    """
    return question * times


@pytest.mark.parametrize("name", AROUND)
@everywhere
def test_an_agent_that_is_wrapped_is_a_tool_like_itself(world: World, name: str) -> None:
    wrapped = AROUND[name](clerk)
    assert tool(wrapped, name="clerk").spec == tool(clerk).spec
    with scripted(ToolCall("1", "clerk", {"question": "ab", "times": 2}), "Done."):
        response = world.run(lambda: run_tools.plan(Fixed(()), "Hello", [tool(wrapped, name="clerk")]))
    assert response.tool_runs[0].result == "abab"


@pytest.mark.parametrize("name", AROUND)
async def test_an_async_agent_that_is_wrapped_is_run_and_not_called(name: str, anyio_backend: str) -> None:
    for wrapped in (AROUND[name](clerk), AROUND[name](breaker(clerk))):
        with pytest.raises(Misuse, match=r"await aio.run\(wrapped, prompt\)"):
            wrapped("a")
        assert await aio.run(wrapped, "a") == "a"


@pytest.mark.parametrize("name", AROUND)
def test_an_async_agent_that_is_wrapped_is_called_where_no_loop_runs(name: str) -> None:
    assert AROUND[name](clerk)("a", times=2) == "aa"

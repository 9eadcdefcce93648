"""No call is made whose worst case does not fit, whoever asks at the same time; what was used is what is counted."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from typing import Any

import anyio
import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import (
    Finished,
    Response,
    TextDelta,
    ToolCall,
    Usage,
    aio,
    assistant,
    complete,
    evolve,
    file,
    openai_compatible,
    run_tools,
    stream,
    testing,
    tool_result,
    using,
)
from arshai_kit._json import dumps
from arshai_kit.completion import run
from arshai_kit.cost import Price, Prices, Spend, priced, published
from arshai_kit.effects import Layer, Plan, Reply, Request, Send, Step, Where, side_by_side
from arshai_kit.errors import (
    ArshaiError,
    BadRequest,
    CircuitOpen,
    Misuse,
    OverBudget,
    OverLimit,
    RateLimited,
    ServerFailed,
    StoreUnreachable,
    StreamIncomplete,
    TimedOut,
    Unreachable,
)
from arshai_kit.models import Ask, Settings, is_model
from arshai_kit.records import Notice, ToolSpec, audio, image, user
from arshai_kit.resilience import Alert, Budget, Ledger, budgeted, deadline, fallback
from arshai_kit.resilience.ledgers import Ticket
from arshai_kit.resilience.worst_cases import dearest, estimated, most_output, sounds, worst
from arshai_kit.testing import strategies
from tests.core.worlds import World, everywhere, listening, on_both
from tests.resilience.fixed import Fixed, said
from tests.resilience.test_cost import FULL, used
from tests.transport.server import always, reply, serving

PRICES = Prices({"fixed": {"input": 1000, "output": 2000}})
"""A tenth of a cent for a token that goes in, two for one that comes out."""
WORST = Spend(121, Decimal("0.221"))
"""Of the question "Hello": 21 tokens at most go in, and 100 come out."""
HELLO = said("Hello", 20, 10)


def kept(model: Any, budget: Budget, **terms: Any) -> Any:
    return budgeted(model, budget, prices=PRICES, **terms)


# -- the ledger --

MOST = Spend(1000, Decimal(10))
SPEND = st.builds(Spend, st.integers(0, 400), st.decimals(0, 4, places=3, allow_nan=False))


@given(st.lists(st.tuples(st.integers(0, 7), SPEND, st.floats(0, 1))))
def test_no_interleaving_overshoots(steps: list[tuple[int, Spend, float]]) -> None:
    """Any order of reserving and settling keeps what was spent and what is reserved within the ceiling."""
    ledger, open_ones, whole = Ledger(), dict[int, tuple[Ticket, Spend]](), Spend()
    for number, wanted, part in steps:
        if number in open_ones:
            ticket, worst = open_ones.pop(number)
            assert worst.money is not None
            real = Spend(int(worst.tokens * part), worst.money * Decimal(str(round(part, 3))))
            ledger.settle(ticket, real)
            ledger.settle(ticket, worst)  # once only
            whole += real
        else:
            ticket = Ticket()
            before = ledger.held((0, ""))
            if ledger.reserve(ticket, (0, ""), None, wanted, MOST) is None:
                open_ones[number] = ticket, wanted
            else:
                assert ledger.held((0, "")) == before
        spent, reserved = ledger.held((0, ""))
        assert spent == whole
        assert reserved == sum([each for _, each in open_ones.values()], Spend())
        both = spent + reserved
        assert both.tokens <= MOST.tokens
        assert both.money is not None
        assert both.money <= 10


def test_what_was_given_up_reserves_nothing() -> None:
    ledger, ticket = Ledger(), Ticket()
    assert ledger.settle(ticket, Spend(5)) == Spend()
    assert ledger.reserve(ticket, (0, ""), None, Spend(5), MOST) is None  # a late worker of a run that was cancelled
    assert ledger.held((0, "")) == (Spend(), Spend())


def test_money_that_nobody_knows_takes_no_ceiling_away() -> None:
    """A budget in tokens alone and one in money may share a ledger, whoever of them is asked first."""
    shared = Ledger()
    tokens, money = Budget(tokens=10_000, ledger=shared), Budget(money="0.5", ledger=shared)
    loose, tight = budgeted(Fixed((HELLO,)), tokens, prices=Prices({})), kept(Fixed((HELLO,)), money)
    complete(loose, "Hello")
    assert money.spent() == tokens.spent() == Spend(30, None)
    for _ in range(7):
        complete(tight, "Hello")
    with pytest.raises(OverBudget, match=r"0.22 US dollars is left") as refused:
        complete(tight, "Hello")
    assert refused.value.left.money == Decimal("0.22")
    assert money.spent() == Spend(240, None)  # as some of it is not known


def test_the_account_of_a_new_tag_is_found_without_a_look_at_all_others() -> None:
    """There may be one for each request; what is old is forgotten when a day begins, and not at each of them."""
    looks: list[int] = []

    class Accounts(dict[Any, Any]):
        def __iter__(self) -> Iterator[Any]:
            looks.append(len(self))
            return super().__iter__()

    ledger = Ledger()
    ledger._accounts = Accounts()
    for day in (20_000, 20_001, 20_008):
        for number in range(100):
            assert ledger.reserve(Ticket(), (day, str(number)), None, Spend(1), Spend(5)) is None
        assert ledger.last_day() == day
    assert looks == [0, 100, 200]
    assert {day for day, _ in ledger._accounts} == {20_001, 20_008}


def test_budgets_for_good_and_by_the_day_may_share_a_ledger() -> None:
    shared = Ledger()
    total, daily = Budget(tokens=1000, ledger=shared), Budget(tokens=500, per="day", ledger=shared)
    complete(kept(kept(Fixed((HELLO,)), total), daily), "Hello")
    complete(kept(Fixed((HELLO,)), total), "Hello")
    assert (total.spent().tokens, daily.spent().tokens, total.reserved().tokens) == (60, 30, 0)


def test_threads_together_stay_within_one_ceiling() -> None:
    budget = Budget(tokens=1000)
    model = kept(Fixed((said("Hello", 21, 100),), pause=0.001), budget)

    def once(_: int) -> bool:
        try:
            return complete(model, "Hello").text == "Hello"
        except OverBudget:
            return False

    with ThreadPoolExecutor(16) as pool:
        answered = sum(pool.map(once, range(40)))
    assert answered == 1000 // 121  # nobody was refused who would have fitted, as all use their worst
    assert budget.spent() == Spend(121 * answered, 8 * WORST.money if WORST.money else None)
    assert budget.reserved() == Spend(0)


@everywhere
def test_plans_side_by_side_stay_within_one_ceiling(world: World) -> None:
    budget = Budget(money="0.7")
    model = kept(Fixed((HELLO,), pause=0.002), budget)

    def many() -> Plan[Any]:
        return (yield from side_by_side([complete.plan(model, "Hello") for _ in range(10)]))

    outcomes = world.run(many)
    refused = [each.error for each in outcomes if each.error is not None]
    assert len(refused) == 7  # 0.221 each at worst
    assert all(type(error) is OverBudget and error.wanted == WORST for error in refused)
    assert budget.spent() == Spend(3 * 30, 3 * Decimal("0.04"))
    assert budget.reserved() == Spend(0)


# -- before the call, and after --


@everywhere
def test_a_call_that_may_cost_too_much_is_not_made(world: World) -> None:
    asked: list[int] = []
    budget = Budget(money="0.5", tokens=10_000)
    model = kept(Fixed((HELLO,), before=lambda: asked.append(1)), budget)
    for spent in range(7):
        assert budget.spent() == Spend(30 * spent, spent * Decimal("0.04"))
        assert world.run(lambda: complete.plan(model, "Hello")) == HELLO
    with pytest.raises(OverBudget, match=r"0.221 US .* needed, and .* and 0.22 US dollars is left") as refused:
        world.run(lambda: complete.plan(model, "Hello"))
    assert refused.value.left == Spend(10_000 - 7 * 30, "0.22")
    assert len(asked) == 7


UNSENT = Unreachable("no connection")
UNSENT.sent = False
USED = Response((assistant("He"),), "error", usage=Usage(20, 5), model="fixed")


@pytest.mark.parametrize(
    ("error", "tokens"),
    [
        (RateLimited("wait", status=429), 0),
        (BadRequest("no", status=400), 0),
        (ServerFailed("overloaded", status=529), 0),
        (Misuse("no key"), 0),
        (OverBudget("another one"), 0),
        (OverLimit("wait"), 0),
        (CircuitOpen("down"), 0),
        (UNSENT, 0),
        (Unreachable("broke"), 121),
        (ServerFailed("broke", status=500), 121),
        (TimedOut("silent"), 121),
        (ValueError("of a model of one's own"), 121),
        (StreamIncomplete("cut", partial=USED), 25),
        (StreamIncomplete("cut", partial=evolve(USED, usage=Usage.unknown())), 121),
    ],
    ids=lambda value: str(value).replace(" ", "-"),
)
def test_what_a_failed_call_counts(error: Exception, tokens: int) -> None:
    budget = Budget(tokens=500)
    with pytest.raises(type(error)):
        complete(kept(Fixed((error,)), budget), "Hello")
    assert (budget.spent().tokens, budget.reserved().tokens) == (tokens, 0)


def test_what_the_provider_does_not_say_counts_at_its_worst() -> None:
    budget = Budget(tokens=500, money=1)
    complete(kept(Fixed((evolve(HELLO, usage=Usage.unknown()),)), budget), "Hello")
    assert budget.spent() == WORST
    complete(kept(Fixed((evolve(HELLO, cost=Decimal("0.01")),)), budget), "Hello")
    assert budget.spent() == WORST + Spend(30, "0.01")  # what the provider says that it cost


@listening
def test_who_leaves_a_stream_has_spent_the_worst(world: World) -> None:
    budget = Budget(tokens=500)
    model = kept(Fixed((HELLO,), pause=30), budget)

    def leave() -> None:
        with stream(model, "Hello") as events:
            assert any(isinstance(event, TextDelta) for event in events)
            assert budget.reserved().tokens == 121

    async def aleave() -> None:
        async with aio.stream(model, "Hello") as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break

    anyio.run(aleave, backend=world.backend) if world.backend else leave()
    assert (budget.spent().tokens, budget.reserved().tokens) == (121, 0)


@on_both
def test_who_cancels_has_spent_the_worst(backend: str) -> None:
    budget = Budget(tokens=500)
    model = kept(Fixed((HELLO,), pause=30), budget)

    async def main() -> None:
        with anyio.move_on_after(0.05):
            await aio.complete(model, "Hello")

    anyio.run(main, backend=backend)
    assert budget.spent().tokens in (0, 121)  # nothing, if it was cancelled before it began
    assert budget.reserved().tokens == 0


# -- whose budget --


@everywhere
def test_each_value_of_a_tag_has_the_ceiling_for_itself(world: World) -> None:
    budget = Budget(tokens=150, by_tag="user")
    model = kept(Fixed((HELLO,)), budget)
    for user_name in ("ann", "bob"):
        with using(tags={"user": user_name}):
            world.run(lambda: complete.plan(model, "Hello"))
            with pytest.raises(OverBudget, match=f"budget of '{user_name}' refuses"):
                world.run(lambda: complete.plan(model, "Hello"))
    world.run(lambda: complete.plan(model, "Hello"))  # who has no such tag
    assert [budget.spent(each).tokens for each in ("ann", "bob", "", "eve")] == [30, 30, 30, 0]


def test_each_day_begins_anew() -> None:
    budget = Budget(tokens=150, per="day")
    model = kept(Fixed((HELLO,)), budget)
    with testing.clock(start=86_400 * 20_000 + 86_390.0) as clock:
        complete(model, "Hello")
        with pytest.raises(OverBudget):
            complete(model, "Hello")
        clock.advance(11)
        complete(model, "Hello")
        assert [budget.spent(day=day).tokens for day in (20_000, 20_001, 20_002)] == [30, 30, 0]
        clock.advance(86_400 * 30)
        complete(model, "Hello")
    assert budget.spent().tokens == 30
    assert budget.spent(day=20_000).tokens == 0  # long forgotten


@everywhere
def test_each_run_has_the_ceiling_for_itself(world: World) -> None:
    budget = Budget(tokens=350, per="run")
    model = kept(Fixed((calls("look"), calls("look"), HELLO)), budget)
    for _ in range(2):
        with pytest.raises(OverBudget) as refused:
            world.run(lambda: run_tools.plan(model, "Hello", [look]))
        partial = refused.value.partial
        assert [message.role for message in partial.messages] == ["assistant", "tool"] * len(partial.tool_runs)
        assert partial.usage.total_tokens == 30 * len(partial.tool_runs) > 0
    with pytest.raises(Misuse, match="known in that run"):
        budget.spent()


def calls(name: str, **arguments: Any) -> Response:
    return said(ToolCall("c1", name, arguments), 20, 10, finish_reason="tool_calls")


def look() -> str:
    """Look at something long."""
    return "x" * 150


# -- tools --


@everywhere
def test_no_model_is_told_that_a_tool_is_over_budget(world: World) -> None:
    small = kept(Fixed((HELLO,)), Budget(tokens=100))

    def consult(question: str) -> str:
        """Ask somebody wise."""
        return complete(small, question).text

    async def aconsult(question: str) -> str:
        """Ask somebody wise."""
        return (await aio.complete(small, question)).text

    for tool in (consult, aconsult):
        asking = Fixed((calls(tool.__name__, question="Hello"), HELLO))
        with pytest.raises(OverBudget) as refused:
            world.run(lambda asking=asking, tool=tool: run_tools.plan(asking, "Ask.", [tool]))  # type: ignore[misc]
        (asked, answered) = refused.value.partial.messages
        assert asked.tool_calls[0].id == answered.parts[0].id  # no call is left without its result


@everywhere
def test_around_an_agent_every_model_call_in_it_counts(world: World) -> None:
    inner = Fixed((HELLO,))

    def consult(question: str) -> str:
        """Ask somebody wise, by a run of one's own."""
        return complete(inner, question).text

    def desk(prompt: Any) -> Any:
        return run_tools(Fixed((calls("consult", question="Hello"), HELLO)), prompt, [consult])

    def planned(prompt: Any) -> Plan[Response]:
        return (yield from run_tools.plan(Fixed((calls("consult", question="Hello"), HELLO)), prompt, [consult]))

    desk_of_ours: Any = Faced(planned)
    for agent in (desk, desk_of_ours):
        budget = Budget(tokens=10_000)
        wrapped = kept(agent, budget)
        assert world.run(lambda wrapped=wrapped: run.plan(wrapped, "Hello")).text == "Hello"  # type: ignore[misc]
        assert budget.spent().tokens == 90
        with pytest.raises(OverBudget):
            world.run(lambda agent=agent: run.plan(kept(agent, Budget(tokens=150, per="run")), "Hello"))  # type: ignore[misc]
    assert kept(desk, Budget(tokens=1000))("Hello").text == "Hello"


class Faced:
    """An agent that has a plan."""

    def __init__(self, plan: Callable[..., Plan[Any]]) -> None:
        self.plan = plan

    def __call__(self, *_: Any) -> None:
        raise AssertionError("its plan is run instead")


def test_around_an_agent_that_asks_side_by_side() -> None:
    def planned(prompt: Any) -> Plan[int]:
        outcomes = yield from side_by_side([complete.plan(Fixed((HELLO,)), prompt) for _ in range(5)])
        return sum(each.error is None for each in outcomes)

    agent = kept(Faced(planned), Budget(tokens=400))
    assert 3 <= run(agent, "Hello") < 5


# -- what it tells --


@listening
def test_thresholds_are_told_once(world: World) -> None:
    told: list[Alert] = []
    budget = Budget(tokens=300, alert=told.append, name="trial", thresholds=(0.8, 0.5, 1.0, 0.1))
    model = kept(Fixed((said("Hello", 60, 60),)), budget)
    events = world.events(lambda: complete.plan(model, "Hello"))
    assert [event.data["threshold"] for event in events if isinstance(event, Notice)] == [0.1]
    events = world.events(lambda: complete.plan(model, "Hello"))
    notices = [event for event in events if isinstance(event, Notice)]
    assert [event.data["threshold"] for event in notices] == [0.5, 0.8]
    assert (notices[0].kind, notices[0].name) == ("budget", "fixed")
    assert notices[0].text == "trial: 50% reached, 240 tokens of 300 tokens"
    for _ in range(2):
        with pytest.raises(OverBudget):
            world.events(lambda: complete.plan(model, "Hello"))
    assert [(each.threshold, each.spent.tokens) for each in told] == [(0.1, 120), (0.5, 240), (0.8, 240), (1.0, 240)]


def test_an_alert_that_fails_takes_no_answer_away() -> None:
    def broken(_: Alert) -> None:
        raise ZeroDivisionError

    model = kept(Fixed((HELLO,)), Budget(tokens=130, alert=broken, thresholds=[0.1]))
    *notices, last = [each for each in stream(model, "Hello") if isinstance(each, Notice | Finished)]
    assert isinstance(last, Finished)
    assert isinstance(notices[-1], Notice)
    assert "alert failed: ZeroDivisionError" in notices[-1].text


def test_a_call_that_would_never_fit_alerts_nobody() -> None:
    """It is too large; the budget is not used up."""
    told: list[float] = []
    budget = Budget(tokens=300, alert=lambda alert: told.append(alert.threshold))
    with pytest.raises(OverBudget):
        complete(kept(Fixed((HELLO,), max_tokens=5000), budget), "Hello")
    assert told == []
    model = kept(Fixed((said("Hello", 60, 60),)), budget)
    for _ in range(4):
        with suppress(OverBudget):
            complete(model, "Hello")
    assert told == [0.5, 0.8, 1.0][: len(told)]
    assert told[-1] == 1.0


@pytest.mark.parametrize("is_async", [False, True])
@everywhere
def test_an_alert_is_told_though_the_deadline_has_passed(world: World, is_async: bool) -> None:
    told: list[float] = []

    async def later(alert: Alert) -> None:
        await anyio.sleep(0.001)
        told.append(alert.threshold)

    budget = Budget(tokens=130, alert=later if is_async else lambda alert: told.append(alert.threshold))
    with testing.clock() as clock:
        model = Fixed((HELLO,), before=lambda: clock.advance(60), pause=1)
        with pytest.raises(TimedOut):
            world.run(lambda: complete.plan(deadline(kept(model, budget), 5), "Hello"))
    assert told == [0.5, 0.8]


async def test_an_alert_that_is_cancelled_is_told_by_the_next_call(anyio_backend: str) -> None:
    begun, told = anyio.Event(), []

    async def alert(each: Alert) -> None:
        if not begun.is_set():
            begun.set()
            await anyio.sleep(60)
        told.append(each.threshold)

    model = kept(Fixed((said("Hello", 60, 60),)), Budget(tokens=400, alert=alert, thresholds=(0.1, 0.2, 1.0)))
    async with anyio.create_task_group() as group:
        group.start_soon(aio.complete, model, "Hello")
        await begun.wait()
        group.cancel_scope.cancel()
    await aio.complete(model, "Hello")
    assert told == [0.1, 0.2]


def test_a_500_whose_second_try_has_no_budget_stays_a_500() -> None:
    with serving(always(reply(b"{}", status="500 Broke"))) as server:
        model = openai_compatible("m", base_url=server.url, api_key="k", max_tokens=100)
        with pytest.raises(ServerFailed) as caught:
            complete(budgeted(model, Budget(tokens=200)), "Hello")
        assert "not tried again: budget refuses" in caught.value.__notes__[0]
        assert isinstance(caught.value.__cause__, OverBudget)
        spare = Fixed((said("from the spare", 1, 1),))
        assert complete(fallback(budgeted(model, Budget(tokens=200)), spare), "Hello").text == "from the spare"


# -- what nobody knows --


def test_what_nobody_knows_is_refused_unless_told_otherwise() -> None:
    unpriced, unbounded = Fixed((HELLO,), "other"), Fixed((HELLO,), max_tokens=None)
    money = Budget(money=1)
    with pytest.raises(OverBudget, match="nobody knows its price"):
        complete(kept(unpriced, money), "Hello")
    with pytest.raises(OverBudget, match="nothing bounds the answer"):
        complete(kept(unbounded, money), "Hello")
    with pytest.raises(OverBudget, match="file with only an address") as refused:
        complete(kept(Fixed((HELLO,)), money), user("Hello", file("https://example.org/a.pdf")))
    assert refused.value.wanted is None
    assert money.spent() == Spend()
    complete(kept(unpriced, Budget(tokens=1000)), "Hello")  # no money, no price
    complete(kept(unpriced, money, unknown="allow"), "Hello")
    assert money.spent() == Spend(30, Decimal("0.04"))  # its response named a model that has a price


@pytest.mark.parametrize(
    ("given_worst", "tokens"),
    [(Spend(50, "0.1"), 50), (Usage(20, 30), 50), (lambda ask: Usage(len(ask.messages), 49), 50)],
)
def test_the_worst_case_may_be_given(given_worst: Any, tokens: int) -> None:
    budget = Budget(tokens=tokens, money=1)
    model = kept(Fixed((HELLO,), max_tokens=None), budget, worst_case=given_worst)
    complete(model, "Hello")
    with pytest.raises(OverBudget):
        complete(model, "Hello")
    with pytest.raises(OverBudget, match="nobody knows its price"):
        complete(kept(Fixed((HELLO,)), budget, worst_case=Spend(5, None)), "Hello")


def test_an_estimate_of_yours() -> None:
    budget = Budget(tokens=105)
    complete(kept(Fixed((HELLO,)), budget, estimate=lambda _: 5), "Hello")
    assert budget.spent().tokens == 30


# -- the worst case --


@given(strategies.asks())
def test_no_text_has_more_tokens_than_are_estimated(ask: Ask) -> None:
    size = estimated(ask)
    words = sum(len(message.text.encode(errors="replace")) for message in ask.messages)
    if size is not None:
        assert size >= words + 16 * len(ask.messages)
        assert (estimated(evolve(ask, messages=(*ask.messages, user("more")))) or 0) > size
        assert (estimated(evolve(ask, tools=(*ask.tools, ToolSpec("add")))) or 0) > size


def test_pictures_and_documents_have_a_size() -> None:
    sizes = [
        estimated(Ask((user(part),)))
        for part in (image(b"\x89PNG", media_type="image/png"), file(b"%PDF-1.7" * 1000), image("https://a.b/c.png"))
    ]
    assert all(size is not None and size > 8000 for size in sizes)


def test_pictures_in_a_result_have_a_size_too() -> None:
    picture, unknown = image(b"\x89PNG", media_type="image/png"), file("https://example.org/a.pdf")
    call = ToolCall("c1", "draw")
    size = estimated(Ask((assistant(call), tool_result(call, (picture,)))))
    assert size is not None
    assert size > 10_000
    assert estimated(Ask((assistant(call), tool_result(call, (unknown,))))) is None


def test_what_extra_adds_goes_in_too() -> None:
    model = openai_compatible("fixed", base_url="http://localhost:1/v1", api_key="", max_tokens=10)
    more = {"prediction": {"type": "content", "content": "w " * 3000}}
    ask = Ask((user("Hello"),))
    for bigger, asked in ((evolve(model, extra=more), ask), (model, evolve(ask, settings=Settings(extra=more)))):
        grown = worst(bigger, asked, 21, PRICES, 0.0)
        assert grown is not None
        assert grown.tokens > 6000
        assert grown.money == (grown.tokens - 10) * Decimal("0.001") + Decimal("0.02")
    with pytest.raises(OverBudget, match="tokens may be needed"):
        complete(kept(evolve(model, extra=more), Budget(tokens=1000)), "Hello")


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt", "cachedContent"])
def test_what_the_provider_has_kept_is_bounded_by_nobody(name: str) -> None:
    budget, there = Budget(tokens=10_000), {name: {"id": "kept_1"}}
    model = openai_compatible("fixed", base_url="http://localhost:1/v1", api_key="", max_tokens=100)
    for bigger in (evolve(model, extra=there), fallback(model, evolve(model, extra=there))):
        with pytest.raises(OverBudget, match=f"how much {name} in extra= brings along") as refused:
            complete(kept(bigger, budget, estimate=lambda _: 5), "Hello")
        assert refused.value.wanted is None
    with using(layers=[answering(FINE, FINE)]):
        complete(kept(evolve(model, extra=there), budget, worst_case=Spend(500)), "Hello")
        complete(kept(evolve(model, extra={"prompt": "a text"}), budget), "Hello")
    assert budget.spent().tokens == 60


def test_what_bounds_an_answer() -> None:
    model = openai_compatible("m", base_url="http://localhost:1/v1", max_tokens=50)
    ask = Ask((user("Hello"),))
    assert most_output(model, ask) == 50
    assert most_output(model, evolve(ask, settings=Settings(max_tokens=70))) == 70
    assert most_output(evolve(model, extra={"max_completion_tokens": 900, "n": 2}), ask) == 1800
    assert most_output(evolve(model, max_tokens=None), ask) is None
    assert most_output(model, evolve(ask, settings=Settings(candidates=3))) == 150


def test_the_dearest_kind_and_the_dearest_model_count() -> None:
    prices = Prices({"a": {"input": 1, "output": 1, "cache_write": 5}, "b": {"input": 2, "output": 3, "reasoning": 4}})
    one, other = Fixed((), "a"), Fixed((), "b", max_tokens=1000)
    ask = Ask((user("Hello"),))
    assert worst(one, ask, 1_000_000, prices, 0.0) == Spend(1_000_100, Decimal("5.0001"))
    assert worst(other, ask, 1_000_000, prices, 0.0) == Spend(1_001_000, Decimal("2.004"))


@given(FULL, used())
def test_no_kind_of_tokens_costs_more_than_is_reserved(price: Price, usage: Usage) -> None:
    """By prices of ours, and by a table that only answers questions, what is reserved covers what is paid."""
    real = price.of(usage)
    assert real is not None
    for prices in (Prices({"a": price}), Prices({}, otherwise=Prices({"a": price}))):
        reserved = dearest(Fixed((), "a"), usage.input_tokens, usage.output_tokens, prices, 0.0)
        assert reserved is not None
        assert real <= reserved

        def asked(*args: Any, prices: Prices = prices, **more: Any) -> Decimal | None:
            return prices(*args, **more)

        assert dearest(Fixed((), "a"), usage.input_tokens, usage.output_tokens, asked, 0.0) == reserved
    assert dearest(Fixed((), "b"), 1, 1, Prices({"a": price}), 0.0) is None
    assert dearest(Fixed((), "b"), 1, 1, Prices({"b": {"input": 1}}), 0.0) is None


@pytest.mark.needs("genai-prices")
def test_published_prices_cover_what_is_paid() -> None:
    table, at = published(), 1_760_000_000.0
    names = [
        ("gpt-4.1", "openai"),
        ("gemini-2.5-pro", "gemini"),
        ("gemini-2.5-flash", "gemini"),
        ("claude-sonnet-4-5", "anthropic"),
    ]
    for name, provider in names:
        for size in (1000, 300_000):
            reserved = dearest(Fixed((), name, provider), size, size, table, at)
            kinds = [{}, {"image_input": size}, {"cache_write": size}]
            kinds += [{"audio_input": size}] if name == "gemini-2.5-flash" else []
            paid = [table(Usage(size, size, kinds=kind), name, provider, at=at) for kind in kinds]
            assert reserved is not None
            assert all(each is not None and each <= reserved for each in paid)
    assert dearest(Fixed((), "no-such", "openai"), 1, 1, table, at) is None


@pytest.mark.needs("genai-prices")
def test_sound_without_a_price_is_bounded_by_nobody() -> None:
    heard, wav = Ask((user("Hello", audio(b"RIFF" * 100, media_type="audio/wav")),)), {"modalities": ["text", "audio"]}
    told = Ask((assistant(ToolCall("c1", "listen")), tool_result(ToolCall("c1", "listen"), heard.messages[0].parts)))
    spoken = Ask((user("Hello"),), settings=Settings(extra={"generationConfig": {"responseModalities": ["AUDIO"]}}))
    for name, known in (("gpt-4o-audio-preview", False), ("gpt-audio", True)):
        for ask in (heard, told, spoken):
            spend = worst(Fixed((), name, "openai"), ask, 1000, published(), 1_760_000_000.0)
            assert spend is not None
            assert (spend.money is not None) is known
        model = openai_compatible(name, base_url="http://localhost:1/v1", max_tokens=9, extra=wav)
        assert sounds(model, Ask((user("Hello"),))) == ("audio_output",)
    with pytest.raises(OverBudget, match="nobody knows its price"):
        complete(kept(Fixed((HELLO,)), Budget(money=1)), heard.messages)


# -- values --


def test_a_budgeted_model_is_a_model_and_a_value() -> None:
    budget = Budget(money=5, per="day")
    model = openai_compatible("m", base_url="http://localhost:1/v1", api_key="sk-secret-123")
    one, two = kept(model, budget), kept(model, budget)
    assert is_model(one)
    assert one == two
    assert one != kept(model, Budget(money=5, per="day"))  # another ledger
    assert (one.name, one.provider, evolve(one, temperature=0).model.temperature) == ("m", model.provider, 0)
    assert "sk-secret" not in repr(one)
    assert "Budget(money=Decimal('5'), per='day'" in repr(one)
    with pytest.raises(Misuse, match="not pickled"):
        pickle.dumps(one)


def test_two_budgets_stack() -> None:
    daily, mine = Budget(tokens=1000), Budget(tokens=150)
    model = kept(kept(Fixed((HELLO,)), mine), daily)
    complete(model, "Hello")
    with pytest.raises(OverBudget):
        complete(model, "Hello")
    assert (daily.spent().tokens, mine.spent().tokens) == (30, 30)


def test_one_budget_counts_no_call_twice() -> None:
    budget = Budget(tokens=1000)
    model = kept(Fixed((HELLO,)), budget)
    for inner in (
        model,
        priced(model),
        fallback(Fixed((HELLO,)), model),
        kept(len, budget),
        deadline(kept(len, budget), 5),
    ):
        with pytest.raises(Misuse, match="under this budget already"):
            kept(inner, budget)
        kept(inner, Budget(tokens=1000))


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: Budget(),
        lambda: Budget(tokens=-1),
        lambda: Budget(tokens=1.5),
        lambda: Budget(money="much"),
        lambda: Budget(money=1, per="week"),  # type: ignore[arg-type]
        lambda: Budget(money=1, thresholds=(50,)),
        lambda: budgeted(Fixed(()), 5),  # type: ignore[arg-type]
        lambda: budgeted(3, Budget(money=1)),
        lambda: budgeted(Fixed(()), Budget(money=1), unknown="ignore"),  # type: ignore[arg-type]
        lambda: budgeted(Fixed(()), Budget(money=1), worst_case=3),  # type: ignore[arg-type]
        lambda: budgeted(Fixed(()), Budget(money=1), estimate=3),  # type: ignore[arg-type]
        lambda: complete(budgeted(Fixed(()), Budget(tokens=1), worst_case=lambda _: 3), "Hi"),  # type: ignore[arg-type]
        lambda: complete(budgeted(Fixed(()), Budget(tokens=1), estimate=lambda _: 1.5), "Hi"),  # type: ignore[arg-type, return-value]
        lambda: Budget(money=1, thresholds=5),  # type: ignore[arg-type]
        lambda: Budget(money=1, thresholds=("a",)),  # type: ignore[arg-type]
        lambda: Budget(money=1, by_tag=5),  # type: ignore[arg-type]
        lambda: Budget(money=1, alert=5),  # type: ignore[arg-type]
        lambda: Budget(money=1, ledger=5),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_told(mistake: Callable[[], Any]) -> None:
    with pytest.raises(Misuse):
        mistake()


def test_a_refusal_replays(tmp_path: Any) -> None:
    path = tmp_path / "run.json"
    for world in (testing.recorded, testing.replayed):
        budget = Budget(tokens=150, thresholds=(0.1, 1.0))
        model = kept(Fixed((HELLO,)), budget)
        with world(path):
            assert complete(model, "Hello").text == "Hello"
            with pytest.raises(OverBudget) as refused:
                complete(model, "Hello")
        assert refused.value.left.tokens == 120
    assert budget.spent() == Spend()  # nothing was asked of it


def test_errors_keep_what_they_say() -> None:
    error = OverBudget("no", wanted=WORST, left=Spend())
    again = pickle.loads(pickle.dumps(error))
    assert (again.wanted, again.left, isinstance(again, ArshaiError)) == (WORST, Spend(), True)


# -- tries of one call --


def answering(*replies: Any) -> Layer:
    """A wire that gives one reply after the other."""
    left = list(replies)

    def on(effect: Any, _: Where) -> Plan[Any]:
        reply = left.pop(0)
        if isinstance(reply, Exception):
            raise reply
        yield from ()
        return reply

    return {Send: on}


WHOLE = {"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}], "model": "fixed"}
FINE = Reply(
    200,
    (("content-type", "application/json"),),
    dumps({**WHOLE, "usage": {"prompt_tokens": 20, "completion_tokens": 10}}),
)


@pytest.mark.parametrize(
    ("replies", "tokens"),
    [
        ([FINE], 30),
        ([Reply(429, (("retry-after", "0"),)), Reply(503, (("retry-after", "0"),)), FINE], 30),
        ([UNSENT, FINE], 30),
        ([Unreachable("broke"), Reply(500), FINE], 2 * 121 + 30),
        ([Unreachable("broke"), UNSENT, Unreachable("broke")], 2 * 121),
        ([Unreachable("broke"), Reply(500), TimedOut("silent")], 3 * 121),
    ],
    ids=str,
)
def test_a_try_that_may_be_billed_is_counted(replies: list[Any], tokens: int) -> None:
    model = openai_compatible("fixed", base_url="http://localhost:1/v1", api_key="", max_tokens=100, retry=2)
    for ceiling in (1000, tokens + 50):
        budget = Budget(tokens=ceiling)
        with testing.clock(), using(layers=[answering(*replies)]):
            with suppress(OverBudget, ServerFailed, Unreachable, TimedOut):
                complete(kept(model, budget), "Hello")
            assert budget.reserved() == Spend()
            if ceiling == 1000:
                assert budget.spent().tokens == tokens
            assert budget.spent().tokens <= ceiling


@pytest.mark.parametrize(("reply", "tokens"), [(Reply(500), 121), (Reply(429), 0)], ids=str)
@pytest.mark.parametrize(
    "error", [CircuitOpen("down"), OverBudget("another one"), OverLimit("wait"), StoreUnreachable("away")], ids=repr
)
def test_a_refusal_takes_back_no_request_before_it(error: Exception, reply: Reply, tokens: int) -> None:
    """One of two was sent a request that may be billed; that the other one is not asked changes nothing in that."""
    model = openai_compatible("fixed", base_url="http://localhost:1/v1", api_key="", max_tokens=100, retry=None)
    budget = Budget(tokens=1000)
    with using(layers=[answering(reply)]), pytest.raises(type(error)):
        complete(kept(fallback(model, Fixed((error,))), budget), "Hello")
    assert (budget.spent().tokens, budget.reserved().tokens) == (tokens, 0)


def test_no_try_is_made_that_does_not_fit() -> None:
    model = openai_compatible("fixed", base_url="http://localhost:1/v1", api_key="", max_tokens=100, retry=2)
    budget = Budget(tokens=200)
    with testing.clock(), using(layers=[answering(Unreachable("broke"))]), pytest.raises(Unreachable) as caught:
        complete(kept(model, budget), "Hello")
    assert isinstance(caught.value.__cause__, OverBudget)
    assert budget.spent().tokens == 121


def test_around_an_agent_whose_steps_are_its_own() -> None:
    def answer() -> Plan[Response]:
        yield from ()
        return HELLO

    def planned(prompt: Any) -> Plan[Response]:
        yield from Step("model", "fixed", "no question that we know", answer)
        ask = Ask((user(prompt),), settings=Settings(max_tokens=100))
        return (yield from Step("model", "fixed", ask, answer))

    budget = Budget(money=1)
    assert run(kept(Faced(planned), budget), "Hello") == HELLO
    assert budget.spent() == Spend(30, "0.04")


def test_pictures_that_are_fetched_are_no_tries() -> None:
    picture, seen = Reply(200, (("content-type", "image/png"),), b"\x89PNG"), list[str]()

    def on(effect: Any, _: Where) -> Plan[Any]:
        yield from ()
        seen.append(effect.request.method)
        return picture if effect.request.method == "GET" else FINE

    @frozen
    class Fetching(Fixed):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            for method in ("GET", "GET", "POST"):
                yield from Send(Request(method, "http://localhost:1/"))
            return HELLO

    budget = Budget(tokens=150)
    with using(layers=[{Send: on}]):
        complete(kept(Fetching(()), budget), "Hello")
    assert (seen, budget.spent().tokens) == (["GET", "GET", "POST"], 30)

"""Many processes, one budget: what they spend together stays within one ceiling, whoever dies meanwhile."""

from __future__ import annotations

import pickle
import socket
import sys
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Event
from typing import Any
from uuid import uuid4

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arshai_kit import aio, complete
from arshai_kit.cost import Spend
from arshai_kit.errors import Misuse, OverBudget, StoreUnreachable, TimedOut
from arshai_kit.resilience import Alert, Budget, Ledger, RedisLedger, budgeted, deadline
from arshai_kit.resilience.ledgers import Ticket
from tests.core.worlds import World, everywhere, on_both
from tests.faults.ways import within
from tests.resilience.fixed import Fixed, said
from tests.resilience.redis_server import RedisServer
from tests.resilience.test_budgets import PRICES, WORST

pytestmark = pytest.mark.needs("redis")
KEY = (0, "")
HELLO = said("Hello", 20, 10)
SPEND = st.builds(Spend, st.integers(0, 400), st.none() | st.decimals(0, 4, places=9, allow_nan=False))


def ledger(server: RedisServer, **more: Any) -> RedisLedger:
    return RedisLedger(uuid4().hex, server.url, **more)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), SPEND, st.integers(0, 4)), max_size=20))
def test_redis_counts_as_memory_does(redis_server: RedisServer, steps: list[tuple[int, Spend, int]]) -> None:
    """Any order of reserving and settling gives the same answers; a script that runs twice does what it does once."""
    ours, theirs = Ledger(), ledger(redis_server)
    most, tickets = Spend(1000, Decimal(10)), dict[int, tuple[Ticket, Ticket, Spend]]()
    for number, wanted, part in steps:
        if number in tickets:
            one, other, worst = tickets.pop(number)
            real = Spend(worst.tokens * part // 4, worst.money if part == 4 else Decimal(0))
            told = ours.settle(one, real)
            assert theirs.settle(other, real) == told
            theirs._settled(KEY, other.shared, real)
        else:
            one, other = Ticket(), Ticket()
            refused = ours.reserve(one, KEY, None, wanted, most)
            assert theirs.reserve(other, KEY, None, wanted, most) == refused
            if refused is None:
                assert theirs.reserve(other, KEY, None, wanted, most) is None
                tickets[number] = one, other, wanted
        assert theirs.held(KEY) == ours.held(KEY)


@everywhere
def test_a_budget_in_redis_is_kept_in_every_world(redis_server: RedisServer, world: World) -> None:
    told: list[Alert] = []
    shared = ledger(redis_server)
    budgets = [
        Budget(money="0.3", ledger=each, alert=told.append) for each in (shared, pickle.loads(pickle.dumps(shared)))
    ]
    one, other = [budgeted(Fixed((HELLO,)), budget, prices=PRICES) for budget in budgets]
    assert budgets[0].ledger == budgets[1].ledger
    world.run(lambda: complete.plan(one, "Hello"))
    world.run(lambda: complete.plan(other, "Hello"))
    with pytest.raises(OverBudget) as refused:
        world.run(lambda: complete.plan(one, "Hello"))
    assert refused.value.wanted == WORST
    assert refused.value.left is not None
    assert refused.value.left.money == Decimal("0.22")
    assert budgets[1].spent() == Spend(60, "0.08")
    assert budgets[1].reserved() == Spend()
    assert [each.threshold for each in told] == [1.0]


def test_each_day_and_each_tag_has_an_account(redis_server: RedisServer) -> None:
    budget = Budget(tokens=200, per="day", ledger=ledger(redis_server))
    complete(budgeted(Fixed((HELLO,)), budget), "Hello")
    assert budget.spent().tokens == 30
    assert budget.spent().money is None  # nobody knows a price
    assert budget.spent(day=3).tokens == 0
    mine = Budget(tokens=200, per="run", ledger=budget.ledger)
    for _ in range(2):
        complete(budgeted(Fixed((HELLO,)), mine), "Hello")


@on_both
def test_who_cancels_has_spent_the_worst(redis_server: RedisServer, backend: str) -> None:
    budget = Budget(tokens=500, ledger=ledger(redis_server))
    asked = Event()
    model = budgeted(Fixed((HELLO,), before=asked.set, pause=30), budget)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(aio.complete, model, "Hello")
            await anyio.to_thread.run_sync(asked.wait)
            group.cancel_scope.cancel()
        with anyio.fail_after(10):
            while budget.reserved().tokens:  # noqa: ASYNC110  # Redis tells nobody
                await anyio.sleep(0.001)

    anyio.run(main, backend=backend)
    assert budget.spent().tokens == 121


def test_a_late_reservation_is_given_back(redis_server: RedisServer) -> None:
    shared, ticket = ledger(redis_server), Ticket()
    shared.abandon(ticket, Spend())
    assert shared.reserve(ticket, KEY, None, Spend(5), Spend(100, None)) is None
    assert shared.held(KEY) == (Spend(), Spend())


def test_who_died_has_spent_what_it_reserved(redis_server: RedisServer) -> None:
    dead, alive = ledger(redis_server, lease=0.001), Ticket()
    assert dead.reserve(Ticket(), KEY, None, Spend(60, "0.5"), Spend(100, None)) is None
    refused = dead.reserve(alive, KEY, None, Spend(60), Spend(100, None))
    while refused is not None and refused[1] == Spend():
        refused = dead.reserve(alive, KEY, None, Spend(60), Spend(100, None))
    assert refused == (Spend(40, None), Spend(60, "0.5"))
    assert dead.held(KEY) == (Spend(60, "0.5"), Spend())


PROGRAM = """
import sys
from arshai_kit import complete
from arshai_kit.errors import OverBudget
from arshai_kit.resilience import Budget, RedisLedger, budgeted
from tests.resilience.fixed import Fixed, said
model = budgeted(Fixed((said("Hello", 21, 100),)), Budget(tokens=3000, ledger=RedisLedger(sys.argv[2], sys.argv[1])))
answered = 0
print("ready", flush=True)
sys.stdin.readline()
for _ in range(30):
    try:
        answered += complete(model, "Hello").text == "Hello"
    except OverBudget:
        pass
print(answered, flush=True)
"""


def test_processes_together_stay_within_one_ceiling(redis_server: RedisServer) -> None:
    name, root = uuid4().hex, Path(__file__).parents[2]
    command = [sys.executable, "-c", PROGRAM, redis_server.url, name]
    running = [Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=root) for _ in range(3)]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    answered = sum(int(each.communicate("go\n", 60)[0]) for each in running)
    assert answered == 3000 // 121
    assert RedisLedger(name, redis_server.url).held(KEY)[0].tokens == 121 * answered


def test_without_redis_nothing_is_spent_and_nothing_is_lost(tmp_path: Path) -> None:
    with RedisServer(tmp_path, keeps=True) as server:
        budget = Budget(tokens=300, ledger=ledger(server))
        model = budgeted(Fixed((HELLO,)), budget)
        complete(model, "Hello")
        broken = budgeted(Fixed((HELLO,), before=server.kill), budget)
        assert complete(broken, "Hello") == HELLO  # the answer is not lost
        with pytest.raises(StoreUnreachable, match="cannot be asked"):
            complete(model, "Hello")
        for asked in (budget.spent, budget.reserved, Budget(tokens=1, per="day", ledger=budget.ledger).spent):
            with pytest.raises(StoreUnreachable, match="cannot be asked"):
                asked()
        server.start()
        complete(model, "Hello")  # and what it used is told now
        assert budget.spent().tokens == 90
        assert budget.reserved() == Spend()


@on_both
def test_a_redis_that_never_answers_holds_up_who_waits_for_it_alone(backend: str) -> None:
    """The event loop goes on, and a cancellation and a deadline end the wait."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with socket.create_server(("127.0.0.1", 0)) as silent:
        never = Retry(NoBackoff(), 0)  # else a thread that is left behind draws random waits while other tests run
        client = Redis(port=silent.getsockname()[1], socket_timeout=180, retry=never)
        model = budgeted(Fixed((HELLO,)), Budget(tokens=1000, ledger=RedisLedger("b", client)))
        over: list[bool] = []

        async def main() -> None:
            with anyio.move_on_after(0.05) as scope:
                await aio.complete(model, "Hello")
            over.append(scope.cancelled_caught)
            with pytest.raises(TimedOut):
                await aio.complete(deadline(model, 0.01), "Hello")

        within(60, lambda: anyio.run(main, backend=backend))  # the client itself gives up after three minutes
    assert over == [True]


def test_mistakes_are_told(redis_server: RedisServer) -> None:
    with pytest.raises(Misuse, match="lease="):
        RedisLedger("a", redis_server.url, lease=0)
    with pytest.raises(Misuse, match="9,000,000"):
        ledger(redis_server).reserve(Ticket(), KEY, None, Spend(1, 10**8), Spend(1))
    assert repr(RedisLedger("a", redis_server.url)) == "RedisLedger('a')"
    assert len({RedisLedger("a", redis_server.url), RedisLedger("a", redis_server.url)}) == 1


def test_what_may_have_been_reserved_is_given_back(tmp_path: Path) -> None:
    with RedisServer(tmp_path, keeps=True) as server:
        shared, ticket = ledger(server), Ticket()
        server.kill()
        with pytest.raises(StoreUnreachable):
            shared.reserve(ticket, KEY, None, Spend(5), Spend(9, None))
        assert shared.tell(KEY, None, frozenset([0.5])) == ()
        server.start()
        assert shared.reserve(Ticket(), KEY, None, Spend(5), Spend(9, None)) is None
        assert shared.held(KEY)[1] == Spend(5)


def test_what_a_run_has_for_itself_stays_in_its_process(redis_server: RedisServer) -> None:
    shared, ticket, run = ledger(redis_server), Ticket(), Fixed
    assert shared.reserve(ticket, KEY, run, Spend(5), Spend(9, None)) is None
    shared.abandon(ticket, Spend(5))
    assert shared.held(KEY, run) == (Spend(5), Spend())
    assert shared.tell(KEY, run, frozenset([0.5])) == (0.5,)
    assert shared.held(KEY) == (Spend(), Spend())

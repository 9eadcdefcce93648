"""Batches: each item its outcome, in order or as they come, a few at a time, however many and wherever they run."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import field, frozen

from arshai_kit import (
    Response,
    ToolCall,
    ToolResult,
    aio,
    assistant,
    complete,
    openai_compatible,
    run,
    run_tools,
    stream,
    testing,
    using,
)
from arshai_kit._record import Record
from arshai_kit.batches import Arrivals, _Elsewhere, batch, batch_stream
from arshai_kit.effects import Emit, Outcome, Plan, Sleep, Step
from arshai_kit.errors import ArshaiError, Diverged, Misuse, OverBudget
from arshai_kit.models import UNKNOWN, Ask, Capabilities, retold
from arshai_kit.records import Finished, Notice, TextDelta
from arshai_kit.resilience import Budget, budgeted
from arshai_kit.testing import clock, recorded, replayed
from tests.core.worlds import World, everywhere, listening, on_both
from tests.resilience.fixed import Fixed, said

NUMBERS = (3, 0, 4, 0, 2)


@frozen(eq=False, repr=False)
class Echo(Record):
    """A model that says what it is told, after so many seconds; *streamed* notes how it was asked."""

    name: str = "echo"
    provider: str = "box"
    capabilities: Capabilities = UNKNOWN
    streamed: list[bool] = field(factory=list, eq=False, repr=False)

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The question."""
        self.streamed.append(stream)
        words = ask.messages[-1].text
        yield from Sleep(float(words) if words.replace(".", "").isdigit() else 0.0)
        response = Response((assistant(words),), model=self.name)
        if stream:
            yield from Emit(retold(response))
        return response


def inverse(number: int) -> int:
    return 12 // number


async def slow_inverse(number: int) -> int:
    await anyio.sleep(0.001 * number)
    return 12 // number


def planned(number: int) -> None: ...


def _planned(number: int) -> Plan[int]:
    yield from Sleep(0.001 * number)
    yield from Emit((TextDelta("never told"),))
    return 12 // number


planned.plan = _planned  # type: ignore[attr-defined]  # as agents have it


def shown(outcomes: Any) -> list[Any]:
    return [outcome.value if outcome.error is None else type(outcome.error).__name__ for outcome in outcomes]


SHOWN = [4, "ZeroDivisionError", 3, "ZeroDivisionError", 6]


@everywhere
@pytest.mark.parametrize("function", [inverse, slow_inverse, planned], ids=["sync", "async", "plan"])
@pytest.mark.parametrize("limit", [1, 2, 9])
def test_each_item_has_its_outcome_in_order(world: World, function: Any, limit: int) -> None:
    assert shown(world.run(lambda: batch.plan(function, iter(NUMBERS), limit=limit))) == SHOWN


@everywhere
def test_a_model_is_asked_for_whole_answers(world: World) -> None:
    """Whoever listens is told how far the whole is."""
    model = Echo()
    outcomes = world.run(lambda: batch.plan(model, ["a", ("b", "c"), ""]))
    assert [type(outcome.error) for outcome in outcomes] == [type(None), type(None), Misuse]
    assert [outcome.unwrap().text for outcome in outcomes[:2]] == ["a", "c"]
    assert model.streamed == [False, False]


@listening
def test_what_is_told_is_how_far_it_is(world: World) -> None:
    def loops(number: int) -> None: ...

    def plan(number: int) -> Plan[str]:
        def inner() -> Plan[str]:
            return (yield from Step("agent", "inner", number, lambda: complete.plan(Echo(), str(number * 0.001)))).text

        outcomes = yield from batch.plan(_run_of(inner), [None])
        return str(outcomes[0].unwrap())

    loops.plan = plan  # type: ignore[attr-defined]
    told = world.events(lambda: batch.plan(loops, (2, 1), limit=1))
    assert [event for event in told if not isinstance(event, Notice)] == [
        event for event in told if type(event).__name__.startswith("Step")
    ]
    notices = [event for event in told if isinstance(event, Notice)]
    assert [(each.kind, each.name, each.data["done"], each.data["total"]) for each in notices] == [
        ("batch", "loops", 1, 2),
        ("batch", "loops", 2, 2),
    ]


def _run_of(plan: Callable[[], Plan[Any]]) -> Any:
    def wanting(_: None) -> None: ...

    wanting.plan = lambda _: plan()  # type: ignore[attr-defined]
    return wanting


def test_tools_and_streams_inside_go_on_as_ever() -> None:
    """A loop with tools, and an item that listens to a stream of its own."""

    def add(a: int, b: int) -> int:
        return a + b

    model = openai_compatible("any", base_url="http://localhost", api_key="")
    with testing.scripted(*[_call(number) for number in range(2)], _result) as script:
        agent = lambda words: run_tools(model, words, [add], max_rounds=3)  # noqa: E731
        assert [outcome.unwrap().text for outcome in batch(agent, ["one"])] == ["3"]
    assert len(script.asked) == 3

    def listens(words: str) -> list[str]:
        return [event.text for event in stream(Echo(), words) if isinstance(event, TextDelta)]

    assert shown(batch(listens, ["a", "b"])) == [["a"], ["b"]]


def _call(number: int) -> ToolCall:
    return ToolCall(f"c{number}", "add", {"a": number, "b": 2})


def _result(ask: Ask) -> Any:
    (part,) = ask.messages[-1].parts
    assert isinstance(part, ToolResult)
    return part.content


@everywhere
def test_no_more_are_under_way_than_may_be(world: World) -> None:
    """And the slow ones hold up nobody: the time is that of the best schedule."""
    busy: list[int] = []
    most: list[int] = []

    def timed(seconds: int) -> None: ...

    def plan(seconds: int) -> Plan[int]:
        busy.append(seconds)
        most.append(len(busy))
        yield from Sleep(float(seconds))
        busy.remove(seconds)
        return seconds

    timed.plan = plan  # type: ignore[attr-defined]
    with clock(start=0.0) as time:
        assert shown(world.run(lambda: batch.plan(timed, [9, 1, 2, 3, 1, 2], limit=2))) == [9, 1, 2, 3, 1, 2]
    assert (max(most), time.now) == (2, 9.0)


def test_progress_is_told_one_at_a_time() -> None:
    told: list[tuple[int, int | None]] = []
    batch(inverse, NUMBERS, progress=lambda done, total: told.append((done, total)))
    batch(inverse, iter(NUMBERS), progress=lambda done, total: told.append((done, total)))
    assert told == [*[(done, 5) for done in range(1, 6)], *[(done, None) for done in range(1, 6)]]


@pytest.mark.parametrize("error", [Misuse("bad"), OverBudget("spent"), OSError("gone")], ids=repr)
def test_any_error_of_one_item_stays_its_own(error: Exception) -> None:
    def fails(number: int) -> int:
        if number:
            raise error
        return number

    outcomes = batch(fails, [0, 1, 0])
    assert [repr(outcome.error) for outcome in outcomes] == ["None", repr(error), "None"]  # as its run has it


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Diverged])
def test_what_ends_a_run_ends_the_batch(error: type[BaseException]) -> None:
    done: list[int] = []

    def ends(number: int) -> None:
        if number == 1:
            raise error
        done.append(number)

    with pytest.raises(error):
        batch(ends, range(100), limit=1)
    assert done == [0]


@everywhere
def test_items_that_fail_end_it(world: World) -> None:
    def items() -> Iterator[int]:
        yield 3
        raise OSError("lost")

    with pytest.raises(OSError, match="lost"):
        world.run(lambda: batch.plan(inverse, items()))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((inverse, "text"), {}),
        ((inverse, {"a": 1}), {}),
        ((inverse, 3), {}),
        ((3, [1]), {}),
        ((inverse, [1]), {"limit": 0}),
        ((inverse, [1]), {"limit": True}),
        ((inverse, [1]), {"progress": 3}),
        ((inverse, [1]), {"executor": 3}),
    ],
)
def test_what_cannot_work_is_refused(arguments: Any, options: Any) -> None:
    for call in (batch, batch_stream):
        with pytest.raises(Misuse):
            call(*arguments, **options)


def test_nothing_to_do() -> None:
    assert batch(inverse, []) == ()
    assert list(batch_stream(inverse, ())) == []


# -- as they come --


@everywhere
def test_the_first_that_ends_comes_first(world: World) -> None:
    def first() -> list[tuple[int, str]]:
        if not world.backend:
            return [(place, outcome.unwrap().text) for place, outcome in batch_stream(Echo(), ["5", "1", "3"])]
        return anyio.run(arrived, backend=world.backend)

    async def arrived() -> list[tuple[int, str]]:
        async with batch_stream(Echo(), ["5", "1", "3"]) as arrivals:
            return [(place, outcome.unwrap().text) async for place, outcome in arrivals]

    with clock():
        assert first() == [(1, "1"), (2, "3"), (0, "5")]


def test_items_are_read_as_they_are_taken_up_and_leaving_ends_it() -> None:
    read: list[int] = []
    ended: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    def held(number: int) -> None: ...

    def plan(number: int) -> Plan[int]:
        try:
            yield from Sleep(0.0 if number < 5 else 1000.0)
            return number
        finally:
            ended.append(number)

    held.plan = plan  # type: ignore[attr-defined]
    with batch_stream(held, items(), limit=3) as arrivals:
        assert sorted(next(arrivals)[0] for _ in range(4)) == [0, 1, 2, 3]
        assert len(read) <= 8
    assert sorted(ended) == sorted(read)
    assert list(arrivals) == []


def test_one_that_is_never_read_is_dropped() -> None:
    with batch_stream(inverse, NUMBERS) as arrivals:
        pass
    assert isinstance(arrivals, Arrivals)


async def test_async_arrivals_are_entered_first(anyio_backend: str) -> None:
    arrivals = batch_stream(slow_inverse, NUMBERS)
    with pytest.raises(Misuse, match="async with"):
        await anext(arrivals)
    await arrivals.aclose()
    async with arrivals:
        assert sorted([place async for place, _ in arrivals]) == [0, 1, 2, 3, 4]


async def test_cancelling_closes_all(anyio_backend: str) -> None:
    all_started, begun, ended = anyio.Event(), list[int](), list[int]()

    async def endless(number: int) -> None:
        begun.append(number)
        if len(begun) == 8:
            all_started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(number)

    async with anyio.create_task_group() as group:
        group.start_soon(aio.run, batch, endless, range(10))
        await all_started.wait()
        group.cancel_scope.cancel()
    assert (sorted(begun), sorted(ended)) == ([*range(8)], [*range(8)])


def test_ten_thousand_items_take_no_more_memory_than_a_thousand() -> None:
    """Neither items nor outcomes pile up."""

    def big(number: int) -> None: ...

    def plan(number: int) -> Plan[bytes]:
        yield from ()
        return bytes(50_000)

    big.plan = plan  # type: ignore[attr-defined]

    def peak(count: int) -> int:
        tracemalloc.reset_peak()
        assert sum(len(outcome.unwrap()) for _, outcome in batch_stream(big, iter(range(count)))) == count * 50_000
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        few, many = peak(1100), peak(5000)
    finally:
        tracemalloc.stop()
    assert many < few + 500_000
    assert few < 5_000_000


# -- parts of other things --


@on_both
def test_it_is_awaited_by_run_and_part_of_agents(backend: str) -> None:
    async def main() -> list[Any]:
        return [shown(await aio.run(batch, each, NUMBERS)) for each in (inverse, slow_inverse)]

    assert anyio.run(main, backend=backend) == [SHOWN, SHOWN]


def test_a_batch_in_an_agent_is_told_as_it_goes() -> None:
    def agent(prompt: str) -> None: ...

    agent.plan = lambda prompt: batch.plan(Echo(), [prompt] * 2)  # type: ignore[attr-defined]
    *told, end = stream(agent, "hello")
    assert isinstance(end, Finished)
    assert [event.data["done"] for event in told if isinstance(event, Notice)] == [1, 2]
    assert [outcome.unwrap().text for outcome in run(agent, "hello")] == ["hello"] * 2


def test_a_recording_replays_it(tmp_path: Path) -> None:
    calls: list[int] = []

    def noted(number: int) -> int:
        calls.append(number)
        return 12 // number

    with recorded(tmp_path / "run"):
        first = shown(batch(noted, NUMBERS, limit=2))
    with replayed(tmp_path / "run"):
        assert shown(batch(noted, NUMBERS, limit=2)) == first == SHOWN
    assert sorted(calls) == sorted(NUMBERS)


# -- executors --


def where(number: int) -> tuple[int, int]:
    return os.getpid(), 12 // number


def crash(number: int) -> int:
    if number == 2:
        os._exit(1)
    return number


def leave(number: int) -> None:
    raise SystemExit(number)


@everywhere
def test_an_executor_of_threads(world: World) -> None:
    threads: set[str] = set()

    def named(number: int) -> int:
        threads.add(threading.current_thread().name.partition("_")[0])
        return 12 // number

    with ThreadPoolExecutor(2, "pool") as executor:
        plan: Callable[[], Plan[Any]] = lambda: batch.plan(named, iter(NUMBERS), limit=3, executor=executor)  # noqa: E731
        assert shown(world.run(plan)) == SHOWN
        asking = batch(Echo(), ["a", "b"], executor=executor)
        assert [outcome.unwrap().text for outcome in asking] == ["a", "b"]
        assert shown(batch(planned, NUMBERS, executor=executor)) == SHOWN
    assert threads == {"pool"}


def test_what_is_in_force_is_so_in_the_threads_of_an_executor() -> None:
    """A budget around an agent holds in them, and nothing scripted asks the network."""
    outcomes: list[Outcome[Any]] = []

    def agent(prompt: str) -> int:
        with ThreadPoolExecutor(2) as executor:
            outcomes.extend(batch(Fixed((said("Hello", 20, 10),)), [prompt] * 6, limit=1, executor=executor))
        return len(outcomes)

    budget = Budget(tokens=180, by_tag="user")
    model = openai_compatible("m", base_url="http://127.0.0.1:1/v1", api_key="", retry=None)
    with using(tags={"user": "ann"}):
        assert budgeted(agent, budget)("Hello") == 6
        with testing.scripted("one", "two"), ThreadPoolExecutor(1) as executor:
            assert [each.unwrap().text for each in batch(model, ["a", "b"], executor=executor)] == ["one", "two"]
    assert shown(outcomes) == [said("Hello", 20, 10), said("Hello", 20, 10), *["OverBudget"] * 4]
    assert (budget.spent("ann").tokens, budget.spent().tokens) == (60, 0)


def test_an_executor_of_processes() -> None:
    told: list[int] = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        outcomes = batch(where, NUMBERS, executor=executor, progress=lambda done, _: told.append(done))
        done = [outcome.unwrap() for outcome in outcomes if outcome.error is None]
        assert [number for _, number in done] == [4, 3, 6]
        assert os.getpid() not in {process for process, _ in done}
        (answer,) = batch(Echo(), ["hello"], executor=executor)
        assert answer.unwrap().text == "hello"
        assert shown(batch(slow_inverse, NUMBERS, executor=executor)) == SHOWN
        assert shown(batch(crash, (1, 2, 3, 4), limit=1, executor=executor)) == [1, *["BrokenProcessPool"] * 3]
    assert told == [1, 2, 3, 4, 5]


class Awkward(Exception):
    """It pickles, and what comes of it does not unpickle, as `httpx.HTTPStatusError`."""

    def __init__(self, words: str, *, number: int) -> None:
        super().__init__(words)
        self.number = number


def awkward(number: int) -> Any:
    match number:
        case 0:
            raise Awkward("no", number=number)
        case 1:
            return lambda: number
        case 2:
            return Awkward("given", number=number)
    return 12 // (number - 3)


def test_what_does_not_come_back_from_a_process_loses_nothing_else() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        unsent, unpickled, unread, divided, *others = batch(awkward, range(8), executor=executor)
        assert shown(others) == [12, 6, 4, 3]
        assert batch(awkward, [5], executor=executor)[0].unwrap() == 6
    assert str(unsent.error) == "Awkward: no"
    assert unpickled.error is not None
    assert isinstance(unread.error, TypeError)
    assert isinstance(divided.error, ZeroDivisionError)
    for outcome in (unsent, divided):
        assert outcome.error is not None
        assert "in awkward" in outcome.error.__notes__[0]


@everywhere
def test_progress_may_be_async(world: World) -> None:
    told: list[tuple[int, int | None]] = []

    async def progress(done: int, total: int | None) -> None:
        await anyio.sleep(0.001)
        told.append((done, total))

    assert shown(world.run(lambda: batch.plan(inverse, NUMBERS, limit=1, progress=progress))) == SHOWN
    assert told == [(number, 5) for number in range(1, 6)]


def test_an_executor_holds_no_more_than_may_be_under_way() -> None:
    given: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1, 100):
            given.append(number)
            yield number

    with ThreadPoolExecutor(2) as executor:
        with batch_stream(inverse, items(), limit=3, executor=executor) as arrivals:
            next(arrivals)
            assert len(given) == 3
        with pytest.raises(SystemExit):
            batch(leave, (1,), executor=executor)
    assert shown(batch(inverse, (1, 2), executor=executor)) == ["RuntimeError"] * 2


async def test_leaving_an_executor_waits_for_nothing(anyio_backend: str) -> None:
    go, begun = threading.Event(), threading.Event()
    done: list[int] = []

    def slow(number: int) -> None:
        begun.set()
        go.wait(10)
        done.append(number)

    executor: Executor = ThreadPoolExecutor(1)
    async with anyio.create_task_group() as group:

        async def work() -> None:
            await aio.run(batch, slow, range(5), executor=executor)

        group.start_soon(work)
        while not begun.is_set():  # noqa: ASYNC110  # a thread sets it
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    assert done == []
    go.set()
    executor.shutdown()
    assert done == [0]


def test_what_is_closed_is_given_nothing_more() -> None:
    with ThreadPoolExecutor(1) as executor:
        there = _Elsewhere(executor, inverse)
        there.close()
        assert there.turn(((0, 3),)) == (-1, None, None)


def test_what_is_closed_while_it_is_given_something_cancels_it() -> None:
    class Leaves(Executor):
        """Who waits for it leaves while something is handed in."""

        def submit(self, *_args: object, **_kwargs: object) -> Future[Any]:
            there.close()
            futures.append(Future())
            return futures[-1]

    futures: list[Future[Any]] = []
    there = _Elsewhere(Leaves(), inverse)
    assert there.turn(((0, 3), (1, 4))) == (-1, None, None)
    assert [future.cancelled() for future in futures] == [True]


def test_what_was_handed_in_as_it_was_closed_is_not_done() -> None:
    """Its thread may come to it before whoever has handed it in can cancel it."""
    go, done = threading.Event(), list[int]()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(go.wait, 60)
        there = _Elsewhere(executor, done.append)
        future = there._submitted(1)
        there.close()
        go.set()
    assert (future.result(), done) == (None, [])


@pytest.mark.needs("dask")
def test_an_executor_of_a_cluster() -> None:
    """Dask's, with a real local cluster."""
    from distributed import Client, LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]
        assert shown(batch(inverse, NUMBERS, executor=client.get_executor())) == SHOWN
        assert sorted(place for place, _ in batch_stream(inverse, NUMBERS, executor=client.get_executor())) == [
            *range(5)
        ]


def test_outcomes_are_unwrapped_as_ever() -> None:
    assert batch(inverse, [3])[0] == Outcome(4)
    with pytest.raises(ZeroDivisionError):
        batch(inverse, [0])[0].unwrap()
    assert not issubclass(ZeroDivisionError, ArshaiError)

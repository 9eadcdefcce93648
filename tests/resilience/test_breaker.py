"""A circuit does what its rules say, whatever happens in whatever order; exactly one call tries."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from arshai_kit import aio, complete, evolve, run_tools, testing
from arshai_kit.effects import Plan, side_by_side
from arshai_kit.errors import (
    BadRequest,
    CircuitOpen,
    Misuse,
    OverLimit,
    RateLimited,
    ServerFailed,
    StreamIncomplete,
    TimedOut,
    Unreachable,
)
from arshai_kit.faces import Stream
from arshai_kit.records import Notice, Response, ToolCall, assistant
from arshai_kit.resilience import (
    Circuit,
    CircuitRules,
    Quota,
    breaker,
    deadline,
    fallback,
    limited,
    out_of_order,
    unwell,
)
from tests.core.worlds import World, everywhere, listening
from tests.resilience.toys import ASK, Toy, said, talk, until
from tests.transport.server import at_some_pace

DOWN = ServerFailed("down", status=503)


def once(*answers: Any) -> Toy:
    """A model that gives each of *answers* once, and counts on no more."""
    left = iter(answers)
    return Toy(lambda: next(left))


# -- the law --


class Health(RuleBasedStateMachine):
    """A circuit beside a model of it: what it knows of the past in plain words."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        rules = CircuitRules(failures=3, rate=0.5, window=20.0, minimum=4, reset=10.0)
        self.circuit = Circuit(rules, lease=30.0, clock=self.time)
        self.number = 0
        self.state, self.since = "closed", 0.0
        self.epoch = 0  # of the model: one more when it opens or closes
        self.history: list[tuple[float, bool]] = []
        self.probe, self.until = "", 0.0

    def time(self) -> float:
        return self.now

    @rule(seconds=st.sampled_from([1.0, 4.0, 10.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=calls)
    def call(self) -> tuple[str, int, int]:
        self.number += 1
        key = str(self.number)
        state, turn, left = self.circuit.enter(key)
        if self.state == "closed":
            assert (state, left) == ("closed", 0.0)
        elif self.probe and self.now < self.until:
            assert (state, left) == ("probed", 0.0)
        elif self.now < self.since + 10.0:
            assert (state, left) == ("open", self.since + 10.0 - self.now)
        else:
            assert (state, left) == ("probe", 0.0)
            self.probe, self.until = key, self.now + 30.0
        return key, turn, self.epoch if state in ("closed", "probe") else -1

    @rule(call=consumes(calls), went=st.sampled_from([True, False, False, None]))
    def end(self, call: tuple[str, int, int], went: bool | None) -> None:
        key, turn, epoch = call
        if epoch == -1:
            return  # it was refused, so nothing was called
        changed = self.circuit.settle(key, turn, went)
        expected = ""
        if epoch == self.epoch and self.state == "closed" and went is not None:
            expected = self.counted(went)
        elif epoch == self.epoch and self.state == "open" and self.probe == key:
            self.probe = ""
            expected = "" if went is None else self.changed("closed" if went else "open")
        assert changed == expected

    def counted(self, went: bool) -> str:
        self.history.append((self.now, went))
        recent = [each for at, each in self.history if at > self.now - 20.0]
        in_a_row = [each for _, each in self.history[-3:]] == [False] * 3
        many = len(recent) >= 4 and recent.count(False) >= len(recent) / 2
        return self.changed("open") if not went and (in_a_row or many) else ""

    def changed(self, state: str) -> str:
        self.state, self.since, self.history, self.probe = state, self.now, [], ""
        self.epoch += 1
        return state

    @rule(call=consumes(calls))
    def leave(self, call: tuple[str, int, int]) -> None:
        self.circuit.leave(call[0])
        if self.probe == call[0]:
            self.probe = ""

    @invariant()
    def says_its_state(self) -> None:
        due = self.state == "open" and self.now >= self.since + 10.0
        assert self.circuit.state == ("half-open" if due else self.state)


TestHealth = Health.TestCase
TestHealth.settings = settings(max_examples=60, stateful_step_count=40)


def test_exactly_one_of_many_threads_tries() -> None:
    circuit = Circuit(CircuitRules(failures=1, reset=0.001))
    circuit.settle("a", circuit.enter("a")[1], went=False)
    until_due = threading.Event()
    while circuit.state != "half-open":
        until_due.wait(0.001)
    seen: list[str] = []
    gate = threading.Barrier(12)

    def ask(number: int) -> None:
        gate.wait()
        seen.append(circuit.enter(str(number))[0])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == ["probe"] + ["probed"] * 11


# -- around a call --


@everywhere
def test_it_opens_and_tries_and_closes(world: World) -> None:
    time = [0.0]
    asked: list[int] = []
    answers = iter([DOWN, DOWN, DOWN, said("Back.")])

    def answer() -> Any:
        asked.append(1)
        return next(answers)

    model = breaker(Toy(answer), Circuit(CircuitRules(failures=2, reset=30.0), clock=lambda: time[0]))
    for _ in range(2):
        with pytest.raises(ServerFailed):
            world.run(talk(model, stream=world.listening))
    for _ in range(3):
        with pytest.raises(CircuitOpen, match=r"toy has failed too often.* in 30 s") as caught:
            world.run(talk(model, stream=world.listening))
        assert caught.value.retry_after == 30.0
    time[0] = 31.0
    with pytest.raises(ServerFailed):  # one tries, and it is still down
        world.run(talk(model, stream=world.listening))
    with pytest.raises(CircuitOpen):
        world.run(talk(model, stream=world.listening))
    time[0] = 62.0
    assert world.run(talk(model, stream=world.listening)).text == "Back."
    assert (len(asked), model.circuit.state) == (4, "closed")


@listening
def test_changes_are_told(world: World) -> None:
    time = [0.0]
    model = breaker(once(DOWN, said()), Circuit(CircuitRules(failures=1, reset=5.0), clock=lambda: time[0]))

    def plan() -> Plan[None]:
        with pytest.raises(ServerFailed):
            yield from model.ask(ASK, stream=True)
        time[0] = 5.0
        yield from model.ask(ASK, stream=True)

    notices = [event for event in world.events(plan) if isinstance(event, Notice)]
    assert notices == [
        Notice("circuit", "toy", "open", {"seconds": 5.0}),
        Notice("circuit", "toy", "half-open"),
        Notice("circuit", "toy", "closed"),
    ]


@everywhere
def test_while_one_tries_others_are_refused(world: World) -> None:
    circuit = Circuit(CircuitRules(failures=1, reset=0.0001))
    circuit.settle("a", circuit.enter("a")[1], went=False)
    while circuit.state != "half-open":
        pass
    model = breaker(Toy(), circuit)

    def answer() -> Response:
        with pytest.raises(CircuitOpen, match="right now") as caught:
            complete(model, "me too")
        assert caught.value.retry_after is None
        return said()

    assert world.run(talk(breaker(Toy(answer), circuit), stream=world.listening)).text == "It is me."
    assert circuit.state == "closed"


def test_what_says_that_a_server_is_unwell_counts_and_nothing_else() -> None:
    for error in (Unreachable(), TimedOut(), StreamIncomplete(), RateLimited(status=429), ServerFailed(status=529)):
        assert unwell(error)
    for wrong in (BadRequest(status=400), ValueError(), OverLimit(), CircuitOpen()):
        assert not unwell(wrong)


@everywhere
def test_a_wait_in_our_own_line_says_nothing_of_the_server(world: World) -> None:
    """Whether the deadline is around the circuit or inside it; balanced asks another one all the same."""

    def in_vain(pace: float) -> tuple[Quota, Circuit]:
        quota, circuit, seconds = Quota(concurrent=1), Circuit(CircuitRules(failures=1)), 0.02 * pace
        quota.enter("somebody", 0)
        model = limited(Toy(), quota)
        for wrapped in (deadline(breaker(model, circuit), seconds), breaker(deadline(model, seconds), circuit)):
            with pytest.raises(TimedOut) as caught:
                world.run(talk(wrapped, stream=world.listening))
            assert (caught.value.in_line, unwell(caught.value), out_of_order(caught.value)) == (True, False, True)
            assert circuit.state == "closed"
        return quota, circuit

    quota, circuit = at_some_pace(in_vain)
    quota.leave("somebody")
    slow = limited(Toy(lambda: TimedOut("silence")), quota)
    with pytest.raises(TimedOut) as caught:
        world.run(talk(breaker(slow, circuit), stream=world.listening))
    assert (caught.value.in_line, circuit.state) == (False, "open")


def test_an_error_of_the_asker_shows_that_the_server_is_well() -> None:
    circuit = Circuit(CircuitRules(failures=2))
    model = breaker(once(DOWN, BadRequest(status=400), DOWN, ValueError("ours"), DOWN), circuit)
    for kind in (ServerFailed, BadRequest, ServerFailed, ValueError):
        with pytest.raises(kind):
            complete(model, "Hi")
    assert circuit.state == "closed"
    with pytest.raises(ServerFailed):
        complete(model, "Hi")
    assert circuit.state == "open"  # nobody knows how the one before went, so it broke no row


def test_a_predicate_of_the_user_decides() -> None:
    model = breaker(once(BadRequest(status=400)), failures=1, counts=lambda error: isinstance(error, BadRequest))
    with pytest.raises(BadRequest):
        complete(model, "Hi")
    with pytest.raises(CircuitOpen):
        complete(model, "Hi")


def test_what_fails_in_a_loop_or_an_agent_counts_as_well() -> None:
    def tell() -> str:
        """Tell."""
        return "told"

    model = breaker(once(Response((assistant(ToolCall("1", "tell")),), "tool_calls"), DOWN), failures=1)
    with pytest.raises(ServerFailed):
        run_tools(model, "Hi", [tell])
    with pytest.raises(CircuitOpen):
        run_tools(model, "Hi", [tell])

    def agent(prompt: str) -> str:
        raise DOWN

    guarded = breaker(agent, failures=1)
    with pytest.raises(ServerFailed):
        guarded("Hi")
    with pytest.raises(CircuitOpen, match="agent has failed"):
        guarded("Hi")


def test_models_that_share_a_circuit_fail_together() -> None:
    circuit = Circuit(CircuitRules(failures=2))
    models = [breaker(Toy(lambda: DOWN), circuit), breaker(Toy(lambda: DOWN, name="other"), circuit)]
    outcomes = World().run(lambda: side_by_side(model.ask(ASK, stream=False) for model in models))
    assert [type(each.error) for each in outcomes] == [ServerFailed, ServerFailed]
    with pytest.raises(CircuitOpen):
        complete(models[0], "Hi")


# -- leaving --


def due() -> Circuit:
    """A circuit that is to be tried."""
    time = [0.0]
    circuit = Circuit(CircuitRules(failures=1), clock=lambda: time[0])
    circuit.settle("a", circuit.enter("a")[1], went=False)
    time[0] = 100.0
    return circuit


@pytest.mark.anyio
async def test_a_try_that_is_cancelled_lets_another_try(anyio_backend: str) -> None:
    circuit, busy = due(), threading.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(aio.complete, breaker(Toy(lambda: busy.wait() and said()), circuit), "Hi")
        await until(lambda: circuit._probe)
        assert circuit.enter("another")[0] == "probed"
        group.cancel_scope.cancel()
        busy.set()
    assert circuit.enter("another")[0] == "probe"


def test_a_stream_that_is_left_while_it_tries_lets_another_try() -> None:
    circuit = due()
    with Stream(breaker(Toy(), circuit).ask(ASK, stream=True)) as events:
        assert next(events) == Notice("circuit", "toy", "half-open")
    assert circuit.enter("another")[0] == "probe"


def test_a_try_of_which_nobody_knows_how_it_went_lets_another_try() -> None:
    circuit = due()
    with pytest.raises(ValueError, match="ours"):
        complete(breaker(once(ValueError("ours")), circuit), "Hi")
    assert circuit.enter("another")[0] == "probe"


def test_a_stream_that_is_held_and_not_read_keeps_nobody_out_for_ever() -> None:
    """And what it says in the end, once another tries, says nothing."""
    time = [0.0]
    circuit = Circuit(CircuitRules(failures=1, reset=1.0), lease=20.0, clock=lambda: time[0])
    with pytest.raises(ServerFailed):
        complete(breaker(once(DOWN), circuit), "Hi")
    time[0] = 5.0
    model = breaker(Toy(), circuit)
    with Stream(model.ask(ASK, stream=True)) as events:
        assert next(events) == Notice("circuit", "toy", "half-open")
        time[0] = 24.0
        with pytest.raises(CircuitOpen, match="one call is trying"):
            complete(model, "Hi")
        time[0] = 25.0
        assert circuit.enter("another")[0] == "probe"
        assert circuit.state == "half-open"
        assert [*events]
        assert circuit.state == "half-open"
    assert circuit.settle("another", circuit._turn, went=True) == "closed"
    copied = pickle.loads(pickle.dumps(circuit))
    assert (copied.lease, repr(copied)) == (20.0, "Circuit(CircuitRules(failures=1, reset=1.0), lease=20.0)")


def test_who_gave_up_trying_decides_nothing() -> None:
    circuit = due()
    _, turn, _ = circuit.enter("first")
    circuit.leave("first")
    assert circuit.enter("second")[0] == "probe"
    assert circuit.settle("first", turn, went=True) == ""
    assert circuit.settle("second", turn, went=True) == "closed"


# -- values --


def test_a_breaker_is_a_value_that_shows_what_it_shares() -> None:
    circuit = Circuit(CircuitRules(rate=0.5, reset=10.0))
    model = breaker(Toy(), circuit)
    assert model == breaker(Toy(), circuit)
    assert hash(model) == hash(breaker(Toy(), circuit))
    assert repr(circuit) == "Circuit(CircuitRules(rate=0.5, reset=10.0))"
    assert "circuit=Circuit(" in repr(model)
    assert repr(breaker(Toy()).circuit) == "Circuit(CircuitRules(failures=5))"
    assert pickle.loads(pickle.dumps(circuit)).rules == circuit.rules
    assert evolve(model, max_tokens=5).model.max_tokens == 5
    assert (model.name, model.capabilities) == ("toy", Toy().capabilities)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: breaker(Toy(), failures=0),
        lambda: breaker(Toy(), rate=1.5),
        lambda: breaker(Toy(), rate=0.5, minimum=0),
        lambda: breaker(Toy(), reset=0),
        lambda: breaker(Toy(), rate=0.5, window=float("inf")),
        lambda: breaker(Toy(), Circuit(), failures=3),
        lambda: breaker(Toy(), 5),
        lambda: breaker("toy"),
        lambda: breaker(Toy(), rate="1"),  # type: ignore[arg-type]
        lambda: breaker(Toy(), reset="5"),  # type: ignore[arg-type]
        lambda: breaker(Toy(), window=None),  # type: ignore[arg-type]
        lambda: breaker(Toy(), counts=5),  # type: ignore[arg-type]
        lambda: Circuit(lease=0),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(Misuse):
        wrong()


def test_a_circuit_is_not_put_around_itself() -> None:
    """The call that tries would be refused by the one that it makes, and the circuit never close again."""
    circuit, other = Circuit(), Circuit()
    inner = breaker(Toy(), circuit)
    for outer in (inner, limited(inner, concurrent=1), fallback(Toy(), inner), breaker(inner, other)):
        with pytest.raises(Misuse, match="guarded by this circuit already"):
            breaker(outer, circuit)
    with pytest.raises(Misuse, match="guarded by this circuit already"):
        evolve(breaker(inner, other), circuit=circuit)
    agent = breaker(lambda prompt: said(), circuit)
    with pytest.raises(Misuse, match="guarded by this circuit already"):
        breaker(limited(agent, concurrent=1), circuit)
    assert complete(fallback(inner, breaker(Toy(), circuit)), "Hi").text == "It is me."  # beside each other they may be


def test_a_recorded_refusal_replays(tmp_path: Any) -> None:
    """What the circuit said is on the record: the replay asks another one nothing."""
    circuit = due()

    def asking(model: Any) -> Any:
        return World().run(talk(model))

    with testing.recorded(tmp_path / "run.jsonl"):
        first = asking(breaker(Toy(), circuit))
    fresh = Circuit()
    with testing.replayed(tmp_path / "run.jsonl"):
        assert asking(breaker(Toy(), fresh)) == first
    assert fresh._turn == 0

"""No tool is called before a person has said so, and it does not matter when that is, or where."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from threading import Event as Gate
from threading import Lock
from typing import Any

import anyio
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit import Response, ToolCall, aio, assistant, background, openai_compatible, stream, tool
from arshai_kit.agents import agent, approve, as_tool, guard, handoff, insist, parallel, pipe, placed, route
from arshai_kit.agents.approving import _seal
from arshai_kit.codec import from_json, to_json, to_plain
from arshai_kit.completion import run
from arshai_kit.effects import Call, Emit, Here, Plan, Step
from arshai_kit.errors import ApprovalNeeded, ArshaiError, GuardTripped, Misuse, PauseRefused
from arshai_kit.keys import Secret
from arshai_kit.memory import in_memory, remembering
from arshai_kit.models import Ask, retold
from arshai_kit.records import Notice, Paused, ToolFailed, ToolFinished, ToolStarted
from arshai_kit.resilience import deadline, fallback
from arshai_kit.testing import recorded, replayed, scripted, strategies
from arshai_kit.tools import drain
from tests.agents.speakers import BOTH, PAY, Ran, Speaker, calling, desk, results, teller
from tests.core.worlds import WORLDS, World, everywhere, listening
from tests.laws.test_streaming import folded, joined

FEW = settings(settings.get_profile("few"))
SOON = 30.0


def spoken(prompt: Any) -> str:
    return "go"


def paused(function: Any, *args: Any, world: World = WORLDS[0], **kwargs: Any) -> Paused:
    """What a run that waits is kept as, by way of its JSON."""
    with pytest.raises(ApprovalNeeded) as caught:
        world.run(lambda: run.plan(function, *args, **kwargs))
    kept = from_json(to_json(caught.value.paused))
    assert kept == caught.value.paused
    assert isinstance(kept, Paused)
    return kept


# -- the law: later is not different --

calls = st.one_of(
    st.builds(lambda cents: ("pay", {"cents": cents}), st.integers(0, 9)),
    st.builds(lambda cents: ("pay", {"cents": cents}), st.integers(0, 9)),
    st.builds(lambda at: ("look", {"at": at}), strategies.words()),
    st.sampled_from([("pay", {"dollars": 1}), ("fly", {})]),
)
rounds = st.lists(st.lists(calls, min_size=1, max_size=4), max_size=3)
verdicts = st.one_of(
    st.booleans(),
    strategies.words().filter(str.strip),
    st.builds(lambda cents: {"cents": cents}, st.integers(10, 19)),
    st.builds(lambda cents: ToolCall("other", "pay", {"cents": cents}), st.integers(20, 29)),
)


def scripts(asked: list[list[tuple[str, dict[str, Any]]]]) -> tuple[Any, ...]:
    lines = [calling(*line, first=10 * place) for place, line in enumerate(asked)]
    return (*lines, "Done.")


def outcome(work: Callable[[], Response]) -> Any:
    try:
        return work()
    except ArshaiError as error:
        return type(error), str(error), error.partial


def to_the_end(waiting: Any, decide: Callable[[ToolCall], Any], world: World) -> Response:
    """The answer of *waiting*, each of whose pauses is kept as JSON and decided later."""
    prompt: Any = "go"
    decisions: Any = None
    while True:
        try:
            response: Response = world.run(lambda: waiting.plan(prompt, decisions=decisions))  # noqa: B023  # run at once
        except ApprovalNeeded as needed:
            prompt = from_json(to_json(needed.paused))
            decisions = {call.id: decide(call) for call in prompt.calls}
        else:
            return response


@FEW
@given(rounds, st.lists(verdicts, min_size=1, max_size=5), st.none() | st.integers(0, 4), st.sampled_from(WORLDS))
def test_a_run_that_paused_is_the_run_that_did_not(asked: Any, said: list[Any], most: int | None, world: World) -> None:
    """Same messages, usage, cost, tool runs and errors; and each tool has been called as often."""
    script = scripts(asked)

    def decide(call: ToolCall) -> Any:
        return said[int(call.id[1:]) % len(said)]

    now, later = Ran(), Ran()
    straight = approve(desk(script, now, max_tool_calls=most), decide, tools="pay")
    waiting = approve(desk(script, later, max_tool_calls=most), tools="pay", secret="s3cret")
    first = outcome(lambda: world.run(lambda: straight.plan("go")))
    assert outcome(lambda: to_the_end(waiting, decide, world)) == first
    assert sorted(map(str, later.all)) == sorted(map(str, now.all))


@FEW
@given(rounds, st.lists(verdicts, min_size=1, max_size=5), st.sampled_from([w for w in WORLDS if w.listening]))
def test_what_is_approved_is_streamed_as_it_is_returned(asked: Any, said: list[Any], world: World) -> None:
    straight = approve(desk(scripts(asked), Ran()), lambda call: said[int(call.id[1:]) % len(said)], tools="pay")
    events = world.events(lambda: stream.plan(straight, "go"))
    response = events[-1].response  # type: ignore[union-attr]  # the last one is Finished
    assert joined(folded(events)) == joined(response.messages)


def test_the_seal_holds_however_the_json_is_kept() -> None:
    """A database may put members of objects into another order; that the JSON is equal is a law of the records."""
    waiting = approve(desk((BOTH, "Done."), Ran()), tools="pay", secret="s3cret")
    kept = json.dumps(json.loads(to_json(paused(waiting, "go"))), sort_keys=True, indent=1)
    assert waiting(from_json(kept), decisions=True).text == "Done."


@everywhere
def test_a_recorded_run_is_replayed_without_asking_anybody(world: World, tmp_path: Path) -> None:
    ran, asked = Ran(), Ran()

    def person(call: ToolCall) -> Any:
        asked.note(call.id)
        return {"cents": 1}

    one = guard(approve(desk((BOTH, "Done."), ran), person, tools="pay"), before=lambda prompt: True)
    with recorded(tmp_path / "run.jsonl"):
        first = world.run(lambda: one.plan("go"))
    with replayed(tmp_path / "run.jsonl"):
        assert world.run(lambda: one.plan("go")) == first
    assert (len(ran.all), asked.all) == (3, ["c0", "c2"])


# -- in line --


@everywhere
def test_the_model_is_told_the_words_of_the_person(world: World) -> None:
    ran = Ran()
    one = desk((BOTH, "Done."), ran)
    answers = {"c0": "not today", "c2": {"cents": 1}}

    async def person(call: ToolCall) -> Any:
        return answers[call.id]

    response = world.run(lambda: approve(one, person, tools=["pay"]).plan("go"))
    assert sorted(ran.all) == [("look", "a"), ("pay", 1)]
    assert results(one.model.asked[-1].messages) == [
        "not run: a person refused this call: not today",
        "saw a",
        '(A person changed the arguments to {"cents":1}.)\npaid 1',
    ]
    assert [each.call.arguments for each in response.tool_runs] == [{"cents": 5}, {"at": "a"}, {"cents": 1}]
    assert [each.error is None for each in response.tool_runs] == [False, True, True]
    assert response.messages[0].tool_calls == BOTH, "what the model said stays what it said"


@listening
def test_a_user_interface_sees_who_is_waited_for(world: World) -> None:
    one = desk((PAY, "Done."), Ran())
    events = world.events(lambda: stream.plan(approve(one, lambda call: "no"), "go"))
    (asked,) = [event for event in events if isinstance(event, Notice)]
    assert (asked.kind, asked.name, asked.path) == ("approval", "pay", "desk")
    assert asked.data == {"id": "c0", "arguments": {"cents": 5}}
    assert [event.error for event in events if isinstance(event, ToolFailed)] == [
        "not run: a person refused this call: no"
    ]
    assert not [event for event in events if isinstance(event, ToolStarted | ToolFinished)]


@everywhere
def test_one_is_asked_after_the_other_and_what_needs_no_decision_goes_on(world: World) -> None:
    looked, busy, order = Gate(), Ran(), []

    def look(at: str) -> str:
        """Look at something."""
        looked.set()
        return "seen"

    def person(call: ToolCall) -> bool:
        assert looked.wait(SOON), "the other call waits for this question"
        busy.note("in")
        order.append(call.id)
        assert busy.all == ["in"], "two are asked at a time"
        busy.all.clear()
        return True

    one = agent(Speaker((BOTH, "Done.")), tools=[Ran().pay, look])
    assert world.run(lambda: approve(one, person, tools="pay").plan("go")).text == "Done."
    assert order == ["c0", "c2"]


def nested(ran: Ran, kind: str) -> Any:
    """An agent whose tool is called somewhere inside."""
    inner = desk((PAY, "Paid."), ran)

    def by_function(prompt: str) -> str:
        """Ask the desk."""
        return str(inner(prompt).text)

    async def by_coroutine(prompt: str) -> str:
        """Ask the desk."""
        return str((await aio.run(inner, prompt)).text)

    boss = Speaker((calling(("desk", {"prompt": "pay"})), "Done."))
    return {
        "pipe": pipe(spoken, inner),
        "parallel": parallel(inner, spoken),
        "tool": agent(boss, tools=[as_tool(inner)]),
        "function": by_function,
        "coroutine": pipe(by_coroutine),
        "tool that runs it": agent(boss, tools=[tool(by_function, name="desk")]),
        "deadline": deadline(inner, 3600),
        "guard": guard(inner, before=lambda prompt: True),
    }[kind]


KINDS = ("pipe", "parallel", "tool", "function", "coroutine", "tool that runs it", "deadline", "guard")


@everywhere
@pytest.mark.parametrize("kind", KINDS)
def test_it_reaches_through_whatever_is_composed(world: World, kind: str) -> None:
    ran, asked = Ran(), Ran()

    def person(call: ToolCall) -> Any:
        asked.note(call.name)
        return {"cents": 1} if call.name == "pay" else True

    world.run(lambda: run.plan(approve(nested(ran, kind), person, tools=lambda call: call.name == "pay"), "go"))
    assert (ran.all, asked.all) == ([("pay", 1)], ["pay"])
    ran.all.clear()
    world.run(lambda: run.plan(approve(nested(ran, kind), lambda call: call.name != "pay"), "go"))
    assert ran.all == []


def inside(one: Any, kind: str) -> Any:
    """Two runs of *one* at a time, in functions."""

    def asks(prompt: str) -> str:
        """Ask it."""
        return str(one(prompt).text)

    async def asks_too(prompt: str) -> str:
        """Ask it."""
        return str((await aio.run(one, prompt)).text)

    both = calling(("asks", {"prompt": "a"}), ("asks_too", {"prompt": "b"}))
    return {
        "functions": parallel(lambda prompt: asks(prompt), lambda prompt: asks(prompt), asks_too, one),
        "tools": agent(Speaker((both, "Done.")), tools=[asks, asks_too]),
    }[kind]


@everywhere
@pytest.mark.parametrize("kind", ["functions", "tools"])
def test_one_is_asked_after_the_other_of_runs_inside_too(world: World, kind: str) -> None:
    ran, busy = Ran(), Lock()
    asked = Ran()

    def person(call: ToolCall) -> bool:
        assert busy.acquire(blocking=False), "two are asked at a time"
        asked.note(call.id)
        busy.release()
        return True

    one = approve(inside(desk((BOTH, "Done."), ran), kind), person, tools=lambda call: call.name == "pay")
    world.run(lambda: one.plan("go"))
    runs = 4 if kind == "functions" else 2
    assert sorted(asked.all) == sorted(["c0", "c2"] * runs)
    assert sum(each[0] == "pay" for each in ran.all) == 2 * runs


@everywhere
def test_a_question_of_a_run_inside_waits_for_the_one_before_it(world: World) -> None:
    """The first is not answered before the second has been seen to wait; each is of a run of its own."""
    first, second, told = Gate(), Gate(), list[str]()

    def person(call: ToolCall) -> bool:
        told.append("asked")
        assert len(told) % 2, "two are asked at a time"
        if not first.is_set():
            first.set()
            assert second.wait(SOON), "the other run never came to its question"
        told.append("answered")
        return True

    def comes(call: ToolCall) -> bool:
        """Whether it waits: said of each call, just before it does."""
        if first.is_set():
            second.set()
        return True

    def later(prompt: str) -> str:
        assert first.wait(SOON)
        return str(desk((PAY, "Done."), Ran())(prompt).text)

    one = parallel(lambda prompt: desk((PAY, "Done."), Ran())(prompt).text, later)
    world.run(lambda: approve(one, person, tools=comes).plan("go"))
    assert told == ["asked", "answered"] * 2


@everywhere
@pytest.mark.parametrize("kind", ["function", "agent"])
def test_who_decides_may_ask_an_agent_whose_calls_are_asked_about(world: World, kind: str) -> None:
    ran = Ran()
    judge = agent(Speaker((calling(("look", {"at": "a"})), "yes")), tools=[ran.look])

    def person(call: ToolCall) -> bool:
        return call.name == "look" or judge("May it?").text == "yes"

    def runs(prompt: str) -> str:
        return str(desk((PAY, "Done."), ran)(prompt).text)

    one = approve(runs if kind == "function" else desk((PAY, "Done."), ran), person)
    world.run(lambda: run.plan(one, "go"))
    assert ran.all == [("look", "a"), ("pay", 5)]


@everywhere
def test_threads_of_ones_own_are_asked_about_in_their_context_or_inside(world: World) -> None:
    """The page says what has to be done; without, nobody is asked."""
    ran = Ran()
    inner = desk((PAY, "Done."), ran)
    safe = approve(inner, lambda call: False)

    def pooled(prompt: str) -> str:
        with ThreadPoolExecutor() as pool:
            return str(pool.submit(copy_context().run, inner, prompt).result().text)

    def unaware(prompt: str) -> str:
        with ThreadPoolExecutor() as pool:
            return str(pool.submit(safe, prompt).result().text)

    for one in (approve(pooled, lambda call: False), unaware):
        assert world.run(lambda: run.plan(one, "go")) == "Done."  # noqa: B023  # run at once
    assert ran.all == []


@pytest.mark.anyio
async def test_a_question_may_be_cancelled() -> None:
    """Of several agents that one call runs, each is asked about; who stops waiting is no longer in line."""
    asked, ran, order = anyio.Event(), Ran(), list[str]()

    async def person(call: ToolCall) -> bool:
        order.append(call.id)
        asked.set()
        await anyio.sleep_forever()
        return True

    one = desk((BOTH, "Done."), ran)

    async def inside(prompt: Any) -> str:
        return str((await aio.run(one, prompt)).text)

    async with anyio.create_task_group() as group:
        group.start_soon(aio.run, approve(parallel(one, inside), person, tools=lambda call: call.name == "pay"), "go")
        with anyio.fail_after(SOON):
            await asked.wait()
        group.cancel_scope.cancel()
    assert (order, [each for each in ran.all if each[0] == "pay"]) == (["c0"], [])
    assert (await aio.run(approve(one, lambda call: True), "go")).text == "Done."


def test_a_question_that_is_given_up_holds_up_nobody() -> None:
    def fails(call: ToolCall) -> bool:
        raise OSError("the line is dead")

    one = approve(parallel(*[lambda prompt: desk((PAY, "Done."), Ran())(prompt).text] * 3), fails)
    with pytest.raises(OSError, match="the line is dead"):
        one("go")


@everywhere
def test_what_is_done_in_the_background_is_asked_about_too(world: World) -> None:
    ran, asked = Ran(), Gate()
    inner = desk((PAY, "Paid."), ran)

    def person(call: ToolCall) -> bool:
        asked.set()
        return call.name != "pay"

    one = agent(Speaker((calling(("desk", {"prompt": "pay"})), "Done.")), tools=[background(as_tool(inner))])
    world.run(lambda: approve(one, person).plan("go"))
    assert asked.wait(SOON)
    assert drain(SOON) == ()
    assert ran.all == []


def test_approvals_around_each_other_are_all_asked() -> None:
    ran, order = Ran(), list[Any]()

    def near(call: ToolCall) -> Any:
        order.append("near")
        return {"cents": 2}

    def far(call: ToolCall) -> bool:
        order.append(("far", call.arguments["cents"]))
        return True

    assert approve(approve(desk((PAY, "Done."), ran), near), far)("go").text == "Done."
    assert (order, ran.all) == (["near", ("far", 2)], [("pay", 2)])


@pytest.mark.parametrize(
    ("decision", "why"),
    [
        (None, "is True, False, the words of why not"),
        ("", "the words of why not"),
        (1, "not 1; nothing was called"),
        (ToolCall("c0", "look", {"at": "a"}), "'pay' was to be decided, and this is one of 'look'"),
    ],
)
def test_what_is_no_decision_is_none(decision: Any, why: str) -> None:
    ran = Ran()
    with pytest.raises(Misuse, match=why):
        approve(desk((PAY, "Done."), ran), lambda call: decision)("go")
    assert ran.all == []


@everywhere
def test_who_fails_to_decide_has_not_approved(world: World) -> None:
    ran = Ran()

    def person(call: ToolCall) -> bool:
        raise OSError("the line is dead")

    with pytest.raises(OSError, match="the line is dead"):
        world.run(lambda: approve(desk((PAY, "Done."), ran), person).plan("go"))
    assert ran.all == []


def test_what_cannot_be_run_is_not_asked_about() -> None:
    asked: list[str] = []
    broken = ToolCall("c1", "pay", broken='{"cents": ')
    one = desk(((*calling(("fly", {})), broken), "Done."), Ran())
    approve(one, lambda call: asked.append(call.id))("go")
    assert asked == []
    assert "no tool 'fly'" in results(one.model.asked[-1].messages)[0]


class Own:
    """An agent with a tool step of its own making."""

    def plan(self, prompt: str) -> Plan[Any]:
        """What came of its call."""
        return (yield from Step("tool", "pay", PAY[0], self.paid))

    def paid(self) -> Plan[str]:
        """Pay."""
        yield from Here()
        return "paid"

    def __call__(self, prompt: str) -> None:
        """Not called."""


def test_steps_of_other_making_are_asked_about_but_take_no_other_arguments() -> None:
    assert run(approve(Own(), lambda call: True), "go") == "paid"
    assert run(approve(Own(), lambda call: "no"), "go").error == "not run: a person refused this call: no"
    with pytest.raises(Misuse, match="so its arguments cannot be changed"):
        run(approve(Own(), lambda call: {"cents": 1}), "go")


# -- nothing is early --


class Early:
    """A model whose reply goes on for as long as *rest* takes, after its call is complete."""

    name, provider, capabilities = "early", "box", Speaker.capabilities

    def __init__(self, rest: Callable[[], Any]) -> None:
        self.rest = rest

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """A call first, then words."""
        if ask.messages[-1].role == "tool":
            return Response((assistant("Done."),))
        response = Response((assistant(*PAY),), "tool_calls")
        if stream:
            yield from Emit(retold(response))
        yield from Call(self.rest)
        return response


def test_without_it_a_tool_may_be_early() -> None:
    """This is what the next test rules out."""
    paid = Gate()

    def pay(cents: int) -> str:
        """Pay somebody."""
        paid.set()
        return "paid"

    def rest() -> None:
        assert paid.wait(SOON)

    assert list(stream(agent(Early(rest), tools=[tool(pay, eager=True)]), "go"))


@listening
@pytest.mark.parametrize("kind", ["approve", "pause", "guard", "inside"])
def test_no_tool_is_called_before_the_reply_is_complete(world: World, kind: str) -> None:
    order = Ran()

    def pay(cents: int) -> str:
        """Pay somebody."""
        order.note("paid")
        return "paid"

    def rest() -> None:
        order.note("replied")

    one = agent(Early(rest), tools=[tool(pay, eager=True)], eager=True, name="pays")
    kinds: dict[str, Callable[[], Any]] = {
        "approve": lambda: approve(one, lambda call: True),
        "pause": lambda: approve(one, tools=lambda call: False),
        "guard": lambda: guard(one, before=lambda prompt: True, after=lambda response: True),
        "inside": lambda: approve(pipe(parallel(one), spoken), lambda call: True),
    }
    world.events(lambda: stream.plan(kinds[kind](), "go"))
    assert order.all == ["replied", "paid"]


# -- later --


@everywhere
def test_what_needs_no_decision_has_run_once_and_never_runs_again(world: World) -> None:
    ran = Ran()
    waiting = approve(desk((BOTH, "Done."), ran), tools="pay")
    pause = paused(waiting, "go", world=world)
    assert [call.id for call in pause.calls] == ["c0", "c2"]
    assert (ran.all, [each.result for each in pause.runs]) == ([("look", "a")], ["saw a"])
    response = world.run(lambda: waiting.plan(pause, decisions={"c0": True, "c2": False}))
    assert ran.all == [("look", "a"), ("pay", 5)]
    assert [each.result for each in response.tool_runs] == [
        *("paid 5", "saw a", "not run: a person refused this call"),
    ]


def test_what_there_was_is_a_history_that_providers_take() -> None:
    with pytest.raises(ApprovalNeeded, match="waits for a person to decide about its calls of 'pay', 'pay'") as caught:
        approve(desk((BOTH, "Done."), Ran()), tools="pay")("go")
    partial = caught.value.partial
    assert [message.role for message in partial.messages] == ["assistant", "tool", "tool", "tool"]
    assert results(partial.messages)[1] == "saw a"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.paused, again.partial) == (caught.value.paused, partial)


@listening
def test_one_decision_may_stand_for_all_and_the_rest_is_streamed(world: World) -> None:
    ran = Ran()
    waiting = approve(desk((BOTH, "Done."), ran), tools="pay")
    events = world.events(lambda: stream.plan(waiting, paused(waiting, "go"), decisions=True))
    assert sorted(event.call.id for event in events if isinstance(event, ToolFinished)) == ["c0", "c2"]
    assert events[-1].response.text == "Done."  # type: ignore[union-attr]  # the last one is Finished
    assert sorted(ran.all) == [("look", "a"), ("pay", 5), ("pay", 7)]


def test_it_waits_as_often_as_it_has_to() -> None:
    ran = Ran()
    waiting = approve(desk((PAY, calling(("pay", {"cents": 6}), first=4), "Done."), ran))
    first = paused(waiting, "go")
    second = paused(waiting, first, decisions=True)
    assert (first.round, second.round, second.id != first.id) == (0, 1, True)
    assert waiting(second, decisions="no").text == "Done."
    assert ran.all == [("pay", 5)]


CHILD = """
import sys
from arshai_kit.codec import from_json, to_json
from tests.agents.speakers import teller
print(to_json(teller()(from_json(sys.stdin.read()), decisions={"c0": {"cents": 2}, "c2": "too much"})))
"""


def test_it_goes_on_in_another_process() -> None:
    ran = Ran()
    kept = to_json(paused(teller(ran), "go"))
    assert "You pay." not in kept, "what the agent is told is its own, and may be better by then"
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=kept,
        text=True,
        capture_output=True,
        check=False,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    answers = {"c0": {"cents": 2}, "c2": "too much"}
    in_line = approve(desk((BOTH, "Done."), Ran(), system="You pay."), lambda call: answers[call.id], tools="pay")
    assert from_json(done.stdout) == in_line("go")
    assert ran.all == [("look", "a")]


@pytest.mark.parametrize(
    ("decisions", "why"),
    [
        (None, r"says nothing about 'c0' \(pay\), 'c2' \(pay\): all calls are decided together; nothing was called"),
        ({"c0": True}, r"says nothing about 'c2' \(pay\)"),
        ({"c0": True, "c2": True, "c1": True}, "speaks of 'c1', and the calls that wait are 'c0', 'c2'"),
        ({"c0": True, "c2": None}, "not None; nothing was called"),
        ([True, True], "maps the ids of calls to decisions, or is one for all, not list"),
    ],
)
def test_all_is_decided_or_nothing_is_done(decisions: Any, why: str) -> None:
    ran = Ran()
    waiting = approve(desk((BOTH, "Done."), ran), tools="pay")
    pause = paused(waiting, "go")
    ran.all.clear()
    with pytest.raises(Misuse, match=why):
        waiting(pause, decisions=decisions)
    assert ran.all == []


def _changed(text: str) -> Iterator[str]:
    plain = json.loads(text)
    plain["calls"][0]["arguments"]["cents"] = 999
    yield json.dumps(plain)
    yield text.replace('"cents":5', '"cents":999')
    yield text.replace('"saw a"', '"saw nothing"')
    yield text.replace('"go"', '"stop"')
    plain = json.loads(text)
    del plain["seal"]
    yield json.dumps(plain)


def test_a_pause_that_was_changed_is_refused() -> None:
    ran = Ran()
    waiting = approve(desk((BOTH, "Done."), ran), tools="pay")
    text = to_json(paused(waiting, "go"))
    ran.all.clear()
    for changed in _changed(text):
        assert changed != text
        with pytest.raises(PauseRefused, match="it was changed, its secret= is another one, or a newer version wrote"):
            waiting(from_json(changed), decisions=True)
    assert ran.all == []


def test_a_pause_of_somebody_else_is_refused() -> None:
    ran = Ran()
    one = desk((BOTH, "Done."), ran)
    pause = paused(approve(one, secret="mine"), "go")
    ran.all.clear()
    with pytest.raises(PauseRefused, match="its secret= is another one"):
        approve(one, secret="theirs")(pause, decisions=True)
    with pytest.raises(PauseRefused, match="its secret= is another one"):
        approve(one)(pause, decisions=True)
    with pytest.raises(PauseRefused, match="of the agent 'desk', and 'shop' was given it"):
        approve(evolve(one, name="shop"), secret="mine")(pause, decisions=True)
    with pytest.raises(PauseRefused, match="'desk' has no tool 'pay' any more"):
        approve(evolve(one, tools=[ran.look]), secret="mine")(pause, decisions=True)
    forged = evolve(pause, calls=[evolve(pause.calls[0], arguments={"cents": 10**6})])
    with pytest.raises(PauseRefused, match="a call of 'pay' that no model made"):  # anybody can seal it so
        approve(one)(evolve(forged, seal=_seal(forged, None)), decisions=True)
    assert ran.all == []
    assert "mine" not in repr(approve(one, secret="mine"))


def test_a_pause_that_cannot_be_read_is_refused() -> None:
    text = to_json(paused(approve(desk((PAY, "Done."), Ran())), "go"))
    with pytest.raises(Misuse, match="of format 2, and format 1 is known here: upgrade"):
        from_json(text.replace('{"v":1', '{"v":2', 1))
    with pytest.raises(Misuse, match="this is no JSON"):
        from_json(text[:-9])
    plain = to_plain(from_json(text))
    del plain["reply"]
    with pytest.raises(Misuse, match=r"this Paused cannot be read: .*reply"):
        from_json(json.dumps(plain))


def test_with_hand_offs_the_one_goes_on_who_was_asked() -> None:
    def office(ran: Ran) -> Any:
        asks = agent(Speaker((PAY, PAY, "Paid.")), name="till", tools=[ran.pay])
        script = (calling(("hand_off_to_till", {"reason": "money"}), first=8), "?")
        return agent(Speaker(script), name="front", tools=[handoff(asks), ran.look])

    ran = Ran()
    waiting = approve(office(ran), tools="pay")
    pause = paused(waiting, "go")
    assert (pause.agent, pause.handoffs, [call.name for call in pause.calls]) == ("till", 1, ["pay"])
    response = waiting(pause, decisions=True)
    assert response == approve(office(Ran()), lambda call: True)("go")
    assert (response.answered_by, response.text, ran.all) == ("till", "Paid.", [("pay", 5)])


def test_a_pause_does_not_reach_where_it_cannot_go_on() -> None:
    front = agent(Speaker((calling(("hand_off_to_other", {"reason": "x"})),)), tools=[handoff(len, name="other")])
    with pytest.raises(Misuse, match="no pause reaches into len: give ask="):
        approve(front)("go")


def test_a_tool_that_waits_ends_the_run_that_it_is_in() -> None:
    inner = approve(desk((PAY, "Paid."), Ran()))
    boss = agent(Speaker((calling(("desk", {"prompt": "pay"})), "Done.")), tools=[as_tool(inner, name="desk")])
    with pytest.raises(ApprovalNeeded) as caught:
        boss("go")
    assert caught.value.partial.messages[0].tool_calls[0].name == "desk"
    assert inner(caught.value.paused, decisions=True).text == "Paid."


def test_nobody_answers_in_place_of_a_run_that_waits() -> None:
    waiting = approve(desk((PAY, "Done."), Ran()))
    for on in (Exception, ArshaiError, lambda error: True, (OSError, Exception)):
        with pytest.raises(ApprovalNeeded):
            fallback(waiting, spoken, on=on)("go")
    assert fallback(waiting, spoken, on=(OSError, ApprovalNeeded))("go").text == "go"


def test_a_tool_that_waits_has_its_own_pause_though_its_call_was_decided() -> None:
    inner = approve(desk((PAY, "Paid."), Ran()))
    boss = agent(
        Speaker((calling(("desk", {"prompt": "pay"})), "Done.")), tools=[as_tool(inner, name="desk")], name="boss"
    )
    outer = paused(approve(boss), "go")
    within = paused(approve(boss), outer, decisions=True)
    assert (outer.agent, within.agent) == ("boss", "desk")
    assert inner(within, decisions=True).text == "Paid."


def test_a_guard_looks_at_what_the_run_was_asked() -> None:
    inner = approve(desk((PAY, "Done."), Ran()))
    pause = paused(inner, "go")
    seen: list[Any] = []
    assert guard(inner, before=seen.append)(pause, decisions=True).text == "Done."
    assert [message.text for message in seen[0]] == ["go"]
    with pytest.raises(GuardTripped):
        guard(inner, before=lambda prompt: False)(pause, decisions=True)


@everywhere
@pytest.mark.parametrize("hands", [True, False])
def test_an_answer_after_a_pause_may_be_asked_for_again(world: World, hands: bool) -> None:
    ran = Ran()
    hand = (calling(("hand_off_to_till", {"reason": "?"}), first=8),)
    till = agent(Speaker((*(hand if hands else ()), PAY, "No.", "Done.")), name="till", tools=[ran.pay])
    front = agent(Speaker(hand), name="front", tools=[handoff(till)])
    one = insist(approve(front if hands else till, tools="pay"), lambda response: response.text == "Done.")
    pause = paused(one, "go", world=world)
    assert [message.text for message in pause.asked] == ["go"]
    response = world.run(lambda: one.plan(pause, decisions=True))
    assert (response.text, ran.all) == ("Done.", [("pay", 5)])
    told = [message.text for message in till.model.asked[-1].messages if message.role == "user"]
    assert told == ["go", "That will not do: it did not pass\nAnswer again."]
    assert [each.call.name for each in response.tool_runs] == [*(["hand_off_to_till"] if hands else []), "pay"]


@pytest.mark.parametrize("hands", [True, False])
def test_a_check_is_given_what_was_asked_and_not_what_was_done_since(hands: bool) -> None:
    inner = approve(front() if hands else desk((PAY, "Done."), Ran()), tools="pay")
    seen: list[Any] = []
    guard(inner, before=seen.append)(paused(inner, "go"), decisions=True)
    assert [message.text for message in seen[0]] == ["go"]


# -- misuse --

MODEL = openai_compatible("any", base_url="http://localhost", api_key="")


async def soon(call: ToolCall) -> bool:
    return True


def front(*, late: bool = False) -> Any:
    """An agent that hands over to one that pays."""
    till = agent(Speaker((PAY, PAY, "Paid.")), name="till", tools=[Ran().pay])
    hand = handoff(lambda: till, name="till") if late else handoff(till)
    return agent(Speaker((calling(("hand_off_to_till", {"reason": "?"})),)), name="front", tools=[Ran().look, hand])


def whole() -> Any:
    """A composition of ours alone, in which an agent looks, hands over, and asks another, who pays."""
    asks = as_tool(desk((PAY, "Done."), Ran()), name="desk")
    one = agent(MODEL, name="one", tools=[Ran().look, handoff(front(), name="till"), asks])
    routed = route(lambda prompt: "a", {"a": insist(one, bool)}, default=fallback(placed(one, "two")))
    return pipe(guard(deadline(routed, 9), before=bool), parallel({"b": remembering(one, in_memory())}))


def test_a_name_is_looked_for_wherever_tools_can_be_seen() -> None:
    for name in ("look", "pay", "desk", "hand_off_to_till"):
        assert approve(whole(), bool, tools=name).unseen == frozenset()
    assert approve(front(), tools="pay").unseen == frozenset()


def test_what_is_hidden_in_functions_may_have_any_name() -> None:
    def asks(prompt: str) -> str:
        return "asked"

    hidden: list[Any] = [asks, pipe(whole(), asks), agent(MODEL, tools=[handoff(asks)]), partial(asks), Own()]
    for one in hidden:
        assert approve(one, bool, tools=["pay", "fly"]).unseen >= {"fly"}
    assert approve(asks, bool, tools="fly")("go") == "asked"
    with pytest.raises(Misuse, match="of 'fly'"):
        approve(partial(whole()), bool, tools="fly")


def test_who_is_made_late_is_looked_through_before_the_first_call() -> None:
    assert approve(front(late=True), lambda call: False, tools="pay")("go").text == "Paid."
    with pytest.raises(ApprovalNeeded):
        approve(front(late=True), tools="pay")("go")

    def fails() -> Any:
        raise LookupError("not there yet")

    lost = agent(Speaker(("I stay.",)), name="lost", tools=[handoff(fails, name="late")])
    assert approve(lost, tools="pay")("go").text == "I stay."


def test_a_choice_that_is_made_later_is_none() -> None:
    ran = Ran()
    one = desk((PAY, "Done."), ran)
    later: Any = partial(lambda call: soon(call))
    for waiting in (approve(one, tools=later), approve(one, bool, tools=later)):
        with pytest.raises(Misuse, match="it is no async function"):
            waiting("go")
    assert ran.all == []


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: approve(MODEL), "takes agents, not models"),
        (lambda: approve(pipe(spoken, spoken)), "only what agent.* makes can go on later, not Pipe"),
        (lambda: approve(agent(MODEL), tools=5), "tools= names the tools that wait"),  # type: ignore[call-overload]  # tested
        (lambda: approve(agent(MODEL, tools=[Ran().pay]), tools=["pai"]), "has no such tool; it has pay"),
        (lambda: approve(agent(MODEL, tools=[Ran().pay]), bool, tools=["pai"]), "has no such tool; it has pay"),
        (
            lambda: approve(whole(), bool, tools=["pay", "pai"]),
            r"of 'pai', .*; it has look, hand_off_to_till, desk, pay",
        ),
        (lambda: approve(front(), tools=["pay", "pai"]), "of 'pai', and front has no such tool; it has .*pay"),
        (lambda: approve(front(late=True), tools=["pay", "pai"])("go"), "of 'pai', and front has no such tool"),
        (lambda: approve(pipe(front(late=True)), bool, tools=["pai"])("go"), "of 'pai', .*call.name == 'pai' is asked"),
        (lambda: approve(agent(MODEL), tools=[]), "names the tools that wait, at least one"),
        (lambda: approve(agent(MODEL), tools=[3]), "names the tools that wait, at least one"),  # type: ignore[list-item]  # tested
        (lambda: approve(agent(MODEL), tools=soon), "it is no async function"),  # type: ignore[arg-type]  # tested
        (lambda: approve(agent(MODEL), secret=""), "secret= is empty, so that it protects nothing"),
        (lambda: approve(agent(MODEL), secret=Secret(" ")), "secret= is empty, so that it protects nothing"),
        (lambda: approve(agent(MODEL), secret=3), "secret= is a string, or a Secret, not int"),  # type: ignore[call-overload]  # tested
        (lambda: approve(agent(MODEL), "yes"), "takes a function of a ToolCall"),  # type: ignore[call-overload]  # tested
        (lambda: approve(agent(MODEL), str, secret="a"), "secret= is for"),  # type: ignore[call-overload]  # tested
        (lambda: approve(agent(MODEL))("go", decisions=True), "decisions= goes with a Paused"),
    ],
)
def test_what_cannot_work_is_refused(make: Any, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        make()


def test_scripts_and_names_go_through() -> None:
    one = approve(agent(MODEL, name="desk"), lambda call: True)
    assert one.__name__ == approve(one.agent).__name__ == "desk"
    with scripted("Hello."):
        assert one("Hi").text == "Hello."


@pytest.mark.anyio
async def test_a_person_is_asked_by_a_coroutine_of_this_loop() -> None:
    here = anyio.Event()

    async def person(call: ToolCall) -> bool:
        here.set()
        return True

    one = approve(desk((PAY, "Done."), Ran()), person)
    with pytest.raises(Misuse, match=r"is async, and what is called like this blocks .* `await aio.run"):
        one("go")
    assert not here.is_set()
    response = await aio.run(one, "go")
    assert (response.text, here.is_set()) == ("Done.", True)

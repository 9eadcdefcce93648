"""Agents one after the other and side by side: what is handed on, what is told, what fails."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from threading import Event as Gate
from threading import Lock
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit import Image, Response, StepStarted, Text, ToolCall, Usage, aio, assistant, complete, run, stream, user
from arshai_kit.agents import Agent, agent, as_tool, guard, insist, parallel, pipe, placed, route
from arshai_kit.agents.joining import in_place
from arshai_kit.codec import from_json, to_json
from arshai_kit.effects import Call
from arshai_kit.errors import ArshaiError, Misuse, OverBudget, ServerFailed
from arshai_kit.models import thread
from arshai_kit.resilience import fallback
from arshai_kit.testing import recorded, replayed, scripted
from tests.agents.toys import PROMPT, Echo, ended, events_of, last
from tests.core.worlds import World, everywhere, listening

FEW = settings(settings.get_profile("few"))
MODEL = Echo()


def upper(text: str) -> str:
    return text.upper()


def upper_of(text: str) -> Any:
    return (yield from Call(upper, text))


def paths(events: list[Any]) -> list[str]:
    return list(dict.fromkeys([event.path for event in events if event.path]))


# -- pipe --


@everywhere
def test_text_is_handed_on(world: World) -> None:
    async def louder(text: str) -> str:
        return f"{text}!"

    response = world.run(lambda: pipe(str.strip, upper, louder).plan("  ho "))
    assert (response.text, len(response.messages)) == ("HO!", 3)


def test_the_first_of_a_pipe_is_given_all_that_is_passed() -> None:
    def both(prompt: str, *others: str, key: str) -> str:
        return " ".join([prompt, *others, key])

    assert pipe(both, upper)("a", "b", key="c").text == "A B C"


def test_what_is_no_text_is_handed_on_as_json() -> None:
    assert pipe(lambda _: {"a": [1, None]}, upper)("?").text == '{"A":[1,NULL]}'
    assert pipe(lambda _: Response((assistant(),), output=[1]), upper)("?").text == "[1]"
    assert pipe(lambda _: "", upper)("?").text == ""
    assert pipe(str.strip, int)(" 3 ").output == 3


SILENT = Response((assistant(ToolCall("c1", "look")),), "tool_calls")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "gave NoneType"),
        (object(), "gave object"),
        (SILENT, r"gave a Response without text \(it ended with 'tool_calls'\)"),
    ],
    ids=["nothing", "object", "response"],
)
@everywhere
def test_what_the_next_one_cannot_take_is_blamed_on_the_step_that_gave_it(value: Any, kind: str, world: World) -> None:
    def look(_: str) -> Any:
        return value

    broken = pipe(lambda text: text, look, upper)
    with pytest.raises(
        Misuse, match=rf"^step 2, 'look', {kind}.*step 3, 'upper', takes text; return a string"
    ) as caught:
        world.run(lambda: broken.plan("Hi"))
    assert caught.value.partial.messages[0].text == "Hi"


@everywhere
def test_an_agent_that_was_meant_to_be_called_is_no_prompt(world: World) -> None:
    billing = agent(MODEL, name="billing")
    why = r"not 'billing' itself, which is an agent: call it, billing\(…\), or let pipe\(billing, …\)"
    asking: list[Callable[[], Any]] = [
        lambda: complete.plan(MODEL, billing),  # type: ignore[arg-type]  # that is the mistake
        lambda: stream.plan(MODEL, billing),  # type: ignore[arg-type]
        lambda: complete.plan(MODEL, ("Hi", billing)),  # type: ignore[arg-type]
        lambda: billing.plan(billing),  # type: ignore[arg-type]
        lambda: pipe(upper, upper).plan(billing),
        lambda: parallel(upper, upper).plan(billing),
    ]
    for make in asking:
        with pytest.raises(Misuse, match=why):
            world.run(make)
    for plan in (billing.plan("Hi"), upper_of("Hi")):
        with pytest.raises(Misuse, match="not a plan, which has still to be run"):
            world.run(lambda plan=plan: billing.plan(plan))  # type: ignore[misc]  # that is the mistake
    with pytest.raises(Misuse, match="not a stream: a generator tells it on by `yield from"):
        world.run(lambda: billing.plan(stream(MODEL, "Hi")))  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="not 'echo' itself, which is a model"):
        world.run(lambda: billing.plan(MODEL))  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="not 'upper' itself"):
        thread(upper)  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="not type; user"):
        thread(Agent)  # type: ignore[arg-type]


@everywhere
def test_an_agent_that_was_given_where_its_answer_was_meant_becomes_no_text(world: World) -> None:
    secret = agent(MODEL, name="billing", system="what nobody is to read")

    async def later(prompt: Any) -> Any:
        return [secret]

    composed: list[Any] = [
        pipe(lambda _: secret),
        pipe(upper, lambda _: secret),
        pipe(upper, lambda _: secret, upper),
        parallel(lambda _: secret),
        parallel({"a": later}),
        route(lambda _: "a", {"a": lambda _: secret}),
        insist(lambda _: {"of": secret}, lambda _: ""),
        guard(lambda _: pipe(secret), after=lambda _: ""),
    ]
    for each in composed:
        with pytest.raises(Misuse, match=r"gave '\w+' itself, which is an agent: call it, \w+\(…\)") as caught:
            world.run(lambda each=each: each.plan("Hi"))  # type: ignore[misc]
        assert "nobody is to read" not in repr((caught.value, caught.value.partial))
    with pytest.raises(Misuse, match=r"^step 2, '2', gave 'billing'") as blamed:
        world.run(lambda: composed[2].plan("Hi"))
    assert blamed.value.partial.text == "HI"
    with pytest.raises(Misuse, match="gave 'echo' itself, which is a model"):
        world.run(lambda: parallel(lambda _: MODEL).plan("Hi"))
    with pytest.raises(Misuse, match="gave a stream: a generator"):
        world.run(lambda: pipe(lambda _: stream(MODEL, "Hi")).plan("Hi"))


def test_values_that_look_like_agents_are_values() -> None:
    @attrs.frozen
    class Trip:
        plan: str
        ask: int = 3

    assert pipe(lambda _: Trip("by train"))("?").output == Trip("by train")
    assert pipe(lambda _: Trip)("?").output is Trip


@everywhere
def test_what_a_pipe_had_so_far_is_on_its_error(world: World) -> None:
    def breaks(_: str) -> str:
        raise ServerFailed("down", partial=Response((assistant("Half"),), "error", usage=Usage(2, 3), cost=Decimal(1)))

    first = agent(MODEL)
    kind, why, partial = ended(world, pipe(first, breaks, upper))
    assert (kind, why) == (ServerFailed, "down")
    assert [message.text for message in partial.messages] == [f"echo heard {PROMPT}", "Half"]
    assert (partial.usage, partial.finish_reason) == (Usage(14, 28) + Usage(2, 3), "error")

    def breaks_at_once(_: str) -> str:
        raise ServerFailed("down")

    assert [message.text for message in ended(world, pipe(first, breaks_at_once))[2].messages] == [
        f"echo heard {PROMPT}"
    ]
    assert ended(world, pipe(breaks_at_once, first))[2] is None

    def has_its_own(_: str) -> str:
        raise ServerFailed("down", partial=("vectors", 3))

    assert ended(world, pipe(first, has_its_own))[2] == ("vectors", 3)


@listening
def test_each_of_a_pipe_speaks_under_its_own_name(world: World) -> None:
    named, unnamed = agent(MODEL, name="ann"), agent(MODEL)
    events = events_of(world, pipe(named, unnamed, upper, lambda text: text, placed(parallel(named, named), "both")))
    assert paths(events) == ["ann", "2", "both", "both/ann#1", "both/ann#2"]


@listening
def test_those_of_one_name_are_told_apart_by_their_places(world: World) -> None:
    voter = agent(Echo(), name="voter")
    for votes in (parallel(voter, upper, voter), pipe(voter, upper, voter)):
        assert set(paths(events_of(world, votes))) == {"voter#1", "voter#3"}
    wrapped = guard(voter, after=lambda _: "")
    assert set(paths(events_of(world, parallel(wrapped, voter)))) == {"voter#1", "voter#1/voter", "voter#2"}
    assert in_place([upper, len, upper])[1].name == "len"


def test_pipe_of_nothing_hands_on_what_it_is_given() -> None:
    nothing = pipe()("Hi")
    assert (nothing.text, nothing.usage, nothing.cost) == ("Hi", Usage(), Decimal(0))
    assert pipe()(nothing) is nothing
    assert pipe()((user("a"), user("b"))).text == "b"
    assert pipe()(()).text == ""


# -- parallel --


@FEW
@given(st.permutations([0, 1, 2]), st.booleans())
def test_the_order_is_that_of_the_agents_whatever_finishes_first(order: list[int], later: bool) -> None:
    """Each waits for the one before it in *order*."""
    gates = {place: Gate() for place in order}

    def made(place: int) -> Any:
        before = order[order.index(place) - 1] if order.index(place) else None

        def waits(_: str) -> str:
            assert before is None or gates[before].wait(30)
            gates[place].set()
            return str(place)

        def plan(prompt: str) -> Any:
            return (yield from Call(waits, prompt))

        waits.plan = plan  # type: ignore[attr-defined]  # a function of ours has one
        return waits if later else lambda prompt: waits(prompt)

    response = parallel(*[made(place) for place in range(3)])("Go")
    assert [each.text for each in response.output] == ["0", "1", "2"]
    assert response.text == "0\n\n1\n\n2"


@pytest.mark.parametrize("limit", [1, 2])
@everywhere
def test_no_more_than_the_limit_are_under_way(limit: int, world: World) -> None:
    busy: list[int] = [0]
    most: list[int] = []
    lock = Lock()

    def works(_: str) -> str:
        with lock:
            busy[0] += 1
            most.append(busy[0])
        with lock:
            busy[0] -= 1
        return "done"

    world.run(lambda: parallel(*[works] * 6, limit=limit).plan("Go"))
    assert (len(most), max(most) <= limit) == (6, True)


@everywhere
def test_parallel_within_a_loop_is_run_anew(world: World) -> None:
    """Two turns of one plan are two runs of it, though both are in one frame."""
    seen: list[str] = []
    both = parallel(lambda prompt: seen.append(last(prompt)), lambda prompt: "x")

    def twice() -> Any:
        yield from both.plan("one")
        return (yield from both.plan("two"))

    world.run(twice)
    assert seen == ["one", "two"]


def fails(error: type[Exception], words: str) -> Callable[[Any], Any]:
    def failing(_: Any) -> Any:
        raise error(words)

    return failing


@everywhere
def test_the_first_error_in_order_is_raised_and_knows_of_the_others(world: World) -> None:
    good = agent(MODEL, name="good")
    many = {"a": good, "b": fails(ServerFailed, "down"), "c": fails(ZeroDivisionError, "by zero"), "d": upper}
    with pytest.raises(ServerFailed, match="down") as caught:
        world.run(lambda: parallel(many).plan(PROMPT))
    assert caught.value.__notes__ == ["beside it, c failed: ZeroDivisionError: by zero"]
    partial = caught.value.partial
    assert (list(partial.output), partial.finish_reason) == (["a", "d"], "error")
    assert partial.text == f"echo heard {PROMPT}\n\n{PROMPT.upper()}"
    with pytest.raises(ZeroDivisionError) as other:
        world.run(lambda: parallel(many["c"], many["b"]).plan(PROMPT))
    assert other.value.__notes__ == ["beside it, failing#2 failed: ServerFailed: down"]


def test_places_stay_where_one_of_a_tuple_fails() -> None:
    with pytest.raises(ServerFailed) as caught:
        parallel(fails(ServerFailed, "down"), upper)("Hi")
    assert [each and each.text for each in caught.value.partial.output] == [None, "HI"]
    with pytest.raises(ServerFailed) as caught:
        parallel(fails(ServerFailed, "down"), fails(ServerFailed, "too"))("Hi")
    assert caught.value.partial is None


def test_an_error_that_is_meant_for_the_user_hides_behind_no_other() -> None:
    with pytest.raises(OverBudget, match="spent") as caught:
        parallel(fails(ServerFailed, "down"), fails(OverBudget, "spent"))("Hi")
    assert "ServerFailed: down" in str(caught.value.__notes__)


@everywhere
def test_the_final_messages_are_one_and_calls_keep_their_place(world: World) -> None:
    """What follows a call has to be its result, so a message with calls stays where it was."""
    picture = Image(b"x", media_type="image/png")
    drawn = Response((assistant("Look:", picture),), "length", "MAX", model="a", provider="p")
    asked = Response((assistant("Wait.", ToolCall("c1", "look")),), "tool_calls", model="a", provider="q")
    response = world.run(lambda: parallel(lambda _: drawn, lambda _: asked).plan("Hi"))
    assert [message.tool_calls for message in response.messages] == [asked.tool_calls, ()]
    assert response.message.parts == (Text("Look:"), picture, Text("\n\n"), Text("Wait."))
    assert (response.finish_reason, response.raw_finish_reason) == ("length", "MAX")
    assert (response.model, response.provider) == ("a", "p|q")


def test_what_can_be_read_once_is_read_for_all() -> None:
    def count(prompt: Any) -> str:
        return str(len(list(prompt)))

    assert parallel(count, count)(iter(["a", "b"])).text == "2\n\n2"
    assert pipe(count, upper)(iter(["a"])).text == "1"


@listening
def test_each_side_is_told_by_its_name(world: World) -> None:
    events = events_of(world, parallel({"x": agent(MODEL, name="ann"), "y": upper}))
    assert paths(events) == ["x"]  # what a function returns is told at the end
    assert {event.name for event in events if isinstance(event, StepStarted)} == {"", "x", "y", "echo"}


# -- mistakes --


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: pipe("Hi"), r"pipe\(\), at place 1, takes agents, functions from a prompt to an answer, not str"),
        (lambda: pipe(upper, None), "at place 2"),
        (lambda: pipe(MODEL), r"takes agents, not models: agent\(model\) makes one of 'echo'"),
        (lambda: pipe(Agent), "not the class Agent itself"),
        (lambda: parallel(), "at least one"),
        (lambda: parallel({}), r"parallel\(\) takes a mapping of agents by name, at least one"),
        (lambda: parallel({1: upper}), "a name is a string, not 1"),
        (lambda: parallel({"": upper}), "a name is a string, not ''"),
        (lambda: parallel({"a": MODEL}), "for 'a', takes agents, not models"),
        (lambda: parallel({"a": upper}, upper), "not dict"),
        (lambda: parallel(upper, limit=0), "limit= is a whole number from 1"),
        (lambda: attrs.evolve(parallel(upper), limit=0), "limit= is a whole number from 1"),
        (lambda: parallel(upper, limit=True), "limit= is a whole number from 1"),
        (lambda: parallel(3), "not int"),
    ],
)
def test_what_cannot_be_combined_is_refused_at_once(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(Misuse, match=why):
        make()


# -- values --


def test_combinations_are_values() -> None:
    desk = pipe(parallel({"a": upper, "b": agent(MODEL, name="b")}), upper)
    assert desk == pipe(parallel({"a": upper, "b": desk.agents[0].agents[1]}), upper)
    assert hash(desk) == hash(pipe(*desk.agents))
    assert pickle.loads(pickle.dumps(pipe(upper, parallel(upper))))("hi").text == "HI"
    assert "steps" not in repr(desk)
    assert (desk.__name__, desk.agents[0].__name__) == ("a & b > upper", "a & b")


@pytest.mark.parametrize("made", [parallel(upper, len), parallel({"a": upper, "b": parallel(len, upper)})])
def test_the_answers_of_all_come_back_from_json(made: Any) -> None:
    response = made("hi")
    assert from_json(to_json(response)) == response
    assert from_json(to_json(Response((), output=response))).output == response
    told = to_json(response).replace('"v":1,"type":"Response"', '"v":2,"type":"Response"').replace('"v":2', '"v":1', 1)
    with pytest.raises(Misuse, match="this is of format 2"):
        from_json(told)


def test_a_combination_is_an_agent_for_all_that_takes_one() -> None:
    desk = pipe(upper, agent(MODEL, name="ann"))
    with scripted("Good."):
        assert run(desk, "hi").text == "Good."
    with scripted((ToolCall("c1", "desk", {"prompt": "go"}),), "inside", "outside") as script:
        boss = agent(MODEL, tools=[as_tool(desk, name="desk", description="Ask the desk.")])
        response = boss("Start")
    assert (response.text, response.tool_runs[0].result) == ("outside", "inside")
    assert script.asked[1].messages[-1].text == "GO"


@everywhere
def test_a_fallback_counts_what_those_before_have_used(world: World) -> None:
    ann, bob = agent(Echo("ann")), agent(Echo("bob"))
    checked = fallback(guard(ann, after=lambda _: "no"), fails(ServerFailed, "down"), bob, on=ArshaiError)
    alone = ended(world, bob)
    response = ended(world, checked)
    assert (response.messages, response.usage) == (alone.messages, alone.usage + ended(world, ann).usage)
    assert response.cost == alone.cost * 2
    unknown = fallback(insist(lambda _: "Hm.", lambda _: "no", times=0), bob, on=ArshaiError)
    assert (ended(world, unknown).cost, ended(world, unknown).usage.reported) == (None, False)


@everywhere
def test_a_recording_of_a_composition_is_replayed_without_its_functions(world: World, tmp_path: Path) -> None:
    calls: list[str] = []

    def noted(prompt: str) -> str:
        calls.append(prompt)
        return f"{prompt}!"

    async def later(prompt: str) -> str:
        calls.append(prompt)
        return f"{prompt}?"

    desk = pipe(parallel(noted, later), route(noted, {"a": later}, default=insist(later, lambda reply: True)))
    with recorded(tmp_path / "desk.jsonl"):
        first = ended(world, desk, "Hi")
    made = len(calls)
    with replayed(tmp_path / "desk.jsonl"):
        assert ended(world, desk, "Hi") == first
    assert (made, len(calls), first.text) == (4, 4, "Hi!\n\nHi??")


def test_errors_of_ours_are_what_partial_is_for() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        pipe(agent(MODEL), fails(ZeroDivisionError, "no"))("Hi")
    assert not isinstance(caught.value, ArshaiError)
    assert not hasattr(caught.value, "partial")


@everywhere
def test_an_error_of_others_is_told_what_had_been_used_and_no_words(world: World) -> None:
    """It may be raised for somebody else again, so it holds nothing that was said, and not ever more."""
    paid = agent(MODEL, name="paid")  # of "Hi": 3 tokens in, 6 out
    shared = ZeroDivisionError("no")

    def bad(prompt: Any) -> str:
        raise shared

    spent = "9 tokens had been used ($0.003)"
    for desk, note in (
        (pipe(paid, bad, paid), f"before step 2, 'bad' failed, {spent}"),
        (pipe(paid, lambda text: text, bad), "before step 3, 'bad' failed, 9 tokens, or more, had been used"),
        (parallel(bad, paid), f"before one of them failed, {spent}"),
        (route(pipe(lambda _: "Hi", placed(paid, "chooser"), lambda _: "bad"), {"bad": bad}), "or more, had been used"),
        (insist(_first(paid, bad), lambda reply: False), f"before first failed, {spent}"),
        (guard(paid, after=bad), f"before paid failed, {spent}"),
    ):
        shared.__notes__ = []
        for _ in range(2):
            with pytest.raises(ZeroDivisionError) as caught:
                world.run(lambda made=desk: made.plan("Hi"))  # type: ignore[misc]
        assert caught.value is shared
        assert len(shared.__notes__) == 1
        assert note in shared.__notes__[0]
        assert not hasattr(shared, "partial")
    shared.__notes__ = [str(number) for number in range(20)]
    with pytest.raises(ZeroDivisionError):
        pipe(paid, bad)("Hi")
    assert len(shared.__notes__) == 20


def _first(one: Any, *others: Any) -> Any:
    """An agent that is *one* when it is first called, then another."""
    left = [one, *others]

    def first(prompt: Any) -> Any:
        return run(left.pop(0) if len(left) > 1 else left[0], prompt)

    return first


def test_a_step_that_cannot_take_an_empty_text_is_told_who_gave_it() -> None:
    with pytest.raises(Misuse, match="the prompt is empty") as caught:
        pipe(lambda text: " ", agent(MODEL, name="desk"))("Hi")
    assert caught.value.__notes__ == ["step 1, '1', gave an empty text to step 2, 'desk'"]


# -- event loops --


def _insisted(one: Any) -> Any:
    return insist(partial(one), upper)


@pytest.mark.anyio
async def test_a_call_never_blocks_the_event_loop_that_it_may_have_to_wait_for(anyio_backend: str) -> None:
    async def later(text: str) -> str:
        return f"{text}!"

    inner: list[Any] = [
        pipe(upper, later),
        parallel({"a": upper, "b": later}),
        route(later, {"a": upper}),
        route(upper, {"A": upper}, default=later),
        insist(upper, later),
        guard(upper, before=[upper, later]),
        guard(later, after=upper),
        placed(later, "a"),
        fallback(upper, later),
        fallback(upper, pipe(upper, later)),
    ]
    for each in [
        *inner,
        *[pipe(upper, parallel(one)) for one in inner],
        *[insist(partial(one), upper) for one in inner],
    ]:
        with pytest.raises(Misuse, match=r"later is async, .*`await aio.run\(wrapped, prompt\)`"):
            each("a")
    assert (await aio.run(inner[0], "a")).text == "A!"
    assert pipe(upper, route(upper, {"A": upper}))("a").text == "A", "what is not async may be called anywhere"

"""An agent is a value that answers as `run_tools` does, under a name."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Literal

import pytest

from arshai_kit import StepStarted, TextDelta, ToolCall, aio, evolve, openai_compatible, run, run_tools
from arshai_kit.agents import Agent, agent, as_tool, pipe, placed
from arshai_kit.errors import BadAnswer, BadSchema, Exhausted, Misuse
from arshai_kit.resilience import batch, deadline
from arshai_kit.testing import scripted
from tests.agents.toys import Echo, events_of
from tests.core.worlds import World, everywhere, listening

MODEL = openai_compatible("wise", base_url="http://localhost", api_key="")


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@everywhere
def test_it_answers_as_run_tools_does(world: World) -> None:
    script = (ToolCall("c1", "add", {"a": 1, "b": 2}), '{"value": "three"}')
    kind = Literal["three", "four"]
    with scripted(*script) as one:
        made = world.run(lambda: agent(MODEL, system="Count.", tools=[add], output=kind).plan("1+2?"))
    with scripted(*script) as two:
        assert made == world.run(lambda: run_tools.plan(MODEL, "1+2?", [add], system="Count.", output=kind))
    assert one.asked == two.asked
    assert (made.output, made.tool_runs[0].result) == ("three", "3")


LIMITS: list[tuple[dict[str, Any], str]] = [
    ({"max_rounds": 1}, "max_rounds"),
    ({"max_tool_calls": 0}, "max_tool_calls"),
    ({"max_total_tokens": 0}, "max_total_tokens"),
    ({"max_cost": 0}, "max_cost"),
]


@pytest.mark.parametrize(("limit", "bound"), LIMITS, ids=[bound for _, bound in LIMITS])
def test_its_limits_are_those_of_run_tools(limit: dict[str, Any], bound: str) -> None:
    with scripted(ToolCall("c1", "add", {"a": 1, "b": 2})), pytest.raises(Exhausted) as caught:
        agent(MODEL, tools=[add], **limit)("1+2?")
    assert caught.value.bound == bound


@listening
def test_it_speaks_under_its_name(world: World) -> None:
    with scripted("Hi.", "Ho."):
        named = events_of(world, agent(MODEL, name="ann"))
        unnamed = events_of(world, agent(MODEL))
    assert [event for event in named if isinstance(event, TextDelta)] == [TextDelta("Hi.", path="ann")]
    assert [event for event in unnamed if isinstance(event, TextDelta)] == [TextDelta("Ho.")]
    assert named[0] == StepStarted("agent", "ann")


@listening
def test_a_place_gives_any_agent_a_name(world: World) -> None:
    def tells(_: str) -> Any:
        yield "Hi."

    ann = agent(MODEL, name="ann")
    assert placed(ann, "bob") == agent(MODEL, name="bob")
    assert placed(placed(tells, "a"), "b") == placed(tells, "b")
    events = events_of(world, placed(pipe(tells, tells), "desk"))
    assert [event.path for event in events if isinstance(event, TextDelta)] == ["desk/tells#1", "desk/tells#2"]
    assert [placed(each, "x").__name__ for each in (ann, tells, deadline(ann, 3))] == ["x"] * 3
    assert placed(str.upper, "up")("hi") == "HI"


def test_it_is_a_value() -> None:
    ann = agent(Echo(), name="ann", tools=[add])
    assert evolve(ann, name="bob") == agent(ann.model, name="bob", tools=[add]) != ann
    assert len({ann, evolve(ann, name="bob"), evolve(ann, name="ann")}) == 2
    assert (ann.__name__, agent(Echo()).__name__) == ("ann", "echo")
    assert pickle.loads(pickle.dumps(agent(MODEL, system="s", tools=[add]))).system == "s"
    assert evolve(agent(MODEL), temperature=0).model.temperature == 0


async def test_it_is_called_from_either_side(anyio_backend: str) -> None:
    ann = agent(Echo(), name="ann")
    assert await aio.run(ann, "Hi") == run(ann, "Hi")
    async with aio.stream(ann, "Hi") as events:
        assert "".join([event.text async for event in events if isinstance(event, TextDelta)]) == "echo heard Hi"


def test_it_is_an_agent_for_all_that_takes_one() -> None:
    outcomes = batch(agent(Echo()), ["a", "", "b"])
    assert [outcome.value and outcome.value.text for outcome in outcomes] == ["echo heard a", None, "echo heard b"]
    assert isinstance(outcomes[1].error, Misuse)


@everywhere
def test_an_answer_of_another_type_is_an_error(world: World) -> None:
    with scripted("three"), pytest.raises(BadAnswer):
        world.run(lambda: agent(MODEL, output=int).plan("1+2?"))


@pytest.mark.parametrize(
    ("make", "kind", "why"),
    [
        (lambda: agent("gpt"), Misuse, r"agent\(\) takes a model, as openai_compatible\(…\) makes one, not str"),
        (lambda: agent(agent(MODEL)), Misuse, "not Agent"),
        (lambda: agent(MODEL, name=3), Misuse, "name= is text, not int"),  # type: ignore[arg-type]
        (lambda: agent(MODEL, system=add), Misuse, "system= is text, not function"),  # type: ignore[arg-type]
        (lambda: placed("ann", "desk"), Misuse, r"placed\(\) takes an agent and a name, not str and str"),
        (lambda: placed(add, 3), Misuse, "not function and int"),  # type: ignore[arg-type]
        (lambda: agent(MODEL, tools=add), Misuse, "tools= takes a list of functions"),  # type: ignore[arg-type]
        (lambda: agent(MODEL, tools=[add, add]), Misuse, "two tools are called 'add'"),
        (lambda: agent(MODEL, tools=[lambda x: x]), BadSchema, "no name that a model could ask by"),
        (lambda: agent(MODEL, tools=[agent(MODEL, name="ann")]), Misuse, r"as_tool\(ann\)"),
        (lambda: agent(MODEL, tools=[pipe(add)]), Misuse, r"as_tool\("),
        (lambda: agent(MODEL)(""), Misuse, "the prompt is empty"),
        (lambda: agent(MODEL, max_rounds=0)("?"), Misuse, "max_rounds="),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], Any], kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=why):
        make()


def test_a_tool_of_an_agent_is_described_once() -> None:
    (tool,) = agent(MODEL, tools=[as_tool(agent(Echo(), name="ann"))]).tools
    assert isinstance(agent(MODEL, tools=[tool]).tools[0].function.agent, Agent)  # type: ignore[union-attr]  # as_tool's

"""No call stays without its result, in any history; and a run ends at its bound of tokens or money."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import (
    Finished,
    Response,
    ToolCall,
    Usage,
    assistant,
    openai_compatible,
    run_tools,
    stream,
    tool_result,
    user,
)
from arshai_kit.completion import run
from arshai_kit.errors import Exhausted, Misuse
from arshai_kit.records import Message, Text, ToolResult, close_open_calls
from arshai_kit.testing import scripted, strategies
from tests.core.worlds import World, everywhere

MODEL = openai_compatible("m", base_url="http://localhost:1/v1", api_key="")
IDS = st.sampled_from(["a", "b", "c", ""])
CALLS = st.builds(ToolCall, IDS, st.sampled_from(["add", "look"]))
RESULTS = st.builds(ToolResult, IDS, st.sampled_from(["add", "look"]), st.just("3"))
WILD = st.lists(
    st.builds(
        lambda role, parts: Message(role, tuple(parts)),
        st.sampled_from(["user", "assistant", "tool"]),
        st.lists(CALLS | RESULTS | st.builds(Text, st.just("words")), max_size=3),
    ),
    max_size=7,
)
"""Any history: results before their calls, ids twice, assistants in a row, calls that a user makes."""


def key(part: Any) -> Any:
    return part.id or ("", part.name)


def unanswered(messages: tuple[Message, ...]) -> int:
    """How many calls have no result after them, counted in another way than the code does."""
    left: dict[Any, int] = {}
    for part in (part for message in messages for part in message.parts):
        if isinstance(part, ToolCall):
            left[key(part)] = left.get(key(part), 0) + 1
        elif isinstance(part, ToolResult) and left.get(key(part)):
            left[key(part)] -= 1
    return sum(left.values())


@given(WILD)
def test_every_call_of_any_history_gets_a_result(said: list[Message]) -> None:
    closed = close_open_calls(said, "gone")
    assert unanswered(closed) == 0
    assert len(closed) - len(said) == unanswered(tuple(said))
    assert close_open_calls(closed) == closed
    added = [place for place, message in enumerate(closed) if not any(message is each for each in said)]
    assert [message for place, message in enumerate(closed) if place not in added] == said  # nothing else is touched
    for place in added:
        (result,) = closed[place].parts
        assert isinstance(result, ToolResult)
        assert (result.content, result.is_error) == ("gone", True)
        caller = next(closed[before] for before in range(place, -1, -1) if before not in added)
        assert key(result) in [key(call) for call in caller.tool_calls]  # right after who called


@given(strategies.conversations())
def test_what_is_whole_stays_as_it_is(said: tuple[Message, ...]) -> None:
    assert close_open_calls(said) is said


@given(strategies.conversations(), st.data())
def test_a_conversation_that_loses_results_is_whole_again(said: tuple[Message, ...], data: st.DataObject) -> None:
    kept = [message for message in said if message.role != "tool" or data.draw(st.booleans())]
    closed = close_open_calls(kept)
    assert len(closed) == len(said)
    assert {part.id for m in closed for part in m.parts if isinstance(part, ToolResult)} == {
        part.id for m in said for part in m.parts if isinstance(part, ToolResult)
    }


def test_a_result_answers_the_last_call_of_its_id() -> None:
    twice = (assistant(ToolCall("x", "add")), assistant(ToolCall("x", "add")), tool_result("x", "3"))
    assert [message.role for message in close_open_calls(twice)] == ["assistant", "tool", "assistant", "tool"]
    assert close_open_calls([]) == ()


# -- bounds by tokens and money --


def asking(number: int, usage: Usage | None = None, cost: str | None = "0.10") -> Response:
    call = ToolCall(f"c{number}", "add", {"a": number})
    spent = Usage(70, 30) if usage is None else usage
    return Response((assistant(call),), "tool_calls", None, spent, None if cost is None else Decimal(cost))


def add(a: int) -> int:
    """Add one."""
    return a + 1


@everywhere
@pytest.mark.parametrize(
    ("limits", "rounds", "bound"),
    [
        ({"max_total_tokens": 150}, 2, "max_total_tokens"),
        ({"max_total_tokens": 0}, 1, "max_total_tokens"),
        ({"max_cost": "0.30"}, 3, "max_cost"),
        ({"max_cost": 0.25, "max_total_tokens": 1000}, 3, "max_cost"),
        ({"max_rounds": 2}, 2, "max_rounds"),
        ({"max_tool_calls": 1}, 2, "max_tool_calls"),
    ],
)
def test_a_run_says_which_bound_ended_it(world: World, limits: dict[str, Any], rounds: int, bound: str) -> None:
    with scripted(*map(asking, range(rounds))) as script, pytest.raises(Exhausted) as out:
        world.run(lambda: run_tools.plan(MODEL, "Go on.", [add], **limits))
    assert len(script.asked) == rounds
    assert out.value.bound == bound
    partial = out.value.partial
    assert partial.usage == Usage(70 * rounds, 30 * rounds)
    assert partial.cost == Decimal("0.10") * rounds
    assert close_open_calls(partial.messages) == partial.messages
    with scripted("Done."):
        assert run_tools(MODEL, ("Go on.", partial), [add]).text == "Done."


@everywhere
def test_what_nobody_knows_does_not_run_on(world: World) -> None:
    with scripted(asking(0, Usage.unknown())), pytest.raises(Exhausted, match="does not say how many") as out:
        world.run(lambda: run_tools.plan(MODEL, "Go on.", [add], max_total_tokens=1000))
    assert out.value.bound == "max_total_tokens"
    assert len(out.value.partial.messages) == 2
    with scripted(asking(0, cost=None)), pytest.raises(Exhausted, match=r"priced\(model") as out:
        world.run(lambda: run_tools.plan(MODEL, "Go on.", [add], max_cost=1))
    assert out.value.bound == "max_cost"


def test_a_final_answer_is_never_refused() -> None:
    last = evolve(asking(0), messages=(assistant("Fine."),), finish_reason="stop")
    with scripted(last, last, last):
        assert run_tools(MODEL, "Go on.", [add], max_total_tokens=1, max_cost=0).text == "Fine."
        *_, done = stream(MODEL, "Go on.", tools=[add], max_total_tokens=1, max_cost="0.01")
        assert isinstance(done, Finished)
        assert done.response.text == "Fine."
        assert run_tools(MODEL, "Go on.", [add], max_cost="Infinity").text == "Fine."


@pytest.mark.parametrize(
    "limits", [{"max_total_tokens": -1}, {"max_cost": -1}, {"max_cost": "much"}, {"max_cost": "NaN"}]
)
def test_what_bounds_nothing_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(Misuse, match="is a number"):
        run_tools(MODEL, "Go on.", [add], **limits)


def test_an_agent_is_told_the_bounds_that_somebody_gave() -> None:
    told: list[dict[str, Any]] = []

    def desk(prompt: Any, **limits: Any) -> str:
        told.append(limits)
        return "Fine."

    list(stream(desk, user("Hello"), max_cost="0.5"))
    run(desk, "Hello")
    assert told == [{"max_cost": "0.5"}, {}]

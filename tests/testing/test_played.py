"""A function plays the model: what it says is what a model would have said, in all worlds."""

from __future__ import annotations

import pickle
from typing import Any, Literal

import pytest
from attrs import frozen

from arshai_kit import Finished, TextDelta, ToolCall, complete, extract, run_tools, stream, user
from arshai_kit.agents import agent, route
from arshai_kit.completion import run
from arshai_kit.errors import Misuse, RateLimited
from arshai_kit.models import Ask, Model
from arshai_kit.records import ToolResult
from arshai_kit.testing import played_by, scripted
from tests.core.worlds import World, everywhere


@frozen
class Person:
    """Somebody."""

    name: str
    age: int


def weather(city: str) -> str:
    """Say what the weather is."""
    return f"rain in {city}"


def forecaster(ask: Ask) -> Any:
    """Looks first, and then tells."""
    (part,) = ask.messages[-1].parts
    if isinstance(part, ToolResult):
        return f"I hear of {part.content}.\n\nTake an umbrella."
    return ToolCall("", "weather", {"city": ask.messages[-1].text})


@everywhere
def test_it_is_asked_as_a_model_is(world: World) -> None:
    desk = agent(played_by(forecaster), tools=[weather])
    response = world.run(lambda: run.plan(desk, "Oslo"))
    assert response.text == "I hear of rain in Oslo.\n\nTake an umbrella."
    assert [each.call.id for each in response.tool_runs] == ["call_1_0"]
    assert (response.model, response.provider) == ("forecaster", "testing")


def test_it_streams_word_by_word_what_it_returns() -> None:
    *told, finished = stream(played_by(forecaster), "Oslo", tools=[weather])
    words = [event.text for event in told if isinstance(event, TextDelta)]
    assert words[:3] == ["I ", "hear ", "of "]
    assert isinstance(finished, Finished)
    assert "".join(words) == finished.response.text
    assert finished.response == run_tools(played_by(forecaster), "Oslo", [weather])


def test_calls_of_a_conversation_have_ids_of_their_own() -> None:
    model = played_by(forecaster)
    first = run_tools(model, "Oslo", [weather])
    second = run_tools(model, (user("Oslo"), first, user("Bergen")), [weather])
    ids = [each.call.id for reply in (first, second) for each in reply.tool_runs]
    assert len(set(ids)) == 2


def test_a_mapping_is_an_answer_of_a_type_here_and_in_scripts() -> None:
    assert extract(played_by(lambda _: {"name": "Ann", "age": 7}), "?", Person) == Person("Ann", 7)
    with scripted({"name": "Ann", "age": 7}):
        assert extract(played_by(forecaster), "?", Person) == Person("Ann", 7)


def test_a_route_may_ask_it() -> None:
    def chooser(ask: Ask) -> dict[str, Any]:
        name: Literal["a", "b"] = "a" if "apple" in ask.messages[-1].text else "b"
        return {"why": "the fruit", "name": name, "confidence": 0.9}

    desk = route(played_by(chooser), {"a": lambda _: "An apple.", "b": lambda _: "A banana."})
    assert [desk(fruit).text for fruit in ("an apple", "a pear")] == ["An apple.", "A banana."]


def test_an_exception_is_raised() -> None:
    with pytest.raises(RateLimited, match="slowly"):
        complete(played_by(lambda _: RateLimited("slowly")), "Hello")


def test_it_is_a_value_and_a_model() -> None:
    model = played_by(forecaster)
    assert isinstance(model, Model)
    assert pickle.loads(pickle.dumps(model)) == model
    assert played_by(lambda ask: "", name="quiet").name == "quiet"
    assert played_by(lambda ask: "").name == "lambda"
    for wrong in ("Hello", Person, model):
        with pytest.raises(Misuse, match="takes a function of the Ask"):
            played_by(wrong)  # type: ignore[arg-type]  # on purpose

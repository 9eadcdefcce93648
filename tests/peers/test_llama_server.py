"""llama.cpp's server for Python as a live peer: a real model, talked to in every world."""

from __future__ import annotations

import pytest
from attrs import frozen

from arshai_kit import (
    Finished,
    PartialOutput,
    TextDelta,
    ToolCall,
    ToolSpec,
    assistant,
    complete,
    openai_compatible,
    request,
    tool_result,
    user,
)
from arshai_kit.errors import ContentTooLong, Exhausted, NotFound, StreamIncomplete
from arshai_kit.models import Endpoint, evolve
from tests.badinput.ways import WAYS, Way, everyway, streaming, ways

pytestmark = [pytest.mark.peers, pytest.mark.needs("llama-server")]

QUESTION = "What is the weather in Paris?"
plain = ways(lambda way: not way.loops)


@pytest.fixture
def model(llama: str) -> Endpoint:
    """The model in the server, as a program makes it."""
    return openai_compatible("smol", base_url=llama, api_key="", temperature=0, max_tokens=60, seed=1)


@pytest.fixture
def calling(model: Endpoint) -> Endpoint:
    """The same, made to call: left to itself, so small a model seldom does."""
    return evolve(model, tool_choice="weather")


@plain
def test_chat(way: Way, model: Endpoint) -> None:
    came = way.ask(model, "What is the capital of France?")
    assert came.error is None
    assert came.response is not None
    assert "Paris" in came.response.text
    assert (came.response.finish_reason, came.response.raw_finish_reason) == ("stop", "stop")
    assert came.response.usage.reported is not way.streams  # its streams do not tell
    if way.streams:
        assert came.told == came.response.text
        assert sum(isinstance(event, TextDelta) for event in came.events) > 3


def test_the_next_turn(model: Endpoint) -> None:
    first = complete(model, "My name is Ann. Say hello.")
    second = complete(model, ("My name is Ann. Say hello.", first, "What is my name?"))
    assert second.text
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens


@plain
def test_a_limit_is_told(way: Way, model: Endpoint) -> None:
    came = way.ask(evolve(model, max_tokens=3), "Tell me a story.")
    assert came.response is not None
    assert came.response.finish_reason == "length"
    assert came.response.text


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


@plain
def test_a_call_is_handed_over_once(way: Way, calling: Endpoint) -> None:
    """The server tells it in two shapes at once."""
    spec = ToolSpec("weather", "Tell the weather of a city.", weather_schema(calling))
    came = way.ask(calling, QUESTION, tools=[spec])
    assert came.response is not None
    (call,) = came.response.tool_calls
    assert (call.name, call.arguments) == ("weather", {"city": "Paris"})
    assert call.id
    assert came.response.finish_reason == "tool_calls"


def weather_schema(model: Endpoint) -> dict[str, object]:
    """The parameters of `weather`."""
    import json

    told: dict[str, object] = json.loads(request(model, "Hi", tools=[weather]).content)["tools"][0]["function"][
        "parameters"
    ]
    return told


def test_a_choice_of_its_own(model: Endpoint) -> None:
    came = WAYS[0].ask(evolve(model, tool_choice="auto"), QUESTION, tools=[weather])
    assert came.response is not None
    assert [call.name for call in came.response.tool_calls] == ["weather"]


@streaming
def test_a_streamed_choice_of_its_own_is_refused_by_the_server(way: Way, model: Endpoint) -> None:
    """It says so in its log alone, and ends the stream without a word: that is no answer."""
    came = way.ask(evolve(model, tool_choice="auto", retry=None), QUESTION, tools=[weather])
    assert type(came.error) is StreamIncomplete


@ways(lambda way: way.loops)
def test_a_tool_runs_once_and_its_result_goes_back(way: Way, calling: Endpoint) -> None:
    """An assistant that only calls is sent with an empty text, as this server wants; it is made to call again."""
    came = way.ask(evolve(calling, retry=None), QUESTION, max_rounds=2)
    assert came.ran[0] == "Paris"
    assert isinstance(came.error, Exhausted)
    assert [each.role for each in came.error.partial.messages[:3]] == ["assistant", "tool", "assistant"]
    assert came.error.partial.tool_runs[0].result == "rain in Paris"


@plain
def test_an_answer_to_what_a_tool_said(way: Way, model: Endpoint) -> None:
    call = ToolCall("c1", "weather", {"city": "Paris"})
    came = way.ask(model, (user(QUESTION), assistant(call), tool_result(call, "It rains.")))
    assert came.error is None
    assert came.response is not None
    assert came.response.text


@frozen
class City:
    """A city."""

    name: str
    country: str


@plain
@pytest.mark.parametrize("output", [City, list[str]], ids=["record", "list"])
def test_a_typed_answer_by_the_fall_back(output: type, way: Way, model: Endpoint) -> None:
    """It answers `json_schema` with status 500, and knows `json_object` with a schema."""
    came = way.ask(evolve(model, max_tokens=200, retry=None), "Paris is the capital of France.", output=output)
    assert came.error is None
    assert came.response is not None
    found = came.response.output
    if output is City:
        assert isinstance(found, City)
        assert found.name == "Paris"
    else:
        assert isinstance(found, list)
        assert all(isinstance(each, str) for each in found)
    if way.streams:
        assert any(isinstance(event, PartialOutput) for event in came.events)
        assert isinstance(came.events[-1], Finished)


@plain
def test_a_prompt_that_is_too_long(way: Way, model: Endpoint) -> None:
    """Of a stream the server begins, and breaks it off without a word."""
    came = way.ask(model, "many words " * 3000)
    assert type(came.error) is (StreamIncomplete if way.streams else ContentTooLong)
    if not way.streams:
        assert "2048" in str(came.error)


@everyway
def test_a_path_that_is_not_there(way: Way, llama: str) -> None:
    came = way.ask(openai_compatible("smol", base_url=llama.removesuffix("/v1"), api_key=""))
    assert type(came.error) is NotFound

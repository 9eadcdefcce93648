"""What the program itself got wrong: told before anything is sent, naming what to change."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen

from arshai_kit import Response, extract, tool, user
from arshai_kit.errors import BadAnswer, BadSchema, Misuse
from arshai_kit.records import Message, ToolSpec
from tests.badinput.ways import WAYS, Way, answering, body, everyway, message, model_at, ways

ANSWER = body(message({"content": "Hello"}))
looping = ways(lambda way: way.loops)


def refused(way: Way, prompt: Any = "Hello", **options: Any) -> str:
    """The words of the `Misuse` that comes of asking; nothing is sent."""
    with answering(ANSWER) as server:
        came = way.ask(model_at(server), prompt, **options)
        assert server.peers == []
    assert isinstance(came.error, Misuse)
    assert came.ran == []
    return str(came.error)


# Prompts


NOTHING: tuple[Any, ...] = ("", [], (), user(""), user(), [user("")], ["", ""], Message("user"), Response(()), iter(()))


@everyway
@pytest.mark.parametrize("prompt", NOTHING, ids=range(len(NOTHING)))
def test_a_prompt_of_nothing(prompt: Any, way: Way) -> None:
    assert refused(way, prompt) == "the prompt is empty: there is nothing to answer"


@everyway
@pytest.mark.parametrize("prompt", [None, 5, b"Hello", {"role": "user"}, [None], [["Hello"], 5], object], ids=repr)
def test_what_is_no_prompt_is_named(prompt: Any, way: Way) -> None:
    assert "a prompt is a string, a message, a response, or a sequence of these, not " in refused(way, prompt)


# Tools


def look(city: str) -> str:
    """Look at a city."""
    return city


@everyway
def test_two_tools_of_one_name(way: Way) -> None:
    twins: tuple[list[Any], ...] = (
        [look, look],
        [look, tool(len, name="look")],
        [look, ToolSpec("look")],
        [ToolSpec("look"), ToolSpec("look")],
    )
    for twin in twins:
        assert refused(way, tools=twin).startswith("two tools are called 'look'; give one of them another name")


@everyway
def test_a_tool_without_a_name(way: Way) -> None:
    assert "no name that a model could ask by" in refused(way, tools=[lambda city: city])


@everyway
@pytest.mark.parametrize("what", [5, "look", None, object()], ids=["number", "string", "nothing", "object"])
def test_what_is_no_tool(what: Any, way: Way) -> None:
    assert refused(way, tools=[what])


def sock(city: str, channel: socket.socket) -> str:
    """Use a socket."""
    return city


def deep(city: str, places: list[dict[str, socket.socket]]) -> str:
    """Use many."""
    return city


def calls(city: str, then: Callable[[str], str]) -> str:
    """Call back."""
    return city


def unknown(city: str, what: NoSuchType) -> str:  # type: ignore[name-defined]  # noqa: F821  # that is what is tested
    """Use what is not there."""
    return city


def keyed(city: str, by: dict[tuple[int, int], str]) -> str:
    """Look up."""
    return city


@everyway
@pytest.mark.parametrize(
    ("function", "names"),
    [(sock, ("sock", "channel", "socket")), (deep, ("deep", "places", "socket")), (calls, ("calls", "then")),
     (unknown, ("unknown", "what", "NoSuchType")), (keyed, ("keyed", "by"))],
)  # fmt: skip
def test_a_schema_that_cannot_be_made_says_which_parameter(function: Any, names: tuple[str, ...], way: Way) -> None:
    with answering(ANSWER) as server:
        came = way.ask(model_at(server), tools=[look, function])
        assert server.peers == []
    assert type(came.error) is BadSchema
    assert all(name in str(came.error) for name in names)


@everyway
def test_an_output_that_cannot_be_described_says_which_field(way: Way) -> None:
    @frozen
    class Odd:
        name: str
        channel: socket.socket

    for output in (Odd, list[Odd], dict[str, Odd]):
        told = refused(way, output=output)
        assert "channel" in told
        assert "socket" in told


# Values that are no JSON


def circular() -> dict[str, Any]:
    """An object that holds itself."""
    told: dict[str, Any] = {}
    told["self"] = told
    return told


@pytest.mark.parametrize(
    "extra",
    [circular(), {"a": {1, 2}}, {"a": object()}, {1: "a"}, {"a": float("nan")}, {"a": [float("inf")]}],
    ids=["circular", "a set", "an object", "a key that is no text", "no number", "without end"],
)
def test_settings_that_are_no_json_are_refused_when_the_model_is_made(extra: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"JSON|circular"):
        model_at("http://localhost/v1", extra=extra)


def told_of(way: Way, function: Any, arguments: Any) -> str:
    """What the model is told of a call of *function* with *arguments*."""
    call = {"id": "c1", "type": "function", "function": {"name": function.__name__, "arguments": json.dumps(arguments)}}
    with answering(body(message({"tool_calls": [call]}, "tool_calls")), ANSWER) as server:
        came = way.ask(model_at(server), "Hello", tools=[function])
    assert came.error is None
    assert came.response is not None
    assert came.response.text == "Hello"
    (run,) = came.response.tool_runs
    assert isinstance(run.result, str)
    return run.result


@looping
def test_what_a_tool_returns_that_is_no_json_is_told_to_the_model(way: Way) -> None:
    def loop(city: str) -> Any:
        return circular()

    def alien(city: str) -> Any:
        return object()

    def nan(city: str) -> Any:
        return {"city": float("nan")}

    def nested(city: str) -> Any:
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        return value

    for function in (loop, alien, nan, nested):
        assert "the tool answered with something that is not JSON" in told_of(way, function, {"city": "Oslo"})


@looping
def test_arguments_that_cannot_be_what_the_tool_wants_are_told_to_the_model(way: Way) -> None:
    def tags(names: set[str]) -> int:
        return len(names)

    def any_tags(names: set[Any]) -> int:
        return len(names)

    def count(number: int) -> int:
        return number

    assert told_of(way, tags, {"names": ["a", "b"]}) == "2"
    for function, arguments, says in (
        (tags, {"names": [["a"]]}, "names"),
        (tags, {"names": ["a", "a"]}, "names"),
        (any_tags, {"names": [["a"], {"b": 1}]}, "names"),
        (count, {"number": "many"}, "number"),
        (count, {"number": 10**400}, ""),
        (count, {}, "number"),
        (count, {"number": 1, "more": 2}, "more"),
    ):
        told = told_of(way, function, arguments)
        assert says in told
        if says:
            assert told.startswith("the arguments do not fit: ")


@looping
def test_what_a_tool_raises_is_told_to_the_model(way: Way) -> None:
    for error in (ValueError("no such city"), RecursionError("too deep"), Misuse("bad"), StopIteration()):

        def fails(city: str, error: BaseException = error) -> None:
            raise error

        function = tool(fails, parameters={"type": "object"})
        call = {"id": "c1", "function": {"name": "fails", "arguments": '{"city": "Oslo"}'}}
        with answering(body(message({"tool_calls": [call]}, "tool_calls")), ANSWER) as server:
            came = way.ask(model_at(server), "Hello", tools=[function])
        assert came.response is not None
        assert (str(error) or "StopIteration") in str(came.response.tool_runs[0].error)


# Bounds


@looping
@pytest.mark.parametrize(
    ("name", "bound"),
    [("max_rounds", "3"), ("max_rounds", 2.5), ("max_rounds", None), ("side_by_side", None), ("side_by_side", "many"),
     ("max_tool_calls", "1"), ("max_total_tokens", "9")],
)  # fmt: skip
def test_a_bound_of_a_wrong_type_is_named(name: str, bound: object, way: Way) -> None:
    assert f"{name}= is a " in refused(way, **{name: bound})


# Answers that do not fit


def test_an_answer_that_does_not_fit_holds_text_and_path() -> None:
    @frozen
    class City:
        name: str
        people: int

    act = body(message({"content": '{"name": "Oslo", "people": "many"}'}))
    with answering(act) as server, pytest.raises(BadAnswer) as caught:
        extract(model_at(server), "Oslo?", City)
    assert (caught.value.text, caught.value.path) == ('{"name": "Oslo", "people": "many"}', "people")


@everyway
def test_an_answer_that_is_none_holds_its_text(way: Way) -> None:
    for text in ("I do not know.", "", "null", '{"cities": ["Os', "[" * 100_000):
        with answering(body(message({"content": text}))) as server:
            came = way.ask(model_at(server), "Which?", output=list[str], tools=())
        assert isinstance(came.error, BadAnswer)
        assert came.error.text == text
        assert isinstance(came.error.partial, Response)


def test_the_ways_are_all_there_are() -> None:
    assert len({way.name for way in WAYS}) == 12

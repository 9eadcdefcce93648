"""Typed answers: how a type is asked for, what is read back, what is corrected, and what a stream tells of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import date
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypedDict

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import (
    Finished,
    PartialOutput,
    Response,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    assistant,
    complete,
    evolve,
    extract,
    openai_compatible,
    request,
    run_tools,
    stream,
    tool,
    user,
    using,
)
from arshai_kit._json import dumps, freeze
from arshai_kit.effects import Plan
from arshai_kit.errors import BadAnswer, BadRequest, BadSchema, ContentTooLong, Misuse, RateLimited, ServerFailed
from arshai_kit.models import Ask, Capabilities
from arshai_kit.output import _grown, wanted
from arshai_kit.records import Event
from arshai_kit.testing import scripted, strategies
from tests.core.worlds import World, everywhere, listening
from tests.laws.provider import Sent, provider, whole
from tests.laws.wired import wired
from tests.test_completion import DONE, Toy, chunk, paired, piece, said

model = openai_compatible("toy", base_url="http://127.0.0.1:9/v1", api_key="", retry=None)
by_tool = evolve(model, capabilities=Capabilities(json_schema=False, json_object=False))
by_object = evolve(model, capabilities=Capabilities(json_schema=False, json_object=True))


@attrs.frozen
class City:
    """A city."""

    name: str
    people: int = 1


@dataclasses.dataclass
class Point:
    """A point."""

    x: float
    y: float


class Trip(TypedDict):
    """A trip."""

    to: str


class Pair(NamedTuple):
    """Two things."""

    left: int
    right: str


@attrs.frozen
class Tree:
    """A tree of trees."""

    name: str
    children: tuple[Tree, ...] = ()


TYPES: tuple[tuple[Any, Any, Any], ...] = (
    (City, {"name": "Oslo", "people": 2}, City("Oslo", 2)),
    (City, {"name": "Oslo"}, City("Oslo")),
    (City, {"name": "Oslo", "people": None}, City("Oslo")),
    (Point, {"x": 1, "y": 2.5}, Point(1, 2.5)),
    (Trip, {"to": "Rome"}, {"to": "Rome"}),
    (Pair, {"left": 1, "right": "a"}, Pair(1, "a")),
    (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree("a", (Tree("b"),))),
    (list[City], {"value": [{"name": "Oslo"}]}, [City("Oslo")]),
    (list[City], [{"name": "Oslo"}], [City("Oslo")]),
    (Literal["good", "bad"], {"value": "bad"}, "bad"),
    (Literal["good", "bad"], "bad", "bad"),
    (City | Trip, {"value": {"to": "Rome"}}, {"to": "Rome"}),
    (int | None, {"value": None}, None),
    (int, {"value": 10**30}, 10**30),
    (bool, {"value": False}, False),
    (date, {"value": "2024-02-29"}, date(2024, 2, 29)),
    (dict[str, int], {"a": 1}, {"a": 1}),
    ({"type": "object", "properties": {"a": {}}}, {"a": [1]}, {"a": [1]}),
    ({"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}, {"value": [1]}, [1]),
)


@everywhere
def test_every_type_is_read_back(world: World) -> None:
    for output, answer, value in TYPES:
        with scripted(json.dumps(answer), assistant(json.dumps(answer))):
            assert world.run(partial(extract.plan, model, "?", output)) == value
            response = world.run(partial(complete.plan, model, "?", output=output))
        assert (response.output, json.loads(response.text)) == (value, answer)


@pytest.mark.needs("pydantic")
def test_pydantic_models_are_types_too() -> None:
    from pydantic import BaseModel, Field

    class Town(BaseModel):
        name: str
        people: int = Field(ge=0)

    with scripted('{"name": "Oslo", "people": 3}', '{"name": "Oslo", "people": -3}'):
        assert extract(model, "?", Town) == Town(name="Oslo", people=3)
        with pytest.raises(BadAnswer) as caught:
            extract(model, "?", Town, corrections=0)
    assert caught.value.path == "people"


@pytest.mark.parametrize("wrong", [42, "City", (), {"a": object()}, {"a": float("nan")}, lambda: 1])
def test_what_is_no_type_is_refused(wrong: Any) -> None:
    for ask in (extract, request):
        with pytest.raises(BadSchema):
            ask(model, "?", output=wrong)


def test_extract_needs_a_type() -> None:
    with pytest.raises(Misuse, match="extract takes the type of the answer"):
        extract(model, "?", None)


def test_a_type_that_cannot_be_hashed_is_a_type() -> None:
    from typing import Annotated

    with scripted('{"value": 3}'):
        assert extract(model, "?", Annotated[int, []]) == 3


# -- the ways of asking --


def asked(output: Any, capabilities: Capabilities, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(
        request(evolve(model, capabilities=capabilities), "?", output=output, **options).content
    )
    return body


def test_the_way_of_asking_is_the_best_that_is_known() -> None:
    assert asked(City, Capabilities())["response_format"]["type"] == "json_schema"
    assert asked(City, Capabilities(json_object=True))["response_format"]["type"] == "json_schema"
    assert asked(City, Capabilities(json_schema=False))["response_format"]["type"] == "json_object"
    body = asked(
        City, Capabilities(json_schema=False, json_object=False), tools=[tool(len, parameters={"type": "object"})]
    )
    assert [each["function"]["name"] for each in body["tools"]] == ["len", "City"]
    assert body["tool_choice"] == "required"
    body = asked(City, Capabilities(json_schema=False, json_object=False))
    assert body["tool_choice"] == {"type": "function", "function": {"name": "City"}}
    nothing = Capabilities(json_schema=False, json_object=False, tools=False)
    assert asked(City, nothing)["response_format"]["type"] == "json_object"


def test_the_schema_is_strict_where_it_can_be() -> None:
    shape = asked(City, Capabilities())["response_format"]["json_schema"]
    assert (shape["name"], shape["strict"]) == ("City", True)
    assert shape["schema"]["required"] == ["name", "people"]
    assert shape["schema"]["additionalProperties"] is False
    assert "strict" not in asked(dict[str, int], Capabilities())["response_format"]["json_schema"]


def test_a_schema_of_ones_own_keeps_its_meaning() -> None:
    """In strict mode, what may be left out would come as null, which that schema does not know."""
    whole_schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "title": "A b!"}
    shape = asked(whole_schema, Capabilities())["response_format"]["json_schema"]
    assert (shape["name"], shape["strict"]) == ("A_b", True)
    loose = {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    shape = asked(loose, Capabilities())["response_format"]["json_schema"]
    assert (shape["name"], shape["strict"]) == ("answer", False)
    assert shape["schema"]["properties"]["value"] == loose


def test_the_schema_goes_into_the_words_of_the_system() -> None:
    wish = "Answer with JSON alone, no other words, that fits this JSON Schema: {"
    with scripted('{"name": "Oslo"}', '{"name": "Oslo"}') as script:
        extract(by_object, "?", City)
        extract(by_object, "?", City, system="Be brief.")
    assert script.asked[0].messages[0].role == "system"
    assert script.asked[0].messages[0].text.startswith(wish)
    assert script.asked[1].messages[0].text.startswith(f"Be brief.\n\n{wish}")
    assert [message.role for message in script.asked[1].messages] == ["system", "user"]


class Refusing(Toy):
    """A model that takes one way of asking."""

    capabilities = Capabilities()

    def __init__(self, takes: str, error: Exception, *answers: Response) -> None:
        super().__init__(*answers)
        self.takes, self.error, self.modes = takes, error, list[str]()

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Answer, if asked that way."""
        self.modes.append(ask.output.mode if ask.output else "tool")
        if self.modes[-1] != self.takes:
            raise self.error
        return (yield from super().ask(ask, stream=stream))


OSLO = {"name": "Oslo", "people": 7}


@everywhere
@pytest.mark.parametrize("status", [400, 422, 500])
def test_what_is_refused_gives_way_to_the_next(world: World, status: int) -> None:
    error = (ServerFailed if status == 500 else BadRequest)("what is that?", status=status)
    modes = ["json_schema", "json_object"] if status == 500 else ["json_schema", "json_object", "tool"]
    for place, mode in enumerate(modes):
        answer = said(ToolCall("1", "City", OSLO)) if mode == "tool" else said(json.dumps(OSLO))
        toy = Refusing(mode, error, answer)
        assert world.run(partial(extract.plan, toy, "?", City)) == City("Oslo", 7)
        assert toy.modes == modes[: place + 1]
    never = Refusing("never", error)
    with pytest.raises(type(error)):
        world.run(partial(extract.plan, never, "?", City))
    assert never.modes == modes  # a server that breaks twice is down: nobody insists


@pytest.mark.parametrize(
    "error",
    [RateLimited("slow", status=429), ServerFailed("busy", status=503), ContentTooLong("too long", status=400)],
)
def test_other_errors_are_no_refusal(error: Exception) -> None:
    toy = Refusing("tool", error)
    with pytest.raises(type(error)):
        extract(toy, "?", City)
    assert toy.modes == ["json_schema"]


def test_the_ways_of_asking_over_a_real_connection() -> None:
    def answering(body: dict[str, Any]) -> Sent:
        if "response_format" in body:
            return whole({"error": {"message": "response_format is not supported"}}, 400)
        function = {"name": body["tool_choice"]["function"]["name"], "arguments": json.dumps(OSLO)}
        message = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
        return whole({"choices": [{"message": message, "finish_reason": "tool_calls"}]})

    with provider() as server:
        server.answering = answering
        assert extract(server.model(), "?", City) == City("Oslo", 7)
        assert len(server.asked) == 3


# -- what is read --


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Oslo"}',
        '  {"name": "Oslo"}\n',
        '```json\n{"name": "Oslo"}\n```',
        '```\n{"name": "Oslo"}\n```\n',
        'Here it is:\n```json\n{"name": "Oslo"}\n```\nAnything else?',
        'Sure! {"name": "Oslo"} is the city.',
        '<think>Hm.</think>{"name": "Oslo"}',
    ],
)
def test_json_is_found_between_words(text: str) -> None:
    for each in (model, by_object, by_tool):
        with scripted(text):
            assert extract(each, "?", City, corrections=0) == City("Oslo")


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        ("Oslo", "", "the answer is no JSON"),
        ("", "", "the answer is no JSON"),
        ('{"name": "Oslo"', "", "the answer is no JSON"),
        ('{"a"} and {"b"}', "", "the answer is no JSON"),
        ('See {"a"}.', "", "the answer is no JSON"),
        ("} {", "", "the answer is no JSON"),
        ("[" * 5000, "", "the answer is no JSON"),
        ('{"name": NaN}', "", "the answer is no JSON"),
        ('{"name": 3}', "name", "expected a string, got the integer 3"),
        ('{"people": 3}', "", "name"),
        ('["Oslo"]', "", "expected an object"),
        ('{"name": "Oslo", "people": "many"}', "people", "expected an integer"),
    ],
)
def test_what_does_not_fit_is_told_with_text_and_path(text: str, path: str, why: str) -> None:
    with scripted(text), pytest.raises(BadAnswer, match="answer") as caught:
        extract(model, "?", City, corrections=0)
    error = caught.value
    assert (error.text, error.path) == (text, path)
    assert why in str(error)
    assert error.partial.text == text


@pytest.mark.parametrize("answer", ['{"value": 1, "more": 2}', "{}", '{"values": 3}'])
def test_a_wrapping_of_another_form_does_not_fit(answer: str) -> None:
    with scripted(answer), pytest.raises(BadAnswer, match='expected an object with one member, "value"'):
        extract(model, "?", int, corrections=0)


def test_the_path_leads_through_what_is_wrapped() -> None:
    with scripted('{"value": [{"name": "Oslo"}, {"name": 3}]}'), pytest.raises(BadAnswer) as caught:
        extract(model, "?", list[City], corrections=0)
    assert caught.value.path == "[1].name"


@everywhere
@pytest.mark.parametrize("reason", ["length", "content_filter", "refusal", "error"])
def test_an_answer_that_is_not_whole_is_none(world: World, reason: Any) -> None:
    """Not even when it reads as one; and asking again would not help."""
    for parts, each in ((['{"name": "Oslo"}'], model), ([ToolCall("1", "City", {"name": "Oslo"})], by_tool)):
        with (
            scripted(evolve(said(*parts), finish_reason=reason, raw_finish_reason=f"raw {reason}")) as script,
            pytest.raises(BadAnswer, match=f"there is no whole answer: it ended with 'raw {reason}'") as caught,
        ):
            world.run(partial(extract.plan, each, "?", City))
        assert len(script.asked) == 1
        assert caught.value.partial.finish_reason == reason
        assert paired(caught.value.partial.messages)


def test_the_words_of_a_refusal_are_told() -> None:
    from arshai_kit import Opaque

    refused = evolve(said(Opaque("refusal", "I would rather not.")), finish_reason="refusal")
    with scripted(refused), pytest.raises(BadAnswer, match=r"there is no whole answer: I would rather not\."):
        complete(model, "?", output=City)


# -- corrections --


@everywhere
@pytest.mark.parametrize("each", [model, by_object, by_tool], ids=["json_schema", "json_object", "tool"])
def test_what_does_not_fit_is_given_back(world: World, each: Any) -> None:
    bad, good = {"name": "Oslo", "people": "many"}, {"name": "Oslo", "people": 7}
    answers = (
        [ToolCall("1", "City", bad), ToolCall("2", "City", good)] if each is by_tool else [dumps(bad), dumps(good)]
    )
    texts = [answer if isinstance(answer, ToolCall) else answer.decode() for answer in answers]
    with scripted(*texts) as script:
        assert world.run(partial(extract.plan, each, "How many?", City)) == City("Oslo", 7)
    sent = [message for message in script.asked[1].messages if message.role != "system"]
    assert [message.role for message in sent] == ["user", "assistant", "user"]
    assert paired(sent)
    assert sent[1].text == '{"name":"Oslo","people":"many"}'
    assert "people: expected an integer, got the string 'many'" in sent[2].text
    assert '"people":{"type":"integer"' in sent[2].text


@everywhere
@pytest.mark.parametrize("corrections", [0, 1, 2])
def test_corrections_are_counted(world: World, corrections: int) -> None:
    bad = evolve(said("no"), usage=Usage(3, 2))
    with scripted(*[bad] * (corrections + 1)) as script, pytest.raises(BadAnswer) as caught:
        world.run(partial(extract.plan, model, "?", City, corrections=corrections))
    assert len(script.asked) == corrections + 1
    so_far = caught.value.partial
    assert so_far.usage == Usage(3, 2) + Usage(3 * corrections, 2 * corrections)
    assert [message.role for message in so_far.messages] == ["assistant", *["user", "assistant"] * corrections]
    with scripted("Fine."):
        assert complete(model, ("?", so_far, "Never mind.")).text == "Fine."


@everywhere
def test_a_call_of_a_tool_that_nobody_gave_is_no_answer(world: World) -> None:
    with scripted(ToolCall("1", "look", {}), '{"name": "Oslo"}') as script:
        assert world.run(partial(extract.plan, model, "?", City)) == City("Oslo")
    assert paired(script.asked[1].messages)
    assert "the answer calls 'look', and there is no such tool" in script.asked[1].messages[-1].text
    with scripted(ToolCall("1", "look", {})), pytest.raises(BadAnswer) as caught:
        world.run(partial(complete.plan, model, "?", output=City))
    assert caught.value.partial.tool_calls


@everywhere
def test_an_error_while_correcting_carries_everything_so_far(world: World) -> None:
    toy = Toy(said("no"), breaks=RateLimited("slow"))
    with pytest.raises(RateLimited) as caught:
        world.run(partial(extract.plan, toy, "?", City))
    assert [message.role for message in caught.value.partial.messages] == ["assistant", "user"]
    with pytest.raises(BadAnswer) as bad:
        world.run(partial(extract.plan, Toy(breaks=BadAnswer("odd")), "?", City))
    assert bad.value.partial is None


# -- with tools --


def look(city: str) -> int:
    """Look up how many live there."""
    return 7


@everywhere
@pytest.mark.parametrize("each", [model, by_object, by_tool], ids=["json_schema", "json_object", "tool"])
def test_tools_run_before_the_answer_has_its_type(world: World, each: Any) -> None:
    last: Any = ToolCall("2", "City", OSLO) if each is by_tool else json.dumps(OSLO)
    with scripted(ToolCall("1", "look", {"city": "Oslo"}), last) as script:
        asking: Any = stream if world.listening else run_tools
        response = world.run(lambda: asking.plan(each, "How many?", tools=[look], output=City))
    assert (response.output, json.loads(response.text)) == (City("Oslo", 7), OSLO)
    assert (response.finish_reason, response.tool_calls) == ("stop", ())
    assert [ran.result for ran in response.tool_runs] == ["7"]
    assert paired(response.messages)
    if each is by_tool:
        assert [spec.name for spec in script.asked[0].tools] == ["look", "City"]


@everywhere
def test_an_answer_that_comes_with_calls_is_asked_for_again(world: World) -> None:
    calls = [ToolCall("1", "look", {"city": "Oslo"}), ToolCall("2", "City", {"name": "Oslo", "people": 0})]
    with scripted(calls, ToolCall("3", "City", OSLO)):
        asking: Any = stream if world.listening else run_tools
        response = world.run(lambda: asking.plan(by_tool, "How many?", tools=[look], output=City))
    assert response.output == City("Oslo", 7)
    assert [ran.error is None for ran in response.tool_runs] == [True, False]
    assert "answer again, now that you know their results" in response.tool_runs[1].error
    assert paired(response.messages)


def test_the_tool_of_the_answer_has_a_name_of_its_own() -> None:
    box = [tool(look, name="City"), tool(look, name="City_")]
    with scripted(ToolCall("1", "City", {"city": "Oslo"}), ToolCall("2", "City__", OSLO)) as script:
        assert run_tools(by_tool, "?", box, output=City).output == City("Oslo", 7)
    assert [spec.name for spec in script.asked[0].tools] == ["City", "City_", "City__"]


def test_complete_hands_calls_over_before_there_is_an_answer() -> None:
    with scripted(ToolCall("1", "look", {"city": "Oslo"})):
        response = complete(model, "?", tools=[look], output=City)
    assert (response.output, len(response.tool_calls)) == (None, 1)


@everywhere
def test_a_bad_answer_after_tools_carries_everything(world: World) -> None:
    with scripted(ToolCall("1", "look", {"city": "Oslo"}), "seven"), pytest.raises(BadAnswer) as caught:
        world.run(lambda: run_tools.plan(model, "?", [look], output=City))
    assert [message.role for message in caught.value.partial.messages] == ["assistant", "tool", "assistant"]
    assert len(caught.value.partial.tool_runs) == 1


def test_words_before_the_call_of_an_answer_stay() -> None:
    with scripted(("So: ", ToolCall("1", "City", OSLO), ToolCall("2", "City", {"name": "Rome"}))):
        response = complete(by_tool, "?", output=City)
    assert response.output == City("Oslo", 7)
    assert response.message.parts == (Text("So: "), Text('{"name":"Oslo","people":7}'))


def test_broken_arguments_of_an_answer_are_its_text() -> None:
    with scripted(ToolCall("1", "City", broken='{"name": "Os')), pytest.raises(BadAnswer) as caught:
        extract(by_tool, "?", City, corrections=0)
    assert caught.value.text == '{"name": "Os'
    assert paired(caught.value.partial.messages)


# -- streams --


def partials(events: Sequence[Event]) -> list[Any]:
    return [event.value for event in events if isinstance(event, PartialOutput)]


def begins(partial_value: Any, final: Any) -> bool:
    """Whether *final* holds all that *partial_value* does, unchanged."""
    match partial_value:
        case dict():
            return isinstance(final, dict) and all(
                key in final and begins(each, final[key]) for key, each in partial_value.items()
            )
        case list() | tuple():
            return (
                isinstance(final, list | tuple)
                and len(partial_value) <= len(final)
                and all(begins(each, there) for each, there in zip(partial_value, final, strict=False))
            )
    return bool(partial_value == final) and type(partial_value) is type(final)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | strategies.words(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strategies.words(), inner, max_size=4),
    max_leaves=12,
)


def spoken(data: Any, cuts: Sequence[int], *, by_call: bool) -> list[bytes]:
    """The bytes of a stream that says *data*, its text cut into pieces."""
    text = dumps(data).decode()
    places = sorted({0, len(text), *[cut % (len(text) + 1) for cut in cuts]})
    words = [text[start:end] for start, end in pairwise(places)]
    if not by_call:
        return [*[chunk({"content": word}) for word in words], chunk({}, "stop"), DONE]
    first, *rest = words
    calls = [piece(0, first, "c", "answer"), *[piece(0, word) for word in rest]]
    return [*calls, chunk({}, "tool_calls"), DONE]


@given(documents, st.lists(st.integers(0, 10_000), max_size=12), st.booleans(), st.booleans())
def test_what_a_stream_tells_of_an_answer_never_changes(
    data: Any, cuts: list[int], wrapped: bool, by_call: bool
) -> None:
    """Each is a settled part of what comes after, the last is the answer, and it is what comes without a stream."""
    output: Any = {} if wrapped or not isinstance(data, dict) else {"type": "object"}
    document = data if output else {"value": data}
    asking = by_tool if by_call else model
    with using(layers=[wired(spoken(document, cuts, by_call=by_call))]):
        events = list(stream(asking, "?", output=output))
    last = events[-1]
    assert isinstance(last, Finished)
    told_values = partials(events)
    for before, after in pairwise([*told_values, data]):
        assert begins(before, after)
    assert told_values == [] if data is None else told_values[-1] == freeze(data)
    assert last.response.output == data
    assert not [event for event in events if isinstance(event, ToolCallDelta)]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == last.response.text
    with scripted(ToolCall("c", "answer", document) if by_call else json.dumps(document)):
        assert complete(asking, "?", output=output).output == data


@given(documents, st.lists(st.integers(0, 10_000), max_size=12))
def test_growing_is_freezing_anew(data: Any, cuts: list[int]) -> None:
    from arshai_kit.schema import Settling

    text, shown, reader = json.dumps(data), None, Settling()
    places = sorted({0, len(text), *[cut % (len(text) + 1) for cut in cuts]})
    for start, end in pairwise(places):
        reader.feed(text[start:end])
        shown = _grown(reader.value, shown)
        assert shown == freeze(reader.value)
        assert repr(shown) == repr(freeze(reader.value))


@listening
def test_a_stream_tells_an_answer_as_it_grows(world: World) -> None:
    data = [chunk({"content": each}) for each in ('{"na', 'me": "Os', 'lo", "peo', 'ple": 7', "}")]
    with using(layers=[wired([*data, chunk({}, "stop"), DONE])]):
        events = world.events(lambda: stream.plan(model, "?", output=City))
    assert partials(events) == [{}, {"name": "Oslo"}, {"name": "Oslo", "people": 7}]


@listening
def test_words_around_an_answer_tell_nothing_of_it(world: World) -> None:
    data = [chunk({"content": each}) for each in ("Here: ", '{"name": "Oslo"}', " Good?")]
    with using(layers=[wired([*data, chunk({}, "stop"), DONE])]):
        events = world.events(lambda: stream.plan(model, "?", output=City))
    assert partials(events) == []
    assert isinstance(events[-1], Finished)
    assert events[-1].response.output == City("Oslo")


@listening
def test_only_the_first_call_that_answers_is_told(world: World) -> None:
    """Words before it do not matter, and what it calls besides stays what it is."""
    data = [
        chunk({"content": '{"name": "no"}'}),
        piece(0, '{"name": "Os', "a", "City"),
        piece(1, '{"name": "Rome"}', "b", "City"),
        piece(0, 'lo"}'),
        chunk({}, "tool_calls"),
        DONE,
    ]
    with using(layers=[wired(data)]):
        events = world.events(lambda: stream.plan(by_tool, "?", output=City))
    assert partials(events) == [{}, {"name": "Oslo"}]
    with using(layers=[wired([piece(0, '{"city": "Oslo"}', "a", "look"), chunk({}, "tool_calls"), DONE])]):
        (event, *_) = [
            event
            for event in world.events(lambda: stream.plan(by_tool, "?", tools=[look_spec()], output=City))
            if isinstance(event, ToolCallDelta)
        ]
    assert event.name == "look"


def look_spec() -> Any:
    return tool(look).spec


def test_long_answers_are_told_in_linear_time() -> None:
    """A snapshot shares what was settled before: nothing of it is copied again."""
    want = wanted(list[City])
    assert want is not None
    reader = want.hearing(Ask((user("?"),)), "json_schema")
    shown: list[Any] = []
    for text in ['{"value": [', *[f'{{"name": "c{n}"}},' for n in range(50)]]:
        for effect in reader((TextDelta(text),)):
            shown += [event.value for event in effect.events if isinstance(event, PartialOutput)]  # type: ignore[attr-defined]
    assert len(shown) == 51
    assert all(before is after for before, after in zip(shown[-2], shown[-1], strict=False))


def test_when_every_way_of_asking_is_refused_the_first_refusal_is_the_reason() -> None:
    """The later ones may be refused for reasons of their own, which are not what was wrong."""
    refusals = [BadRequest(f"refused {number}", status=400) for number in range(3)]
    model = openai_compatible("m", base_url="http://localhost:1/v1", retry=None)
    with scripted(*refusals), pytest.raises(BadRequest, match="refused 0"):
        extract(model, "What is this?", int)


def test_an_answer_beside_calls_of_tools_is_not_taken() -> None:
    """It was given before the results were known."""

    def look_up(city: str) -> int:
        return 7

    early, call = ToolCall("1", "City", {"name": "Oslo", "people": 1}), ToolCall("2", "look_up", {"city": "Oslo"})
    with scripted([early, call], ToolCall("3", "City", OSLO)):
        response = run_tools(by_tool, "?", [look_up], output=City)
    assert response.output == City("Oslo", 7)
    assert [run.error for run in response.tool_runs] == [
        "not taken: it came with calls of tools; answer again, now that you know their results",
        None,
    ]


def test_where_tools_and_a_schema_clash_the_answer_is_a_tool() -> None:
    clashing = evolve(model, capabilities=Capabilities(json_schema=True, tools_and_schema=False))

    def look_up(city: str) -> int:
        return 7

    with_tools = json.loads(request(clashing, "?", tools=[look_up], output=City).content)
    assert [each["function"]["name"] for each in with_tools["tools"]] == ["look_up", "City"]
    assert "response_format" not in with_tools
    assert "response_format" in json.loads(request(clashing, "?", output=City).content)

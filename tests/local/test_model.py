"""The local model keeps the contract of every model, in every world; runs of the real weights."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from arshai_kit import (
    Finished,
    Response,
    TextDelta,
    ToolCallDelta,
    aio,
    assistant,
    complete,
    evolve,
    extract,
    run_tools,
    stream,
    tool,
    user,
)
from arshai_kit.effects import Call, Random
from arshai_kit.errors import BadAnswer, BadRequest, BadSchema, ContentTooLong, Misuse
from arshai_kit.local import LocalModel, local
from arshai_kit.local import model as module
from arshai_kit.local.runtime import BATCH, shipped_weights
from arshai_kit.models import Ask, Model, OutputSpec, Settings
from arshai_kit.records import Image, ToolCall, ToolSpec, tool_result

pytestmark = pytest.mark.needs("local")


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def weather(city: str) -> str:
    """Say what the weather is in a city."""
    return "18°C and raining"


MULTIPLY = tool(multiply, example=("What is 12 times 5?", {"a": 12, "b": 5}))
WEATHER = tool(weather, example=("What is the weather in Rome?", {"city": "Rome"}))
QUESTION = "What is 23 times 17?"


def test_it_is_a_model(model: LocalModel) -> None:
    assert isinstance(model, Model)
    assert (model.provider, model.name) == ("local", "SmolLM2-135M-Instruct.Q4_1")
    assert model == evolve(model) != evolve(model, temperature=0)
    assert hash(model) == hash(evolve(model))
    assert "Engine" not in repr(model)


def test_the_main_job(model: LocalModel) -> None:
    response = run_tools(model, QUESTION, [MULTIPLY])
    (run,) = response.tool_runs
    assert (run.call.name, run.call.arguments, run.result) == ("multiply", {"a": 23, "b": 17}, "391")
    assert run.call.id == "call_1"
    assert "391" in response.text
    assert response.finish_reason == "stop"
    assert response.usage.reported
    assert response.usage.input_tokens > 200 > response.usage.output_tokens > 20


def test_streaming_is_not_different(model: LocalModel) -> None:
    with stream(model, QUESTION, tools=[MULTIPLY]) as told:
        events = list(told)
    whole = run_tools(model, QUESTION, [MULTIPLY])
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.response.messages == whole.messages
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(texts) == whole.text
    assert len(texts) > 5
    (call,) = [event for event in events if isinstance(event, ToolCallDelta)]
    assert call.call == whole.tool_runs[0].call
    assert json.loads(call.arguments) == {"a": 23, "b": 17}


@pytest.mark.anyio
async def test_the_same_in_every_world(model: LocalModel) -> None:
    whole = await aio.run_tools(model, QUESTION, [MULTIPLY])
    async with aio.stream(model, QUESTION, tools=[MULTIPLY]) as events:
        told = [event async for event in events]
    assert "391" in whole.text
    assert "".join(event.text for event in told if isinstance(event, TextDelta)) == whole.text


def test_two_tools_and_small_talk(model: LocalModel) -> None:
    both = [MULTIPLY, WEATHER]
    response = run_tools(model, "What is the weather in Bergen?", both)
    assert [run.call.arguments for run in response.tool_runs] == [{"city": "Bergen"}]
    assert "18°C and raining" in response.text
    assert not run_tools(model, "Hello!", both).tool_runs


def test_an_earlier_question_and_the_system_are_heard(model: LocalModel) -> None:
    first = run_tools(model, "What is the weather in Oslo?", [WEATHER])
    second = run_tools(model, ("What is the weather in Oslo?", first, "And in Lima?"), [WEATHER])
    assert [run.call.arguments for run in second.tool_runs] == [{"city": "Lima"}]
    assert second.tool_runs[0].call.id == "call_2"
    plain = complete(
        evolve(model, temperature=0),
        (user("My cat is called Tom."), assistant("Nice!"), user("What is my cat called?")),
    )
    assert "Tom" in plain.text
    sizes = [
        complete(evolve(model, max_tokens=1), "Hi", system=text).usage.input_tokens for text in (None, "Be brief.")
    ]
    assert sizes[0] < sizes[1]


def test_tool_choice_is_honoured(model: LocalModel) -> None:
    def called(choice: str, question: str) -> list[str]:
        ask = evolve(model, tool_choice=choice, max_tokens=40)
        return [call.name for call in complete(ask, question, tools=[MULTIPLY, WEATHER]).tool_calls]

    assert called("none", QUESTION) == []
    assert called("required", "Hello Bergen") == ["weather"]
    assert called("weather", "Is Bergen 2 of 3?") == ["weather"]
    with pytest.raises(Misuse, match="names 'fly', but the tools are multiply, weather"):
        called("fly", QUESTION)
    with pytest.raises(BadAnswer, match="copies arguments from the question"):
        complete(evolve(model, tool_choice="required"), "Hello", tools=[MULTIPLY])


def test_a_call_that_is_cut_off_asks_for_nothing(model: LocalModel) -> None:
    response = complete(evolve(model, max_tokens=4), QUESTION, tools=[MULTIPLY])
    assert (response.finish_reason, response.tool_calls, response.text) == ("length", (), "")
    assert response.usage.output_tokens == 4


def test_a_failed_tool_is_told_without_inventing(model: LocalModel) -> None:
    call = complete(model, QUESTION, tools=[MULTIPLY]).tool_calls[0]
    failed = tool_result(call, "ValueError: the abacus is broken", is_error=True)
    brief = evolve(model, max_tokens=32)
    response = complete(brief, (user(QUESTION), assistant(call), failed), tools=[MULTIPLY])
    assert not {digits for digits in response.text.split() if digits.isdigit()} - {"23", "17"}
    assert response.text


def test_without_grounds_the_sentence_is_free(model: LocalModel) -> None:
    before = run_tools(model, QUESTION, [MULTIPLY]).messages[:2]
    for grounded in (True, False):
        plan = evolve(model, grounded=grounded).ask(Ask((user(QUESTION), *before)), stream=False)
        effect: Any = next(plan)
        assert (effect.function.__self__.sampling.grammar is not None) is grounded
        plan.close()


@frozen
class Person:
    """Somebody."""

    name: str
    age: int
    city: str


class Mood(Enum):
    """How somebody feels."""

    good = "good"
    bad = "bad"


def test_typed_answers_fit(model: LocalModel) -> None:
    assert extract(model, "Alice is 42 years old and lives in Lisbon.", Person) == Person("Alice", 42, "Lisbon")
    assert extract(model, "I am so happy!", Mood) in Mood
    numbers = extract(model, "Two numbers: 4 and 7", tuple[int, int])
    assert [type(each) for each in numbers] == [int, int]
    assert extract(model, "It costs 12.5 dollars.", Decimal) == Decimal("12.5")
    with pytest.raises(BadSchema, match="unique items"):
        extract(model, "a, b", set[str])


def test_a_typed_answer_that_is_cut_off_is_no_answer(model: LocalModel) -> None:
    with pytest.raises(BadAnswer, match="no whole answer"):
        extract(evolve(model, max_tokens=5), "Alice is 42 years old and lives in Lisbon.", Person, corrections=0)


def test_a_typed_answer_after_a_tool(model: LocalModel) -> None:
    @frozen
    class Product:
        product: int

    response = run_tools(model, QUESTION, [MULTIPLY], output=Product)
    assert response.output == Product(391)
    assert len(response.tool_runs) == 1
    assert run_tools(model, "What is the weather in Oslo?", [WEATHER], output=Mood).output in Mood
    with_no_number = (user(QUESTION), *tool_messages("a lot"))
    assert isinstance(extract(model, with_no_number, Product).product, int)


def tool_messages(result: str) -> tuple[Any, ...]:
    """A call of `multiply`, and *result*."""
    call = ToolCall("call_1", "multiply", {"a": 23, "b": 17})
    return assistant(call), tool_result(call, result)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (Settings(logprobs=3), "no logprobs"),
        (Settings(presence_penalty=1.0), "no presence_penalty"),
        (Settings(reasoning="high"), "no reasoning"),
        (Settings(candidates=2), "no candidates"),
        (Settings(extra={"mirostat": 2}), "no extra"),
        (Settings(temperature=-1), "temperature is 0 or more"),
        (Settings(top_p=1.5), "top_p above 0"),
        (Settings(top_k=-1), "top_k 0 or more"),
        (Settings(max_tokens=-1), "max_tokens 1 or more"),
    ],
)
def test_what_it_cannot_do_is_refused(model: LocalModel, settings: Settings, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        next(model.ask(Ask((user("Hi"),), settings=settings), stream=False))


def test_settings_that_ask_for_nothing_are_taken(model: LocalModel) -> None:
    ask = Ask((user("Hi"),), settings=Settings(candidates=1, reasoning="none", seed=3, max_tokens=2))
    assert isinstance(next(model.ask(ask, stream=False)), Call)


def test_bad_asks_are_refused(model: LocalModel) -> None:
    with pytest.raises(BadRequest, match="leave the image out"):
        complete(model, user("What is this?", Image(b"x", media_type="image/png")))
    with pytest.raises(ContentTooLong, match="1024"):
        complete(model, "word " * 1500)
    plain = OutputSpec("answer", {}, mode="json_object")
    with pytest.raises(Misuse, match="json_schema"):
        next(model.ask(Ask((user("Hi"),), output=plain), stream=False))


def test_chance_is_an_effect_and_a_seed_leaves_none(model: LocalModel) -> None:
    ask = Ask((user("Hi"),))
    assert isinstance(next(evolve(model, seed=None).ask(ask, stream=False)), Random)
    assert isinstance(next(evolve(model, seed=None, temperature=0).ask(ask, stream=False)), Call)
    assert isinstance(next(model.ask(ask, stream=False)), Call)


def test_closing_in_mid_prompt_stops_there_and_frees_the_context(model: LocalModel) -> None:
    plan = model.ask(Ask((user("once upon a time " * 60),)), stream=True)
    effect = next(plan)
    reads = 0
    while True:
        assert isinstance(effect, Call)
        if effect.name == "read":
            reads += 1
            if reads == 3:
                break
        effect = plan.send(effect.function(*effect.args))
    engine = model._engine
    assert engine._seated == 1
    plan.close()
    assert engine._seated == 0
    assert complete(evolve(model, max_tokens=2), "Hi").usage.output_tokens == 2
    assert BATCH * 3 < 240


def test_leaving_a_stream_early_frees_the_context(model: LocalModel) -> None:
    with stream(model, "Tell me a long story.") as events:
        for event in events:
            if isinstance(event, TextDelta):
                break
    assert model._engine._seated == 0


def test_a_pickled_model_loads_again(model: LocalModel) -> None:
    copy = pickle.loads(pickle.dumps(model))
    assert copy == model
    assert copy._engine is not model._engine
    assert evolve(copy, seed=1)._engine is copy._engine


def test_a_waiting_run_sleeps_until_it_is_its_turn(model: LocalModel) -> None:
    from arshai_kit.effects import Sleep

    plans = [model.ask(Ask((user(f"Hi {at}"),)), stream=False) for at in range(3)]
    effects: list[Any] = []
    for plan in plans:
        effect: Any = next(plan)
        while effect.name != "sit":
            effect = plan.send(effect.function(*effect.args))
        effects.append(plan.send(effect.function(*effect.args)))
    assert [type(effect) for effect in effects] == [Call, Call, Sleep]
    for plan in plans:
        plan.close()
    assert model._engine._seated == 0
    assert not model._engine._waiting


def test_a_file_of_ones_own(tmp_path: Path, model: LocalModel) -> None:
    own = tmp_path / "tiny.gguf"
    own.symlink_to(shipped_weights())
    other = local(own, temperature=0, max_tokens=2, context=512)
    assert (other.name, other.path) == ("tiny", str(own))
    assert complete(other, "Hi").finish_reason == "length"
    with pytest.raises(Misuse, match="there is no file"):
        local(tmp_path / "none.gguf")


def test_without_the_runtime_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'arshai-kit\[local\]'"):
        local()


def test_a_tool_without_an_example_and_one_that_cannot_be_described(model: LocalModel) -> None:
    spec = ToolSpec(
        "lookup", "Look up a word.", {"type": "object", "properties": {"word": {"type": "string", "pattern": "a"}}}
    )
    with pytest.raises(BadSchema, match="pattern"):
        complete(model, "Look up cat", tools=[spec])
    assert isinstance(complete(evolve(model, max_tokens=30), "Look up cat", tools=[ToolSpec("lookup")]), Response)


def test_no_event_is_told_unless_somebody_listens(model: LocalModel) -> None:
    plan = evolve(model, max_tokens=3).ask(Ask((user("Hi"),)), stream=False)
    effects = [next(plan)]
    with suppress(StopIteration):
        while True:
            effects.append(plan.send(effects[-1].function(*effects[-1].args)))  # type: ignore[attr-defined]
    assert {type(effect) for effect in effects} == {Call}


def test_what_it_cannot_read_or_stop_at_is_refused(model: LocalModel) -> None:
    with pytest.raises(BadRequest, match="half of a letter"):
        complete(model, "a \ud83d b")
    with pytest.raises(Misuse, match="stop= holds an empty text"):
        complete(evolve(model, stop=("",)), "Hi")


def test_it_names_its_settings(model: LocalModel) -> None:
    assert repr(evolve(model, temperature=0)).startswith("LocalModel(temperature=0, ")

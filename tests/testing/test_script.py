"""Scripts: what each answer means, and that too few and too many are told."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import anyio
import pytest

from arshai_kit import (
    Finished,
    Response,
    TextDelta,
    Thinking,
    ToolCall,
    Usage,
    aio,
    assistant,
    background,
    complete,
    extract,
    run,
    run_tools,
    stream,
    system,
    user,
)
from arshai_kit.effects import Plan, call, side_by_side
from arshai_kit.errors import ArshaiError, Misuse, RateLimited, ScriptError
from arshai_kit.models import Ask
from arshai_kit.records import StepFinished, ToolCallDelta, ToolFailed, ToolFinished
from arshai_kit.scope import using
from arshai_kit.testing import scripted
from tests.core.worlds import BACKENDS, WORLDS, World, everywhere
from tests.testing.models import Toy

MODEL = Toy()


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


# -- what an answer means --


def test_a_string_is_what_the_model_says() -> None:
    with scripted("Oslo"):
        response = complete(MODEL, "The capital of Norway?")
    assert (response.text, response.finish_reason, response.model) == ("Oslo", "stop", "toy")
    assert not response.usage.reported


def test_a_call_is_what_it_asks_for() -> None:
    with scripted(ToolCall("", "add", {"a": 1, "b": 2}), "3"):
        response = run_tools(MODEL, "1+2?", [add])
    assert [(run.call.id, run.result) for run in response.tool_runs] == [("call_0_0", "3")]
    assert response.text == "3"


def test_a_sequence_is_a_message_of_its_parts() -> None:
    call = ToolCall("mine", "add", {"a": 1, "b": 2})
    with scripted([Thinking("Hm."), "Let me see.", call, ToolCall("", "add", {"a": 2, "b": 2})]):
        response = complete(MODEL, "1+2?", tools=[add])
    assert (response.reasoning, response.text, response.finish_reason) == ("Hm.", "Let me see.", "tool_calls")
    assert [each.id for each in response.tool_calls] == ["mine", "call_0_3"]


def test_a_message_and_a_response_are_taken_as_they_are() -> None:
    told = Response((assistant("cut"),), "length", usage=Usage(1, 2), model="other")
    with scripted(assistant("Hi"), told):
        assert complete(MODEL, "Hello").message == assistant("Hi")
        assert complete(MODEL, "Hello") == told


def test_an_error_is_raised() -> None:
    with scripted(RateLimited("slow down", status=429), KeyError, "fine"):
        with pytest.raises(RateLimited, match="slow down"):
            complete(MODEL, "Hello")
        with pytest.raises(KeyError, match="Hello"):
            complete(MODEL, "Hello")
        assert complete(MODEL, "Hello").text == "fine"


def test_a_function_is_asked_what_to_answer() -> None:
    def answer(ask: Ask) -> Any:
        return ToolCall("", "add", {"a": 1, "b": 2}) if len(ask.messages) == 1 else f"It is {ask.messages[-1].parts[0]}"

    def fails(ask: Ask) -> Any:
        raise RateLimited(f"no {ask.messages[0].text}", status=429)

    with scripted(answer, answer, lambda _: assistant("Bye"), fails):
        assert run_tools(MODEL, "1+2?", [add]).text == "It is ToolResult('call_0_0', name='add', content='3')"
        assert complete(MODEL, "Bye").text == "Bye"
        with pytest.raises(RateLimited, match="no more"):
            complete(MODEL, "more")


def test_what_was_asked_is_kept() -> None:
    with scripted("Oslo", "Bergen") as script:
        complete(MODEL, "Norway?", system="Be brief.")
        assert list(script.asked) == [Ask((system("Be brief."), user("Norway?")))]
        complete(MODEL, "Another?", tools=[add])
    assert [spec.name for spec in script.asked[-1].tools] == ["add"]


def test_a_typed_answer_is_scripted_as_its_json() -> None:
    with scripted('{"value": [1, 2]}', "nothing", '{"value": [3]}') as script:
        assert extract(MODEL, "Numbers?", list[int]) == [1, 2]
        assert extract(MODEL, "Numbers?", list[int]) == [3]
    assert len(script.asked) == 3


@pytest.mark.parametrize("answer", [1, None, b"Hi", object()])
def test_what_is_no_answer_is_refused_at_once(answer: Any) -> None:
    with pytest.raises(Misuse, match=r"a script (holds|answers with) text, calls, .* (no|not with) "):
        complete_with(answer)


def complete_with(answer: Any) -> None:
    with scripted(answer if not isinstance(answer, bytes) else (lambda _: answer)):
        complete(MODEL, "Hello")


# -- streams --


@pytest.mark.parametrize("world", [pytest.param(world, id=world.name) for world in WORLDS if world.listening])
def test_a_stream_tells_the_answer(world: World) -> None:
    with scripted(("Let me see. ", ToolCall("", "add", {"a": 1, "b": 2})), "It is 3."):
        events = world.events(lambda: stream.plan(MODEL, "1+2?", tools=[add]))
    told = [event for event in events if isinstance(event, TextDelta | ToolCallDelta | ToolFinished)]
    made = ToolCall("call_0_1", "add", {"a": 1, "b": 2})
    assert told == [
        TextDelta("Let me see. "),
        ToolCallDelta(0, "add", '{"a":1,"b":2}', made),
        ToolFinished(made, "3"),
        TextDelta("It is 3."),
    ]
    assert isinstance(events[-1], Finished)


# -- too few, too many --


@everywhere
def test_running_out_ends_the_run_and_says_what_was_asked(world: World) -> None:
    """No plan can catch it, and no model is told."""

    def stubborn() -> Plan[str]:
        while True:
            try:
                yield from complete.plan(MODEL, "Once more?")
            except Exception:
                return "caught"

    with (
        pytest.raises(ScriptError, match=r"the script has 2 answers, and 'toy' is asked once more: .*Once more\?"),
        scripted("one", "two"),
    ):
        world.run(stubborn)


def test_a_script_of_nothing_says_so() -> None:
    with pytest.raises(ScriptError, match="the script has 0 answers"), scripted():
        complete(MODEL, "Hello")


def test_answers_that_nobody_asked_for_are_named() -> None:
    left = r"2 of 3 answers left over, nobody asked for: 'two'; ToolCall\('c1', name='add'\)"
    with pytest.raises(ScriptError, match=left), scripted("one", "two", ToolCall("c1", "add")):
        complete(MODEL, "Hello")


def test_a_block_that_fails_says_why_it_failed() -> None:
    with pytest.raises(ZeroDivisionError), scripted("one", "two"):
        _ = 1 / 0


def test_running_out_is_told_though_the_program_went_on() -> None:
    """A program that swallows errors passes no test by it."""
    with pytest.raises(ScriptError, match="asked once more"), scripted(), suppress(ArshaiError):
        complete(MODEL, "Hello")


def test_a_long_question_is_cut_where_it_is_told() -> None:
    with pytest.raises(ScriptError) as caught, scripted():
        complete(MODEL, [f"word {n} " * 9 for n in range(99)])
    assert len(str(caught.value)) < 400


def test_a_script_is_entered_once() -> None:
    script = scripted()
    with script:
        pass
    with pytest.raises(Misuse, match="this block \\(Script\\) is entered once"), script:
        pass


def test_a_script_ends_with_its_block() -> None:
    with scripted("inner"):
        assert complete(MODEL, "Hello").text == "inner"
    with pytest.raises(AssertionError, match="not asked itself"):
        complete(MODEL, "Hello")


def test_the_innermost_script_answers() -> None:
    with scripted("outer"):
        with scripted("inner"):
            assert complete(MODEL, "Hello").text == "inner"
        assert complete(MODEL, "Hello").text == "outer"


# -- everywhere that a model may be asked --


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_kinds_of_with_work_in_async_code(backend: str) -> None:
    async def main() -> None:
        with scripted("one"):
            assert (await aio.complete(MODEL, "Hello")).text == "one"
        async with scripted("two") as script:
            assert (await aio.complete(MODEL, "Hello")).text == "two"
        assert len(script.asked) == 1

    anyio.run(main, backend=backend)


@everywhere
def test_agents_inside_tools_are_answered_too(world: World) -> None:
    """By blocking in a worker, by awaiting, and as a plan."""

    def blocks(question: str) -> str:
        """Ask a colleague."""
        return complete(MODEL, question).text

    async def awaits(question: str) -> str:
        """Ask another colleague."""
        return (await aio.complete(MODEL, question)).text

    class Planned:
        """A colleague that is a plan."""

        __name__ = "planned"

        def __call__(self, question: str) -> str:
            """Ask a third colleague."""
            raise AssertionError("its plan is run instead")

        def plan(self, question: str) -> Plan[str]:
            return (yield from complete.plan(MODEL, question)).text

    def echoes(ask: Ask) -> str:
        return ask.messages[-1].text.upper() or "done"

    calls = [ToolCall("", name, {"question": name}) for name in ("blocks", "awaits", "planned")]
    with scripted(calls, *[echoes] * 4) as script:
        response = world.run(lambda: run_tools.plan(MODEL, "Go!", [blocks, awaits, Planned()]))
    assert [run.result for run in response.tool_runs] == ["BLOCKS", "AWAITS", "PLANNED"]
    assert response.text == "done"
    assert len(script.asked) == 5


@everywhere
def test_running_out_inside_a_tool_ends_the_run(world: World) -> None:
    """It does not become what a model is told."""

    def ask_a_friend() -> str:
        """Ask a friend."""
        return complete(MODEL, "Friend?").text

    with pytest.raises(ScriptError, match=r"asked once more: .*Friend\?"), scripted(ToolCall("", "ask_a_friend")):
        world.run(lambda: run_tools.plan(MODEL, "Go!", [ask_a_friend]))


def test_plans_side_by_side_are_answered_in_the_order_in_which_they_ask() -> None:
    def both() -> Plan[list[str]]:
        outcomes = yield from side_by_side([call(complete, MODEL, "a"), call(complete, MODEL, "b")])
        return [outcome.unwrap().text for outcome in outcomes]

    def go() -> None: ...

    go.plan = both  # type: ignore[attr-defined]  # what a function needs to be a plan
    with scripted("one", "two"):
        assert run(go) == ["one", "two"]


def test_many_threads_each_get_one_answer() -> None:
    texts: list[str] = []

    def ask() -> None:
        texts.append(complete(MODEL, "Hello").text)

    with scripted(*map(str, range(20))):
        threads = [threading.Thread(target=_in_this_scope(ask)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(texts, key=int) == list(map(str, range(20)))


def _in_this_scope(function: Any) -> Any:
    from contextvars import copy_context

    context = copy_context()
    return lambda: context.run(function)


def test_what_runs_in_the_background_is_answered_too() -> None:
    done = threading.Event()

    def summarize() -> str:
        """Summarize."""
        text = complete(MODEL, "Summary?").text
        done.set()
        return text

    with scripted(ToolCall("", "summarize"), lambda _: "summary", lambda _: "summary"), using():
        run_tools(MODEL, "Go!", [background(summarize)])
        assert done.wait(10)


def test_what_is_no_model_is_let_pass() -> None:
    with scripted(ToolCall("", "add", {"a": 1}), "oh"):
        events = list(stream(MODEL, "1+?", tools=[add]))
    assert [type(event) for event in events if isinstance(event, ToolFailed | ToolFinished)] == [ToolFailed]
    assert [event.kind for event in events if isinstance(event, StepFinished)] == ["model", "tool", "model"]

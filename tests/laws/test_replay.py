"""Replay: a recorded run gives the same result and the same events in every world, and nothing is performed."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import ToolCall, background, complete, run_tools, stream
from arshai_kit.effects import Layer, Plan
from arshai_kit.errors import Diverged, ServerFailed
from arshai_kit.models import written
from arshai_kit.records import BackgroundFailed, Event, Finished, Response
from arshai_kit.scope import using
from arshai_kit.testing import recorded, replayed
from tests.core.test_programs import LAYERS, Program, plan_of, statements
from tests.core.worlds import WORLDS, World, everywhere, listening
from tests.laws.provider import KEY, Provider, Sent, whole

LISTENING = tuple(world for world in WORLDS if world.listening)


@contextmanager
def cassette() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "run.jsonl"


def seen(world: World, plan: Any) -> tuple[Any, list[Event]]:
    """The result or the error of *plan*, and the events on the way, in the order in which they came."""
    kept: list[Any] = []

    def keeping() -> Plan[None]:
        try:
            kept.append((yield from plan()))
        except Exception as error:
            kept.append(repr(error))

    if world.listening:
        return kept, world.events(keeping)
    world.run(keeping)
    return kept, []


@given(st.lists(statements, min_size=1, max_size=4), st.sampled_from([(), LAYERS]), st.sampled_from(WORLDS))
def test_a_recording_of_any_world_replays_in_every_world(
    program: Program, layers: Sequence[Layer], world: World
) -> None:
    with cassette() as path:
        with recorded(path), using(layers=layers):
            result, events = seen(world, lambda: plan_of(program))
        for other in LISTENING if world.listening else WORLDS:
            threads = threading.active_count()
            with replayed(path), using(layers=layers):
                again, told = seen(other, lambda: plan_of(program))
            assert again == result, other.name
            assert told == events or not world.listening, other.name
            assert threading.active_count() <= threads  # idle workers may have gone home


# -- over a real connection --


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def look_up(word: str) -> str:
    """Look a word up."""
    if word == "tea":
        raise LookupError("no tea")
    return f"{word} is a word"


def count(to: int) -> Iterator[int]:
    """Count."""
    yield from range(1, to + 1)


TOOLS = (add, look_up, count)
CALLS = (
    ToolCall("c1", "add", {"a": 1, "b": 2}),
    ToolCall("c2", "look_up", {"word": "tea"}),
    ToolCall("c3", "look_up", {"word": "naïve"}),
    ToolCall("c4", "count", {"to": 3}),
    ToolCall("c5", "fly", {}),
)


def streamed(*deltas: dict[str, Any], finish: str | None = "stop", size: int = 7) -> Sent:
    """*deltas* as a stream, cut into pieces of *size* bytes, in the middle of letters too; broken without *finish*."""
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices += [{"index": 0, "delta": {}, "finish_reason": finish}] if finish else []
    body = [json.dumps({"id": "1", "model": "toy-1", "choices": [each]}, ensure_ascii=False) for each in choices]
    data = "".join([f"data: {each}\n\n" for each in body]).encode() + (b"data: [DONE]\n\n" if finish else b"")
    return Sent([data[start : start + size] for start in range(0, len(data), size)], cut=not finish)


def asking(*calls: ToolCall) -> dict[str, Any]:
    functions = [{"name": call.name, "arguments": written(call)} for call in calls]
    told = [{"index": n, "id": calls[n].id, "function": each} for n, each in enumerate(functions)]
    return {"role": "assistant", "content": "Let me see: ", "tool_calls": told}


def message(delta: dict[str, Any], finish: str) -> Sent:
    return whole({"id": "1", "model": "toy-1", "choices": [{"index": 0, "message": delta, "finish_reason": finish}]})


@listening
def test_a_streamed_run_with_tools_replays_event_by_event(world: World, toy: Provider) -> None:
    with cassette() as path:
        toy.answers(
            whole({"error": {"message": "busy"}}, 503, ("retry-after", "0.01")),
            streamed(asking(*CALLS), finish="tool_calls"),
            streamed({"content": "Tee ist "}, {"content": "aus. 🫖"}),
        )
        with recorded(path):
            events = world.events(lambda: stream.plan(toy.model(), "Tea?", tools=TOOLS))
        assert events[-1].response.text == "Tee ist aus. 🫖"  # type: ignore[union-attr]  # the last event is Finished
        asked = len(toy.asked)
        for other in LISTENING:
            with replayed(path):
                assert other.events(lambda: stream.plan(toy.model(), "Tea?", tools=TOOLS)) == events
        assert asked == len(toy.asked) == 3


@everywhere
def test_a_whole_run_with_tools_replays(world: World, toy: Provider) -> None:
    def plan() -> Plan[Response]:
        return run_tools.plan(toy.model(), "Tea?", TOOLS)

    with cassette() as path:
        toy.answers(message(asking(*CALLS), "tool_calls"), message({"content": "No tea."}, "stop"))
        if world.listening:
            toy.answers(streamed(asking(*CALLS), finish="tool_calls"), streamed({"content": "No tea."}))
        with recorded(path):
            response = world.run(plan)
        assert response.text == "No tea."
        for other in WORLDS:
            if other.listening == world.listening:
                with replayed(path):
                    again = other.run(plan)
                assert again == response
                assert [run.seconds for run in again.tool_runs] == [run.seconds for run in response.tool_runs]
                assert again.raw == response.raw


@listening
def test_a_stream_that_breaks_replays_to_the_same_error(world: World, toy: Provider) -> None:
    """The partial reply is on it too."""

    def plan() -> Plan[Response]:
        return stream.plan(toy.model(retry=None), "Tea?")

    with cassette() as path:
        toy.answers(streamed({"content": "Half an ans"}, finish=None))
        with recorded(path):
            result, events = seen(world, plan)
        assert "StreamIncomplete" in result[0]
        for other in LISTENING:
            with replayed(path):
                assert seen(other, plan) == (result, events)


def test_an_error_keeps_all_that_it_carries(toy: Provider) -> None:
    refused = whole({"error": {"message": "broken", "code": "oops"}}, 500, ("x-request-id", "r-1"))
    toy.answers(refused)
    with cassette() as path:
        with recorded(path), pytest.raises(ServerFailed) as first:
            complete(toy.model(retry=None), "Tea?")
        with replayed(path), pytest.raises(ServerFailed) as again:
            complete(toy.model(retry=None), "Tea?")
    assert vars(first.value) == vars(again.value)
    assert (again.value.status, again.value.code, again.value.request_id) == (500, "oops", "r-1")


@listening
def test_what_the_background_tells_meanwhile_comes_at_its_place_again(world: World, toy: Provider) -> None:
    """`BackgroundFailed` is told when it happens: a replay repeats it though nothing runs in the background."""
    called: list[str] = []
    failed = threading.Event()

    def remind(what: str) -> None:
        """Remind the user."""
        called.append(what)
        failed.set()
        raise RuntimeError(f"cannot remind of {what}")

    def wait() -> str:
        """Wait."""
        failed.wait(10)
        return "waited"

    calls = (ToolCall("c1", "remind", {"what": "tea"}), ToolCall("c2", "wait", {}))
    with cassette() as path:
        toy.answers(streamed(asking(*calls), finish="tool_calls"), streamed({"content": "I will."}))
        with recorded(path), using():
            events = world.events(lambda: stream.plan(toy.model(), "Tea!", tools=(background(remind), wait)))
        assert type(events[-1]) is Finished
        for other in LISTENING:
            with replayed(path), using():
                told = other.events(lambda: stream.plan(toy.model(), "Tea!", tools=(background(remind), wait)))
            assert told == events
        assert called == ["tea"]
    assert [type(event) for event in events].count(BackgroundFailed) <= 1


def test_no_key_and_no_cookie_is_in_a_recording(toy: Provider) -> None:
    """Neither where it belongs, nor where a server or a tool repeats it."""

    def leak(key: str) -> str:
        """Tell a key."""
        return f"the key is {KEY}"

    call = ToolCall("c1", "leak", {"key": KEY})
    toy.answers(message(asking(call), "tool_calls"), message({"content": f"It is {KEY}."}, "stop"))
    with cassette() as path:
        with recorded(path):
            response = run_tools(toy.model(headers={"x-api-key": KEY + "-2"}), f"Is it {KEY}?", [leak])
        text = path.read_text("utf-8")
        assert KEY in response.text
        assert KEY not in text
        assert "very-private" not in text
        assert "authorization" not in text.lower()
        with replayed(path):
            again = run_tools(toy.model(headers={"x-api-key": KEY + "-2"}), f"Is it {KEY}?", [leak])
    assert again.text == "It is ***."


def test_a_recording_can_be_read_in_a_diff(toy: Provider) -> None:
    toy.answers(streamed({"content": "Grüße"}, size=1000))
    with cassette() as path:
        with recorded(path):
            list(stream(toy.model(), "Hallo"))
        header, *lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert header == {"recording": "arshai_kit", "v": 1, "runs": 1}
    opened = next(line for line in lines if line["asks"]["effect"] == "Open")
    assert opened["asks"]["json"]["messages"] == [{"role": "user", "content": "Hallo"}]
    assert opened["answer"]["status"] == 200
    read = next(line["answer"]["text"] for line in lines if line["asks"]["effect"] == "Read")
    assert '"content": "Grüße"' in read


# -- a different program is told where it diverged --


def test_a_question_that_differs_is_told_with_both_sides(toy: Provider) -> None:
    toy.answers(message({"content": "Oslo"}, "stop"))
    with cassette() as path:
        with recorded(path):
            complete(toy.model(), "The capital of Norway?")
        told = r'send#0: json\.messages\[0\]\.content is "The capital of Sweden\?", recorded "The capital of Norway\?"'
        with pytest.raises(Diverged, match=told), replayed(path):
            complete(toy.model(), "The capital of Sweden?")


@pytest.mark.parametrize("world", [pytest.param(world, id=world.name) for world in WORLDS])
def test_no_plan_can_catch_that_it_diverged(world: World) -> None:
    def asks(*programs: Any) -> Any:
        return lambda: plan_of([("try", programs)])

    with cassette() as path:
        with recorded(path):
            world.run(asks(("sleep", 0)))
        with (
            pytest.raises(Diverged, match=r"run 1 asks otherwise at /sleep#0: seconds is 0\.001, recorded 0\.0"),
            replayed(path),
        ):
            world.run(asks(("sleep", 1)))

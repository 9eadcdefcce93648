"""Streaming is not different: folding the events of `stream(x)` gives what `complete(x)` or `run_tools(x)` returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import Finished, Message, Response, Text, Thinking, ToolCall, assistant, complete, run_tools, stream
from arshai_kit._json import dumps, loads
from arshai_kit.effects import Plan
from arshai_kit.errors import Exhausted
from arshai_kit.models import written
from arshai_kit.records import (
    Event,
    Notice,
    Part,
    StepFinished,
    StepStarted,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolFailed,
    ToolFinished,
    tool_result,
)
from arshai_kit.testing import scripted, strategies
from tests.core.worlds import WORLDS, World
from tests.laws.provider import Provider, Sent, whole

LISTENING = tuple(world for world in WORLDS if world.listening)
SILENT = tuple(world for world in WORLDS if not world.listening)


def folded(events: Iterable[Event]) -> tuple[Message, ...]:
    """The messages that *events* tell of: what a program that shows them as they come has seen in the end."""
    messages: list[Message] = []
    parts: list[Part] = []
    calls: dict[int, ToolCall] = {}
    results: dict[str, Message] = {}
    for event in events:
        match event:
            case StepStarted("model") | Finished():
                asked = [call for message in messages[-1:] for call in message.tool_calls]
                messages += [results.pop(call.id) for call in asked if call.id in results]
            case StepFinished("model"):
                messages.append(Message("assistant", (*parts, *[calls[index] for index in sorted(calls)])))
                parts, calls = [], {}
            case Notice("restarted"):
                parts, calls = [], {}
            case TextDelta(text):
                parts.append(Text(text))
            case ThinkingDelta(text):
                parts.append(Thinking(text))
            case ToolCallDelta(index, _, _, ToolCall() as call):
                calls[index] = call
            case ToolFinished(call, result):
                results[call.id] = tool_result(call, result)
            case ToolFailed(call, error):
                results[call.id] = tool_result(call, error, is_error=True)
    return tuple(messages)


def joined(messages: Iterable[Message]) -> list[Any]:
    """*messages*, their neighbouring words made one, and what only the provider reads left out."""
    return [(message.role, _joined(message.parts)) for message in messages]


def _joined(parts: Sequence[Part]) -> list[Any]:
    told: list[Any] = []
    for part in parts:
        match part:
            case Text(text) | Thinking(text):
                if told and told[-1][0] is type(part):
                    told[-1] = (type(part), told[-1][1] + text)
                elif text:
                    told.append((type(part), text))
            case ToolCall():
                told.append(evolve(part, state=None))
            case _:
                told.append(part)
    return told


# -- any script, any tools, any world --


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def shout(text: str) -> str:
    """Say it louder."""
    if not text:
        raise ValueError("nothing to shout")
    return text.upper()


def count(to: int) -> Any:
    """Count, telling on the way."""
    yield from range(min(to, 4))


TOOLS = (add, shout, count)

calls = st.one_of(
    st.builds(lambda a, b: ToolCall("", "add", {"a": a, "b": b}), st.integers(-9, 9), st.integers(-9, 9)),
    st.builds(lambda text: ToolCall("", "shout", {"text": text}), strategies.words()),
    st.builds(lambda to: ToolCall("", "count", {"to": to}), st.integers(0, 4)),
    st.sampled_from([ToolCall("", "add", {"a": 1}), ToolCall("", "fly"), ToolCall("", "add", broken='{"a": 1')]),
)
said = strategies.words().filter(str.strip)
rounds = st.lists(
    st.tuples(st.lists(said | st.builds(Thinking, said), max_size=2), st.lists(calls, min_size=1, max_size=4)),
    max_size=3,
)


def answers(turns: Sequence[tuple[Sequence[Any], Sequence[ToolCall]]], last: str) -> list[Any]:
    return [*[(*before, *asked) for before, asked in turns], last]


class Toy:
    """A model that is only ever asked under a script."""

    name = provider = "toy"

    @property
    def capabilities(self) -> Any:
        """Whatever is asked for."""
        from arshai_kit.models import Capabilities

        return Capabilities()

    def ask(self, ask: Any, *, stream: bool) -> Plan[Response]:
        """Never get here."""
        raise AssertionError("a scripted model is not asked itself")


@given(rounds, said, st.booleans())
def test_folding_the_events_gives_what_running_returns(turns: Any, last: str, eager: bool) -> None:
    script = answers(turns, last)
    with scripted(*script):
        response = run_tools(Toy(), "Go!", TOOLS, eager=eager)
    for world in SILENT:
        with scripted(*script):
            assert world.run(lambda: run_tools.plan(Toy(), "Go!", TOOLS, eager=eager)) == response
    for world in LISTENING:
        with scripted(*script):
            events = world.events(lambda: stream.plan(Toy(), "Go!", tools=TOOLS, eager=eager))
        assert type(events[-1]) is Finished
        assert events[-1].response == response
        assert joined(folded(events)) == joined(response.messages)


@given(rounds.filter(bool), st.integers(1, 3), st.none() | st.integers(0, 4))
def test_running_out_is_not_different_either(turns: Any, max_rounds: int, most: int | None) -> None:
    """The same error, with the same partial answer, whose every call has its result."""
    script = [*answers(turns, "done")]
    limits: dict[str, Any] = {"max_rounds": max_rounds, "max_tool_calls": most}

    def ended(world: World, plan: Callable[[], Plan[Any]]) -> Any:
        used: list[Any] = [script[place] for place in range(max_rounds) if place < len(script)]
        try:
            with scripted(*[lambda _, answer=answer: answer for answer in used]):
                return world.run(plan)
        except Exhausted as error:
            return str(error), error.partial
        except Exception as error:
            if "left over" in str(error):
                return "left over"
            raise

    plain = [ended(world, lambda: run_tools.plan(Toy(), "Go!", TOOLS, **limits)) for world in SILENT]
    told = [ended(world, lambda: stream.plan(Toy(), "Go!", tools=TOOLS, **limits)) for world in LISTENING]
    assert all(each == plain[0] for each in [*plain, *told])


# -- what a provider sends, whole or streamed --


def sent_as(data: bytes, pieces: Sequence[bytes]) -> Callable[[dict[str, Any]], Sent]:
    """A provider that answers with a stream of *pieces* whoever asks for one, and with *data* whoever does not."""
    return lambda asked: Sent(pieces) if asked.get("stream") else whole(data)


@given(strategies.chat_streams().flatmap(lambda made: st.tuples(st.just(made[1]), strategies.splits(made[0]))))
def test_a_stream_over_a_connection_gives_what_the_whole_reply_gives(
    toy: Provider, case: tuple[Response, Sequence[bytes]]
) -> None:
    meant, pieces = case
    toy.answering = sent_as(_body(meant), pieces[:200] if len(pieces) <= 200 else [b"".join(pieces)])
    model = toy.model(retry=None)
    response = complete(model, "Go!")
    events = list(stream(model, "Go!"))
    streamed = events[-1].response  # type: ignore[union-attr]  # the last event is Finished
    assert joined(streamed.messages) == joined(response.messages) == joined(folded(events))
    for each in (response, streamed):
        assert (each.text, each.reasoning, each.finish_reason) == (meant.text, meant.reasoning, meant.finish_reason)
        assert [evolve(call, state=None) for call in each.tool_calls] == list(meant.tool_calls)
        assert (each.usage.input_tokens, each.usage.output_tokens) == (
            meant.usage.input_tokens,
            meant.usage.output_tokens,
        )


def _body(meant: Response) -> bytes:
    """*meant* as one JSON document."""
    message: dict[str, Any] = {"role": "assistant", "content": meant.text or None}
    if meant.reasoning:
        message["reasoning_content"] = meant.reasoning
    if meant.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": written(call)}} for call in meant.tool_calls
        ]
    usage = {"prompt_tokens": meant.usage.input_tokens, "completion_tokens": meant.usage.output_tokens}
    choice = {"index": 0, "message": message, "finish_reason": meant.finish_reason}
    return dumps({"id": meant.id, "model": meant.model, "choices": [choice], "usage": usage})


def test_the_wire_of_the_strategies_is_what_it_says() -> None:
    """A check of the checks: the body made here says what the response means."""
    meant = Response((assistant(Thinking("Hm"), "Hi", ToolCall("c", "add", {"a": 1})),), "tool_calls")
    told = loads(_body(meant))["choices"][0]
    assert told["message"]["content"] == "Hi"
    assert told["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("eager", [False, True])
def test_eager_or_not_the_events_of_a_call_come_in_order(eager: bool) -> None:
    with scripted((ToolCall("a", "add", {"a": 1, "b": 2}), ToolCall("b", "count", {"to": 2})), "3"):
        events = list(stream(Toy(), "1+2?", tools=TOOLS, eager=eager))
    last = ToolCall("b", "count", {"to": 2})
    names = [type(event).__name__ for event in events if getattr(event, "call", None) == last]
    assert names == ["ToolCallDelta", "ToolStarted", "ToolProgress", "ToolProgress", "ToolFinished"]

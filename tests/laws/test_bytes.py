"""Any split: where the network cuts a stream never matters. Nothing is invented: what was not said is not answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from arshai_kit import Response, ToolCall, openai_compatible, stream, tool
from arshai_kit._json import dumps
from arshai_kit.errors import ArshaiError, Exhausted, ProviderError, StreamIncomplete
from arshai_kit.records import Event, Finished, ToolResult, ToolStarted
from arshai_kit.scope import using
from arshai_kit.testing import strategies
from tests.core.worlds import WORLDS, World
from tests.laws.wired import wired

LISTENING = tuple(world for world in WORLDS if world.listening)
MODEL = openai_compatible("toy-1", base_url="http://localhost", api_key="", retry=None)

Told = tuple[list[Event], str, ArshaiError | None]


def told(world: World, pieces: Sequence[bytes], *, cut: bool = False, **options: Any) -> Told:
    """The events of a stream that comes in *pieces*, and how it failed, if it did."""
    events: list[Event] = []
    kept: list[ArshaiError] = []

    def keeping() -> Any:
        try:
            yield from stream.plan(MODEL, "Go!", **options)
        except ArshaiError as error:
            kept.append(error)

    with using(layers=[wired(pieces, cut=cut)]):
        events = world.events(keeping)
    return events, repr(kept), kept[0] if kept else None


split = strategies.chat_streams().flatmap(
    lambda made: st.tuples(st.just(made[0]), strategies.splits(made[0]), st.just(made[1]))
)
worlds = st.sampled_from(LISTENING)


@given(split, worlds)
def test_where_a_stream_is_cut_never_matters(case: tuple[bytes, Sequence[bytes], Response], world: World) -> None:
    data, pieces, meant = case
    events, *_ = told(world, pieces)
    assert events == told(LISTENING[0], [data])[0]
    final = events[-1]
    assert isinstance(final, Finished)
    assert (final.response.text, final.response.reasoning) == (meant.text, meant.reasoning)


LINES = [
    b'data: {"choices": [{"index": 0, "delta": {"content": "Gr\xc3\xbc\xc3\x9fe"}}]}',
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}',
    b'data: {"error": {"message": "overloaded", "code": 529}}',
    b'data: {"choices": []}',
    b"data: [DONE]",
    b"data: {",
    b"data: \xff\xfe",
    b"data:",
    b"data",
    b"event: error",
    b": a comment",
    b"id: 1",
    b"retry: 5",
    b"<html>",
    b'{"error": "not a stream"}',
    b"\xef\xbb\xbf",
    b"",
]
noise = st.lists(
    st.tuples(st.sampled_from(LINES) | st.binary(max_size=6), st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b""])),
    min_size=1,
    max_size=6,
).map(lambda lines: b"".join([line + end for line, end in lines]))


@given(noise.flatmap(lambda data: st.tuples(st.just(data), strategies.splits(data))), worlds, st.booleans())
@example((b"\xef\xbb\xbfdata: [DONE]\r\n\r\n", [b"\xef", b"\xbb\xbfdata: [DONE]\r", b"\n\r", b"\n"]), WORLDS[-1], False)
@example((b"data: {\ndata: {\r\n\n", [b"data: {\ndata: {\r", b"\n", b"\n"]), WORLDS[-1], False)
@example((b"\n\n\n data: [DONE]\n\n", [b"\n\n\n", b" ", b"data: [DONE]\n\n"]), WORLDS[-1], False)
@example((b"\xef\xbb\xbf\n<html>\n", [b"\xef", b"\xbb\xbf", b"\n", b"<html>\n"]), WORLDS[-1], False)
def test_neither_does_it_when_the_bytes_make_no_sense(
    case: tuple[bytes, Sequence[bytes]], world: World, cut: bool
) -> None:
    """The same events, and the same error in the same words."""
    data, pieces = case
    events, error, _ = told(world, pieces, cut=cut)
    assert (events, error) == told(LISTENING[0], [data], cut=cut)[:2]


# -- nothing is invented --

KNOWN = ("add", "look_up", "now")


Ran = list[tuple[str, bytes]]


def recording(ran: Ran, name: str) -> Any:
    """A tool called *name* that takes anything, and says no more after its first round."""

    def function(**arguments: Any) -> str:
        ran.append((name, dumps(arguments)))
        return "fine"

    return tool(function, name=name, parameters={"type": "object"})


cuts = strategies.chat_streams().flatmap(
    lambda made: st.tuples(st.just(made[0]), st.integers(0, len(made[0])), st.just(made[1]))
)


@given(cuts, worlds, st.booleans(), st.booleans())
def test_a_stream_that_is_cut_anywhere_answers_nothing_that_was_not_said(
    case: tuple[bytes, int, Response], world: World, cut: bool, eager: bool
) -> None:
    data, place, meant = case
    ran: Ran = []
    tools = [recording(ran, name) for name in KNOWN]
    events, _, error = told(world, [data[:place]], cut=cut, tools=tools, eager=eager, max_rounds=1)
    said = [(call.name, dumps(call.arguments)) for call in meant.tool_calls]
    complete = f'"finish_reason": "{meant.finish_reason}"'.encode() in data[:place]
    assert all(call in said for call in ran)
    if isinstance(error, ProviderError):
        assert not complete or place < data.index(b"[DONE]")
        assert_partial(error, meant)
    elif not meant.tool_calls:
        assert complete
        final = events[-1]
        assert isinstance(final, Finished)
        assert (final.response.text, final.response.finish_reason) == (meant.text, meant.finish_reason)
    else:
        assert complete
        assert sorted(ran) == sorted(said)


def assert_partial(error: ProviderError, meant: Response) -> None:
    """What came is on the error: nothing that was not said, and no reason why it ended."""
    if not isinstance(error, StreamIncomplete) and error.partial is None:
        return
    partial = error.partial
    assert isinstance(partial, Response)
    assert (partial.finish_reason, partial.raw_finish_reason) == ("error", None)
    assert meant.text.startswith(partial.text)
    assert meant.reasoning.startswith(partial.reasoning)
    asked = [call for message in partial.messages for call in message.tool_calls]
    assert [evolve(call, state=None) for call in asked] == [call for call in meant.tool_calls if _same(call, asked)]
    assert_whole(partial)


def _same(call: ToolCall, others: Sequence[ToolCall]) -> bool:
    return any(evolve(other, state=None) == call for other in others)


def assert_whole(response: Response) -> None:
    """Every call has a result behind it, those that ran their own: the history can go on as it is."""
    results = [part for message in response.messages for part in message.parts if isinstance(part, ToolResult)]
    asked = [call.id for message in response.messages for call in message.tool_calls]
    assert sorted(result.id for result in results) == sorted(asked)
    told = {result.id: result.content for result in results}
    assert all(told[run.call.id] == run.result for run in response.tool_runs)


@given(cuts, st.booleans())
def test_a_call_whose_arguments_happen_to_be_whole_does_not_run_when_the_stream_is_cut(
    case: tuple[bytes, int, Response], eager: bool
) -> None:
    """Not before the provider has said that it is done, or has begun another call."""
    data, place, meant = case
    ran: Ran = []
    tools = [recording(ran, name) for name in KNOWN]
    events, _, error = told(LISTENING[0], [data[:place]], tools=tools, eager=eager, max_rounds=1)
    if error is not None and f'"finish_reason": "{meant.finish_reason}"'.encode() not in data[:place]:
        begun = [call for call in meant.tool_calls if f'"{call.id}"'.encode() in data[:place]]
        assert len(ran) <= max(0, len(begun) - 1) if eager else not ran
    started = [event.call for event in events if isinstance(event, ToolStarted)]
    assert len(started) == len(ran)


@given(cuts, worlds, st.booleans())
def test_eager_or_not_the_outcome_is_the_same(case: tuple[bytes, int, Response], world: World, cut: bool) -> None:
    """A whole reply ends with the same answer and the same runs; a broken one with the same words."""
    data, place, _ = case
    ran: tuple[Ran, Ran] = [], []
    outcomes = []
    for mine, eager in zip(ran, (False, True), strict=True):
        tools = [recording(mine, name) for name in KNOWN]
        events, _, error = told(world, [data[:place]], cut=cut, tools=tools, eager=eager, max_rounds=1)
        outcomes.append((events[-1] if error is None else None, error))
    (plain, failed), (eager_end, eager_failed) = outcomes
    assert plain == eager_end
    assert type(failed) is type(eager_failed)
    if isinstance(failed, Exhausted) and isinstance(eager_failed, Exhausted):
        assert failed.partial == eager_failed.partial
        assert sorted(ran[0]) == sorted(ran[1])
    elif failed is not None and failed.partial is not None:
        assert eager_failed is not None
        assert failed.partial.text == eager_failed.partial.text
        assert ran[0] == []

"""Trying again is told, marked as the same call, and begins an answer anew only where that was asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit import complete, evolve, openai_compatible, stream, tool, using
from arshai_kit.cli.talk import Heard, shown
from arshai_kit.effects import Close, Layer, Open, Plan, Request, Secret, Send, Where
from arshai_kit.errors import Misuse, ServerFailed, StreamIncomplete, TimedOut
from arshai_kit.records import Event, Finished, Notice, PartialOutput, ToolFinished
from arshai_kit.resilience import deadline, fallback
from arshai_kit.retry import Retry
from arshai_kit.testing import clock, recorded, replayed
from tests.core.worlds import World, everywhere, listening
from tests.laws.provider import Provider, Sent, provider, whole
from tests.laws.test_streaming import folded, joined
from tests.test_completion import DONE, chunk

ANSWER = whole({"choices": [{"message": {"content": "Fine."}, "finish_reason": "stop"}]})
TOLD = Sent([chunk({"content": "Fi"}), chunk({"content": "ne."}), chunk({}, "stop"), DONE])
ANEW = Retry(restart=True)


@pytest.fixture(scope="module")
def there() -> Iterator[Provider]:
    with provider() as living:
        yield living


def failing(status: int, *headers: tuple[str, str]) -> Sent:
    return whole({"error": {"message": "not now"}}, status, *headers)


def cut(*words: str) -> Sent:
    """A stream that breaks after *words*."""
    return Sent([chunk({"content": word}) for word in words] or [b": wait\n\n"], cut=True)


def notices(events: Sequence[Event]) -> list[Notice]:
    return [event for event in events if isinstance(event, Notice)]


# -- told --


@listening
def test_each_try_is_told(there: Provider, world: World) -> None:
    there.answers(failing(503, ("retry-after", "2")), failing(429, ("retry-after", "3")), TOLD)
    with clock():
        events = world.events(lambda: stream.plan(there.model(), "Well?"))
    assert [(each.kind, each.name, each.data) for each in notices(events)] == [
        ("retrying", "toy-1", {"seconds": 2.0, "attempt": 2}),
        ("retrying", "toy-1", {"seconds": 3.0, "attempt": 3}),
    ]
    assert all("not now" in each.text for each in notices(events))
    there.answers(failing(503))
    with pytest.raises(ServerFailed):
        world.events(lambda: stream.plan(there.model(retry=None), "Well?"))


# -- the same call --


def marks(world: World, plan: Callable[[], Plan[Any]], header: str = "idempotency-key") -> list[Any]:
    """What each request of *plan* carries in *header*."""
    seen: list[Any] = []

    def on_request(effect: Any, _: Where) -> Plan[Any]:
        seen.append(dict(effect.request.headers).get(header))
        return (yield from effect)

    layer: Layer = {Send: on_request, Open: on_request}
    with using(layers=[layer]), clock():
        world.run(plan)
    return seen


@everywhere
def test_all_tries_of_a_call_carry_one_mark(there: Provider, world: World) -> None:
    def plan(**options: Any) -> Callable[[], Plan[Any]]:
        asking: Callable[..., Plan[Any]] = stream.plan if world.listening else complete.plan
        there.answers(failing(500), failing(500), TOLD if world.listening else ANSWER)
        return lambda: asking(there.model(**options), "Well?")

    first, second = marks(world, plan()), marks(world, plan())
    assert len(set(first)) == len(set(second)) == 1
    assert len(first) == 3
    assert first[0]
    assert first != second
    model = evolve(there.model(), idempotency_header="X-Once")
    there.answers(failing(500), ANSWER)
    assert len({*marks(world, lambda: complete.plan(model, "Well?"), "x-once")} - {None}) == 1
    own = marks(world, plan(headers={"Idempotency-Key": "mine"}))
    assert own == [Secret("mine")] * 3


@everywhere
def test_there_is_none_where_none_is_wanted(there: Provider, world: World) -> None:
    for model in (there.model(retry=None), there.model(retry=0), evolve(there.model(), idempotency_header=None)):
        there.answers(ANSWER)
        assert marks(world, lambda: complete.plan(model, "Well?")) == [None]  # noqa: B023


@pytest.mark.parametrize("wrong", [7, "", "two words", "bad\r\nheader", True])
def test_what_is_no_header_is_refused(wrong: Any) -> None:
    with pytest.raises(Misuse, match="idempotency_header= is the name of a header"):
        evolve(openai_compatible("m", base_url="http://x", api_key=""), idempotency_header=wrong)


def test_a_replay_has_the_same_mark(there: Provider, tmp_path: Any) -> None:
    there.answers(failing(500, ("retry-after", "0")), ANSWER)
    with recorded(tmp_path / "run.jsonl"):
        first = complete(there.model(), "Well?")
    there.answers()
    with replayed(tmp_path / "run.jsonl"):
        assert complete(there.model(), "Well?") == first
    assert there.asked == []


def test_the_mark_is_no_part_of_the_request_that_is_shown(there: Provider) -> None:
    from arshai_kit import request

    assert isinstance(request(there.model(), "Hi"), Request)
    assert "idempotency-key" not in dict(request(there.model(), "Hi").headers)


# -- begun anew --


@given(st.lists(st.lists(st.sampled_from(["Once ", "upon ", "a time"]), max_size=3), max_size=2))
@settings(max_examples=20)
def test_folding_the_events_gives_the_answer_also_when_it_began_anew(there: Provider, halves: list[list[str]]) -> None:
    for world in (World("", listening=True), World("trio", listening=True)):
        there.answers(*[cut(*words) for words in halves], TOLD)
        with clock():
            events = world.events(lambda: stream.plan(there.model(retry=ANEW), "Well?"))
        finished = events[-1]
        assert isinstance(finished, Finished)
        assert finished.response.text == "Fine."
        assert joined(folded(events)) == joined(finished.response.messages)
        kinds = [kind for words in halves for kind in (["restarted", "retrying"] if words else ["retrying"])]
        assert [each.kind for each in notices(events)] == kinds


@listening
def test_a_stream_that_ends_too_early_begins_anew_if_asked(there: Provider, world: World) -> None:
    """In whatever way it broke, three times at most, and the connection of before is closed."""
    broken = [
        cut("Fi"),
        Sent([chunk({"content": "Fi"}), b'data: {"error": {"message": "overloaded", "code": 503}}\n\n']),
        Sent([chunk({"content": "Fi"})]),
    ]
    order: list[str] = []

    def note(effect: Any, _: Where) -> Plan[Any]:
        order.append(type(effect).__name__)
        return (yield from effect)

    for reply in broken:
        there.answers(reply, TOLD)
        order.clear()
        with using(layers=[{Open: note, Close: note}]), clock():
            events = world.events(lambda: stream.plan(there.model(retry=ANEW), "Well?"))
        assert events[-1].response.text == "Fine."  # type: ignore[union-attr]
        assert order == ["Open", "Close"] * 2
    there.answers(cut("Fi"), cut("Fin"), cut("Fine"))
    with clock(), pytest.raises(StreamIncomplete) as caught:
        world.events(lambda: stream.plan(there.model(retry=ANEW), "Well?"))
    assert (len(there.asked), caught.value.partial.text) == (3, "Fine")


@listening
def test_a_typed_answer_begins_anew_too(there: Provider, world: World) -> None:
    there.answers(cut('{"value": [1, 2'), Sent([chunk({"content": '{"value": [7, 8]}'}), chunk({}, "stop"), DONE]))
    with clock():
        events = world.events(lambda: stream.plan(there.model(retry=ANEW), "Numbers", output=list[int]))
    shown = [event.value for event in events if isinstance(event, PartialOutput)]
    assert shown[0][:1] == (1,)
    assert shown[-1] == (7, 8)


@listening
def test_what_a_tool_has_done_is_not_done_again(there: Provider, world: World) -> None:
    looked: list[str] = []

    def look(at: str) -> str:
        """Look."""
        looked.append(at)
        return "three"

    called = {"index": 0, "id": "c", "function": {"name": "look", "arguments": '{"at":"hats"}'}}
    other = {"index": 1, "id": "d", "function": {"name": "look", "arguments": '{"at":'}}
    half = Sent([chunk({"tool_calls": [called]}), chunk({"tool_calls": [other]})], cut=True)
    there.answers(half, TOLD)
    with clock(), pytest.raises(StreamIncomplete) as caught:
        world.events(lambda: stream.plan(there.model(retry=ANEW), "Go", tools=[tool(look, eager=True)]))
    assert "not tried again: tools had been called while it answered" in caught.value.__notes__
    assert caught.value.partial.tool_runs[0].result == "three"
    assert (len(there.asked), looked) == (1, ["hats"])
    there.answers(half, TOLD)
    with clock():
        events = world.events(lambda: stream.plan(there.model(retry=ANEW), "Go", tools=[look]))
    assert not any(isinstance(event, ToolFinished) for event in events)  # none has run yet: it may begin anew
    assert events[-1].response.text == "Fine."  # type: ignore[union-attr]


@everywhere
def test_who_does_not_listen_has_nothing_to_begin_anew(there: Provider, world: World) -> None:
    there.answers(failing(500), ANSWER)
    with clock():
        assert world.run(lambda: complete.plan(there.model(retry=ANEW), "Well?")).text == "Fine."


@listening
def test_no_time_to_begin_anew(there: Provider, world: World) -> None:
    """A deadline around the call: what broke is told, and what had been told is kept."""
    there.answers(cut("Fi"), TOLD)
    patient = Retry(wait=lambda _: 50.0, restart=True)
    with clock(), pytest.raises(StreamIncomplete) as caught:
        world.events(lambda: stream.plan(deadline(there.model(retry=patient), 10.0), "Well?"))
    assert caught.value.partial.text == "Fi"
    assert isinstance(caught.value.__cause__, TimedOut)


@listening
def test_inside_a_fallback(there: Provider, world: World) -> None:
    """The model tries again, and then the next one does; each says that it begins anew."""
    there.answers(cut("a"), cut("b"), cut("c"), TOLD)
    model = there.model(retry=ANEW)
    with clock():
        events = world.events(lambda: stream.plan(fallback(model, evolve(model, name="other"), restart=True), "Well?"))
    kinds = [each.kind for each in notices(events)]
    assert kinds == ["restarted", "retrying", "restarted", "retrying", "restarted", "fell_back"]
    assert joined(folded(events)) == joined(events[-1].response.messages)  # type: ignore[union-attr]


# -- shown --


def test_the_command_line_says_what_happens(there: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = StringIO(), StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    model = there.model(retry=evolve(ANEW, wait=lambda _: 0.0))
    there.answers(cut("Once upon"), cut("Once"), cut("O"), failing(503, ("retry-after", "0")), TOLD)
    heard = Heard(notes=True)
    response = shown(stream(fallback(model, evolve(model, name="other"), restart=True), "Well?"), heard)
    assert (response.text, heard.text) == ("Fine.", "Fine.")
    assert out.getvalue() == "Once upon\nOnce\nO\nFine.\n"
    told = [line.partition(":")[0] + line[line.rfind(":") :] for line in err.getvalue().splitlines()]
    assert told == [
        "× toy-1: the answer begins anew",
        "× toy-1: trying again in 0.0 s",
        "× toy-1: the answer begins anew",
        "× toy-1: trying again in 0.0 s",
        "× toy-1: the answer begins anew",
        "× toy-1: asking other",
        "× other: trying again in 0.0 s",
    ]

"""The next one answers in place of who fails: once, told once, and said whose it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import evolve, extract, openai_compatible, run_tools, stream, testing, tool
from arshai_kit.codec import from_json, to_json
from arshai_kit.completion import run
from arshai_kit.effects import Call, Emit, Plan, Sleep, call
from arshai_kit.errors import (
    ArshaiError,
    BadReply,
    BadRequest,
    CircuitOpen,
    ContentTooLong,
    Misuse,
    OverBudget,
    OverLimit,
    RateLimited,
    ScriptError,
    ServerFailed,
    StoreUnreachable,
    StreamIncomplete,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from arshai_kit.models import UNKNOWN, Ask, Capabilities
from arshai_kit.records import (
    Event,
    Finished,
    Notice,
    PartialOutput,
    Response,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolFinished,
    assistant,
)
from arshai_kit.resilience import MemoryCache, breaker, cached, deadline, fallback, limited, worth_another
from tests.core.worlds import World, everywhere, listening
from tests.laws.test_streaming import folded, joined
from tests.resilience.toys import ASK, Toy, said, talk

DOWN = ServerFailed("down", status=503)


def good(name: str = "b", words: str = "It is me.") -> Toy:
    """A model that answers."""
    return Toy(lambda: said(words), name=name)


def anew(error: Exception) -> Exception:
    """*error*, as nobody has raised it; no pickle, for other packages teach that to take tracebacks along."""
    reduced: Any = error.__reduce__()
    rebuilt, parts = reduced
    made: Exception = rebuilt(*parts)
    return made


def bad(error: Any = DOWN, name: str = "a") -> Toy:
    """A model that fails, each time anew."""
    return Toy(lambda: anew(error), name=name)


@frozen
class Half:
    """A model that tells *events* to who listens, and then fails."""

    events: tuple[Event, ...]
    error: Exception = field(factory=lambda: StreamIncomplete("cut"))
    name: str = "half"
    provider: str = "box"
    capabilities: Capabilities = UNKNOWN

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Nothing whole."""
        if stream:
            yield from Emit(self.events)
            yield from Sleep(0.0)
        raise anew(self.error)


BROKEN = Half((TextDelta("Once upon "),))


def notices(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.kind, event.name) for event in events if isinstance(event, Notice)]


# -- who answers --


@everywhere
def test_the_next_one_answers(world: World) -> None:
    model = fallback(bad(name="a"), bad(RateLimited("busy", status=429), "b"), good("c"), good("d"))
    response = world.run(talk(model, stream=world.listening))
    assert (response, response.answered_by) == (said(), "c")
    assert world.run(talk(fallback(good("first"), bad()))).answered_by == "first"


DEFAULTS = [
    (ServerFailed("down", status=500), True),
    (RateLimited("busy", status=429), True),
    (OverLimit("later", limit="concurrent"), True),
    (TimedOut("silent"), True),
    (Unreachable("no way"), True),
    (ContentTooLong("too long", status=400), True),
    (CircuitOpen("left alone"), True),
    (StoreUnreachable("away"), True),
    (BadReply("HTML", status=200), True),
    (StreamIncomplete("cut"), True),
    (BadRequest("conflict", status=409), True),
    (BadRequest("wrong", status=400), False),
    (Unauthorized("who?", status=401), False),
    (OverBudget("spent"), False),
    (Misuse("wrong"), False),
    (ScriptError("over"), False),
    (ZeroDivisionError("ours"), False),
]


@pytest.mark.parametrize(("error", "falls"), DEFAULTS, ids=lambda value: type(value).__name__)
def test_which_errors_are_for_the_next_one(error: Exception, falls: bool) -> None:
    assert worth_another(error) is falls
    model = fallback(bad(error), good())
    if falls:
        assert run(model_agent(model), "Hi").answered_by == "b"
        return
    with pytest.raises(type(error)) as caught:
        run(model_agent(model), "Hi")
    assert not hasattr(caught.value, "__notes__")


def model_agent(model: Any) -> Any:
    """An agent that asks *model* once."""

    def agent(_: Any) -> None: ...

    agent.plan = lambda _: model.ask(ASK, stream=False)  # type: ignore[attr-defined]
    return agent


@pytest.mark.parametrize(
    "on",
    [
        OverBudget,
        ArshaiError,
        lambda error: "spent" in str(error),
        (worth_another, OverBudget),
        (ZeroDivisionError, lambda error: isinstance(error, OverBudget)),
    ],
)
def test_errors_can_be_named(on: Any) -> None:
    """A type, a predicate, or several: a budget that is used up among them."""
    model = fallback(bad(OverBudget("spent")), good("cheap"), on=on)
    assert run(model_agent(model), "Hi").answered_by == "cheap"
    with pytest.raises(ScriptError):
        run(model_agent(fallback(bad(ScriptError("over")), good(), on=Exception)), "Hi")


@everywhere
def test_the_last_error_is_raised_and_carries_the_others(world: World) -> None:
    model = fallback(bad(name="a"), bad(Unreachable("no way"), "b"), bad(RateLimited("busy", retry_after=7.0), "c"))
    with pytest.raises(RateLimited, match="busy") as caught:
        world.run(talk(model, stream=world.listening))
    assert caught.value.retry_after == 7.0
    assert caught.value.__notes__ == [
        "before this, a failed: ServerFailed: down",
        "before this, b failed: Unreachable: no way",
    ]


@given(st.lists(st.sampled_from([DOWN, BadRequest("wrong", status=400), None]), min_size=1, max_size=5), st.data())
def test_fallback_is_associative(errors: list[Exception | None], data: Any) -> None:
    """How they are grouped makes no difference to the answer, nor to who gives it."""
    models = [
        good(f"m{place}", f"I am {place}.") if error is None else bad(error, f"m{place}")
        for place, error in enumerate(errors)
    ]
    cut = data.draw(st.integers(0, len(models)))
    grouped = [*models[:cut], fallback(*models[cut:])] if cut < len(models) else models

    def asked(model: Any) -> Any:
        try:
            response = run(model_agent(model), "Hi")
        except ArshaiError as error:
            return type(error), str(error)
        return response, response.answered_by

    assert asked(fallback(*grouped)) == asked(fallback(*models))


# -- what is told --


@listening
def test_what_it_did_is_told(world: World) -> None:
    events = world.events(lambda: stream.plan(fallback(bad(name="a"), good("b")), "Hi"))
    assert [event for event in events if isinstance(event, Notice)] == [
        Notice("fell_back", "a", "down", {"to": "b", "error": "ServerFailed"})
    ]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["It is me."]


@listening
def test_what_has_been_told_is_not_told_again(world: World) -> None:
    raised: list[StreamIncomplete] = []

    def plan() -> Plan[Any]:
        try:
            yield from talk(fallback(BROKEN, good()), stream=True)()
        except StreamIncomplete as error:
            raised.append(error)

    told = world.events(plan)
    assert (notices(told), [event for event in told if isinstance(event, TextDelta)]) == ([], list(BROKEN.events))
    assert raised[0].__notes__ == [
        "b was not asked: part of the answer had been told (restart=True lets it begin anew)"
    ]


@given(st.lists(st.lists(st.sampled_from(["Once ", "upon ", "a time"]), max_size=3), max_size=3), st.booleans())
def test_folding_the_events_gives_the_answer_also_when_it_began_anew(halves: list[list[str]], nested: bool) -> None:
    models: list[Any] = [Half(tuple(map(TextDelta, words)), name=f"m{place}") for place, words in enumerate(halves)]
    model = fallback(*models, good(), restart=True)
    model = fallback(model, good("never"), restart=True) if nested else model
    for world in (World("", listening=True), World("trio", listening=True)):
        events = world.events(lambda: stream.plan(model, "Hi"))
        finished = events[-1]
        assert isinstance(finished, Finished)
        assert finished.response == run(model_agent(model), "Hi")
        assert joined(folded(events)) == joined(finished.response.messages)
    anew = [name for kind, name in notices(events) if kind == "restarted"]
    assert anew == [half.name for half in models if half.events]


@listening
def test_a_typed_answer_begins_anew_too(world: World) -> None:
    half = Half((TextDelta('{"value": [1, 2'),))
    model = fallback(half, good(words='{"value": [7, 8, 9]}'), restart=True)
    events = world.events(lambda: stream.plan(model, "Numbers", output=list[int]))
    shown = [event.value for event in events if isinstance(event, PartialOutput)]
    assert shown[0][:1] == (1,)
    assert shown[-1] == (7, 8, 9)
    assert events[-1].response.output == [7, 8, 9]  # type: ignore[union-attr]


# -- tools --


def calling() -> Response:
    return Response((assistant(ToolCall("c", "look", {"at": "hats"})),), "tool_calls")


@everywhere
def test_only_the_one_call_of_a_loop_is_answered_by_another(world: World) -> None:
    looked: list[str] = []

    def look(at: str) -> str:
        """Look."""
        looked.append(at)
        return "three"

    answers: Iterator[Any] = iter([calling(), DOWN, said("Yes.")])
    model = fallback(Toy(lambda: next(answers), name="a"), good("b", "There are three."))

    def asking() -> Plan[Response]:
        return (stream if world.listening else run_tools).plan(model, "How many?", tools=[look])

    response = world.run(asking)
    assert (looked, response.text, response.answered_by) == (["hats"], "There are three.", "b")


@listening
def test_what_a_tool_has_done_is_not_done_again(world: World) -> None:
    """A call that has run while the answer came: nobody else is asked, and the run keeps what it did."""
    looked: list[str] = []

    def look(at: str) -> str:
        """Look."""
        looked.append(at)
        return "three"

    call_told = ToolCallDelta(0, "look", '{"at":"hats"}', ToolCall("c", "look", {"at": "hats"}))
    model = fallback(Half((TextDelta("Let me see. "), call_told)), good("b"), restart=True)
    with pytest.raises(StreamIncomplete, match="cut") as caught:
        world.events(lambda: stream.plan(model, "How many?", tools=[tool(look, eager=True)]))
    assert caught.value.__notes__ == ["b was not asked: tools had been called while it answered"]
    assert [(made.call.name, made.result) for made in caught.value.partial.tool_runs] == [("look", "three")]
    assert looked == ["hats"]
    events = world.events(lambda: stream.plan(model, "How many?", tools=[look]))  # none has run yet: it may begin anew
    assert events[-1].response.answered_by == "b"  # type: ignore[union-attr]
    assert not any(isinstance(event, ToolFinished) for event in events)


# -- agents --


@everywhere
def test_agents(world: World) -> None:
    """Functions, generators, plans: the whole agent is followed by the next."""

    def breaks(prompt: str) -> str:
        raise DOWN

    def tells(prompt: str) -> Any:
        yield "I am "
        yield "fine."

    async def counts(prompt: str) -> int:
        return len(prompt)

    assert world.run(lambda: call(fallback(breaks, counts), "four")) == 4
    assert world.run(lambda: call(fallback(breaks, tells), "Hi")) == "I am fine."
    answered = world.run(lambda: call(fallback(breaks, model_agent(good())), "Hi"))
    assert answered.answered_by == "agent"
    assert fallback(breaks, len).__name__ == "breaks|len"
    with pytest.raises(ServerFailed):
        world.run(lambda: call(fallback(breaks, breaks), "Hi"))


@listening
def test_an_agent_that_has_told_something_begins_anew_if_it_may(world: World) -> None:
    def breaks(prompt: str) -> Any:
        yield "I am"
        raise DOWN

    def works(prompt: str) -> Any:
        yield "Hello."

    with pytest.raises(ServerFailed):
        world.events(lambda: stream.plan(fallback(breaks, works), "Hi"))
    events = world.events(lambda: stream.plan(fallback(breaks, works, restart=True), "Hi"))
    assert notices(events) == [("restarted", "breaks"), ("fell_back", "breaks")]
    assert events[-1].response.text == "Hello."  # type: ignore[union-attr]


def test_called_it_blocks() -> None:
    assert fallback(len, str)("four") == 4


# -- with other wrappers --


@everywhere
def test_a_deadline_of_one_is_for_the_next_and_one_around_all_is_not(world: World) -> None:
    sleepy = Sleepy()
    told: list[Any] = []
    with testing.clock():
        assert world.run(talk(fallback(deadline(sleepy, 5.0), good()))).answered_by == "b"
        assert world.run(talk(deadline(fallback(sleepy, good()), 5.0))).answered_by == "b"  # nothing has been waited

    def late() -> Plan[Any]:
        plan = talk(deadline(fallback(Late(clock), Toy(lambda: told.append("asked")), good()), 5.0))()
        return (yield from plan)

    with testing.clock() as clock, pytest.raises(TimedOut) as caught:
        world.run(late)
    assert (caught.value.seconds, told) == (5.0, [])


@frozen
class Sleepy:
    """A model that takes a minute."""

    name: str = "sleepy"
    provider: str = "box"
    capabilities: Capabilities = UNKNOWN

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """An answer, much later."""
        yield from Sleep(60.0)
        return said()


@frozen
class Late:
    """A model that notices too late that it is too late."""

    clock: Any
    name: str = "late"
    provider: str = "box"
    capabilities: Capabilities = UNKNOWN

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Never."""
        yield from Call(self.clock.advance, 6.0)
        yield from Sleep(0.0)
        raise AssertionError


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "deadline": lambda model: deadline(model, 600.0),
    "fallback": lambda model: fallback(model, good("never")),
    "restarting": lambda model: fallback(model, good("never"), restart=True),
    "limited": lambda model: limited(model, requests_per_minute=100_000, concurrent=5),
    "breaker": breaker,
    "cached": lambda model: cached(model, MemoryCache(), key=lambda _model, ask: ask.messages[-1].text),
}


@given(
    st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=5),
    st.sampled_from([0, 1]),
    st.sampled_from([World(backend, told) for backend in ("", "asyncio", "trio") for told in (False, True)]),
)
def test_whatever_the_order_a_success_is_the_same(order: list[str], failures: int, world: World) -> None:
    answer = said("Oslo.", model="m", id="r-1")
    model: Any = fallback(*[bad() for _ in range(failures)], Toy(lambda: answer, name="m"))
    for name in order:
        model = WRAPPERS[name](model)
    response = world.run(talk(model, stream=world.listening))
    assert response == answer
    assert (model.name.split("|")[failures], response.answered_by) == ("m", "m")


# -- a value --


def test_it_is_a_model_and_a_value() -> None:
    one, other = (openai_compatible(name, base_url="http://localhost:1/v1", api_key="sk-1") for name in "ab")
    model = fallback(one, other)
    assert model == fallback(one, other) != fallback(other, one)
    assert hash(model) == hash(fallback(one, other))
    assert (model.name, model.provider) == ("a|b", "openai-compatible")
    assert evolve(model, temperature=0) == fallback(evolve(one, temperature=0), evolve(other, temperature=0))
    assert "sk-1" not in repr(model)
    assert fallback(Toy(capabilities=Capabilities(tools=True)), Toy()).capabilities.tools is None


def test_whose_it_is_is_kept_and_changes_nothing() -> None:
    mine = evolve(said(), answered_by="b")
    assert mine == said()
    assert hash(mine) == hash(said())
    assert "answered_by='b'" in repr(mine)
    assert from_json(to_json(mine)).answered_by == "b"
    assert run(model_agent(fallback(bad(name="m"), good("m"))), "Hi").answered_by == "box:m#2"


@pytest.mark.parametrize(
    ("models", "on", "why"),
    [
        ((), worth_another, "at least one"),
        ((good(), len), worth_another, "no mixture"),
        ((7,), worth_another, "wraps a model, or an agent"),
        ((good(),), "ServerFailed", "a type of error"),
        ((good(),), (ServerFailed, int), "a type of error"),
        ((good(),), KeyboardInterrupt, "a type of error"),
        ((good(),), (), "names no error"),
    ],
)
def test_what_cannot_work_is_refused(models: Any, on: Any, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        fallback(*models, on=on)


def test_extract_takes_it() -> None:
    assert extract(fallback(bad(), good(words='{"value": 7}')), "A number", int) == 7

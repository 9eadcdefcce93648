"""Until its checks have passed an agent may think, but does nothing, and nothing of its answer is told."""

from __future__ import annotations

from collections.abc import Callable, Generator
from decimal import Decimal
from threading import Event as Gate
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit import Response, TextDelta, Usage, agent, aio, assistant, openai_compatible, pipe, run, stream, user
from arshai_kit.agents import approve, as_tool, guard, parallel, placed
from arshai_kit.effects import Call, Effect, Emit, Instant, Plan, Sleep, Spawn, Step, side_by_side
from arshai_kit.errors import ArshaiError, GuardTripped, Misuse, ServerFailed
from arshai_kit.models import UNKNOWN, Ask, retold
from arshai_kit.records import Event, StepFinished, StepStarted
from arshai_kit.resilience import fallback
from arshai_kit.testing import clock
from tests.agents.speakers import BOTH, PAY, Ran, Speaker, calling, desk, results
from tests.agents.toys import PROMPT, Log, ended, events_of, failing, foreign, ours, supervised, trees
from tests.core.worlds import WORLDS, World, everywhere, listening, on_both
from tests.laws.test_streaming import folded, joined

FEW = settings(settings.get_profile("few"))
LISTENING = [world for world in WORLDS if world.listening]
SOON = 30.0
AGES = 10.0**6


class Planned:
    """A check that goes by a plan: it takes *seconds*, and finds *found*."""

    def __init__(self, found: Any = "", seconds: float = 0.0, then: Callable[[], Any] = bool) -> None:
        self.found, self.seconds, self.then = found, seconds, then

    @property
    def __name__(self) -> str:
        return "planned"

    def plan(self, prompt: Any) -> Plan[Any]:
        """What it finds, after a while."""
        yield from Sleep(self.seconds)
        self.then()
        return self.found

    def __call__(self, prompt: Any) -> None:
        """Not called: there is a plan."""


class Slow:
    """A model that has told its words, and then takes ages."""

    name, provider, capabilities = "slow", "box", UNKNOWN

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Hardly an answer."""
        response = Response((assistant("I think that"),))
        if stream:
            yield from Emit(retold(response))
        yield from Sleep(AGES)
        return response


def fine(_: Any) -> bool:
    return True


def events_until(world: World, function: Any) -> tuple[list[Event], Exception | None]:
    """What was told, and how it ended."""
    seen: list[Event] = []

    async def listen() -> None:
        async with aio.stream(function, PROMPT) as events:
            async for event in events:
                seen.append(event)

    try:
        if world.backend:
            anyio.run(listen, backend=world.backend)
        else:
            for event in stream(function, PROMPT):
                seen.append(event)  # noqa: PERF402  # what was told before it failed is kept
    except ArshaiError as error:
        return seen, error
    return seen, None


# -- what passes --


@FEW
@given(trees(foreign | ours() | failing), st.sampled_from(WORLDS))
def test_a_guard_that_finds_nothing_is_none(one: Any, world: World) -> None:
    guarded = guard(one, before=fine, after=lambda response: "")
    assert ended(world, guarded) == ended(world, one)


@FEW
@given(trees(foreign | ours()) | supervised(Log()), st.sampled_from(LISTENING))
def test_what_is_held_back_is_told_as_it_would_have_been(one: Any, world: World) -> None:
    """All of it, under the same paths, whoever was first where several speak."""
    events = events_of(world, one)[:-1]  # the last one has the seconds that tools took
    plain = sorted([repr(each) for each in events if not _of_a_guard(each)])
    for guarded in (guard(one, before=fine), guard(one, after=fine), guard(one, before=fine, hold=False)):
        told = [repr(each) for each in events_of(world, guarded)[:-1] if not _of_a_guard(each)]
        assert sorted(told) == plain


def _of_a_guard(event: Event) -> bool:
    return isinstance(event, StepStarted | StepFinished) and event.kind == "guard"


@listening
def test_what_is_guarded_is_streamed_as_it_is_returned(world: World) -> None:
    one = guard(desk((BOTH, "Done."), Ran()), before=Planned(seconds=0.001), after=fine)
    events = world.events(lambda: stream.plan(one, "go"))
    response = events[-1].response  # type: ignore[union-attr]  # the last one is Finished
    assert joined(folded(events)) == joined(response.messages)


@everywhere
def test_further_arguments_and_names_go_through(world: World) -> None:
    def one(prompt: str, *, key: str) -> str:
        return f"{prompt} {key}"

    guarded = guard(one, before=lambda prompt: prompt != "Hi")
    assert guarded.__name__ == "one"
    assert world.run(lambda: guarded.plan("Ho", key="a")).text == "Ho a"
    with pytest.raises(GuardTripped, match="<lambda> stopped it before the answer: it did not pass"):
        world.run(lambda: guarded.plan("Hi", key="a"))


# -- what stops it --


@everywhere
def test_what_the_agent_does_is_cancelled(world: World) -> None:
    """It would take ages."""
    with pytest.raises(GuardTripped) as caught:
        world.run(lambda: guard(agent(Slow()), before=Planned("rude")).plan("go"))
    error = caught.value
    assert (error.check, error.side, error.reason, error.partial) == ("planned", "before", "rude", None)
    assert str(error) == "planned stopped it before the answer: rude"


@on_both
def test_nothing_is_left_running(backend: str) -> None:
    """What the model was waiting for has been cancelled by the time that the error is there."""
    seen = Ran()

    async def main() -> None:
        asked = anyio.Event()

        async def forever() -> None:
            asked.set()
            try:
                await anyio.sleep(AGES)
            finally:
                seen.note("left")

        async def check(prompt: Any) -> str:
            await asked.wait()
            return "rude"

        class Hanging(Slow):
            def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
                yield from Call(forever)
                return Response(())

        with pytest.raises(GuardTripped, match="rude"):
            await aio.run(guard(agent(Hanging()), before=check), "go")
        assert seen.all == ["left"]

    anyio.run(main, backend=backend)


@everywhere
def test_the_model_is_asked_beside_the_check(world: World) -> None:
    """The check waits for the question, so it could not come before it."""
    asked = Gate()

    class Asked(Slow):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            asked.set()
            yield from ()
            return Response((assistant("Hello."),))

    assert world.run(lambda: guard(agent(Asked()), before=lambda prompt: asked.wait(SOON)).plan("go")).text == "Hello."


@everywhere
def test_what_a_model_does_to_answer_is_not_held_up(world: World) -> None:
    """It may ask others side by side, in steps of their own, and call functions, as for a token."""
    asked = Gate()

    def token() -> Plan[None]:
        yield from Call(asked.set)

    def step() -> Plan[None]:
        yield from Step[None]("count", "inner", None, token)

    class Busy(Slow):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            for outcome in (yield from side_by_side([step()])):
                outcome.unwrap()
            return Response((assistant("Hello."),))

    assert world.run(lambda: guard(agent(Busy()), before=lambda prompt: asked.wait(SOON)).plan("go")).text == "Hello."


def doing(order: Ran) -> dict[str, Any]:
    """Agents that do something at once, each in its way."""

    def note(*_: Any) -> str:
        order.note("did")
        return "did"

    def noted() -> Plan[None]:
        yield from Call(note)

    class Plans:
        def __init__(self, make: Callable[[], Effect[Any]]) -> None:
            self.make = make

        def plan(self, prompt: Any) -> Plan[str]:
            yield from self.make()
            return "did"

        def __call__(self, prompt: Any) -> None:
            """Not called: there is a plan."""

    async def later(prompt: Any) -> str:
        return note()

    def tells(prompt: Any) -> Generator[str, None, None]:
        yield note()

    def pay(cents: int) -> str:
        """Pay."""
        return note()

    return {
        "tool": agent(Speaker((PAY, "Done.")), tools=[pay]),
        "agent as tool": agent(Speaker((calling(("note", {"prompt": "a"})), "Done.")), tools=[as_tool(note)]),
        "function": note,
        "coroutine": later,
        "generator": tells,
        "background": Plans(lambda: Spawn("note", noted)),
        "memory": Plans(lambda: Instant(note)),
        "side by side": parallel(agent(Speaker((PAY, "Done.")), tools=[pay])),
        "guard": guard(note, before=fine),
        "approve": approve(agent(Speaker((PAY, "Done.")), tools=[pay]), lambda call: bool(note())),
    }


WAYS = (
    *("tool", "agent as tool", "function", "coroutine", "generator"),
    *("background", "memory", "side by side", "guard", "approve"),
)


@everywhere
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_done_before_the_check_has_passed(world: World, way: str) -> None:
    order = Ran()
    check = Planned(seconds=0.02, then=lambda: order.note("passed"))
    world.run(lambda: guard(doing(order)[way], before=check).plan("go"))
    assert order.all[0] == "passed"
    never = Ran()
    with pytest.raises(GuardTripped):
        world.run(lambda: guard(doing(never)[way], before=Planned("no", 0.01)).plan("go"))
    assert never.all == []


@everywhere
def test_nobody_is_asked_about_a_tool_before_the_check_has_passed(world: World) -> None:
    asked, ran = Gate(), Ran()
    too_early: list[bool] = []

    def person(_: Any) -> bool:
        asked.set()
        return True

    speaker = Speaker((PAY, "Paid."))
    one = approve(guard(agent(speaker, tools=[ran.pay]), before=lambda _: too_early.append(asked.wait(0.1))), person)
    assert world.run(lambda: one.plan("go")).text == "Paid."
    assert too_early == [False]
    assert (asked.is_set(), len(ran.all)) == (True, 1)


@everywhere
def test_an_answer_that_does_not_pass_is_kept_on_the_error(world: World) -> None:
    one = guard(
        desk((PAY, "The key is 1234."), Ran()), after=lambda response: "a key" if "key" in response.text else ""
    )
    with pytest.raises(GuardTripped, match="stopped it after the answer: a key") as caught:
        world.run(lambda: one.plan("go"))
    assert (caught.value.side, caught.value.partial.text) == ("after", "The key is 1234.")
    assert caught.value.partial.usage == Usage(1, 2) + Usage(2, 2)


@listening
@pytest.mark.parametrize("side", ["before", "after"])
def test_nothing_of_an_answer_that_is_stopped_is_told(world: World, side: str) -> None:
    one = agent(Speaker(("The key is 1234.",)), name="desk")
    guarded = guard(one, before=fine, after=Planned("no")) if side == "after" else guard(one, before=Planned("no"))
    events, error = events_until(world, guarded)
    assert isinstance(error, GuardTripped)
    assert {type(event) for event in events} <= {StepStarted, StepFinished}
    assert not [event for event in events if event.path], "not even who was about to speak"


@listening
def test_words_may_be_told_as_they_come(world: World) -> None:
    """Then the check may wait for them."""
    heard = Gate()
    one = guard(agent(Speaker(("Hello.",))), before=lambda prompt: heard.wait(SOON), hold=False)

    async def listen() -> list[Event]:
        async with aio.stream(one, "go") as events:
            return [hearing(event) async for event in events]

    def hearing(event: Event) -> Event:
        if isinstance(event, TextDelta):
            heard.set()
        return event

    told = anyio.run(listen, backend=world.backend) if world.backend else [hearing(each) for each in stream(one, "go")]
    assert [event.text for event in told if isinstance(event, TextDelta)] == ["Hello."]


@listening
def test_words_are_told_when_the_check_has_passed_not_when_all_is_done(world: World) -> None:
    """The model goes on only when its first words have been heard."""
    heard = Gate()

    class Going(Slow):
        def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
            yield from Emit((TextDelta("Hel"),))
            yield from Call(heard.wait, SOON)
            yield from Emit((TextDelta("lo."),))
            return Response((assistant("Hello."),), "stop" if heard.is_set() else "error")

    async def listen() -> None:
        async with aio.stream(one, "go") as events:
            async for event in events:
                hearing(event)

    def hearing(event: Event) -> None:
        if isinstance(event, TextDelta):
            heard.set()
        assert getattr(getattr(event, "response", None), "finish_reason", "stop") == "stop"

    one = guard(agent(Going()), before=Planned(seconds=0.001))
    if world.backend:
        anyio.run(listen, backend=world.backend)
    else:
        for event in stream(one, "go"):
            hearing(event)
    assert heard.is_set()


# -- checks --


@everywhere
def test_the_first_in_their_order_that_finds_something_is_named(world: World) -> None:
    with clock():
        checks = [Planned(seconds=50), Planned("two", 20), Planned("three")]
        with pytest.raises(GuardTripped, match="two"):
            world.run(lambda: guard(agent(Slow()), before=checks).plan("go"))


@everywhere
def test_the_end_does_not_depend_on_who_was_faster(world: World) -> None:
    """What a guard finds comes before what the agent failed with."""

    class Down(Slow):
        def ask(self, ask: Ask, *, stream: bool) -> Any:
            yield from ()
            raise ServerFailed("down", status=503)

    with pytest.raises(GuardTripped):
        world.run(lambda: guard(agent(Down()), before=Planned("rude", 0.01)).plan("go"))
    with pytest.raises(ServerFailed):
        world.run(lambda: guard(agent(Down()), before=Planned("", 0.01)).plan("go"))


@everywhere
def test_a_check_that_fails_stops_it_too(world: World) -> None:
    async def broken(prompt: Any) -> bool:
        raise ConnectionError("no moderation today")

    for guarded in (guard(agent(Slow()), before=broken), guard(agent(Speaker(("Hello.",))), after=broken)):
        with pytest.raises(ConnectionError, match="no moderation today"):
            world.run(lambda: guarded.plan("go"))  # noqa: B023  # it is run at once


@listening
def test_an_agent_may_check_and_what_it_used_counts(world: World) -> None:
    """Its words are no part of the answer, and nobody hears them."""
    good, bad = agent(Speaker(("",)), name="judge"), agent(Speaker(("Too harsh.",)), name="judge")
    one = agent(Speaker(("Hello.",)), name="desk")
    response = world.run(lambda: guard(one, before=good, after=[good, good]).plan("go"))
    assert (response.text, len(response.messages), response.usage) == ("Hello.", 1, Usage(4, 8))
    assert response.cost == Decimal("0.004")
    events, error = events_until(world, guard(placed(one, "desk"), before=good, after=bad, hold=False))
    assert isinstance(error, GuardTripped)
    assert (error.check, error.reason, error.partial.usage) == ("judge", "Too harsh.", Usage(3, 6))
    assert "".join([event.text for event in events if isinstance(event, TextDelta)]) == "Hello."


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, ""),
        (True, ""),
        ("", ""),
        (" ", ""),
        (False, "it did not pass"),
        (" so ", "so"),
        (Response((assistant("so"),)), "so"),
        (Response((assistant("{}"),), output=True), ""),
        (Response((assistant("{}"),), output="so"), "so"),
    ],
)
def test_what_a_check_gives(found: Any, reason: str) -> None:
    guarded = guard(lambda prompt: "Hello.", before=lambda prompt: found)
    if not reason:
        assert guarded("go").text == "Hello."
        return
    with pytest.raises(GuardTripped) as caught:
        guarded("go")
    assert caught.value.reason == reason


def test_what_a_prompt_can_be_read_once_is_read_once() -> None:
    seen: list[Any] = []
    guarded = guard(lambda prompt: str(len(prompt)), before=seen.append)
    assert guarded(iter([user("a"), user("b")])).text == "2"
    assert seen == [(user("a"), user("b"))]


# -- among others --


def test_no_other_is_asked_when_one_was_stopped() -> None:
    """A guard is not gone round by who answers in its place."""
    other = Ran()
    with pytest.raises(GuardTripped):
        fallback(guard(agent(Slow()), before=Planned("rude")), other.look)("go")
    assert other.all == []


@everywhere
def test_a_model_is_told_that_a_tool_was_stopped(world: World) -> None:
    inner = guard(agent(Slow()), before=Planned("rude"))
    boss = agent(Speaker((calling(("desk", {"prompt": "a"})), "Sorry.")), tools=[as_tool(inner, name="desk")])
    assert world.run(lambda: boss.plan("go")).text == "Sorry."
    (told,) = results(boss.model.asked[-1].messages)
    assert told == "GuardTripped: planned stopped it before the answer: rude"


@everywhere
def test_guards_stand_around_each_other_and_side_by_side(world: World) -> None:
    def one(reason: str) -> Any:
        return guard(
            guard(agent(Speaker(("Hello.",))), before=Planned(seconds=0.001)), before=Planned(reason), after=fine
        )

    assert world.run(lambda: pipe(one(""), one("")).plan("go")).text == "Hello."
    both = parallel(one(""), one("rude"))
    with pytest.raises(GuardTripped) as caught:
        world.run(lambda: both.plan("go"))
    assert "Hello." in [message.text for message in caught.value.partial.messages]


# -- misuse --

MODEL = openai_compatible("any", base_url="http://localhost", api_key="")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: guard(MODEL, before=fine), "takes agents, not models"),
        (lambda: guard(agent(MODEL)), "takes a check"),
        (lambda: guard(agent(MODEL), before=[]), "takes a check"),
        (lambda: guard(agent(MODEL), before=5), "as a check,.* not int"),  # type: ignore[arg-type]  # what is tested
        (lambda: guard(agent(MODEL), before="rude"), "as a check,.* not str"),  # type: ignore[arg-type]  # as above
        (lambda: guard(agent(MODEL), after=[fine, MODEL]), "as a check,.* not models"),  # type: ignore[list-item]  # as above
        (lambda: run(guard(fine, before=lambda prompt: 5), "go"), "a check gives what is wrong in words.* not int"),
    ],
)
def test_what_cannot_work_is_refused(make: Any, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        make()

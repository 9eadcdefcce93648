"""A conversation is handed from agent to agent, and whose turn it is stands in its messages."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from arshai_kit import (
    Message,
    Notice,
    Response,
    TextDelta,
    Usage,
    agent,
    assistant,
    openai_compatible,
    pipe,
    stream,
    tool_result,
    user,
)
from arshai_kit.agents import approve, as_tool, guard, handoff, latest, parallel, placed, route, whose_turn
from arshai_kit.codec import from_json, to_json
from arshai_kit.errors import Exhausted, Misuse, ServerFailed
from arshai_kit.models import UNKNOWN, Ask, thread
from arshai_kit.records import ToolCall
from tests.agents.speakers import Ran, Speaker, calling, results
from tests.core.worlds import WORLDS, World, everywhere, listening
from tests.laws.test_streaming import folded, joined

FEW = settings(settings.get_profile("few"))
NAMES = ("ann", "bob", "cleo", "dan")


def to(name: str, number: int = 0) -> tuple[ToolCall, ...]:
    return calling((f"hand_off_to_{name}", {"reason": "it is theirs"}), first=100 + number)


# -- any office --


class Clerk:
    """A model that hands the conversation on along *ways*, which all clerks share, until none is left."""

    provider, capabilities = "box", UNKNOWN

    def __init__(self, name: str, ways: list[str], knows: frozenset[str]) -> None:
        self.name, self.ways, self.knows = name, ways, knows

    def ask(self, ask: Ask, *, stream: bool) -> Any:
        """A hand-off, or an answer that says who gave it."""
        yield from ()
        size = len(ask.messages)
        if self.ways and self.ways[0] in self.knows:
            said = assistant(*to(self.ways.pop(0), size))
        else:
            said = assistant(f"{self.name} says {size}")
        return Response((said,), usage=Usage(size, 1), cost=Decimal(size), model=self.name, provider="box")


def office(knows: dict[str, frozenset[str]], ways: list[str], most: int) -> dict[str, Any]:
    """Agents that know some of each other, in circles too."""
    found: dict[str, Any] = {}
    for name in NAMES:
        tools = [handoff(lambda other=other: found[other], name=other) for other in sorted(knows[name])]
        late = [handoff(_late(found, other), name=other) for other in sorted(knows[name])]
        assert [each.name for each in tools] == [each.name for each in late]
        found[name] = agent(Clerk(name, ways, knows[name]), name=name, tools=late, max_handoffs=most)
    return found


def _late(found: dict[str, Any], name: str) -> Any:
    return lambda: found[name]


known = st.fixed_dictionaries({name: st.frozensets(st.sampled_from(NAMES)) for name in NAMES})
walks = st.lists(st.lists(st.sampled_from(NAMES), max_size=4), min_size=1, max_size=3)


@FEW
@given(known, walks, st.integers(0, 5), st.sampled_from(WORLDS))
def test_a_conversation_goes_where_it_is_handed(
    knows: dict[str, frozenset[str]], turns: list[list[str]], most: int, world: World
) -> None:
    """Turn after turn, of which nothing is kept but messages, as JSON; the sum is that of all who took part."""
    ways: list[str] = []
    front = office(knows, ways, most)["ann"]
    said: tuple[Message, ...] = ()
    now = "ann"
    for turn in turns:
        ways[:] = turn
        said = (*said, user("Next."))
        assert whose_turn(front, said) == now
        path = _walked(knows, now, turn)
        response, bound = _ended(world, front, said)
        assert bound == ("max_handoffs" if len(path) > most else "")
        path = path[: most + 1]
        assert not bound or response.answered_by == [now, *path][-2]
        if not bound:
            assert response.text == f"{(path or [now])[-1]} says {len(said) + 2 * len(path)}"
            assert not knows["ann"] or response.text.startswith(response.answered_by)
        sizes = [len(said) + 2 * place for place in range(len(path) + 1)][: response.usage.output_tokens]
        assert response.usage == sum([Usage(size, 1) for size in sizes], Usage())
        assert response.cost == sum(sizes)
        assert [run.call.name for run in response.tool_runs] == [f"hand_off_to_{name}" for name in path]
        said = tuple([from_json(to_json(message)) for message in (*said, *response.messages)])
        now = (path or [now])[-1]
    assert whose_turn(front, said) == now


def _ended(world: World, front: Any, said: tuple[Message, ...]) -> tuple[Response, str]:
    """What *front* answers, or what there was when a bound was reached, and which."""
    try:
        return world.run(lambda: front.plan(said)), ""
    except Exhausted as error:
        return error.partial, error.bound


def _walked(knows: dict[str, frozenset[str]], now: str, turn: list[str]) -> list[str]:
    """Whom the conversation passes through."""
    path: list[str] = []
    for name in turn:
        if name not in knows[now]:
            break
        path.append(name)
        now = name
    return path


# -- one after the other --


def shop(ran: Ran | None = None) -> Any:
    """A front desk, and a till behind it that hands back."""
    done = ran or Ran()
    till = agent(
        Speaker((to("front"), "Paid.", calling(("pay", {"cents": 3})), "Paid again.")),
        name="till",
        system="You take money.",
        tools=[done.pay, handoff(lambda: front, name="front")],
    )
    script = ((*to("till"), *calling(("look", {"at": "a"}))), "?")
    front: Any = agent(Speaker(script), name="front", system="You greet.", tools=[done.look, handoff(till)])
    return front


@listening
def test_who_speaks_is_told(world: World) -> None:
    front = shop()
    events = world.events(lambda: stream.plan(pipe(lambda prompt: prompt, placed(front, "desk")), "go"))
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert (notice.kind, notice.name, notice.data) == ("handed_off", "desk", {"to": "till"})
    assert {event.path for event in events if event.path} == {"desk", "desk/till"}
    assert notice.path == "desk"


@listening
def test_whoever_goes_on_stands_in_the_place_of_whom_it_is_handed_over_by(world: World) -> None:
    def told(composed: Any) -> dict[str, str]:
        events = world.events(lambda: stream.plan(composed, "go"))
        found: dict[str, str] = {}
        for event in events:
            if isinstance(event, TextDelta):
                found[event.path] = found.get(event.path, "") + event.text
        return found

    guarded = guard(shop(), before=lambda _: "")
    asking = agent(Speaker((calling(("worker", {"prompt": "go"})), "Done.")), tools=[as_tool(shop(), name="worker")])
    for composed, paths in [
        (shop(), {"till"}),
        (parallel({"a": shop(), "b": shop()}), {"a/till", "b/till"}),
        (parallel(shop(), shop()), {"front#1/till", "front#2/till"}),
        (parallel({"a": guarded, "b": shop()}), {"a/till", "b/till"}),
        (pipe(lambda prompt: prompt, guarded), {"front/till"}),
        (route(lambda _: "a", {"a": shop()}), {"a/till"}),
        (route(lambda _: "", {"a": shop()}, default=shop()), {"front/till"}),
        (asking, {"", "worker/till"}),
    ]:
        assert set(told(composed)) == paths, composed
        assert all(told(composed)[path] == "Paid." for path in paths - {""})


@listening
def test_it_is_streamed_as_it_is_returned(world: World) -> None:
    events = world.events(lambda: stream.plan(shop(), "go"))
    response = events[-1].response  # type: ignore[union-attr]  # the last one is Finished
    assert joined(folded(events)) == joined(response.messages)


@everywhere
def test_who_goes_on_knows_all_and_is_told_its_own(world: World) -> None:
    ran = Ran()
    front = shop(ran)
    response = world.run(lambda: front.plan("I have a question."))
    till = response.answered_by
    assert (till, response.text, ran.all) == ("till", "Paid.", [("look", "a")])
    assert results(response.messages) == ["front hands over to till.", "saw a"]
    later = world.run(lambda: front.plan(("I have a question.", response, "And now?")))
    assert (later.text, ran.all) == ("Paid again.", [("look", "a"), ("pay", 3)])


def test_each_is_told_what_it_is_told_itself() -> None:
    till = agent(Speaker(("?", "Paid.")), name="till", system="You take money.")
    front = agent(Speaker((to("till"),)), name="front", system="You greet.", tools=[handoff(till)])
    assert front("Money!").text == "Paid."
    (asked,) = till.model.asked
    assert [message.text for message in asked.messages if message.role != "tool"] == ["You take money.", "Money!", ""]


def test_of_two_hand_offs_the_first_counts() -> None:
    one, two = (agent(Speaker(("?", f"I am {name}.")), name=name) for name in ("one", "two"))
    front = agent(Speaker(((*to("two", 1), *to("one", 2)),)), tools=[handoff(one), handoff(two)], eager=True)
    for response in (front("go"), list(stream(front, "go"))[-1].response):  # type: ignore[union-attr]  # Finished
        assert response.text == "I am two."
        assert results(response.messages)[1] == "not done: of such calls, the first of a reply counts"
        assert [run.error is None for run in response.tool_runs] == [True, False]


def test_one_that_fails_is_none() -> None:
    other = agent(Speaker(("?", "I am it.")), name="other")
    broken = ToolCall("c1", "hand_off_to_other", broken='{"reason')
    front = agent(Speaker(((broken,), "I stay.")), name="front", tools=[handoff(other)])
    response = front("go")
    assert (response.text, whose_turn(front, ("go", response))) == ("I stay.", "front")


def test_a_person_may_refuse_one() -> None:
    front = shop()
    stays = approve(front, lambda call: "stay here", tools=["hand_off_to_till"])("go")
    assert (stays.text, stays.answered_by) == ("?", "front")
    assert approve(front, lambda call: "no")("go").answered_by == "till", "by default nobody is asked about them"


def test_any_agent_can_be_handed_to() -> None:
    def echo(prompt: Any) -> str:
        return f"{len(prompt)} messages"

    def front(target: Any) -> Any:
        return agent(Speaker((to("echo"), "?")), name="front", tools=[handoff(target, name="echo")])

    wrapped = guard(echo, before=lambda prompt: True)
    for target in (echo, pipe(echo), wrapped, lambda: wrapped):
        response = front(target)("go")
        assert (response.text, response.answered_by) == ("3 messages", "echo")
        again = front(target)(("go", response, "more"))
        assert again.text == "5 messages"


def test_whose_turn_it_is_is_found_where_the_beginning_is_lost() -> None:
    """A window over the conversation may have lost how it came to an agent that the first one does not know."""
    last = agent(Speaker(("?",)), name="last")
    middle = agent(Speaker(("?",)), name="middle", tools=[handoff(last)])
    first = agent(Speaker(("?",)), name="first", tools=[handoff(middle)])
    (call,) = to("last")
    said = (user("a"), assistant(call), tool_result(call, "last goes on with the conversation."))
    assert whose_turn(first, said) == "last"
    assert whose_turn(first, said[:2]) == "first", "nobody answered the call"
    assert whose_turn(first, (*said[:2], tool_result(call, "no", is_error=True))) == "first"
    assert whose_turn(guard(first, before=lambda prompt: True), said) == "last"


@everywhere
def test_what_there_was_is_told_when_a_later_one_fails(world: World) -> None:
    class Down(Speaker):
        def ask(self, ask: Ask, *, stream: bool) -> Any:
            yield from ()
            raise ServerFailed("down", status=503)

    till = agent(Down(()), name="till")
    front = agent(Speaker((to("till"),)), name="front", tools=[handoff(till)])
    with pytest.raises(ServerFailed) as caught:
        world.run(lambda: front.plan("go"))
    partial = caught.value.partial
    assert [message.role for message in partial.messages] == ["assistant", "tool"]
    assert partial.usage == Usage(1, 2)
    assert whose_turn(front, ("go", partial)) == "till"


# -- whose hand-off it is --


def clerk(name: str, gives: bool, target: Any = None) -> Any:
    """A desk with a till of its own, to which it hands over or not."""
    till = target or agent(Speaker((f"the till of {name}",)), name="till")
    return agent(Speaker((to("till") if gives else f"{name} itself",)), name=name, tools=[handoff(till)])


@everywhere
def test_a_hand_off_of_one_is_none_of_another(world: World) -> None:
    """Both have a till, and the conversation was given to that of one of them."""
    both = parallel(clerk("ann", gives=False), clerk("bob", gives=True))
    first = world.run(lambda: both.plan("go"))
    assert [each.text for each in first.output] == ["ann itself", "the till of bob"]
    later = world.run(lambda: both.plan(("go", from_json(to_json(first)), "and now?")))
    assert [each.text for each in later.output] == ["ann itself", "the till of bob"]


def test_who_was_not_asked_has_not_handed_over() -> None:
    ann, bob = clerk("ann", gives=True), clerk("bob", gives=False)
    desk = route(lambda prompt: "ann" if "money" in latest(prompt) else "bob", {"ann": ann, "bob": bob})
    first = desk("money")
    assert first.text == "the till of ann"
    later = desk(("money", first, "a crash"))
    assert later.text == "bob itself"
    assert desk(("money", first, "a crash", later, "more money")).text == "the till of ann"


def test_two_may_hand_over_to_the_same_one() -> None:
    till = agent(Speaker(("the till",)), name="till")
    ann, bob = clerk("ann", gives=True, target=till), clerk("bob", gives=False, target=till)
    said = ("go", ann("go"), "and now?")
    assert (whose_turn(ann, said), whose_turn(bob, said)) == ("till", "bob")


@pytest.mark.parametrize("name", ["two\nlines", "a hands over to b", "billing."])
def test_it_is_found_by_whatever_name(name: str) -> None:
    ann = clerk(name, gives=True)
    said = ("go", ann("go"), "and now?")
    assert (whose_turn(ann, said), whose_turn(clerk("bob", gives=True), said)) == ("till", "bob")


def test_what_was_said_by_an_older_version_is_understood() -> None:
    (call,) = to("till")
    said = (user("a"), assistant(call), tool_result(call, "till goes on with the conversation."), user("b"))
    assert whose_turn(clerk("ann", gives=True), said) == "till"


# -- what is made late --


def front_to(late: Any, *, gives: bool = True) -> Any:
    """An agent that hands over to what *late* makes."""
    return agent(Speaker((to("late") if gives else "I stay.",)), name="front", tools=[handoff(late, name="late")])


def test_who_is_not_handed_to_is_not_made() -> None:
    made: list[Any] = []
    front = front_to(lambda: made.append(1), gives=False)
    assert front("go").text == "I stay."
    assert whose_turn(front, ("go", front("go"))) == "front"
    (call,) = calling(("look", {"at": "a"}))
    assert whose_turn(front, (user("go"), assistant(call), tool_result(call, "seen"))) == "front"
    assert made == []


def test_each_is_made_once_to_find_whose_turn_it_is() -> None:
    made: list[Any] = []

    def late() -> Any:
        made.append(1)
        return agent(Speaker(("?", "Here.")), name="late", tools=[handoff(lambda: front, name="front")])

    front = front_to(late)
    there, back = assistant(*to("late")), assistant(*to("front", 1))
    gone = (there, tool_result(to("late")[0], "front hands over to late."))
    come = (back, tool_result(to("front", 1)[0], "late hands over to front."))
    assert whose_turn(front, (user("go"), *gone, *come, *gone, *come, *gone)) == "late"
    assert made == [1]


def test_agents_without_end_are_not_looked_through() -> None:
    made: list[Any] = []

    def more() -> Any:
        made.append(1)
        other = f"n{len(made)}"
        return agent(Speaker(("?",)), name=other, tools=[handoff(more, name=f"after {other}")])

    front = front_to(more, gives=False)
    said = (user("go"), assistant(*to("till")), tool_result(to("till")[0], "nobody hands over to till."))
    assert whose_turn(front, said) == "front"
    assert len(made) <= 100


def test_one_that_cannot_be_made_is_no_matter_before_its_turn() -> None:
    def fails() -> Any:
        raise LookupError("not there yet")

    (call,) = to("till")
    said = (user("go"), assistant(call), tool_result(call, "bob hands over to till."))
    assert front_to(fails, gives=False)((*said, "more")).text == "I stay."
    with pytest.raises(LookupError, match="not there yet"):
        front_to(fails)("go")


# -- misuse --

MODEL = openai_compatible("any", base_url="http://localhost", api_key="")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: handoff(MODEL), "takes an agent, or a function that returns one, not Endpoint"),
        (lambda: handoff("billing"), "takes an agent, or a function that returns one, not str"),
        (lambda: handoff(agent(MODEL)), "has a name: handoff"),
        (lambda: handoff(lambda: agent(MODEL)), "has a name: handoff"),
        (lambda: handoff(lambda prompt: "a"), "has a name: handoff"),
        (
            lambda: agent(MODEL, tools=[handoff(front_to(int), name="a!"), handoff(front_to(int), name="a?")]),
            r"name: tool.handoff",
        ),
        (lambda: agent(MODEL, max_handoffs=-1), "max_handoffs= is a whole number from 0"),
        (lambda: evolve(agent(MODEL), max_handoffs=-1), "max_handoffs= is a whole number from 0"),
        (lambda: front_to(lambda: 5)("go"), "leads to int, which is no agent"),
    ],
)
def test_what_cannot_work_is_refused(make: Any, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        make()


def test_names_of_other_letters_are_told_apart() -> None:
    targets = [handoff(lambda prompt: "Here.", name=name) for name in ("فروش", "حساب", "販売")]
    assert len({each.name for each in targets}) == 3
    front = agent(Speaker(((ToolCall("h", targets[1].name, {"reason": "?"}),),)), name="front", tools=targets)
    assert front("go").answered_by == "حساب"
    assert "حساب" in targets[1].spec.description
    assert whose_turn(front, ("go", front("go"))) == "حساب"


def test_a_name_is_made_fit_for_models() -> None:
    made = handoff(agent(MODEL, name="technical support!"), description="When it crashes.")
    assert (made.name, made.spec.description) == ("hand_off_to_technical_support_", "When it crashes.")
    assert made.function is not None
    assert made.function.__name__ == "technical support!"
    assert made() == "technical support! goes on with the conversation."
    assert thread("go")[0].text == "go"

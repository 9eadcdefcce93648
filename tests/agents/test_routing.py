"""Who is to answer is chosen: by whomever, surely enough, and what that took counts."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any, Literal, TypedDict

import pytest
from attrs import frozen

from arshai_kit import (
    Notice,
    Response,
    StepStarted,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolStarted,
    Usage,
    assistant,
    evolve,
    openai_compatible,
    stream,
    tool,
)
from arshai_kit.agents import Choice, agent, as_tool, guard, handoff, parallel, pipe, placed, route
from arshai_kit.errors import BadAnswer, Misuse, NoRoute, ServerFailed
from arshai_kit.resilience import deadline, fallback
from arshai_kit.testing import played_by, scripted
from tests.agents.toys import ended, events_of
from tests.core.worlds import World, everywhere, listening

MODEL = openai_compatible("wise", base_url="http://localhost", api_key="")
SPENT = {"usage": Usage(7, 3), "cost": Decimal("0.25")}


def billing(prompt: str) -> str:
    """Settles questions of money.

    And nothing else.
    """
    return "Refunded."


technical = agent(MODEL, system="You debug\ncalmly.\n\nAlways.", name="somebody")
ROUTES = {"billing": billing, "technical": technical}


def chosen(name: str, confidence: float = 0.9) -> Response:
    return Response((assistant(f'{{"why":"so","name":"{name}","confidence":{confidence}}}'),), **SPENT)  # type: ignore[arg-type]  # as they are


# -- a model that chooses --


@everywhere
def test_a_model_chooses_from_a_closed_set(world: World) -> None:
    desk = route(MODEL, ROUTES)
    with scripted(chosen("billing")) as script:
        response = world.run(lambda: desk.plan("My invoice!"))
    assert (response.text, response.answered_by) == ("Refunded.", "billing")
    (ask,) = script.asked
    assert ask.output is not None
    assert ask.output.schema["properties"]["name"] == {"type": "string", "enum": ("billing", "technical")}
    told = ask.messages[0].text
    assert "- billing: Settles questions of money.\n- technical: You debug calmly." in told
    assert "Always" not in told


@everywhere
def test_what_the_chooser_used_counts_and_what_it_said_is_no_part_of_the_conversation(world: World) -> None:
    desk = route(MODEL, ROUTES)
    with scripted(
        chosen("technical"), Response((assistant("Restart it."),), usage=Usage(1, 2), cost=Decimal(1))
    ) as script:
        response = world.run(lambda: desk.plan("It crashed."))
    assert [message.text for message in response.messages] == ["Restart it."]
    assert (response.usage, response.cost) == (Usage(8, 5), Decimal("1.25"))
    assert [message.text for message in script.asked[1].messages] == ["You debug\ncalmly.\n\nAlways.", "It crashed."]


@listening
def test_a_choice_is_told_and_its_words_are_not(world: World) -> None:
    with scripted(chosen("technical"), "Restart it."):
        events = events_of(world, route(MODEL, ROUTES), "It crashed.")
    assert [(event.name, event.text, event.data) for event in events if isinstance(event, Notice)] == [
        ("technical", "so", {"confidence": 0.9, "choice": "technical"})
    ]
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta("Restart it.", path="technical")]
    steps = [(event.name, event.path) for event in events if isinstance(event, StepStarted)]
    assert steps == [("chooser", ""), ("wise", "chooser"), ("technical", ""), ("wise", "technical")]


@everywhere
def test_a_chooser_that_asks_others_is_not_heard_either(world: World) -> None:
    """Its tools, and what it does side by side, are silent too; what it notices is told."""
    inner = parallel(agent(MODEL, name="one"), agent(MODEL, name="two"))
    first = agent(MODEL, tools=[as_tool(inner, name="ask")], name="who")
    chooser = pipe(first, route(lambda _: "me", {"me": lambda _: "billing"}))
    script = (ToolCall("c1", "ask", {"prompt": "who?"}), "Hm.", "Hm.", "Hm.")
    with scripted(*script):
        assert world.run(lambda: route(chooser, ROUTES).plan("?")).answered_by == "billing"
    if world.listening:
        with scripted(*script):
            events = events_of(world, route(chooser, ROUTES), "?")
        assert [event for event in events if isinstance(event, TextDelta | ToolCallDelta)] == []
        assert [event.name for event in events if isinstance(event, Notice)] == ["me", "billing"]
        assert any(isinstance(event, ToolStarted) for event in events)


def answer_that_fits_nothing(name: str, confidence: float) -> str:
    return f'{{"why":"so","name":"{name}","confidence":{confidence}}}'


@pytest.mark.parametrize(
    "words", [answer_that_fits_nothing("sales", 1), answer_that_fits_nothing("billing", 7), "billing!"]
)
@everywhere
def test_an_answer_out_of_the_set_is_the_default_or_an_error(words: str, world: World) -> None:
    reply = Response((assistant(words),), **SPENT)  # type: ignore[arg-type]
    with scripted(reply):
        response = world.run(lambda: route(MODEL, ROUTES, default="billing").plan("?"))
    assert (response.answered_by, response.usage.input_tokens) == ("billing", 7)
    with scripted(reply), pytest.raises(BadAnswer) as caught:
        world.run(lambda: route(MODEL, ROUTES).plan("?"))
    assert caught.value.partial.usage == Usage(7, 3)


# -- whoever else chooses --


class Kind(Enum):
    billing = "money"
    TECH = "technical"


@frozen
class Triage:
    name: str
    confidence: float = 1.0


class Told(TypedDict):
    name: str
    why: str


CHOICES: list[tuple[Any, str]] = [
    ("billing", "billing"),
    (" **Billing**.\n", "billing"),
    (Kind.billing, "billing"),
    (Kind.TECH, "technical"),
    (Choice("technical", 0.6), "technical"),
    (Triage("technical", 0.6), "technical"),
    (Told(name="billing", why="money"), "billing"),
    (Response((assistant("x"),), output=Kind.TECH), "technical"),
    (Response((assistant("billing"),)), "billing"),
    (Choice("technical", 0.4), ""),
    ({"name": "billing", "confidence": "much"}, ""),
    ({"name": "billing", "confidence": float("nan")}, ""),
    ("sales", ""),
    ("", ""),
    (None, ""),
    (3, ""),
    (Response((assistant("x"),), output=Triage("sales")), ""),
]


@pytest.mark.parametrize(("choice", "name"), CHOICES, ids=lambda value: str(value)[:20])
def test_what_a_chooser_may_give(choice: Any, name: str) -> None:
    async def later(_: str) -> Any:
        return choice

    for chooser in (later, lambda _: choice):
        ways = {"billing": billing, "technical": str.upper}
        assert route(chooser, ways, default=len, sure=0.5)("?").answered_by == (name or "default")
        if name:
            assert route(chooser, ways, sure=0.5)("?").answered_by == name
            continue
        with pytest.raises(NoRoute) as caught:
            route(chooser, ways, sure=0.5)("?")
        assert isinstance(caught.value.choice, Choice)


@everywhere
def test_an_error_says_which_routes_there_are_and_what_to_do(world: World) -> None:
    with pytest.raises(NoRoute, match=r"gave 'sales', which names no route; there are: billing, technical; .*default="):
        world.run(lambda: route(lambda _: "sales", ROUTES).plan("?"))
    with pytest.raises(NoRoute, match=r"'billing' with a confidence of 0\.3 \(of 1\), and sure= is 0.5") as caught:
        world.run(lambda: route(lambda _: Choice("billing", 0.3, "a guess"), ROUTES, sure=0.5).plan("?"))
    assert (caught.value.choice.why, caught.value.partial) == ("a guess", None)
    spending = Response((assistant("sales"),), **SPENT)  # type: ignore[arg-type]
    assert ended(world, route(lambda _: spending, ROUTES))[2].usage == Usage(7, 3)


@everywhere
@pytest.mark.parametrize(
    ("gave", "shown"),
    [(("a", 0.9), r"\('a', 0\.9\)"), (None, "None"), (3, "3"), (frozenset("a"), "a frozenset"), (["a"], r"\['a'\]")],
    ids=str,
)
def test_an_error_says_what_the_chooser_gave(gave: Any, shown: str, world: World) -> None:
    with pytest.raises(NoRoute, match=rf"^the chooser gave {shown}, which names no route; there are: billing"):
        world.run(lambda: route(lambda _: gave, ROUTES).plan("?"))


@pytest.mark.parametrize(
    ("confidence", "sure"),
    [
        ("0.9", 0.9),
        (Decimal("0.9"), 0.9),
        (Fraction(1, 2), 0.5),
        (1, 1.0),
        (1 + 1e-9, 1.0),
        (30, 0.0),
        (90.0, 0.0),
        (1.1, 0.0),
        (-0.1, 0.0),
        (10**400, 0.0),
        ("30%", 0.0),
        ("high", 0.0),
        (None, 0.0),
        (float("nan"), 0.0),
        (float("inf"), 0.0),
    ],
    ids=str,
)
def test_only_a_share_of_one_says_how_sure_somebody_is(confidence: Any, sure: float) -> None:
    assert Choice("billing", confidence).confidence == sure
    desk = route(lambda _: {"name": "billing", "confidence": confidence}, {"billing": str.upper}, sure=0.4)
    if sure:
        assert desk("hi").text == "HI"
        assert evolve(desk, sure=sure)("hi").text == "HI"  # as sure as it has to be is enough
        return
    with pytest.raises(NoRoute, match=r"^the chooser gave \{.*with a confidence of 0 \(of 1\), and sure= is 0.4"):
        desk("hi")


@everywhere
def test_who_really_answered_is_told_where_a_conversation_was_handed_on(world: World) -> None:
    def plays(ask: Any) -> Any:
        words = ask.messages[-1].text
        return ToolCall("h", "hand_off_to_boss", {"reason": "it is hard"}) if words == "Hard." else "Easy."

    boss = agent(played_by(lambda _: "Done."), name="boss")
    model = fallback(played_by(plays), played_by(plays))
    desk = agent(model, tools=[handoff(boss)])
    for each in (desk, evolve(desk, name="desk"), guard(desk, before=lambda _: ""), deadline(desk, 900)):
        for routed in (route(lambda _: "a", {"a": each}), route(lambda _: "", {"b": desk}, default=placed(each, "a"))):
            assert world.run(lambda routed=routed: routed.plan("Hard.")).answered_by == "a/boss"  # type: ignore[misc]
            assert world.run(lambda routed=routed: routed.plan("Easy?")).answered_by == "a"  # type: ignore[misc]
    later = world.run(lambda: route(lambda _: "a", {"a": desk}).plan("Hard."))
    assert route(lambda _: "a", {"a": desk})(("Hard.", later, "And?")).answered_by == "a/boss", "it is still its turn"
    assert route(lambda _: "a", {"a": agent(model)})("Easy?").answered_by == "a", (
        "what a model is called is another thing"
    )


def test_an_agent_chooses_by_its_output_type() -> None:
    triage = agent(MODEL, system="Who?", output=Literal["billing", "technical"], name="triage")
    with scripted('{"value": "billing"}') as script:
        assert route(triage, ROUTES)("?").text == "Refunded."
    assert script.asked[0].messages[0].text == "Who?"


def test_the_default_speaks_under_its_own_name_if_it_has_one() -> None:
    assert route(lambda _: "", ROUTES, default=len)("four").answered_by == "default"
    assert route(lambda _: "", ROUTES, default=placed(len, "size"))("four").answered_by == "size"
    with scripted("Yes?"):
        assert route(lambda _: "", ROUTES, default="technical")("?").answered_by == "technical"


def test_what_is_passed_besides_goes_to_the_one_that_is_chosen() -> None:
    def whose(prompt: str, *, key: str) -> str:
        return f"{prompt} of {key}"

    assert route(lambda _: "a", {"a": whose})("hi", key="ann").text == "hi of ann"


@everywhere
def test_the_error_of_whoever_is_chosen_knows_what_the_chooser_used(world: World) -> None:
    def fails(_: str) -> str:
        raise ServerFailed("down")

    choice = Response((assistant("a"),), **SPENT)  # type: ignore[arg-type]
    assert ended(world, route(lambda _: choice, {"a": fails}))[2].usage == Usage(7, 3)
    assert ended(world, route(lambda _: "a", {"a": fails}))[2] is None


def test_routes_in_routes_are_told_by_their_paths() -> None:
    desk = route(lambda _: "inner", {"inner": route(lambda _: "technical", ROUTES)})
    with scripted("Hi."):
        events = list(stream(desk, "?"))
    assert [event.path for event in events if isinstance(event, TextDelta)] == ["inner/technical"]
    assert events[-1].response.answered_by == "inner/technical"  # type: ignore[union-attr]  # the last one is Finished


# -- values and mistakes --


def test_a_route_is_a_value() -> None:
    desk = route(len, {"a": billing}, default=billing, sure=0.5)
    assert desk == route(len, {"a": billing}, default=billing, sure=0.5)
    assert desk != route(len, {"a": billing}, default=billing)
    assert (desk.__name__, route(len, ROUTES).__name__) == ("a", "billing / technical")
    assert pickle.loads(pickle.dumps(desk))("?").text == "Refunded."
    model = route(MODEL, {"a": deadline(billing, 3), "b": desk})
    with scripted('{"why":"","name":"a","confidence":1}') as script:
        assert model("?").answered_by == "a"
    assert "- a: Settles questions of money.\n- b" in script.asked[0].messages[0].text


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: route(len, {}), r"route\(\) takes a mapping of agents by name, at least one, not {}"),
        (lambda: route(len, [len]), r"takes a mapping"),  # type: ignore[arg-type]
        (lambda: route(len, {1: len}), "a name is a string"),  # type: ignore[dict-item]
        (lambda: route("billing", ROUTES), "as its chooser, takes agents"),
        (lambda: route(len, {"a": "b"}), "for 'a', takes agents"),
        (lambda: route(len, {"a": MODEL}), r"not models: agent\(model\)"),
        (lambda: route(len, ROUTES, default="sales"), "one of billing, technical, not 'sales'"),
        (lambda: route(len, ROUTES, default=3), "as its default="),
        (lambda: route(len, ROUTES, sure=2), "a number from 0 to 1"),
        (lambda: evolve(route(len, ROUTES), sure=2), "a number from 0 to 1"),
        (lambda: route(len, ROUTES, sure=True), "a number from 0 to 1"),
        (lambda: route(len, ROUTES, sure=float("nan")), "a number from 0 to 1"),
    ],
)
def test_what_cannot_be_routed_is_refused_at_once(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(Misuse, match=why):
        make()


# -- agents as tools --


def test_an_agent_is_a_tool_in_words() -> None:
    made = as_tool(technical)
    assert (made.name, made.spec.description) == ("somebody", "You debug calmly.")
    assert made.spec.parameters["required"] == ("prompt",)
    assert "without the conversation" in made.spec.parameters["properties"]["prompt"]["description"]
    assert as_tool(technical, name="tech", description="Ask.").spec.description == "Ask."
    assert as_tool(placed(lambda prompt: prompt, "plain")).spec.description == "Ask plain."
    assert as_tool(billing)("?").text == "Refunded."
    for nameless in (lambda prompt: prompt, pipe(billing), placed(billing, "no name"), agent(MODEL)):
        with pytest.raises(Misuse, match=r"as_tool\(agent, name=…\)"):
            as_tool(nameless)


@everywhere
def test_what_an_agent_uses_as_a_tool_counts(world: World) -> None:
    def spends(_: str) -> Response:
        return Response((assistant("Done."),), **SPENT)  # type: ignore[arg-type]

    def breaks(_: str) -> Response:
        raise ServerFailed("down", partial=spends(""))

    def call(name: str) -> Any:
        return ToolCall(f"c{name}", name, {"prompt": "go"})

    tools = [as_tool(spends), as_tool(breaks), as_tool(parallel(spends, spends), name="both"), tool(len)]
    asked = [*map(call, ("spends", "breaks", "both")), call("len")]
    first = Response((assistant(*asked),), "tool_calls", usage=Usage(1, 1), cost=Decimal(1))
    with scripted(first, Response((assistant("End."),), usage=Usage(1, 1), cost=Decimal(1))):
        response = world.run(lambda: agent(MODEL, tools=tools).plan("?"))
    assert [run.usage for run in response.tool_runs] == [Usage(7, 3), Usage(7, 3), Usage(14, 6), None]
    assert (response.usage, response.cost) == (Usage(2 + 28, 2 + 12), Decimal("3.00"))
    assert [run.result for run in response.tool_runs[:3]] == ["Done.", "ServerFailed: down", "Done.\n\nDone."]


def test_a_default_that_is_no_route_is_refused_wherever_it_is_given() -> None:
    desk = route(len, {"a": len})
    with pytest.raises(Misuse, match="default= is an agent or one of a, not 'b'"):
        route(len, {"a": len}, default="b")
    with pytest.raises(Misuse, match="default= is an agent or one of a, not 'b'"):
        evolve(desk, default="b")

"""Views that leave out: a call is never split from its result, order is kept, and bounds hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import assume, example, given
from hypothesis import strategies as st

from arshai_kit.completion import run
from arshai_kit.effects import Plan
from arshai_kit.errors import Misuse
from arshai_kit.memory.tokens import counting, total
from arshai_kit.memory.turns import digest, turns
from arshai_kit.memory.turns import told as words
from arshai_kit.memory.views import Recalled, View, composed, pinned, windowed
from arshai_kit.records import Image, Message, Text, Thinking, ToolCall, assistant, system, tool_result, user
from arshai_kit.testing.strategies import conversations
from tests.core.worlds import World, everywhere
from tests.memory.dictionaries import histories, turn, unpaired

ONE = counting(lambda _: 1)
FEW = st.integers(0, 6)
PROMPTS = st.lists(st.sampled_from([user("Well?"), tool_result(ToolCall("cut3", "lost"), "found")]), max_size=2)
PINS = st.integers(0, 3) | st.sampled_from([lambda each: each.role == "tool", lambda each: "o" in each.text])


def recalled(said: tuple[Message, ...], *prompt: Message) -> Recalled:
    return Recalled("k", said, prompt)


def told(view: View, said: tuple[Message, ...], *prompt: Message) -> list[str]:
    return [message.text for message in view(recalled(said, *prompt)).messages]


@st.composite
def views(draw: st.DrawFn) -> Callable[[Recalled], Recalled]:
    """Any composition of the views that leave out."""
    windows = st.builds(lambda turns: windowed(turns=turns), FEW) | st.builds(
        lambda tokens: windowed(tokens=tokens, count=ONE), st.integers(0, 60)
    )
    return composed(*draw(st.lists(windows | st.builds(pinned, PINS), max_size=3)))


@given(histories(), PROMPTS, views())
def test_a_view_keeps_calls_with_results_and_the_order_and_the_system(
    said: tuple[Message, ...], prompt: list[Message], view: View
) -> None:
    shown = view(recalled(said, *prompt))
    kept = [said[place] for place in shown.places]
    assert list(shown.messages) == kept
    assert list(shown.places) == sorted(set(shown.places))
    assert shown.prompt == tuple(prompt)
    assert unpaired(shown.messages)[1] == 0
    assert unpaired(shown.messages)[0] <= unpaired(said)[0]
    assert [each for each in said if each.role == "system"] == [each for each in kept if each.role == "system"]
    assert view(shown) == shown


@given(histories(), FEW, FEW, PINS)
def test_a_window_in_a_window_is_the_smaller_one(said: tuple[Message, ...], one: int, other: int, pins: Any) -> None:
    start = pinned(pins)(recalled(said))
    both = composed(windowed(turns=one), windowed(turns=other))(start)
    assert both == windowed(turns=min(one, other))(start)


@given(histories(), st.integers(0, 100), PROMPTS)
def test_a_window_of_tokens_holds_and_wastes_no_turn(
    said: tuple[Message, ...], tokens: int, prompt: list[Message]
) -> None:
    start = recalled(said, *prompt)
    free, always = start.turns()
    shown = windowed(tokens=tokens, count=ONE)(start)
    least = total([*start.only(always).messages, *prompt], ONE)
    assert total([*shown.messages, *prompt], ONE) <= max(tokens, least)
    dropped = [one for one in free if start.places[one[0]] not in shown.places]
    if dropped:
        more = total([said[number] for number in dropped[-1]], ONE)
        assert total([*shown.messages, *prompt], ONE) + more > tokens


@given(histories() | conversations())
def test_turns_hold_every_message_once_in_order(said: tuple[Message, ...]) -> None:
    found = turns(said)
    assert [number for one in found for number in one] == [n for n, each in enumerate(said) if each.role != "system"]
    for one in found[1:]:
        assert said[one[0]].role == "user"
    for one in found:
        assert unpaired(said[number] for number in one)[1] == 0


@given(st.lists(views(), max_size=3), histories())
def test_composition_is_associative_and_has_an_identity(parts: list[View], said: tuple[Message, ...]) -> None:
    start = recalled(said)
    assert composed(*parts)(start) == composed(composed(*parts[:1]), composed(*parts[1:]))(start)
    assert composed()(start) is start


@given(histories(), st.data())
def test_a_view_of_somebody_elses_is_told_where_its_messages_stand(
    said: tuple[Message, ...], data: st.DataObject
) -> None:
    """It only has to leave messages in their order; what it makes itself stands nowhere."""
    numbers = sorted(data.draw(st.sets(st.sampled_from(range(len(said))) if said else st.nothing())))
    left = (*[said[number] for number in numbers], user("made by a view \x00"))
    assume(len(left) != len(said))  # as many are taken for the same ones, changed
    shown = evolve(recalled(said), messages=left)
    assert shown.places[-1] == -1
    assert [said[place] for place in shown.places[:-1]] == list(left[:-1])
    assert list(shown.places[:-1]) == sorted(shown.places[:-1])


def test_a_turn_is_what_a_user_begins() -> None:
    said = (assistant("Welcome!"), *turn(1), user("a"), user("b"), assistant("c"), *turn(2))
    assert told(windowed(turns=2), said) == ["a", "b", "c", "question 2", "answer 2"]
    assert told(windowed(turns=0), (system("Be kind."), *said)) == ["Be kind."]
    assert told(windowed(turns=9), said)[0] == "Welcome!"


def test_the_turn_that_the_prompt_goes_on_with_is_kept() -> None:
    """A result in the prompt has its call in the past."""
    call = ToolCall("1", "pay", {"sum": 3})
    said = (*turn(1), user("Pay!"), assistant("So be it.", call))
    assert told(windowed(turns=0), said, tool_result(call, "paid")) == ["Pay!", "So be it."]
    assert told(windowed(tokens=0), said, user("Never mind.")) == []


def test_a_message_of_a_user_between_a_call_and_its_result_begins_no_turn() -> None:
    call = ToolCall("1", "pay")
    said = (*turn(1), user("Pay!"), assistant(call), user("Quick!"), tool_result(call, "paid"), assistant("Done."))
    assert turns(said) == ((0, 1), (2, 3, 4, 5, 6))


def test_a_pin_keeps_its_turn() -> None:
    said = (*turn(1), *turn(2, "allergic to nuts"), *turn(3), *turn(4))
    view = composed(pinned(lambda message: "nuts" in message.text), windowed(turns=1))
    assert told(view, said) == ["question 2 allergic to nuts", "answer 2", "question 4", "answer 4"]
    assert told(composed(pinned(1), pinned(0), windowed(turns=0)), said) == ["question 1", "answer 1"]


def test_the_turn_that_tells_whose_turn_it_is_is_kept() -> None:
    """Who was handed the conversation last goes on, however long ago that was."""
    from arshai_kit.agents.handing import handoff

    calls = [ToolCall(str(number), handoff(len, name=name).name) for number, name in enumerate(["one", "two", "three"])]
    hands = [(user(call.name), assistant(call), tool_result(call, "goes on")) for call in calls]
    refused = (user("no"), assistant(calls[2]), tool_result(calls[2], "there is none", is_error=True), assistant("."))
    said = (*hands[0], assistant("a"), *hands[1], assistant("b"), *refused, *turn(1), *turn(2))
    assert told(windowed(turns=1), said) == ["hand_off_to_two", "", "", "b", "question 2", "answer 2"]
    assert told(windowed(turns=0), said[:4]) == ["hand_off_to_one", "", "", "a"]


def test_a_hand_off_of_another_name_is_known_by_what_it_tells() -> None:
    """But it may be something else, so that the latest one whose name says so is kept besides."""
    call, ask = ToolCall("1", "hand_off_to_one"), ToolCall("2", "transfer")
    first = user("1"), assistant(call), tool_result(call, "goes on"), assistant("a")
    told_by = "(A person changed the arguments to {}.)\ntriage hands over to sales, Oslo."
    second = user("2"), assistant(ask), tool_result(ask, told_by), assistant("b")
    failed = user("3"), assistant(ask), tool_result(ask, told_by, is_error=True), assistant("c")
    other = user("4"), assistant(ask), tool_result(ask, "it hands over to nobody, or so it says"), assistant("d")
    said = (*first, *second, *failed, *other, *turn(5))
    assert told(windowed(turns=0), said) == ["1", "", "", "a", "2", "", "", "b"]


def shouted(shown: Recalled) -> Recalled:
    return evolve(shown, messages=[evolve(each, parts=each.text.upper()) for each in shown.messages])


async def slowly(shown: Recalled) -> Recalled:
    return shown.only(range(2, len(shown.messages)))


def asking(shown: Recalled) -> Plan[Recalled]:
    return shown.only([1])
    yield


@everywhere
def test_views_are_functions_of_any_kind_in_every_world(world: World) -> None:
    class Own:
        plan = staticmethod(asking)

        def __call__(self, shown: Recalled) -> Recalled:
            raise AssertionError

    view = composed(pinned(2), shouted, slowly, Own())
    shown = world.run(lambda: run.plan(view, recalled((*turn(1), *turn(2)))))
    assert [message.text for message in shown.messages] == ["ANSWER 2"]
    assert (shown.places, shown.pins) == ((3,), {0, 1})


def test_a_view_that_gives_something_else_is_named() -> None:
    with pytest.raises(Misuse, match=r"the view <lambda> gives a Recalled, .* not tuple"):
        composed(lambda shown: shown.messages)(recalled(turn(1)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: windowed(), "turns=, tokens=, or both"),
        (lambda: windowed(turns=-1), "turns= is how many"),
        (lambda: windowed(tokens=1.5), "tokens= is how many"),  # type: ignore[arg-type]
        (lambda: windowed(turns=True), "turns= is how many"),
        (lambda: pinned(-1), "how many messages, or a function"),
        (lambda: pinned("first"), "how many messages, or a function"),  # type: ignore[arg-type]
        (lambda: composed(windowed(turns=1), "relevant"), "takes views"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_a_view_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        make()


@given(histories(), histories())
@example((user("a"), user("b")), (user("a\x1euser"),))
def test_a_digest_tells_conversations_apart(one: tuple[Message, ...], other: tuple[Message, ...]) -> None:
    seen = [[words([each]) for each in said] for said in (one, other)]
    if seen[0] != seen[1]:
        assert digest(one) != digest(other)
    assert digest(one) == digest(list(one))


def test_what_is_no_text_is_named_in_words() -> None:
    call = ToolCall("1", "draw", {"what": "cat"})
    said = [Message("assistant", [Thinking("Hm."), call]), tool_result(call, (Text("Here:"), Image(b"x")))]
    assert words(said) == 'assistant: [calls draw {"what":"cat"}]\ntool: [draw gives] Here: [image]'
    assert words([Message("assistant", [Thinking("Hm.")])]) == ""

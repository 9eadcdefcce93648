"""What is taken out of what is sent, and of what is kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import openai_compatible
from arshai_kit._json import freeze
from arshai_kit.agents import agent, approve
from arshai_kit.completion import run
from arshai_kit.errors import ApprovalNeeded, Misuse
from arshai_kit.faces import adrive, drive
from arshai_kit.memory import remembering
from arshai_kit.memory.redacting import cards, emails, redacted
from arshai_kit.memory.views import Recalled, composed, pinned, windowed
from arshai_kit.records import File, Image, Message, Opaque, Text, Thinking, ToolCall, assistant, tool_result, user
from arshai_kit.testing import scripted
from arshai_kit.testing.strategies import messages
from tests.core.worlds import World, everywhere
from tests.memory.dictionaries import Store, histories

MODEL = openai_compatible("tiny", base_url="http://localhost:1", api_key="")
ANN = "ann.b+shop@mail.example.org"
CARDS = ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "6011000990139424"]
VIEW = redacted(emails, cards, re.compile(r"NO-\d+"))


def everywhere_in(secret: str) -> tuple[Message, ...]:
    """A conversation that tells *secret* in every place where there is text."""
    call = ToolCall("1", "mail", {"to": [secret, {"cc": secret}], "times": 3}, state={"signature": "abc"})
    return (
        user(f"I am {secret}.", Image(b"x", state={"seen": secret}), File(b"y", name=f"{secret}.pdf")),
        Message("assistant", [Thinking(f"So {secret}…", state={"signature": "s"}), Text("Yes.", state=[secret]), call]),
        tool_result(call, f"sent to {secret}"),
        tool_result(call, (Text(secret), Image(b"y"))),
        Message("assistant", [ToolCall("2", "mail", broken=f'{{"to": "{secret}'), Opaque("refusal", [f"no {secret}"])]),
        assistant("Done."),
    )


@everywhere
def test_nothing_that_is_sent_tells_it(world: World) -> None:
    said = everywhere_in(ANN)
    shown = world.run(lambda: run.plan(VIEW, Recalled("k", said, said[:1])))
    assert "ann.b" in repr(said)
    assert "ann.b" not in repr((shown.messages, shown.prompt))
    assert shown.whole == said
    assert [each.role for each in shown.messages] == [each.role for each in said]
    assert shown.messages[5] is said[5]
    call = shown.messages[1].tool_calls[0]
    assert (call.arguments, call.state) == (
        {"to": ("[e-mail]", {"cc": "[e-mail]"}), "times": 3},
        {"signature": "abc"},
    )
    assert shown.messages[1].parts[0] == Thinking("So [e-mail]…")  # what was signed has changed
    assert shown.messages[1].parts[1] == Text("Yes.")


@given(st.lists(messages(), max_size=4))
def test_what_has_nothing_to_hide_is_sent_as_it_is(said: list[Message]) -> None:
    view = redacted("\x00never\x00")
    shown = view(Recalled("k", said, said))
    assert (shown.messages, shown.prompt) == (tuple(said), tuple(said))
    assert all(new is old for new, old in zip(shown.messages, said, strict=True))


@given(histories(), st.text("aAnN-10@. ", max_size=12))
def test_it_may_be_done_twice_and_leaves_places_and_pins(said: tuple[Message, ...], words: str) -> None:
    start = pinned(1)(Recalled("k", (*said, user(f"{words} {ANN} NO-1 {words}")), [user(words)]))
    shown = VIEW(start)
    assert VIEW(shown) == shown
    assert (shown.places, shown.pins) == (start.places, start.pins)
    assert ANN not in repr(shown.messages)
    both = composed(VIEW, windowed(turns=1))(start), composed(windowed(turns=1), VIEW)(start)
    assert both[0] == both[1]


@pytest.mark.parametrize("number", CARDS)
def test_numbers_of_cards_are_found_among_other_numbers(number: str) -> None:
    assert cards(f"Card {number}, or (+98) 21 8877 6655.") == "Card [card], or (+98) 21 8877 6655."
    other = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert cards(other) == other
    assert cards(f"{number}.25") == f"{number}.25"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("{} 12/27 123", "[card] 12/27 123"),
        ("Ann,{},12/27", "Ann,[card],12/27"),
        ("12,{},5", "12,[card],5"),
        ("no.{}.", "no.[card]."),
        ("call 12 {} 2", "call 12 [card] 2"),
        ("id 12345 {}", "id 12345 [card]"),
        ("-{} {}", "-[card] [card]"),
        ("{}\n12/27", "[card]\n12/27"),
        ("3.{} 1{}1{}", "3.{} 1{}1{}"),
    ],
)
def test_a_card_is_found_beside_other_numbers(text: str, left: str) -> None:
    for number in (
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111\u00a01111\u00a01111\u00a01111",
    ):
        if number.isdecimal() or "3." not in text:
            assert cards(text.replace("{}", number)) == left.replace("{}", number)


def test_numbers_and_names_in_calls_and_the_names_of_speakers_are_texts_too() -> None:
    card = 4111111111111111
    call = ToolCall("1", "pay", {"card": card, ANN: 1, "[e-mail]": 2, "is": True, "sum": 17, "all": [card, 1.5]})
    left = VIEW.message(Message("assistant", (call,), name=ANN))
    assert left.name == "[e-mail]"
    expected = {"card": "[card]", "[e-mail]": 1, "[e-mail]'": 2, "is": True, "sum": 17, "all": ("[card]", 1.5)}
    assert repr(left.tool_calls[0].arguments) == repr(freeze(expected))
    assert VIEW.message(left) is left


def test_the_prompt_of_a_run_that_waits_is_kept_redacted_too() -> None:
    def pay(card: str) -> str:
        """Pay."""
        return card

    store = Store()
    chat = remembering(approve(agent(MODEL, tools=[pay])), VIEW.stored(store.memory))
    with scripted(ToolCall("c1", "pay", {"card": "x"}), "Done."):
        with pytest.raises(ApprovalNeeded) as caught:
            chat(f"It is {CARDS[0]}.", key="k")
        assert "4111" not in store.dump()
        assert "[card]" in store.dump()
        chat(caught.value.paused, decisions={"c1": True}, key="k")
    assert [each.text for each in store.load("k").messages if each.role != "tool"] == ["It is [card].", "", "Done."]
    assert "4111" not in store.dump()
    memory = VIEW.stored(store.memory)
    assert memory.note is not None
    assert memory.note("k", "mine", {"a": ANN}, None)  # what is made of messages is made of what is kept
    memory.note("k", "paused", None, None)


@pytest.mark.parametrize(
    "address",
    ["a@b.co", ANN, "müller@köln.example", "x_1@sub.sub.example.museum", "علی@example.ir", "ann@example.xn--p1ai"],
)
def test_addresses_are_found(address: str) -> None:
    assert emails(f"<{address}>, and a@b, @c.de, d@") == "<[e-mail]>, and a@b, @c.de, d@"
    assert emails(f"({address}); {address}?subject=x") == "([e-mail]); [e-mail]?subject=x"


@pytest.mark.parametrize(
    "text", ["a" * 50_000 + "@", "a@" * 20_000, "a@" + "b." * 20_000, "1 " * 50_000, "1" * 90_000, "411 " * 25_000]
)
def test_long_texts_take_no_time_to_speak_of(text: str) -> None:
    """A pattern that tries every way would take hours."""
    emails(text)
    cards(text)


def test_what_is_kept_may_be_redacted_too() -> None:
    store = Store()
    memory = VIEW.stored(store.memory)
    assert memory.append("k", everywhere_in(ANN), "id") == memory.append("k", everywhere_in(ANN), id="id")
    assert "ann.b" not in store.dump()
    memory.replace("k", [user(ANN)], store.load("k").version)
    assert store.load("k").messages == (user("[e-mail]"),)
    assert memory.load("k") == store.load("k")
    assert memory.end is None
    assert VIEW.stored(memory).append("k", [user("NO-17")], id="4")
    assert store.load("k").messages[-1].text == "[redacted]"
    assert VIEW.stored(evolve(store.memory, end=store.append)).end("k", [user(ANN)], "3") > 0  # type: ignore[misc]
    assert ANN not in store.dump()
    assert memory.name == "memory"


@pytest.mark.anyio
async def test_it_is_stored_from_async_code_too() -> None:
    store = Store()
    memory = evolve(store.memory, in_memory=False)
    await adrive(VIEW.stored(memory).append.plan("k", [user(ANN)]))  # type: ignore[attr-defined]
    await adrive(memory.asked(VIEW.stored(memory).append, "k", (user("NO-17"),), "2"))
    assert [each.text for each in store.load("k").messages] == ["[e-mail]", "[redacted]"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: redacted(3),  # type: ignore[arg-type]
            "patterns and functions",
        ),
        (
            lambda: redacted(emails, None),  # type: ignore[arg-type]
            "not NoneType",
        ),
    ],
)
def test_what_is_no_rule_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        make()


def test_without_rules_nothing_changes() -> None:
    start = Recalled("k", everywhere_in(ANN))
    assert drive(redacted().plan(start)) == start

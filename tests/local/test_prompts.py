"""A conversation is read by its questions, and shown as a small model needs it."""

from __future__ import annotations

import pytest

from arshai_kit.errors import BadRequest
from arshai_kit.local.prompts import answer_turns, chat_turns, output_turns, pick_turns, talk
from arshai_kit.records import (
    Audio,
    File,
    Image,
    Message,
    Thinking,
    ToolCall,
    ToolSpec,
    assistant,
    system,
    tool_result,
    user,
)

CALL = ToolCall("call_1", "weather", {"city": "Oslo", "days": 2})
TALK = (
    system("Be brief."),
    user("Weather in Oslo?"),
    assistant(CALL),
    tool_result(CALL, "18°C"),
    assistant(Thinking("well"), "It is 18°C."),
    user("And in"),
    user("Bergen?"),
)
TOOL = ToolSpec(
    "weather",
    "Say the weather.\nMore.",
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    ("Weather in Rome?", {"city": "Rome", "days": 1}),
)


def test_a_conversation_by_its_questions() -> None:
    said = talk(TALK)
    assert said.system == "Be brief."
    assert [asked.question for asked in said.asked] == ["Weather in Oslo?", "And in\nBergen?"]
    assert said.asked[0].answer == "It is 18°C."
    assert said.now.calls == said.now.results == ()


def test_chat_is_told_as_it_was() -> None:
    assert chat_turns(talk(TALK)) == (
        ("system", "Be brief."),
        ("user", "Weather in Oslo?\nweather(Oslo, 2) = 18°C"),
        ("assistant", "It is 18°C."),
        ("user", "And in\nBergen?"),
    )


def test_a_choice_shows_the_tools_their_examples_and_what_was_called_before() -> None:
    turns = pick_turns([TOOL], talk(TALK))
    assert turns[0][1].endswith("\nweather(city, days): Say the weather.")
    assert ("assistant", 'weather {"city": "Rome", "days": 1}') in turns
    assert turns[-3:] == (
        ("user", "Weather in Oslo?"),
        ("assistant", 'weather {"city": "Oslo", "days": 2}'),
        ("user", "And in\nBergen?"),
    )
    plain = pick_turns([ToolSpec("now")], talk([user("Hi"), assistant("Hello"), user("Time?")]))
    assert plain[0][1].endswith("\nnow(): ")
    assert plain[-3:] == (("user", "Hi"), ("assistant", "none"), ("user", "Time?"))


def test_results_stand_with_their_question_and_failures_say_so() -> None:
    lost = Message("tool", (*tool_result(CALL, "no such city", is_error=True).parts,))
    (*_, last) = answer_turns(talk([user("Weather in Oslo?"), assistant(CALL), lost]))
    assert last == ("user", "Weather in Oslo?\nweather(Oslo, 2) failed no such city")
    orphan = tool_result(ToolCall("call_9", "now"), "12:30")
    assert chat_turns(talk([user("Time?"), orphan]))[-1] == ("user", "Time?\nnow() = 12:30")


@pytest.mark.parametrize("part", [Image(b"x", media_type="image/png"), File(b"x"), Audio(b"x")])
def test_what_is_not_text_is_refused(part: Image) -> None:
    with pytest.raises(BadRequest, match=f"leave the {type(part).__name__.lower()} out"):
        talk([user("Look", part)])


def test_an_answer_in_json_says_what_is_wanted() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "mood": {"enum": ["good", 3]},
            "tags": {"type": "array", "items": {"properties": {"word": {}}}},
            "more": True,
        },
    }
    wish = "Extract name, mood (good or 3), tags (word), more from the text as JSON."
    assert output_turns(talk([system("Be brief."), user("Hi")]), schema)[0] == ("system", f"Be brief.\n{wish}")
    assert "Extract the answer from" in output_turns(talk([user("Hi")]), {"type": "string"})[0][1]


def test_a_conversation_without_a_question() -> None:
    assert chat_turns(talk([])) == (("user", ""),)
    assert chat_turns(talk([assistant("Hello"), user("Hi")])) == (("assistant", "Hello"), ("user", "Hi"))

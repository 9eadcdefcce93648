"""Messages as a memory keeps them come back equal, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit._json import dumps
from arshai_kit.codec import to_plain
from arshai_kit.errors import BadRecord, ForeignFormat, Misuse
from arshai_kit.memory.encoding import FORMAT, decoded, encoded, joined, note_decoded, note_encoded
from arshai_kit.records import Image, Message, Text, Thinking, ToolCall, ToolResult, assistant, tool_result, user
from arshai_kit.testing import strategies

CALL = ToolCall("c1", "look", {"city": "Oslo"}, state={"signature": "x"})
SIGNED = Text("Well.", state="signed")
SAID = (
    user("Rain?"),
    assistant(Thinking("Hm."), "Let me see.", SIGNED, CALL),
    tool_result(CALL, "No.", is_error=True),
)


def messages() -> st.SearchStrategy[list[Message]]:
    return st.lists(strategies.messages(), max_size=4) | strategies.conversations().map(list)


@given(said=messages(), more=messages())
def test_messages_come_back_equal(said: list[Message], more: list[Message]) -> None:
    records = [encoded(said), encoded(more)]
    assert decoded(records[0]) == tuple(said)
    assert joined(records) == (*said, *more)
    assert repr(joined(records)) == repr((*said, *more))  # 1 and 1.0 and True are told apart
    assert hash(joined(records)) == hash((*said, *more))


@given(value=strategies.json_values())
def test_notes_come_back_equal(value: Any) -> None:
    assert repr(note_decoded(note_encoded(value))) == repr(value)


@given(said=messages().filter(bool), data=st.data())
def test_a_record_that_was_cut_is_refused(said: list[Message], data: st.DataObject) -> None:
    whole = encoded(said)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for read in (decoded, note_decoded, lambda record, key: joined([whole, record, whole], key)):
        with pytest.raises(BadRecord, match="ann"):
            read(cut, "ann")


@given(said=messages().filter(bool), data=st.data())
def test_a_record_that_was_changed_is_refused_or_holds_messages(said: list[Message], data: st.DataObject) -> None:
    """Nothing but our errors comes of it, and nothing but messages whose fields have their types."""
    record = bytearray(encoded(said))
    for _ in range(data.draw(st.integers(1, 3))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    for read in (decoded, lambda record: joined([record, encoded([user("x")])])):
        try:
            found = read(bytes(record))
        except BadRecord:
            continue
        assert decoded(encoded(found)) == found


def test_what_is_common_is_written_short() -> None:
    written = [json.loads(encoded([message]))[1] for message in SAID]
    state, signed = {"signature": "x"}, {"text": "Well.", "state": "signed"}
    call = {"call": "c1", "name": "look", "arguments": {"city": "Oslo"}, "state": state}
    result = {"result": "c1", "name": "look", "content": "No.", "error": True}
    assert written == [
        {"role": "user", "text": "Rain?"},
        {"role": "assistant", "parts": [{"thinking": "Hm."}, "Let me see.", signed, call]},
        {"role": "tool", "parts": [result]},
    ]
    assert decoded(encoded(SAID)) == SAID
    assert len(encoded(SAID)) < len(dumps([to_plain(message) for message in SAID]))
    image = user("What is this?", Image(b"GIF89a"))
    assert json.loads(encoded([image])) == [FORMAT, json.loads(dumps(to_plain(image)))]


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[1",
        b"\xff",
        b'[1,"words"]',
        b"[1,null]",
        b"[1,{}]",
        b'[1,{"role":"robot","text":"hi"}]',
        b'[1,{"role":["user"],"text":"hi"}]',
        b'[1,{"role":"user","text":7}]',
        b'[1,{"role":"user","text":"hi","more":1}]',
        b'[1,{"role":"user","parts":["hi"],"more":1}]',
        b'[1,{"role":"user","parts":"hi"}]',
        b'[1,{"role":"user","parts":[7]}]',
        b'[1,{"role":"user","parts":[{}]}]',
        b'[1,{"role":"user","parts":[{"sound":"hi"}]}]',
        b'[1,{"role":"user","parts":[{"text":7}]}]',
        b'[1,{"role":"user","parts":[{"text":"hi","more":1}]}]',
        b'[1,{"role":"user","parts":[{"call":"c","name":"n","arguments":[]}]}]',
        b'[1,{"role":"tool","parts":[{"result":"c","name":"n","content":"x","error":"no"}]}]',
        b'[1,{"role":"tool","parts":[{"result":"c"}]}]',
        b'[1,{"v":1,"type":"Text","text":"hi"}]',
        b'[1,{"v":1,"type":"Usage"}]',
        b'[1,{"v":9,"type":"Message","role":"user"}]',
    ],
)
def test_a_record_of_another_shape_is_refused(record: bytes) -> None:
    for read in (decoded, lambda record, key: joined([record], key)):
        with pytest.raises(BadRecord, match=r"'ann'.*forget the conversation, or restore") as raised:
            read(record, "ann")
        assert raised.value.key == "ann"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b"[2]", "upgrade arshai_kit"),
        (b'[2,{"role":"user","text":"hi"}]', "upgrade arshai_kit"),
        (b"[]", "another program"),
        (b"{}", "another program"),
        (b'"text"', "another program"),
        (b"[true]", "another program"),
        (b"[1.0]", "another program"),
        (b"[0]", "another program"),
    ],
)
def test_a_record_of_another_format_is_refused(record: bytes, why: str) -> None:
    for read in (decoded, note_decoded, lambda record, key: joined([encoded([user("x")]), record], key)):
        with pytest.raises(ForeignFormat, match=why):
            read(record, "ann")


def test_a_note_is_one_value() -> None:
    for record in (b"[1]", b"[1,2,3]"):
        with pytest.raises(BadRecord, match="no note"):
            note_decoded(record)


@pytest.mark.parametrize("part", [Text(7), Text(None), ToolResult("c", 7, "x"), Thinking(b"x")])  # type: ignore[arg-type]
def test_a_message_that_would_not_come_back_is_refused_before_it_is_kept(part: Any) -> None:
    with pytest.raises(Misuse):
        encoded([Message("user", (part,))])


def test_a_message_that_would_come_back_as_another_is_refused() -> None:
    strange = Message("user", (Image(b"GIF89a", detail=Odd("low")),))
    with pytest.raises(Misuse, match="would not come back"):
        encoded([strange])


class Odd(str):
    """Words that equal no others."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def test_words_of_a_type_of_their_own_are_words() -> None:
    class Word(str):
        __slots__ = ()

    assert decoded(encoded([user(Text(Word("hi")))])) == (user("hi"),)

"""A chunk that differs from the last in its words alone means the same, read by its envelope or parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.dialects.chat._envelope import Envelope
from arshai_kit.errors import BadReply
from arshai_kit.records import TextDelta, ThinkingDelta
from tests.dialects.wires import ENDPOINT, Wire
from tests.wire.agreement import streamed

STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
SPACED, TIGHT = (", ", ": "), (",", ":")


def chunk(delta: Any, **more: Any) -> Wire:
    return {"id": "c", "model": "m", **more, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def line(told: Wire, separators: tuple[str, str] = TIGHT, *, plain: bool = False) -> bytes:
    return b"data: " + json.dumps(told, separators=separators, ensure_ascii=not plain).encode() + b"\n\n"


@given(
    said=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        | st.sampled_from(['"', "\\", "\n", "},", "é", "\xa0"])
    ),
    under=st.sampled_from(["content", "reasoning_content", "reasoning"]),
    separators=st.sampled_from([SPACED, TIGHT]),
    plain=st.booleans(),
    changing=st.booleans(),
)
def test_words_are_the_same_however_they_are_read(
    said: list[str], under: str, separators: tuple[str, str], plain: bool, changing: bool
) -> None:
    more = [{"created": place} if changing else {} for place, _ in enumerate(said)]
    lines = [line(chunk({under: text}, **each), separators, plain=plain) for text, each in zip(said, more, strict=True)]
    first = line(chunk({"role": "assistant", "content": ""}))
    events, response = streamed([first, *lines, STOP], ENDPOINT)
    assert (response.text if under == "content" else response.reasoning) == "".join(said)
    kind = TextDelta if under == "content" else ThinkingDelta
    assert events[:-1] == [kind(text) for text in said if text]


def test_a_chunk_like_the_last_is_not_parsed() -> None:
    envelope = Envelope()
    first, second = (line(chunk({"content": text}))[6:-2] for text in ("one", "two"))
    assert envelope.words(first) == ""
    envelope.learn(first, "content", "one")
    assert (envelope.words(second), envelope.name) == ("two", "content")


@pytest.mark.parametrize("text", ['a"b', "a\nb", "a\\b", "\u2028", ""])
def test_words_that_mean_more_than_they_look_are_parsed(text: str) -> None:
    envelope = Envelope()
    envelope.learn(b'{"content":"one"}', "content", "one")
    assert envelope.words(line({"content": text}, plain=True)[6:-2]) == ""


def test_what_is_there_twice_or_elsewhere_is_not_learnt() -> None:
    envelope = Envelope()
    for data in (b'{"content":"a","other":{"content":"a"}}', b'{"x":"a"}', b'{"content":"\\u0061"}'):
        envelope.learn(data, "content", "a")
        assert envelope.words(data) == ""


def test_where_every_chunk_differs_learning_is_given_up() -> None:
    envelope = Envelope()
    for number in range(20):
        envelope.learn(b'{"content":"a","n":%d}' % number, "content", "a")
    assert envelope.words(b'{"content":"b","n":7}') == "b"
    assert envelope.words(b'{"content":"b","n":19}') == ""


def test_words_of_no_encoding_are_a_bad_reply() -> None:
    one = line(chunk({"content": "one"}))
    with pytest.raises(BadReply, match="no JSON") as caught:
        streamed([line(chunk({"content": ""})), one, one.replace(b"one", b"\xff\xfe"), STOP], ENDPOINT)
    assert caught.value.partial.text == "one"


def test_details_that_come_with_words_are_thought_as_well() -> None:
    detail = {"type": "reasoning.text", "text": "t", "index": 0}
    told = [
        chunk({"content": ""}),
        chunk({"content": "a", "reasoning_details": [detail]}),
        chunk({"reasoning_details": [detail]}),
    ]
    events, response = streamed([*map(line, told), STOP], ENDPOINT)
    assert (response.text, response.reasoning) == ("a", "tt")
    assert len(events) == 4

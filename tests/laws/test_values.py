"""Values: records survive JSON, pickle and hashing; usage is a monoid; what was not reported stays unknown."""

from __future__ import annotations

import copy
import json
import pickle
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given

from arshai_kit import Finished, Message, Response, Text, TextDelta, ToolProgress, Usage, assistant, user
from arshai_kit.codec import VERSION, from_json, from_plain, to_json, to_plain
from arshai_kit.errors import Misuse
from arshai_kit.models import Ask
from arshai_kit.records import ToolCall
from arshai_kit.rounds import Total
from arshai_kit.testing import strategies

records = (
    strategies.messages()
    | strategies.parts()
    | strategies.responses()
    | strategies.events()
    | strategies.tool_specs()
    | strategies.tool_runs()
    | strategies.pauses()
    | strategies.usages()
    | strategies.settings()
    | strategies.asks()
    | strategies.vectors()
    | strategies.embeddings()
)


@given(records)
def test_a_record_survives_json(record: Any) -> None:
    again = from_json(to_json(record))
    assert again == record
    assert type(again) is type(record)
    assert hash(again) == hash(record)
    assert to_json(again) == to_json(record)


@given(records)
def test_json_is_one_line_that_any_parser_reads_the_same(record: Any) -> None:
    text = to_json(record)
    assert "\n" not in text
    assert json.loads(text) == to_plain(record)
    assert from_plain(json.loads(text)) == from_json(text.encode()) == record


@given(records)
def test_a_record_survives_pickle_and_copies(record: Any) -> None:
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        again = pickle.loads(pickle.dumps(record, protocol))
        assert again == record
        assert hash(again) == hash(record)
    assert copy.deepcopy(record) == copy.copy(record) == evolve(record) == record


@given(records, records)
def test_equal_records_have_equal_hashes(one: Any, other: Any) -> None:
    assert one != other or hash(one) == hash(other)
    assert (one == other) == (to_plain(one) == to_plain(other)) or _outside_equality(one, other)


def _outside_equality(one: Any, other: Any) -> bool:
    """Seconds of tool runs are written, and are outside equality."""
    return '"seconds"' in to_json(one) + to_json(other)


@given(strategies.messages())
def test_the_json_of_a_record_reads_with_more_in_it(message: Message) -> None:
    """A newer minor version may add fields; they are passed over."""
    data = to_plain(message)
    data["since"] = {"v": 2}
    for part in data.get("parts", ()):
        part["mood"] = "fine"
    assert from_plain(data) == message


# -- output --


class Colour(Enum):
    """What an answer may say."""

    RED = "red"


@frozen
class Found:
    """What an answer is to be."""

    name: str
    colours: tuple[Colour, ...]
    price: Decimal


FOUND = Found("kite", (Colour.RED,), Decimal("9.50"))


def test_a_typed_output_is_written_plain_and_made_typed_again() -> None:
    response = Response((assistant("…"),), output=FOUND)
    text = to_json(response)
    assert from_json(text).output == {"name": "kite", "colours": ["red"], "price": "9.50"}
    assert from_json(text, output=Found) == response
    assert from_json(to_json(Finished(response)), output=Found) == Finished(response)
    assert from_json(to_json(Response((), output=[FOUND])), output=list[Found]).output == [FOUND]


def test_an_output_that_does_not_fit_is_told_where() -> None:
    text = to_json(Response((), output={"name": "kite", "colours": ["green"], "price": "1"}))
    with pytest.raises(Misuse, match=r"the output does not fit: colours\[0\]"):
        from_json(text, output=Found)
    with pytest.raises(Misuse, match="for a Response, not for TextDelta"):
        from_json(to_json(TextDelta("a")), output=Found)


def test_an_output_that_has_no_json_is_refused() -> None:
    with pytest.raises(Misuse, match=r"the output has no JSON: .*'object'"):
        to_json(Response((), output={"a": object()}))
    assert from_json(to_json(ToolProgress(ToolCall("c1", "add"), FOUND))).value["name"] == "kite"


def test_the_raw_body_is_left_out() -> None:
    assert from_json(to_json(Response((), raw={"secret": 1}))).raw is None


# -- what cannot be read --


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "this is no JSON"),
        (b"\xff", "this is no JSON"),
        ('{"v": 1, "type": "Text", "text": NaN}', "this is no JSON: NaN"),
        ("[]", "a record is a JSON object, not list"),
        ('{"type": "Text"}', "it has no version"),
        ('{"v": true, "type": "Text"}', "it has no version"),
        ('{"v": "1", "type": "Text"}', "it has no version"),
        ('{"v": 1}', "there is no record None; there are: Ask"),
        ('{"v": 1, "type": "builtins.eval"}', "there is no record 'builtins.eval'"),
        ('{"v": 1, "type": ["Text"]}', r"there is no record \['Text'\]"),
        ('{"v": 1, "type": "Endpoint"}', "there is no record 'Endpoint'"),
        ('{"v": 1, "type": "Text"}', r"'text' is missing @ \$\.text"),
        ('{"v": 1, "type": "Text", "text": 5}', r"expected str, got int @ \$\.text"),
        ('{"v": 1, "type": "Message", "role": "robot"}', r"robot not in literal.* @ \$\.role"),
        ('{"v": 1, "type": "Message", "role": "user", "parts": "Hi"}', r"expected an array, got str @ \$\.parts"),
        ('{"v": 1, "type": "Message", "role": "user", "parts": [""]}', r"expected an object, got str @ \$\.parts\[0\]"),
        (
            '{"v": 1, "type": "Message", "role": "user", "parts": [{"type": "Text", "text": ""}, {"type": "Video"}]}',
            r"there is no part 'Video'; there are: Text, .* @ \$\.parts\[1\]",
        ),
        ('{"v": 1, "type": "Image", "data": "?"}', r"@ \$\.data"),
        ('{"v": 1, "type": "Image", "data": 1}', r"expected base64, got int @ \$\.data"),
        ('{"v": 1, "type": "Usage", "input_tokens": true}', r"expected int, got bool @ \$\.input_tokens"),
        ('{"v": 1, "type": "Usage", "missing": "all"}', r"expected an array, got str @ \$\.missing"),
        ('{"v": 1, "type": "Settings", "stop": "."}', r"expected an array, got str @ \$\.stop"),
        ('{"v": 1, "type": "Settings", "reasoning": 1.5}', r"expected a word or a number, got float @ \$\.reasoning"),
        ('{"v": 1, "type": "Settings", "extra": [1]}', r"expected an object, got list @ \$\.extra"),
        ('{"v": 1, "type": "Settings", "seed": "1"}', r"expected .*int"),
        ('{"v": 1, "type": "Response", "messages": [], "cost": 0.1}', r"expected a decimal number as text, got 0\.1"),
        ('{"v": 1, "type": "Response", "messages": [], "cost": "a lot"}', "expected a decimal number as text"),
        ('{"v": 1, "type": "ToolResult", "id": "", "name": "", "content": 3}', r"an array, got int @ \$\.content"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_and_where(text: str | bytes, why: str) -> None:
    with pytest.raises(Misuse, match=why):
        from_json(text)


def test_a_newer_format_is_refused_with_what_to_do() -> None:
    text = to_json(user("Hi")).replace(f'"v":{VERSION}', f'"v":{VERSION + 1}')
    with pytest.raises(Misuse, match=r"format 2, and format 1 is known here: upgrade arshai_kit"):
        from_json(text)


def test_nesting_without_end_is_refused() -> None:
    deep = '{"v":1,"type":"ToolResult","id":"","name":"","content":[' * 500 + "]}" * 500
    with pytest.raises(Misuse):
        from_json(deep)


@pytest.mark.parametrize("value", [None, 1, "text", {"v": 1}, object(), Found])
def test_what_is_no_record_has_no_json(value: Any) -> None:
    with pytest.raises(Misuse, match="has no JSON of its own; these have: Ask"):
        to_json(value)


def test_a_type_of_the_same_name_is_not_ours() -> None:
    impostor = type("Text", (Text,), {})("Hi")
    with pytest.raises(Misuse, match="Text has no JSON of its own"):
        to_json(impostor)
    with pytest.raises(Misuse, match="Text is no part of a message"):
        to_json(Ask((Message("user", (impostor,)),)))


# -- usage --


@given(strategies.usages(), strategies.usages(), strategies.usages())
def test_usage_is_a_monoid(a: Usage, b: Usage, c: Usage) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + Usage() == a == Usage() + a
    assert a + b == b + a
    assert sum((b, c), a).total_tokens == a.total_tokens + b.total_tokens + c.total_tokens


@given(strategies.usages(), strategies.usages())
def test_usage_knows_what_was_not_reported(a: Usage, b: Usage) -> None:
    """A sum is reported if all of it was; nothing makes known again what one part did not tell."""
    assert (a + b).reported == (a.reported and b.reported)
    assert (a + b).missing == a.missing | b.missing
    assert not (a + Usage.unknown()).reported


@given(strategies.responses(), strategies.responses())
def test_an_unknown_cost_stays_unknown(one: Response, other: Response) -> None:
    total = Total().plus(one).plus(other)
    assert (total.cost is None) == (one.cost is None or other.cost is None)
    assert total.cost is None or total.cost == (one.cost or 0) + (other.cost or 0)
    assert total.usage == one.usage + other.usage

"""A document that arrives in pieces: what is shown never changes, and in the end it is all there."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arshai_kit.schema import Misfit, Settling, settled
from tests.schema.kinds import json_values

documents = st.builds(
    lambda value, indent, ascii_only: json.dumps(value, indent=indent, ensure_ascii=ascii_only),
    json_values,
    st.sampled_from([None, 1]),
    st.booleans(),
)


def is_part(part: Any, whole: Any) -> bool:
    """Whether *whole* can grow out of *part*: members and items are only added, at the end."""
    if isinstance(part, dict) and isinstance(whole, dict):
        shared = list(whole)[: len(part)]
        return list(part) == shared and all(is_part(part[key], whole[key]) for key in part)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(is_part(one, other) for one, other in zip(part, whole, strict=False))
    return type(part) is type(whole) and bool(part == whole)


def same(one: Any, other: Any) -> bool:
    return is_part(one, other) and is_part(other, one)


@given(documents, st.data())
@example('{"a": "\\ud83d\\ude00", "b": [1.5e3, true]}', None)
def test_every_prefix_shows_only_what_stays(text: str, data: st.DataObject | None) -> None:
    whole = json.loads(text)
    cuts = range(len(text) + 1) if data is None else [data.draw(st.integers(0, len(text)))]
    for cut in cuts:
        value, complete = settled(text[:cut])
        assert value is None or is_part(value, whole)
        assert not complete or same(value, whole)


@given(documents, st.lists(st.integers(1, 9)))
def test_any_split_shows_the_same_and_only_ever_more(text: str, sizes: list[int]) -> None:
    reader, before, at = Settling(), None, 0
    for size in [*sizes, len(text)]:
        changed = reader.feed(text[at : at + size])
        at = min(at + size, len(text))
        assert (reader.value, reader.complete) == settled(text[:at])
        assert before is None or is_part(before, reader.value)
        assert changed or before is None or same(before, reader.value)
        before = copy.deepcopy(reader.value)
    reader.close()
    assert reader.complete
    assert same(reader.value, json.loads(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("  ", None),
        ("12", None),
        ('"Jo', None),
        ("{", {}),
        ('{"name', {}),
        ('{"name": ', {}),
        ('{"name": "Jo', {}),
        ('{"name": "Jo"', {"name": "Jo"}),
        ('{"amount": 12', {}),
        ('{"amount": 12 ', {"amount": 12}),
        ('{"amount": 12.', {}),
        ("[tru", []),
        ("[true", []),
        ("[true,", [True]),
        ('[{"a": [1, 2', [{"a": [1]}]),
        ('["\\u00', []),
        ('["\\', []),
    ],
)
def test_what_is_unfinished_is_left_out(text: str, value: Any) -> None:
    assert settled(text) == (value, False)


def test_a_number_at_the_top_ends_with_the_text() -> None:
    reader = Settling()
    assert not reader.feed("12")
    assert reader.close()
    assert (reader.value, reader.complete) == (12, True)
    assert not reader.close()


@pytest.mark.parametrize(
    "text",
    [
        "x", "{a", "[,", "[1,]", '{"a" 1}', '{"a": 1,}', "[1}", '{"a": 1]', "[1] 2", "]", "01 ", "nul ", '["\\x"]',
        '["\n"]', "[1 2]", '{"a": 1, "a": 2}', "1" * 5000 + " ", "nan ", "Infinity", "é", "[1]]",
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused_from_then_on(text: str) -> None:
    reader = Settling()
    with pytest.raises(Misfit):
        reader.feed(text)
    with pytest.raises(Misfit):
        reader.feed("[]")


@pytest.mark.parametrize("text", ["", "[1", '{"a"', '"a', "["])
def test_what_ends_too_early_is_refused_at_the_end(text: str) -> None:
    reader = Settling()
    reader.feed(text)
    with pytest.raises(Misfit, match="ends where"):
        reader.close()


def test_the_place_of_a_mistake_is_counted_over_all_pieces() -> None:
    reader = Settling()
    reader.feed('{"a": 1')
    with pytest.raises(Misfit, match="got 'x' at character 8"):
        reader.feed(" x")


def test_depth_costs_no_stack() -> None:
    value, complete = settled("[" * 100_000)
    assert value
    assert not complete


def test_the_work_is_linear_in_the_text() -> None:
    """One long string in many pieces, and many items: five times the text costs no more than about five times."""

    def spent(count: int) -> float:
        reader, started = Settling(), time.process_time()
        for n in range(count):
            reader.feed(f'{"[" if n == 0 else ","} {{"n": {n}, "text": "')
            for _ in range(5):
                reader.feed("some words ")
            reader.feed('"}')
        return time.process_time() - started

    assert min(spent(5000) for _ in range(3)) < 15 * min(spent(1000) for _ in range(3))

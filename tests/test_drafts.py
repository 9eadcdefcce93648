"""What is made without conversion is what its constructor makes, in every field, and as frozen."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import assistant
from arshai_kit.records import Message, Response, Text, Usage
from arshai_kit.records.responses import altered, spoken
from arshai_kit.testing.strategies import responses, usages


def held(record: Any) -> tuple[Any, ...]:
    """Everything that *record* holds, also what is outside equality."""
    return tuple([getattr(record, spot.name) for spot in attrs.fields(type(record))])


@given(
    response=responses(),
    other=responses(),
    names=st.sets(st.sampled_from([each.name for each in attrs.fields(Response)])),
)
def test_what_is_altered_is_what_evolve_makes(response: Response, other: Response, names: set[str]) -> None:
    response = attrs.evolve(response, raw={"kept": "too"}, answered_by="ann")
    changes = {name: getattr(other, name) for name in names}
    made = altered(response, **changes)
    assert type(made) is Response
    assert held(made) == held(attrs.evolve(response, **changes))
    assert made == attrs.evolve(response, **changes)
    assert pickle.loads(pickle.dumps(altered(response))) == response


@given(st.text())
def test_what_is_spoken_is_a_response_with_a_message_with_a_text(text: str) -> None:
    made, plain = spoken(text), Response((assistant(text),))
    assert held(made) == held(plain)
    assert hash(made) == hash(plain)
    assert repr(made) == repr(plain)
    assert held(made.message) == ("assistant", (Text(text),), "")
    assert [type(each) for each in (made, made.message, *made.message.parts)] == [Response, Message, Text]
    assert pickle.loads(pickle.dumps(made)) == plain


@pytest.mark.parametrize("record", [spoken("Hello"), spoken("Hello").message, spoken("Hello").message.parts[0]])
def test_what_was_a_draft_is_frozen(record: Any) -> None:
    for name in (attrs.fields(type(record))[0].name, "anything"):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(record, name, None)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(record, name)


@given(usages(), usages())
def test_a_sum_of_usages_is_as_its_constructor_makes_it(some: Usage, more: Usage) -> None:
    whole = some + more
    assert type(whole) is Usage
    assert held(Usage(**{spot.name: getattr(whole, spot.name) for spot in attrs.fields(Usage)})) == held(whole)
    assert whole.total_tokens == some.total_tokens + more.total_tokens
    assert whole.missing == some.missing | more.missing
    assert Usage.unknown() + Usage.unknown() == Usage.unknown()

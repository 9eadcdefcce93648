"""Strategies: what they draw is what they say, and without hypothesis it is said what is missing."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import Message, Response, Usage, testing
from arshai_kit._json import dumps, exact, loads
from arshai_kit.effects import Reply
from arshai_kit.models import Ask, Endpoint, Settings
from arshai_kit.providers import gemini, openai, openai_compatible
from arshai_kit.records import ToolCall, ToolResult, ToolRun, ToolSpec
from arshai_kit.testing import strategies

CHAT = openai_compatible("toy-1", base_url="http://localhost", api_key="")


@given(strategies.conversations())
def test_conversations_make_sense(messages: tuple[Message, ...]) -> None:
    """Turns in order, and behind every call its result."""
    roles = [message.role for message in messages]
    assert roles[0] in {"system", "user"}
    assert "system" not in roles[1:]
    asked = [call.id for message in messages for call in message.tool_calls]
    told = [part.id for message in messages for part in message.parts if isinstance(part, ToolResult)]
    assert told == asked[: len(told)]
    assert asked == told or messages[-1].role == "tool"
    assert len(set(asked)) == len(asked)
    for before, after in pairwise(roles):
        assert (before, after) in {
            *(("system", "user"), ("user", "assistant"), ("assistant", "tool"), ("tool", "tool")),
            *(("tool", "assistant"), ("assistant", "user")),
        }


@given(strategies.conversations(calls=False))
def test_conversations_may_be_without_tools(messages: tuple[Message, ...]) -> None:
    assert {message.role for message in messages} <= {"system", "user", "assistant"}


@pytest.mark.parametrize(
    ("model", "made"),
    [
        pytest.param(CHAT, strategies.chat_replies(), id="chat"),
        pytest.param(openai("toy-1", api_key=""), strategies.responses_replies(), id="responses"),
        pytest.param(gemini("toy-1", api_key=""), strategies.gemini_replies(), id="gemini"),
    ],
)
@given(data=st.data())
def test_a_reply_means_what_it_says(
    model: Endpoint, made: st.SearchStrategy[tuple[bytes, Response]], data: st.DataObject
) -> None:
    """Its dialect reads so; tests/laws/test_dialects.py has more, and streams."""
    body, meant = data.draw(made)
    response = model.dialect.parse(model, Reply(200, (), body))
    assert tuple([attrs.evolve(part, state=None) for part in response.message.parts]) == meant.message.parts
    assert attrs.evolve(response, messages=(), provider="") == attrs.evolve(meant, messages=())
    assert response.raw == meant.raw == exact(body.decode())


@given(st.binary(max_size=40).flatmap(lambda data: st.tuples(st.just(data), strategies.splits(data))))
def test_the_pieces_of_a_split_are_the_whole(made: tuple[bytes, tuple[bytes, ...]]) -> None:
    data, pieces = made
    assert b"".join(pieces) == data
    assert all(pieces)


@given(strategies.json_values())
def test_json_is_what_a_parser_gives(value: Any) -> None:
    assert loads(dumps({"a": value})).keys() == {"a"}


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (strategies.tool_calls(), ToolCall),
        (strategies.tool_specs(), ToolSpec),
        (strategies.tool_runs(), ToolRun),
        (strategies.usages(), Usage),
        (strategies.responses(), Response),
        (strategies.settings(), Settings),
        (strategies.asks(), Ask),
        (strategies.messages(), Message),
        (strategies.json_objects(), dict),
        (strategies.words(), str),
    ],
)
@given(data=st.data())
def test_each_draws_its_kind(made: st.SearchStrategy[Any], kind: type, data: st.DataObject) -> None:
    assert type(data.draw(made)) is kind


def test_names_of_tools_can_be_given() -> None:
    @given(strategies.tool_calls(st.just("add")))
    def law(call: ToolCall) -> None:
        assert call.name == "add"

    law()


WITHOUT = """
import sys
sys.modules["hypothesis"] = None
from arshai_kit import testing
try:
    testing.strategies.messages()
except ImportError as error:
    print(error)
"""


def test_without_hypothesis_it_is_said_what_is_missing() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "hypothesis is not installed: pip install 'arshai-kit[test]'"


def test_testing_alone_does_not_import_hypothesis() -> None:
    code = "import sys; from arshai_kit import testing; print('hypothesis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_public_is_there_and_nothing_else() -> None:
    assert all(hasattr(testing, name) for name in testing.__all__)
    assert all(hasattr(strategies, name) for name in strategies.__all__)
    with pytest.raises(AttributeError, match="no attribute 'mocked'"):
        _ = testing.mocked

"""Strategies for hypothesis: every record, conversations that make sense, and what providers send.

>>> from hypothesis import given
>>> @given(conversations())
... def test_that_a_conversation_begins_with_people(messages):
...     assert messages[0].role in ("system", "user")
>>> test_that_a_conversation_begins_with_people()
"""

from arshai_kit.testing._records import (
    asks,
    conversations,
    embeddings,
    events,
    json_objects,
    json_values,
    messages,
    parts,
    pauses,
    responses,
    settings,
    splits,
    tool_calls,
    tool_runs,
    tool_specs,
    usages,
    vectors,
    words,
)
from arshai_kit.testing._wire import chat_replies, chat_streams
from arshai_kit.testing._wire_gemini import gemini_replies, gemini_streams
from arshai_kit.testing._wire_responses import responses_replies, responses_streams

__all__ = [
    "asks",
    "chat_replies",
    "chat_streams",
    "conversations",
    "embeddings",
    "events",
    "gemini_replies",
    "gemini_streams",
    "json_objects",
    "json_values",
    "messages",
    "parts",
    "pauses",
    "responses",
    "responses_replies",
    "responses_streams",
    "settings",
    "splits",
    "tool_calls",
    "tool_runs",
    "tool_specs",
    "usages",
    "vectors",
    "words",
]

"""Streams of Chat Completions: the same as a whole reply, complete only if the provider said so, lenient otherwise."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.dialects.chat import advance, parse, start
from arshai_kit.effects import Reply
from arshai_kit.errors import (
    BadReply,
    BadRequest,
    ContentTooLong,
    NotFound,
    ProviderError,
    RateLimited,
    ServerFailed,
    StreamIncomplete,
)
from arshai_kit.records import (
    Event,
    Finished,
    Logprob,
    Opaque,
    RateLimit,
    Response,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
)
from arshai_kit.sse import ServerSent
from tests.dialects.wires import ENDPOINT, Wire, bodies, chunks, junk, names, sse
from tests.wire.agreement import cut, streamed, told_by

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def read(data: bytes) -> tuple[list[Event], Response]:
    return streamed([data], ENDPOINT)


def failing(data: bytes) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        read(data)
    return caught.value


def chunk(delta: Wire | None = None, finish: Any = None, **more: Any) -> Wire:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def call(arguments: str | None = None, *, index: Any = 0, key: str | None = None, name: str | None = None) -> Wire:
    """A chunk with one fragment of a call."""
    fragment = {"index": index, "id": key, "function": {"name": name, "arguments": arguments}}
    return chunk({"tool_calls": [{name: value for name, value in fragment.items() if value is not None}]})


STOP, CALLS = chunk(finish="stop"), chunk(finish="tool_calls")


# The laws


@given(body=bodies(), seed=st.integers(0, 2**32))
def test_a_stream_gives_what_the_whole_reply_gives(body: Wire, seed: int) -> None:
    whole = parse(ENDPOINT, Reply(200, (), json.dumps(body).encode()))
    events, response = streamed(list(cut(sse(chunks(body, seed)), random.Random(seed), 30)), ENDPOINT)
    assert response == whole
    assert told_by(events) == (whole.text, whole.reasoning, whole.tool_calls)
    assert isinstance(events[-1], Finished)


@given(body=bodies(), seed=st.integers(0, 2**32), place=st.floats(0, 1), data=st.data())
def test_a_stream_that_is_cut_is_never_taken_for_a_whole_one(
    body: Wire, seed: int, place: float, data: st.DataObject
) -> None:
    wire = sse(chunks(body, seed))
    whole = parse(ENDPOINT, Reply(200, (), json.dumps(body).encode()))
    try:
        _, response = read(wire[: int(place * len(wire))])
    except StreamIncomplete as error:
        partial = error.partial
        assert whole.text.startswith(partial.text)
        assert whole.reasoning.startswith(partial.reasoning)
        assert set(partial.tool_calls) <= set(whole.tool_calls)
        assert (partial.raw_finish_reason, partial.finish_reason) == (None, "error")
    else:
        assert response.raw_finish_reason == whole.raw_finish_reason
        assert response.messages == whole.messages


@given(body=bodies(), seed=st.integers(0, 2**32), novel=st.dictionaries(names.map("x_".__add__), junk, max_size=3))
def test_unknown_fields_thrown_in_anywhere_change_nothing_that_is_known(body: Wire, seed: int, novel: Wire) -> None:
    told = chunks(body, seed)
    strange = [
        {**novel, **each, "choices": [{**novel, **choice, "delta": {**choice["delta"]}} for choice in each["choices"]]}
        for each in told
    ]
    assert read(sse(strange))[1] == read(sse(told))[1]


@given(
    told=st.lists(
        st.builds(
            lambda base, place, value: _with(base, place, value),
            st.sampled_from([chunk({"content": "a"}), call("{}", key="k", name="f"), STOP, {"usage": USAGE}]),
            st.lists(
                st.sampled_from(["choices", 0, "delta", "tool_calls", 0, "function", "content", "name"]), max_size=6
            ),
            junk,
        )
        | junk,
        max_size=5,
    )
)
def test_nonsense_is_an_error_of_the_provider_and_nothing_else(told: list[Any]) -> None:
    with suppress(ProviderError):
        read(b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in told))


def _with(base: Any, path: list[Any], value: Any) -> Any:
    """*base* with *value* at the end of *path*, as far as that leads."""
    if not path:
        return value
    head, *rest = path
    if isinstance(base, dict) and isinstance(head, str):
        return {**base, head: _with(base.get(head), rest, value)}
    if isinstance(base, list) and base and head == 0:
        return [_with(base[0], rest, value), *base[1:]]
    return value


# What is said


def test_words_and_thoughts_come_as_they_are_said() -> None:
    events, response = read(
        sse([chunk({"reasoning_content": "Hm"}), chunk({"content": "Hel"}), chunk({"content": "lo"}), STOP])
    )
    assert events[:-1] == [ThinkingDelta("Hm"), TextDelta("Hel"), TextDelta("lo")]
    assert (response.text, response.reasoning, response.finish_reason) == ("Hello", "Hm", "stop")


@pytest.mark.parametrize("under", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_have_several_names_and_go_back_under_the_same(under: str) -> None:
    _, response = read(sse([chunk({under: "a"}), chunk({"content": None, under: "b"}), STOP]))
    assert response.message.parts == (Thinking("ab", state={"chat": "openai-compatible", "field": under}),)


def test_a_thought_told_under_two_names_counts_once() -> None:
    twice = chunk({"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]})
    signed = chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]})
    sealed = chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d", "index": 0}, "nonsense"]})
    events, response = read(sse([twice, twice, signed, sealed, STOP]))
    assert response.reasoning == "aa"
    assert len([event for event in events if isinstance(event, ThinkingDelta)]) == 2
    assert response.message.parts[0].state["details"] == (
        {"type": "reasoning.text", "text": "aa", "index": 0, "signature": "s"},
        {"type": "reasoning.encrypted", "data": "d", "index": 0},
    )


def test_thoughts_in_a_list_of_content_are_joined_and_stay_before_the_words() -> None:
    def thinking(text: str, **more: Any) -> Wire:
        return chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}], **more}]})

    said = chunk({"content": [{"type": "text", "text": "Yes"}, "!"]})
    odd = chunk({"content": [{"type": "reference", "ids": [1]}]})
    events, response = read(sse([chunk({"content": ""}), thinking("a"), thinking("b", closed=True), said, odd, STOP]))
    assert response.message.parts == (
        Thinking("ab", state={"chat": "openai-compatible", "part": {"closed": True}}),
        Text("Yes!"),
        Opaque("reference", {"type": "reference", "ids": [1]}, state={"chat": "openai-compatible", "field": "content"}),
    )
    assert told_by(events) == ("Yes!", "ab", ())
    again = read(sse([thinking("a"), chunk({"content": "x"}), thinking(""), thinking("b"), STOP]))[1]
    assert [type(part) for part in again.message.parts] == [Thinking, Text, Thinking]


def test_words_with_more_to_them_keep_it() -> None:
    events, response = read(sse([chunk({"content": [{"type": "text", "text": "a", "cited": [1]}]}), STOP]))
    assert response.message.parts == (Text("a", state={"chat": "openai-compatible", "part": {"cited": [1]}}),)
    assert events[0] == TextDelta("a")
    assert read(sse([chunk({"content": [{"type": "text", "text": ""}]}), STOP]))[1].message.parts == ()


def test_an_object_as_content_is_its_json() -> None:
    assert read(sse([chunk({"content": {"a": 1}}), STOP]))[1].text == '{"a":1}'


def test_a_refusal_is_data_not_empty_text() -> None:
    _, response = read(sse([chunk({"refusal": "I "}), chunk({"refusal": "won't"}), STOP]))
    assert (response.refusal, response.text) == ("I won't", "")
    assert (response.finish_reason, response.raw_finish_reason) == ("refusal", "stop")


def test_a_whole_message_in_one_chunk_counts_unless_its_words_have_come() -> None:
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    assert read(sse([whole]))[1].text == "Hi"
    assert read(sse([chunk({"content": "Hi"}), whole]))[1].text == "Hi"


def test_what_is_unknown_is_kept_and_lists_and_objects_grow() -> None:
    told = [chunk({"annotations": [{"a": 1}], "meta": {"x": 1, "z": {"k": 1}}, "channel": "a", "audio": {"id": ""}})]
    told += [chunk({"annotations": [{"b": 2}], "meta": {"y": 2, "z": {"l": 2}}, "channel": "b"}), STOP]
    _, response = read(sse(told))
    assert {part.kind: part.value for part in response.message.parts if isinstance(part, Opaque)} == {
        "annotations": ({"a": 1}, {"b": 2}),
        "meta": {"x": 1, "y": 2, "z": {"k": 1, "l": 2}},
        "channel": "b",
    }


def test_other_candidates_are_kept_in_their_order_and_tell_nothing() -> None:
    odd = {"choices": [{"index": "b", "delta": {"content": "B"}, "finish_reason": "stop"}]}
    third = {"choices": [{"index": 2, "delta": {"content": "Three"}, "finish_reason": "stop"}]}
    calls = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    second = {"choices": [{"index": 1, "delta": {"content": "Two", **calls}}]}
    events, response = read(sse([chunk({"content": "One"}), odd, third, second, STOP]))
    assert events[:-1] == [TextDelta("One")]
    assert [each["index"] for each in response.raw["choices"]] == [0, 1, 2, "b"]
    assert [each.message.text for each in response.candidates] == ["One", "Two", "Three", "B"]
    assert [each.finish_reason for each in response.candidates] == ["stop", "tool_calls", "stop", "stop"]
    assert response.candidates[1].message.tool_calls == (ToolCall("c", "f"),)
    assert response.candidates[0].message == response.message
    alone = read(sse([third]))[1]
    assert (alone.text, alone.candidates) == ("Three", ())


def test_a_cut_stream_keeps_what_came_of_each_candidate() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    second = {"choices": [{"index": 1, "delta": {"content": "Tw", "tool_calls": [call]}}]}
    partial = failing(sse([chunk({"content": "On"}), second], done=False)).partial
    assert [each.message.text for each in partial.candidates] == ["On", "Tw"]
    assert partial.candidates[1].message.tool_calls == ()


@pytest.mark.parametrize(
    ("delta", "kept"),
    [
        ({"content": 7}, {"part": 7}),
        ({"content": [[7], {"odd": 1}]}, {"part": {"odd": 1}}),
        ({"tool_calls": "call f"}, {"tool_calls": "call f"}),
        ({"tool_calls": ["call f", ""]}, {"tool_calls": "call f"}),
        ({"reasoning": {"odd": 1}}, {"reasoning": {"odd": 1}}),
        ({"reasoning_details": "odd"}, {"reasoning_details": "odd"}),
    ],
)
def test_what_has_another_shape_than_is_known_is_kept(delta: Wire, kept: Wire) -> None:
    _, response = read(sse([chunk(delta), STOP]))
    assert {part.kind: part.value for part in response.message.parts if isinstance(part, Opaque)} == kept


def test_log_probabilities_are_gathered() -> None:
    def told(word: str) -> Wire:
        content = [{"token": word, "logprob": -1.5}]
        return {"choices": [{"index": 0, "delta": {"content": word}, "logprobs": {"content": content}}]}

    _, response = read(sse([told("a"), told("b"), told("c"), STOP]))
    assert response.logprobs == (Logprob("a", -1.5), Logprob("b", -1.5), Logprob("c", -1.5))
    assert len(response.raw["choices"][0]["logprobs"]["content"]) == 3


def test_limits_are_told_by_headers() -> None:
    state = start(ENDPOINT, (("x-ratelimit-remaining-tokens", "7"),))
    for line in (json.dumps(STOP).encode(), b"[DONE]"):
        state, told = advance(state, ServerSent("", line))
    assert isinstance(told[-1], Finished)
    assert told[-1].response.rate_limits == (RateLimit("tokens", remaining=7),)


# Calls


def closed(events: list[Event]) -> list[ToolCall]:
    return [event.call for event in events if isinstance(event, ToolCallDelta) and event.call is not None]


def calls_of(*told: Wire) -> tuple[ToolCall, ...]:
    return read(sse([*told, CALLS]))[1].tool_calls


def test_a_call_is_told_as_it_is_written_and_closed_when_the_next_begins() -> None:
    told = [call("", key="a", name="f"), call('{"x":'), call("1}"), call("{}", index=1, key="b", name="g"), CALLS]
    events, response = read(sse(told))
    first, second = ToolCall("a", "f", {"x": 1}), ToolCall("b", "g")
    assert events[:-1] == [
        ToolCallDelta(0, "f"),
        ToolCallDelta(0, "", '{"x":'),
        ToolCallDelta(0, "", "1}"),
        ToolCallDelta(0, "f", "", first),
        ToolCallDelta(1, "g", "{}"),
        ToolCallDelta(1, "g", "", second),
    ]
    assert response.tool_calls == (first, second)
    assert response.finish_reason == "tool_calls"


def test_fragments_of_calls_side_by_side_find_their_own() -> None:
    told = [
        call('{"x"', key="a", name="f"),
        call('{"y"', index=1, key="b", name="g"),
        call(":1}"),
        call(":2}", index=1),
    ]
    events, response = read(sse([*told, CALLS]))
    assert closed(events) == [ToolCall("a", "f", {"x": 1}), ToolCall("b", "g", {"y": 2})]
    assert events[2:4] == [ToolCallDelta(0, "", ":1}"), ToolCallDelta(0, "f", "", ToolCall("a", "f", {"x": 1}))]
    assert response.tool_calls == tuple(closed(events))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([call("{}", key="a", name="f"), call('{"x":1}', key="b", name="f")], [("a", {}), ("b", {"x": 1})]),
        ([call("{", index=None, key="a", name="f"), call("}", index=None, key="a")], [("a", {})]),
        ([call("{", index=None, key="a", name="f"), call("}", index=None)], [("a", {})]),
        ([call("{}", index=None, name="f"), call("{}", index=None, name="f")], [("", {}), ("", {})]),
        ([call("", index=None, name="f"), call("{}", index=None)], [("", {})]),
        ([call("", key="a", name="f"), call("{}", key="a", name="f")], [("a", {})]),
        ([call("{", key="a", name="f"), call("}", key="")], [("a", {})]),
        ([call("{", name="f"), call("}", key="late")], [("late", {})]),
        ([call(key="a", name="f")], [("a", {})]),
    ],
)
def test_ids_and_indexes_that_are_missing_or_repeated(told: list[Wire], expected: list[tuple[str, Any]]) -> None:
    found = calls_of(*told)
    assert [(each.id, each.arguments) for each in found] == expected
    assert {each.name for each in found} == {"f"}


def test_a_name_may_come_in_pieces_and_arguments_as_an_object_and_a_number_as_id() -> None:
    assert calls_of(call(key="a", name="get_"), call(name="weather")) == (ToolCall("a", "get_weather"),)
    whole = chunk({"tool_calls": [{"index": 0, "id": 7, "function": {"name": "f", "arguments": {"x": 1}}}, "nonsense"]})
    assert calls_of(whole) == (ToolCall("7", "f", {"x": 1}),)


def test_state_of_a_call_stays_on_it() -> None:
    signed = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"sig": "s"}}
    (found,) = calls_of(chunk({"tool_calls": [{**signed, "custom": {"input": ""}}]}))
    assert found.state == {"chat": "openai-compatible", "extra": {"extra_content": {"sig": "s"}}}


def test_a_call_in_the_shape_before_tool_calls_is_a_call() -> None:
    told = [
        chunk({"function_call": {"name": "f", "arguments": '{"x"'}}),
        chunk({"function_call": {"arguments": ":1}"}}),
    ]
    told.append(chunk({"function_call": {"name": "", "arguments": ""}}, finish="function_call"))
    _, response = read(sse(told))
    assert response.tool_calls == (ToolCall("", "f", {"x": 1}, state={"chat": "openai-compatible", "legacy": True}),)
    assert response.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "text", ['{"x":', "[1]", "null", "nonsense", '{"a":NaN}', '{"a":' + "[" * 300 + "]" * 300 + "}"]
)
def test_arguments_that_are_no_object_are_kept_as_they_were(text: str) -> None:
    assert calls_of(call(text, key="a", name="f")) == (ToolCall("a", "f", broken=text),)


def test_whole_numbers_of_any_size_are_exact() -> None:
    (found,) = calls_of(call('{"n": 123456789012345678901234567890}', key="a", name="f"))
    assert found.arguments["n"] == 123456789012345678901234567890


def test_a_call_that_was_cut_by_the_limit_is_broken_even_if_nothing_of_its_arguments_came() -> None:
    _, response = read(sse([call(key="a", name="f"), chunk(finish="length")]))
    assert response.tool_calls == (ToolCall("a", "f", broken=""),)
    assert response.finish_reason == "length"


def test_going_on_with_a_call_that_was_closed_is_an_error() -> None:
    told = [call("{}", key="a", name="f"), call("{}", index=1, key="b", name="g"), call('{"late":1}')]
    error = failing(sse([*told, CALLS]))
    assert isinstance(error, BadReply)
    assert "'f'" in str(error)
    assert error.partial.tool_calls == (ToolCall("a", "f"),)


def test_saying_again_what_was_said_of_a_closed_call_is_not() -> None:
    told = [
        call("{}", key="a", name="f"),
        call("{}", index=1, key="b", name="g"),
        call("{}"),
        call("", key="a", name="f"),
    ]
    assert [each.id for each in calls_of(*told)] == ["a", "b"]


@pytest.mark.parametrize("cut_at", ['{"city":"Par', '{"city":"Paris"}', "{}", ""])
def test_no_call_that_was_not_closed_survives_a_cut(cut_at: str) -> None:
    error = failing(sse([chunk({"content": "Let me see"}), call(cut_at, key="a", name="f")], done=False))
    assert isinstance(error, StreamIncomplete)
    assert error.partial.text == "Let me see"
    assert error.partial.tool_calls == ()


# The end


def test_complete_is_what_the_provider_said_is_complete() -> None:
    assert read(sse([chunk({"content": "a"}), STOP], done=False))[1].finish_reason == "stop"
    null = read(sse([chunk({"content": "a"})]))[1]
    assert (null.finish_reason, null.raw_finish_reason) == ("other", None)
    assert isinstance(failing(sse([chunk({"content": "a"})], done=False)), StreamIncomplete)
    assert isinstance(failing(sse([chunk({"content": "a"}), chunk(finish="")], done=False)), StreamIncomplete)
    assert isinstance(failing(b""), StreamIncomplete)


def test_calls_without_a_reason_are_calls() -> None:
    assert read(sse([call("{}", key="a", name="f")]))[1].finish_reason == "tool_calls"
    assert read(sse([call("{}", key="a", name="f"), STOP]))[1].finish_reason == "tool_calls"


def test_the_last_reason_counts_and_words_after_it_are_not_lost() -> None:
    events, response = read(sse([chunk({"content": "a"}), CALLS, chunk({"content": "b"}), STOP, chunk()]))
    assert (response.text, response.raw_finish_reason) == ("ab", "stop")
    assert events[:-1] == [TextDelta("a"), TextDelta("b")]


def test_nothing_is_told_after_the_end() -> None:
    state, done = start(ENDPOINT), ServerSent("", b"[DONE]")
    advance(state, ServerSent("", json.dumps(STOP).encode()))
    assert len(advance(state, done)[1]) == 1
    assert advance(state, done)[1] == advance(state, None)[1] == ()


@pytest.mark.parametrize(
    "told", [[], [{"choices": []}], [{"choices": [], "usage": USAGE}], [{"choices": None}], [{"choices": ["?"]}]]
)
def test_a_stream_without_an_answer_is_none(told: list[Wire]) -> None:
    assert isinstance(failing(sse(told)), BadReply)


# Usage


@pytest.mark.parametrize(
    "told",
    [
        [STOP, {"choices": [], "usage": USAGE}],
        [chunk(finish="stop", usage=USAGE)],
        [chunk({"content": "a"}, usage={**USAGE, "completion_tokens": 1}), chunk(finish="stop", usage=USAGE)],
        [chunk(finish="stop", usage=USAGE), chunk(usage=None)],
        [chunk(x_groq={"id": "r"}), chunk(finish="stop", x_groq={"id": "r", "usage": USAGE})],
    ],
)
def test_usage_comes_in_many_places(told: list[Wire]) -> None:
    usage = read(sse([chunk({"content": ""}), *told]))[1].usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.reported) == (3, 2, 5, True)


def test_usage_that_was_not_told_is_unknown() -> None:
    assert not read(sse([STOP]))[1].usage.reported


# Errors in the middle


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ([chunk(finish="length"), chunk(error={"code": 400, "message": "Token limit reached"})], BadRequest),
        (
            [b'event: error\ndata: {"error":{"message":"No","code":"tool_use_failed","status_code":400}}'],
            BadRequest,
        ),
        ([b'event: error\ndata: {"message":"slow down","code":"rate_limit_exceeded"}'], RateLimited),
        ([b"event: error\ndata: it broke"], ServerFailed),
        ([b'error: {"detail":"x","error":{"message":"failed to decode, try increasing context size"}}'], ServerFailed),
        ([b'{"error":{"message":"bare","type":"server_error"}}'], ServerFailed),
        ([b'data: {"error":"context length exceeded"}'], ContentTooLong),
        ([b'data: {"type":"error","error":{"type":"not_found_error","message":"gone"}}'], NotFound),
        ([b'data: {"detail":"Internal"}'], ServerFailed),
        ([{"choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "upstream"}}]}], ServerFailed),
        (
            [{"choices": [{"index": 0, "delta": {"content": "x"}}], "error": {"code": 429, "message": "slow"}}],
            RateLimited,
        ),
    ],
)
def test_an_error_in_the_middle_is_typed_and_holds_what_came(told: list[Any], kind: type[ProviderError]) -> None:
    error = failing(sse([chunk({"content": "So "}), chunk({"content": "far"}), *told]))
    assert type(error) is kind
    assert error.partial.text.startswith("So far")
    assert error.partial.raw_finish_reason is None
    assert "sk-secret" not in str(error)


def test_an_error_that_is_null_is_none() -> None:
    assert read(sse([chunk({"content": "a"}, error=None), chunk(finish="stop", error={})]))[1].text == "a"


@pytest.mark.parametrize(
    "line",
    [
        b'data: {"choices":[{',
        b"data: \xff\xfe{}",
        b"data: [1]",
        b"data: 7",
        b'data: {"a":' + b"[" * 400 + b"]" * 400 + b"}",
    ],
)
def test_a_malformed_chunk_is_a_bad_reply_that_says_what_came(line: bytes) -> None:
    error = failing(sse([chunk({"content": "So far"}), line]))
    assert isinstance(error, BadReply)
    assert error.partial.text == "So far"


def test_what_a_malformed_chunk_shows_holds_no_key() -> None:
    assert "sk-secret" not in str(failing(sse([chunk({"content": "a"}), b"data: sk-secret is wrong"])))


def test_events_that_are_no_chunks_are_let_pass() -> None:
    assert read(sse([b'event: ping\ndata: {"type":"ping"}', b": hello", chunk({"content": "a"}), STOP]))[1].text == "a"


def _sent(*told: Any) -> list[bytes]:
    return [b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in told) + b"data: [DONE]\n\n"]


def test_a_refusal_in_two_shapes_keeps_what_came_last() -> None:
    deltas: list[Wire] = [{"refusal": ["No"]}, {"refusal": "No!"}, {"refusal": " Never."}]
    told = [{"choices": [{"index": 0, "delta": each}]} for each in deltas]
    _, response = streamed(_sent(*told, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}), ENDPOINT)
    assert (response.finish_reason, response.refusal) == ("refusal", "No! Never.")


def test_a_chunk_that_is_a_list_of_errors_tells_the_first() -> None:
    error = {"error": {"message": "Too many", "code": 429}}
    with pytest.raises(RateLimited, match="Too many"):
        streamed(_sent({"choices": [{"index": 0, "delta": {"content": "Hi"}}]}, [error]), ENDPOINT)


def test_the_older_completions_are_streamed_too() -> None:
    told = [{"choices": [{"index": 0, "text": each, "finish_reason": None}]} for each in ("h", "i", "!")]
    events, response = streamed(_sent(*told, {"choices": [{"text": "", "finish_reason": "stop"}]}), ENDPOINT)
    assert (response.text, response.finish_reason) == ("hi!", "stop")
    assert [each.text for each in events if isinstance(each, TextDelta)] == ["h", "i", "!"]


@given(st.text(st.sampled_from("a\N{GRINNING FACE}é\N{OLD PERSIAN SIGN A}"), min_size=1, max_size=8), st.booleans())
def test_letters_that_are_cut_in_two_are_told_whole(text: str, calls: bool) -> None:
    """A server that counts in UTF-16 sends half a letter at a time: as words, as thoughts, as arguments."""
    units = text.encode("utf-16-le")
    halves = [units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)]
    if calls:
        pieces = ['{"x": "', *halves, '"}']
        deltas: list[Wire] = [{"tool_calls": [{"index": 0, "function": {"arguments": each}}]} for each in pieces]
        deltas[0]["tool_calls"][0] |= {"id": "c1", "function": {"name": "f", "arguments": pieces[0]}}
    else:
        deltas = [{name: each} for name in ("reasoning", "content") for each in halves]
    events, response = read(sse([*map(chunk, deltas), chunk(finish="tool_calls" if calls else "stop")]))
    if calls:
        assert response.tool_calls[0].arguments == {"x": text}
        told = "".join(each.arguments for each in events if isinstance(each, ToolCallDelta))
        assert json.loads(told) == {"x": text}
    else:
        assert (
            response.text,
            "".join(each.text for each in response.messages[-1].parts if isinstance(each, Thinking)),
        ) == (text, text)
        assert "".join(each.text for each in events if isinstance(each, TextDelta)) == text
        assert "".join(each.text for each in events if isinstance(each, ThinkingDelta)) == text
    assert not any("\ud800" <= letter <= "\udfff" for event in events for letter in str(event))


def test_half_a_letter_alone_is_kept_and_told() -> None:
    half = chunk({"content": "a\ud83d"})
    events, response = read(sse([half, chunk(finish="stop")]))
    assert response.text == "a\ud83d"
    assert [each.text for each in events if isinstance(each, TextDelta)] == ["a", "\ud83d"]
    assert failing(sse([half], done=False)).partial.text == "a\ud83d"

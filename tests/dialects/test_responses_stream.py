"""Replies of the Responses API: streamed or whole the same, complete only if the provider said so, else lenient."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.dialects.responses import parse
from arshai_kit.effects import Reply
from arshai_kit.errors import (
    BadReply,
    BadRequest,
    ContentTooLong,
    ProviderError,
    RateLimited,
    ServerFailed,
    StreamIncomplete,
)
from arshai_kit.records import (
    Event,
    Finished,
    Logprob,
    Message,
    Opaque,
    RateLimit,
    Response,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
)
from tests.dialects.responses_wires import ENDPOINT, Wire, bodies, events, sse
from tests.dialects.wires import junk, names
from tests.wire.agreement import cut, streamed, told_by


def whole(body: Any, status: int = 200, headers: Any = ()) -> Response:
    return parse(
        ENDPOINT, Reply(status, tuple(headers), body if isinstance(body, bytes) else json.dumps(body).encode())
    )


def read(*told: Wire | bytes) -> tuple[list[Event], Response]:
    return streamed([sse(told)], ENDPOINT)


def failing(*told: Wire | bytes) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        read(*told)
    return caught.value


def item(kind: str, **more: Any) -> Wire:
    return {"type": kind, "id": f"{kind}_1", **more}


def message(*texts: str, **more: Any) -> Wire:
    content = [{"type": "output_text", "text": text} for text in texts]
    return {**item("message", role="assistant", status="completed", content=content), **more}


def call(arguments: Any = '{"a":1}', **more: Any) -> Wire:
    return item("function_call", call_id="c1", name="add", arguments=arguments, **more)


def body(*output: Any, **more: Any) -> Wire:
    return {"id": "resp_1", "model": "m", "status": "completed", "output": list(output), **more}


def added(wire: Wire, index: int = 0) -> Wire:
    return {"type": "response.output_item.added", "output_index": index, "item": wire}


def done(wire: Wire, index: int = 0) -> Wire:
    return {"type": "response.output_item.done", "output_index": index, "item": wire}


def delta(text: Any, kind: str = "output_text", index: Any = 0, **more: Any) -> Wire:
    where = {"summary_index": 0} if "summary" in kind else {"content_index": 0}
    return {
        "type": f"response.{kind}.delta",
        "output_index": index,
        "item_id": "message_1",
        **where,
        "delta": text,
        **more,
    }


def ended(*output: Wire, kind: str = "completed", **more: Any) -> Wire:
    return {"type": f"response.{kind}", "response": {"id": "resp_1", "output": list(output), **more}}


CREATED: Wire = {"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress"}}


# The laws


@given(body=bodies(), seed=st.integers(0, 2**32))
def test_a_stream_gives_what_the_whole_reply_gives(body: Wire, seed: int) -> None:
    expected = whole(body)
    told, response = streamed(list(cut(sse(events(body, seed)), random.Random(seed), 30)), ENDPOINT)
    assert response == expected
    text, thoughts, calls = told_by(told)
    assert (text, thoughts) == (expected.text, expected.reasoning)
    assert {each.id: each for each in calls} == {each.id: each for each in expected.tool_calls}
    assert isinstance(told[-1], Finished)


@given(body=bodies(), seed=st.integers(0, 2**32), place=st.floats(0, 1))
def test_a_stream_that_is_cut_is_never_taken_for_a_whole_one(body: Wire, seed: int, place: float) -> None:
    told = events(body, seed)[:-1]
    error = failing(*told[: int(place * len(told))])
    assert isinstance(error, StreamIncomplete)
    assert error.partial.finish_reason == "error"
    assert {each.id for each in error.partial.tool_calls} <= {
        each["call_id"] for each in body["output"] if "call_id" in each
    }
    assert all(each.broken is None for each in error.partial.tool_calls)


@given(body=bodies(), seed=st.integers(0, 2**32), new=st.dictionaries(names.map("x_".__add__), junk, min_size=1))
def test_what_is_new_to_us_changes_nothing(body: Wire, seed: int, new: Wire) -> None:
    assert whole({**body, **new}) == whole(body)
    told = [{**new, **event} for event in events(body, seed)]
    strange: list[Wire] = [new, {"type": "response.x_new", **new}, {"type": 7, **new}]
    chance = random.Random(seed)
    for each in strange:
        told.insert(chance.randrange(len(told)), each)
    assert read(*told)[1] == whole(body)


@given(answer=junk, raw=st.binary(max_size=60))
def test_whatever_comes_is_an_answer_or_an_error_of_ours(answer: Any, raw: bytes) -> None:
    for content in (json.dumps(answer).encode(), json.dumps({**body(), "output": [answer]}).encode(), raw):
        with suppress(ProviderError):
            assert isinstance(whole(content), Response)


@given(field=st.sampled_from("type id call_id name arguments status summary content role".split()), value=junk)
def test_whatever_a_field_of_an_item_holds_is_an_answer_or_an_error_of_ours(field: str, value: Any) -> None:
    """A list or an object in the place of a word, say: it is no word that is known."""
    for each in (call(), message("Hi"), item("reasoning", summary=[])):
        strange = {**each, field: value}
        with suppress(ProviderError):
            assert isinstance(whole(body(strange)), Response)
        with suppress(ProviderError):
            read(added(strange), done(strange), ended(strange))


def test_a_status_that_is_no_word_does_not_say_that_a_call_was_cut() -> None:
    assert whole(body(call(status={"a": 1}))).tool_calls[0].arguments == {"a": 1}


KINDS = """output_item.added output_item.done output_text.delta output_text.done created completed incomplete
function_call_arguments.delta function_call_arguments.done reasoning_text.delta""".split()
FIELDS = "item delta response output_index content_index item_id arguments text".split()


@given(kind=st.sampled_from(KINDS), fields=st.dictionaries(st.sampled_from(FIELDS), junk))
def test_strange_events_are_let_pass_or_an_error_of_ours(kind: str, fields: Wire) -> None:
    with suppress(ProviderError):
        read(CREATED, added(call("")), {"type": f"response.{kind}", **fields}, ended(message("Hi")))


# Whole replies


@pytest.mark.parametrize(
    ("told", "finish", "raw"),
    [
        (body(message("Hi")), "stop", "completed"),
        (body(call()), "tool_calls", "completed"),
        (body(message(content=[{"type": "refusal", "refusal": "No."}])), "refusal", "completed"),
        (body(status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "length", "max_output_tokens"),
        (
            body(status="incomplete", incomplete_details={"reason": "content_filter"}),
            "content_filter",
            "content_filter",
        ),
        (body(status="incomplete", incomplete_details={"reason": "steered"}), "other", "steered"),
        (body(status="incomplete"), "other", "incomplete"),
        (body(status="queued"), "other", "queued"),
        (body(status="in_progress", store=True), "other", "in_progress"),
        (body(status="cancelled"), "other", "cancelled"),
        (body(status=None), "other", None),
    ],
)
def test_why_a_reply_ended_is_told_and_never_invented(told: Wire, finish: str, raw: str | None) -> None:
    response = whole(told)
    assert (response.finish_reason, response.raw_finish_reason) == (finish, raw)


def test_parts_keep_what_goes_back() -> None:
    cited = {"type": "output_text", "text": "Hi", "annotations": [{"type": "url_citation"}], "logprobs": []}
    novel = {"type": "output_novel", "x": 1}
    search = item("web_search_call", action={"query": "q"})
    response = whole(body(search, message(content=[cited, novel]), {"type": "message", "content": "So"}, 7, {}))
    sign = {"responses": "openai"}
    rest = {"id": "message_1", "status": "completed"}
    assert response.message == Message(
        "assistant",
        (
            Opaque("web_search_call", search, state=sign),
            Text("Hi", state={**sign, "item": rest, "part": {"annotations": [{"type": "url_citation"}]}}),
            Opaque("output_novel", novel, state={**sign, "item": rest, "field": "content"}),
            Text("So", state={**sign, "item": {}}),
        ),
    )
    assert whole(body(message("a", role="user"))).text == ""  # a compacted conversation holds what others said


def test_thoughts_are_paragraphs() -> None:
    def thought(*summaries: str, shown: str = "") -> Wire:
        summary = [{"type": "summary_text", "text": text} for text in summaries]
        return item("reasoning", summary=summary, content=[{"type": "reasoning_text", "text": shown}])

    response = whole(body(thought("a", "b"), thought(), thought("c", shown="c"), message("Hi")))
    assert response.reasoning == "a\n\nb\n\nc"
    told, _ = read(
        delta("a", "reasoning_summary_text"),
        delta("b", "reasoning_summary_text", summary_index=1),
        delta("c", "reasoning_text", 1),
        ended(),
    )
    assert told[:-1] == [ThinkingDelta("a"), ThinkingDelta("\n\nb"), ThinkingDelta("\n\nc")]


def test_arguments_that_were_cut_are_no_call_that_may_run() -> None:
    assert whole(body(call('{"a":', status="incomplete"))).tool_calls[0].broken == '{"a":'
    assert whole(body(call("", status="incomplete"))).tool_calls[0].broken == ""
    assert whole(body(call(""))).tool_calls[0].broken is None
    for status in ("queued", "in_progress", "incomplete", "cancelled"):
        going_on = {name: value for name, value in call("").items() if name != "status"}
        assert whole(body(going_on, status=status)).tool_calls[0].broken == ""
        assert whole(body(call("", status="in_progress"))).tool_calls[0].broken == ""
    cut_short = call('{"a":', status="incomplete")
    told, response = read(added(call("")), done(cut_short), ended(cut_short, kind="incomplete"))
    assert all(event.call is None for event in told if isinstance(event, ToolCallDelta))
    assert response.tool_calls[0].broken == '{"a":'


def test_counts_costs_limits_and_likelihoods_are_told() -> None:
    likely = {"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Ho", "logprob": -1}, 7]}
    odd = [{"token": 1}, {"token": "x", "logprob": True}, {"token": "x", "logprob": 10**400}]
    text = {"type": "output_text", "text": "Hi", "logprobs": [likely, *odd]}
    usage = {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 15.0,
        "cost": 0.25,
    }
    headers = (("x-request-id", "req_1"), ("x-ratelimit-remaining-requests", "3"))
    response = whole(body(message(content=[text]), usage=usage), headers=headers)
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (7, 8, 15)
    assert (response.usage.cached_tokens, response.usage.reasoning_tokens) == (2, 3)
    assert response.cost == Decimal("0.25")
    assert response.logprobs == (Logprob("Hi", -0.5, (Logprob("Ho", -1),)),)
    assert response.rate_limits == (RateLimit("requests", remaining=3),)
    assert (response.id, response.model, response.request_id) == ("resp_1", "m", "req_1")
    unknown = whole(body(usage={"input_tokens": True, "output_tokens": -1})).usage
    assert not unknown.reported


@pytest.mark.parametrize(
    ("told", "kind", "words"),
    [
        (body(status="failed", error={"code": "server_error", "message": "broke"}), ServerFailed, "broke"),
        (body(status="failed"), ServerFailed, "not why"),
        ({"error": {"code": "rate_limit_exceeded", "message": "slow"}}, RateLimited, "slow"),
        ({"error": {"code": "invalid_prompt", "message": "flagged"}}, BadRequest, "flagged"),
        ({"detail": "Not here"}, ServerFailed, "Not here"),
        ({"choices": []}, BadReply, "no output"),
        (b"[1]", BadReply, "no answer"),
        (b"<html>", BadReply, "<html>"),
    ],
)
def test_errors_with_a_status_of_success_are_errors(told: Any, kind: type[ProviderError], words: str) -> None:
    with pytest.raises(kind, match=words):
        whole(told)


def test_what_was_said_before_a_failure_is_kept() -> None:
    with pytest.raises(ServerFailed) as caught:
        whole(body(message("Half"), status="failed", error={"code": "server_error", "message": "broke"}))
    assert (caught.value.partial.text, caught.value.partial.finish_reason) == ("Half", "error")


def test_what_no_record_can_hold_is_an_error() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    with pytest.raises(BadReply, match="cannot be kept"):
        whole(body(item("novel", deep=deep)))
    error = failing(CREATED, delta("Hi"), done(item("novel", deep=deep)), ended(item("novel", deep=deep)))
    assert (type(error), error.partial) == (BadReply, None)


# Streams


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"type": "error", "error": {"type": "server_error", "code": None, "message": "broke"}}, ServerFailed),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "broke", "param": None}, RateLimited),
        (
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "broke"}}},
            ServerFailed,
        ),
        ({"type": "response.failed", "response": {"error": None, "status": "failed"}}, ServerFailed),
        ({"error": {"message": "maximum context length broke", "code": 400}}, ContentTooLong),
        (b"event: error\ndata: broke\n\n", ServerFailed),
        (b'error: {"message": "broke"}\n\n', ServerFailed),
    ],
)
def test_errors_in_the_middle_of_a_stream(event: Any, kind: type[ProviderError]) -> None:
    error = failing(CREATED, added(message()), delta("Half"), added(call(""), 1), event, ended(message("Half")))
    assert type(error) is kind
    assert (error.partial.text, error.partial.tool_calls, error.partial.id) == ("Half", (), "resp_1")


@pytest.mark.parametrize("event", [b"data: {\n\n", b"data: 7\n\n"])
def test_what_is_no_event_is_a_bad_reply(event: bytes) -> None:
    assert type(failing(CREATED, delta("Half"), event)) is BadReply


def test_calls_side_by_side_are_closed_one_by_one() -> None:
    one, two = call(""), {**call(""), "id": "fc_2", "call_id": "c2", "name": "sub"}
    arguments = {"type": "response.function_call_arguments.delta"}
    told, response = read(
        added(one, 1),
        added(two, 2),
        {**arguments, "item_id": "fc_2", "delta": '{"b"'},
        {**arguments, "output_index": 1, "delta": '{"a":1}'},
        {"type": "response.function_call_arguments.done", "output_index": 1, "arguments": '{"a":1}'},
        {**arguments, "output_index": 1, "delta": "too late"},
        {**arguments, "output_index": 2, "delta": ":2}"},
        {"type": "response.function_call_arguments.done", "output_index": 2},
        ended(),
    )
    sign = {"responses": "openai"}
    first = ToolCall("c1", "add", {"a": 1}, state={**sign, "item": {"id": "function_call_1"}})
    second = ToolCall("c2", "sub", {"b": 2}, state={**sign, "item": {"id": "fc_2"}})
    assert told[:-1] == [
        ToolCallDelta(0, "add"),
        ToolCallDelta(1, "sub"),
        ToolCallDelta(1, "", '{"b"'),
        ToolCallDelta(0, "", '{"a":1}'),
        ToolCallDelta(0, "", "", first),
        ToolCallDelta(1, "", ":2}"),
        ToolCallDelta(1, "", "", second),
    ]
    assert response.tool_calls == (first, second)
    assert response.finish_reason == "tool_calls"


def test_only_closed_calls_are_in_what_a_cut_stream_holds() -> None:
    error = failing(CREATED, added(call("")), done(call()), added({**call(""), "call_id": "c2"}, 1))
    assert [each.id for each in error.partial.tool_calls] == ["c1"]


def test_a_stream_that_tells_no_indexes_is_read_by_ids_and_order() -> None:
    bare = {"type": "response.output_text.delta", "content_index": 0}
    told, response = read(
        {**bare, "delta": "a"},
        {"type": "response.output_item.added", "item": message(id="m2")},
        {**bare, "delta": "b", "item_id": "m2"},
        {**bare, "delta": "c"},
        ended(),
    )
    assert [event.text for event in told if isinstance(event, TextDelta)] == ["a", "b", "c"]
    assert response.text == "abc"


def test_words_that_were_not_streamed_are_told_with_the_whole() -> None:
    told, response = read(ended(item("reasoning", summary=[{"text": "Hm."}]), message("Hi"), call()))
    assert told_by(told) == ("Hi", "Hm.", response.tool_calls)
    told, response = read(delta("Hi"), ended(message("Hi there"), model="m", error=None))
    assert told_by(told)[0] == response.text == "Hi there"
    told, _ = read(
        added(message()), delta("x", "refusal"), done(item("reasoning", summary=[])), b"data: [DONE]\n\n", ended()
    )
    assert [event for event in told if not isinstance(event, Finished)] == []


def test_an_item_that_does_not_say_what_it_is_is_what_comes_of_it() -> None:
    for begun in ({}, {"id": "message_1"}):
        told, response = read(added(begun), delta("Hello"), ended(message("Hello")))
        assert told_by(told)[0] == response.text == "Hello"
        told, response = read(added(begun), done(call()), ended())
        assert told_by(told)[2] == response.tool_calls == whole(body(call())).tool_calls
    told, response = read({"type": "response.output_item.added"}, delta("Hm.", "reasoning_summary_text"), ended())
    assert told_by(told)[1] == response.reasoning == "Hm."


@pytest.mark.parametrize("before", [(done(message("Hello")),), (delta("Hel"), delta("lo"))])
@pytest.mark.parametrize("nothing", [{}, {"content": []}, {"content": None}])
def test_a_last_event_that_leaves_the_content_out_takes_no_words_back(before: Any, nothing: Wire) -> None:
    last = {**item("message", role="assistant", status="completed"), **nothing}
    told, response = read(*before, ended(item("reasoning", summary=[]), last, call()))
    assert told_by(told) == ("Hello", "", response.tool_calls)
    assert response.text == "Hello"
    assert [each["type"] for each in response.raw["output"]] == ["reasoning", "message", "function_call"]
    assert read(*before, {"type": "response.completed", "response": {"output": [7, last]}})[1].text == "Hello"
    assert read(ended(last))[1].text == ""


def test_an_item_that_ends_as_another_is_what_it_began_as() -> None:
    _, response = read(delta("Hi"), done(item("reasoning", summary=[])), ended())
    assert response.text == "Hi"


def test_nothing_follows_the_end() -> None:
    from arshai_kit.dialects.responses import advance, start
    from arshai_kit.sse import ServerSent

    state = start(ENDPOINT)
    state, told = advance(state, ServerSent("", json.dumps(ended(message("Hi"))).encode()))
    assert isinstance(told[-1], Finished)
    assert advance(state, None)[1] == ()

"""Streams of generateContent: the same as a whole reply, complete only if the provider said so, lenient otherwise."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.dialects.gemini import GEMINI
from arshai_kit.effects import Reply
from arshai_kit.errors import BadReply, ProviderError, RateLimited, ServerFailed, StreamIncomplete
from arshai_kit.models import Ask, Endpoint
from arshai_kit.records import Event, Opaque, Response, Text, TextDelta, ToolCallDelta, user
from tests.dialects.wires import arguments, names, words
from tests.wire.agreement import cut, streamed, told_by

Wire = dict[str, Any]

ENDPOINT = Endpoint(
    name="gemini-3-flash",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    dialect=GEMINI,
    provider="gemini",
    api_key="AIza-secret",
    key_header="x-goog-api-key",
)
signatures = st.binary(min_size=1, max_size=9).map(lambda data: base64.b64encode(data).decode())
signed: st.SearchStrategy[Wire] = st.just({}) | st.fixed_dictionaries({"thoughtSignature": signatures})
blobs = st.fixed_dictionaries(
    {
        "mimeType": st.sampled_from(["image/png", "audio/L16;codec=pcm;rate=24000", "application/pdf"]),
        "data": signatures,
    }
)
calls = st.fixed_dictionaries({"name": names, "args": arguments}, optional={"id": names})
kinds = st.one_of(
    st.fixed_dictionaries({"text": words}),
    st.fixed_dictionaries({"text": words, "thought": st.just(True)}),
    st.fixed_dictionaries({"text": words | st.just(""), "thoughtSignature": signatures}),
    st.fixed_dictionaries({"text": words, "thought": st.just(True), "thoughtSignature": signatures}),
    st.builds(lambda call, rest: {"functionCall": call, **rest}, calls, signed),
    st.builds(lambda blob, rest: {"inlineData": blob, **rest}, blobs, signed),
    st.builds(
        lambda code, rest: {"executableCode": {"code": code, "language": "PYTHON"}, **rest},
        words,
        signed,
    ),
    st.fixed_dictionaries({"novelPart": st.dictionaries(names, words, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"fileData": st.fixed_dictionaries({"fileUri": words}, optional={"mimeType": names})}),
)


def plain(part: Wire) -> bool:
    return part.keys() <= {"text", "thought"}


def joined(parts: Iterable[Wire]) -> list[Wire]:
    """*parts*, neighbouring plain words of one kind made one."""
    found: list[Wire] = []
    for part in parts:
        last = found[-1] if found else {}
        if plain(part) and plain(last) and last and last.get("thought") == part.get("thought"):
            found[-1] = {**last, "text": last["text"] + part["text"]}
        else:
            found.append(part)
    return found


@st.composite
def bodies(draw: st.DrawFn) -> Wire:
    """A whole reply."""
    counts = st.integers(0, 10**6)
    candidate: Wire = {
        "content": {"role": "model", "parts": joined(draw(st.lists(kinds, min_size=1, max_size=6)))},
        "finishReason": draw(st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "NEW", 1, 2])),
        "index": 0,
    }
    if draw(st.booleans()):
        candidate["groundingMetadata"] = {"webSearchQueries": draw(st.lists(words, min_size=1, max_size=3))}
    usage = {f"{name}TokenCount": draw(counts) for name in ("prompt", "candidates", "total")}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-3", "responseId": "r1"}


def chunks(body: Wire, seed: int) -> list[Wire]:
    """The chunks in which a provider may stream *body*."""
    chance = random.Random(seed)
    (candidate,) = body["candidates"]
    told: list[Wire] = []
    for part in candidate["content"]["parts"]:
        for piece in _pieces(part, chance) if plain(part) else [part]:
            told.append({"content": {"role": "model", "parts": [piece]}, "index": 0})
    rest = {name: value for name, value in candidate.items() if name != "content"}
    grounding = rest.pop("groundingMetadata", None)
    if grounding:
        queries = grounding["webSearchQueries"]
        told.append({"groundingMetadata": {"webSearchQueries": queries[:1]}, "index": 0})
        rest["groundingMetadata"] = grounding
    told = [*told, rest] if chance.random() < 0.5 else [*told[:-1], {**told[-1], **rest}]
    around = {name: body[name] for name in ("modelVersion", "responseId")}
    found = [{"candidates": [each], "usageMetadata": {"promptTokenCount": 1}, **around} for each in told]
    return [*found[:-1], {**found[-1], "usageMetadata": body["usageMetadata"]}]


def _pieces(part: Wire, chance: random.Random) -> list[Wire]:
    text, found = part["text"], []
    while text:
        size = chance.randint(1, 6)
        found.append({**part, "text": text[:size]})
        text = text[size:]
    return found


def sse(told: Iterable[Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\r\n\r\n" for each in told)


def whole(body: Any, status: int = 200, *headers: tuple[str, str]) -> Response:
    return GEMINI.parse(ENDPOINT, Reply(status, headers, json.dumps(body).encode()))


def heard(told: Iterable[Any]) -> tuple[list[Event], Response]:
    return streamed([sse(told)], ENDPOINT)


def failing(told: Iterable[Any]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        heard(told)
    return caught.value


def answer(*parts: Any, **rest: Any) -> Wire:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **rest}]}


@given(body=bodies(), seed=st.integers(0, 999))
def test_a_stream_gives_what_the_whole_reply_gives_wherever_it_was_cut(body: Wire, seed: int) -> None:
    told = chunks(body, seed)
    events, response = streamed(list(cut(sse(told), random.Random(seed), 30)), ENDPOINT)
    assert response == whole(body) == whole(told)
    assert told_by(events) == (response.text, response.reasoning, response.tool_calls)


@given(body=bodies(), seed=st.integers(0, 99), junk=st.dictionaries(names.map("novel_{}".format), words, max_size=2))
def test_what_nobody_knows_changes_nothing(body: Wire, seed: int, junk: Wire) -> None:
    told = [
        {
            **junk,
            **each,
            "candidates": [
                {**junk, **one, **({"content": {**junk, **one["content"]}} if "content" in one else {})}
                for one in each["candidates"]
            ],
        }
        for each in chunks(body, seed)
    ]
    assert heard(told)[1] == whole(body)


@given(body=bodies())
def test_what_came_goes_back_as_it_came_and_to_nobody_else(body: Wire) -> None:
    """History, request, history: the same parts, byte for byte."""
    response = whole(body)
    sent = built(response, ENDPOINT)
    came = body["candidates"][0]["content"]["parts"]
    unsigned = not any("thoughtSignature" in part for part in came)
    assert [_unmarked(part) if unsigned else part for part in sent] == came
    again = whole({**body, "candidates": [{**body["candidates"][0], "content": {"parts": sent}}]})
    if not (unsigned and response.tool_calls):
        assert again.message == response.message
    for part in built(response, evolve(ENDPOINT, provider="vertex", name="gemini-2.5-flash")):
        assert not part.keys() & {"thoughtSignature", "thought", "executableCode", "novelPart"}
        assert "id" not in part.get("functionCall", {})


def _unmarked(part: Wire) -> Wire:
    """*part* without what tells Gemini 3 that a call cannot be signed."""
    unsigned = part.get("thoughtSignature") == "skip_thought_signature_validator"
    return {name: value for name, value in part.items() if not unsigned or name != "thoughtSignature"}


def built(response: Response, model: Endpoint) -> list[Wire]:
    said = [replace_urls(message) for message in response.messages] if model.provider != "gemini" else response.messages
    body = json.loads(GEMINI.build(model, Ask((user("?"), *said)), False).content)
    return [part for content in body["contents"] if content["role"] == "model" for part in content["parts"]]


def replace_urls(message: Any) -> Any:
    """*message* without files that only their provider can read."""
    return evolve(message, parts=tuple(part for part in message.parts if not getattr(part, "url", "")))


def test_signatures_stay_on_the_parts_that_carried_them() -> None:
    told = [
        answer({"text": "a"}),
        answer({"text": "b"}),
        answer({"text": "", "thoughtSignature": "c2ln"}, finishReason="STOP"),
    ]
    parts = heard(told)[1].message.parts
    assert parts == (Text("ab"), Text("", state={"gemini": "gemini", "part": {"thoughtSignature": "c2ln"}}))


def test_the_last_word_counts_and_words_that_end_in_every_chunk_go_on() -> None:
    told = [
        {**answer({"text": "a"}, finishReason="STOP"), "modelVersion": "m1", "usageMetadata": {"trafficType": "X"}},
        {**answer({"text": "b"}, finishReason="SAFETY"), "modelVersion": "m2", "usageMetadata": {"trafficType": "Y"}},
        {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}, "responseId": "r"},
        {"usageMetadata": {"trafficType": "Z"}},
    ]
    response = heard(told)[1]
    assert (response.text, response.model, response.id, response.usage.total_tokens) == ("ab", "m1", "r", 5)
    assert (response.finish_reason, response.raw_finish_reason) == ("content_filter", "SAFETY")


def test_counts_that_come_later_are_added_to_those_before() -> None:
    told = [
        {**answer({"text": "a"}), "usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 10}},
        {
            **answer({"text": "b"}, finishReason="STOP"),
            "usageMetadata": {"candidatesTokenCount": 3, "totalTokenCount": 13},
        },
    ]
    usage = heard(told)[1].usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (10, 3, 13)


@pytest.mark.parametrize(
    ("feedback", "raw"), [({"blockReason": "SAFETY"}, "SAFETY"), ({"blockReasonMessage": "No."}, None)]
)
def test_an_answer_that_is_blocked_in_the_middle_says_so(feedback: Wire, raw: str | None) -> None:
    response = heard([answer({"text": "a"}), {"promptFeedback": feedback}])[1]
    assert (response.text, response.finish_reason, response.raw_finish_reason) == ("a", "content_filter", raw)
    assert whole(response.raw) == response
    ended = heard([answer({"text": "a"}, finishReason="MAX_TOKENS"), {"promptFeedback": feedback}])[1]
    assert (ended.finish_reason, ended.raw_finish_reason) == ("length", "MAX_TOKENS")
    two = [{"content": {"parts": [{"text": "a"}]}, "index": index} for index in (0, 1)]
    both = whole({"candidates": two, "promptFeedback": feedback}).candidates
    assert [each.finish_reason for each in both] == ["content_filter"] * 2


@pytest.mark.parametrize("name", [5, {"a": 1}, ["go"], True])
def test_a_call_whose_name_is_no_word_is_no_call(name: Any) -> None:
    strange: Wire = {"functionCall": {"name": name, "args": {}}}
    for before in ((), (calling(name="go"),)):
        told, response = heard([*before, answer(strange, finishReason="STOP")])
        assert told_by(told)[2] == response.tool_calls
        assert [each.name for each in response.tool_calls] == ["go"] * len(before)
        assert response.message.parts[-1] == Opaque("functionCall", strange, state={"gemini": "gemini"})


def test_an_empty_name_goes_on_with_the_call_and_takes_no_name_from_it() -> None:
    told = [calling(name="go"), calling(piece("$.a", numberValue=1), more=False, name="", id="")]
    assert heard([*told, answer(finishReason="STOP")])[1].tool_calls[0].name == "go"


def test_words_behind_an_end_take_it_back() -> None:
    end = answer({"text": "a"}, finishReason="STOP")
    for more in (
        answer({"text": "b"}),
        answer({"functionCall": {"name": "go"}}),
        answer({"text": "b", "thought": True}),
    ):
        assert isinstance(failing([end, more]), StreamIncomplete)
    for nothing in (answer({"text": ""}), {"candidates": [{"index": 0}]}, {"usageMetadata": {"promptTokenCount": 1}}):
        assert heard([end, nothing])[1].text == "a"


def test_arguments_that_are_no_object_never_become_one() -> None:
    told = [calling(piece("$.a", True, stringValue="b"), name="go"), calling(args="x"), calling(args={}, more=False)]
    assert heard([*told, answer(finishReason="STOP")])[1].tool_calls[0].broken == '"x"'
    late = [calling(piece("$.a.b", True, stringValue="c"), name="go"), calling(args={"a": 5})]
    assert isinstance(failing([*late, answer(finishReason="STOP")]), BadReply)


def piece(path: str, more: bool = False, **value: Any) -> Wire:
    return {"jsonPath": path, **value, **({"willContinue": True} if more else {})}


def calling(*pieces: Any, more: bool = True, **call: Any) -> Wire:
    told = {**call, **({"partialArgs": list(pieces)} if pieces else {}), **({"willContinue": True} if more else {})}
    return answer({"functionCall": told})


def test_arguments_that_come_place_by_place_are_put_together() -> None:
    told = [
        calling(name="go", id="c1"),
        calling(piece("$.to['first name']", True, stringValue="An")),
        calling(piece("$.to['first name']", stringValue="na"), piece("$.to.age", numberValue=7)),
        calling(piece("$.stops[0].at", stringValue="Oslo"), piece('$.stops[1]["a\\"b"]', boolValue=False)),
        calling(piece("$.stops[0]", boolValue=True), piece("$.stops[0]", novelValue={"at": "Oslo"}), 7),
        calling(piece("$.none", nullValue="NULL_VALUE"), piece("$.say", stringValue="x"), id="c1", name="go"),
        calling(piece("$.say", stringValue="y"), more=False),
        calling(more=False),
        calling(name="next", args={"a": 1}, more=False),
        answer(finishReason="STOP"),
    ]
    events, response = heard(told)
    expected = {
        "to": {"first name": "Anna", "age": 7},
        "stops": [{"at": "Oslo"}, {'a"b': False}],
        "none": None,
        "say": "y",
    }
    first, second = response.tool_calls
    assert json.loads(json.dumps(first.arguments)) == expected
    assert (first.id, second.id, second.arguments, response.finish_reason) == ("c1", "", {"a": 1}, "tool_calls")
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    assert [(each.index, each.name, each.call) for each in deltas] == [
        (0, "go", None),
        (0, "", first),
        (1, "next", second),
    ]
    assert whole(told) == response == whole(response.raw)


@pytest.mark.parametrize(
    "path", ["", "$", "location", "$.", "$.a[", "$.a[x]", "$" + ".a" * 41, "$.a[3]", "$.a.b", "$[0]", None]
)
def test_a_place_that_makes_no_sense_is_a_bad_reply(path: Any) -> None:
    told = [calling(name="go", args={"a": []}), calling({"jsonPath": path, "numberValue": 1})]
    assert isinstance(failing(told), BadReply)


def test_a_call_that_was_begun_and_not_ended_does_not_run_unless_the_provider_is_done() -> None:
    begun = [calling(name="go", id="c1"), calling(piece("$.a", True, stringValue="b"))]
    cut_off = failing(begun)
    assert isinstance(cut_off, StreamIncomplete)
    assert cut_off.partial.tool_calls == ()
    events, response = heard([*begun, answer(finishReason="MAX_TOKENS")])
    assert response.tool_calls[0].broken == '{"a":"b"'
    assert [event.call for event in events if isinstance(event, ToolCallDelta)] == [None]
    assert whole(response.raw) == response
    for end in (answer(finishReason="STOP"), answer({"functionCall": {"name": "next"}}, finishReason="STOP")):
        assert heard([*begun, end])[1].tool_calls[0].arguments == {"a": "b"}


def test_an_end_that_the_provider_did_not_announce_is_no_end() -> None:
    for told in ([], [{"usageMetadata": {"promptTokenCount": 1}}], [answer({"text": "Hel"})]):
        error = failing(told)
        assert type(error) is StreamIncomplete
        assert (error.partial.text, error.partial.finish_reason) == (
            "Hel" if told and "candidates" in told[0] else "",
            "error",
        )
    two = [
        {
            "candidates": [
                {"index": 1, "content": {"parts": [{"text": "b"}]}},
                *answer(finishReason="STOP")["candidates"],
            ]
        }
    ]
    assert type(failing(two)) is StreamIncomplete


def test_an_end_mark_that_some_gateways_send_is_the_end() -> None:
    data = sse([answer({"text": "a"}, finishReason="STOP")]) + b"data: [DONE]\n\n"
    assert streamed([data], ENDPOINT)[1].text == "a"
    with pytest.raises(StreamIncomplete):
        streamed([b"data: [DONE]\n\n"], ENDPOINT)
    state, _ = GEMINI.advance(GEMINI.start(ENDPOINT, ()), next(iter(_events(data))))
    _, told = GEMINI.advance(state, None)
    assert told
    assert GEMINI.advance(state, None)[1] == ()


def _events(data: bytes) -> Any:
    from arshai_kit.sse import Splitter

    return Splitter(10**6).feed(data)


def test_several_candidates_are_told_apart_and_only_the_first_is_heard() -> None:
    told = [
        {"candidates": [{"index": 1, "content": {"parts": [{"text": "B"}]}}]},
        {"candidates": [{"index": 0, "content": {"parts": [{"text": "A"}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "a"}]}}, {"index": 1, "content": {"parts": [{"text": "b"}]}}]},
        {"candidates": [{"finishReason": "STOP"}, {"index": 1, "finishReason": "MAX_TOKENS"}]},
    ]
    events, response = heard(told)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["A", "a"]
    assert [(each.message.text, each.finish_reason) for each in response.candidates] == [
        ("Aa", "stop"),
        ("Bb", "length"),
    ]
    assert response.text == "Aa"
    assert whole(response.raw) == response


DELAY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}
DETAILS = ["odd", {"reason": 7, "retryDelay": "soon"}, DELAY]
QUOTA = {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED", "details": DETAILS}}


@pytest.mark.parametrize("shape", [QUOTA, [QUOTA]])
def test_an_error_in_the_middle_keeps_what_came_before_it(shape: Any) -> None:
    begun = answer({"text": "Hel"}, {"functionCall": {"name": "go", "args": {}}})
    for error in (failing([begun, shape]), failing_with(sse([begun]) + b"event: error\n" + sse([shape]))):
        assert type(error) is RateLimited
        assert (error.status, error.code, error.retry_after, str(error)) == (
            429, "RESOURCE_EXHAUSTED", 1.5, "HTTP 429: Slow down.",
        )  # fmt: skip
        assert (error.partial.text, len(error.partial.tool_calls)) == ("Hel", 1)
    with pytest.raises(RateLimited) as caught:
        whole([begun, QUOTA])
    assert caught.value.partial.text == "Hel"


def failing_with(data: bytes) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        streamed([data], ENDPOINT)
    return caught.value


def test_what_makes_no_sense_is_a_bad_reply_with_what_came_before_it() -> None:
    begun = sse([answer({"text": "Hel"})])
    for bad in (b"data: {]\n\n", b"data: 7\n\n", b"data: [1, 2]\n\n", sse(["x"])):
        error = failing_with(begun + bad)
        assert type(error) is BadReply
        assert error.partial.text == "Hel"
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    assert type(failing_with(begun + sse([{**answer({"text": "a"}), "deep": deep}]))) is BadReply
    assert type(failing_with(begun + b"event: error\ndata: no JSON at all\n\n")) is ServerFailed


def test_what_has_a_strange_shape_is_let_pass_or_kept_in_its_place() -> None:
    told = [
        {"candidates": 7, "promptFeedback": 7, "usageMetadata": 7},
        {"candidates": [7, {"content": 7}, {"content": {"parts": 7}}]},
        answer(7, None, {"text": 7}, {"functionCall": {}}, {"functionCall": 7}, {"text": ""}, {"text": "a"}),
        answer(
            {"functionCall": {"name": "go", "args": [1]}},
            {"inlineData": {"data": "no base64", "mimeType": "image/png"}},
        ),
        answer(
            {"inlineData": {"data": "aGk=", "mimeType": "image/png"}, "thought": True}, finishReason="STOP", index=0
        ),
    ]
    response = heard(told)[1]
    assert [type(part).__name__ for part in response.message.parts] == [
        "Opaque", "Opaque", "Opaque", "Opaque", "Text", "ToolCall", "Opaque", "Opaque",
    ]  # fmt: skip
    assert response.tool_calls[0].broken == "[1]"
    assert whole(response.raw) == response

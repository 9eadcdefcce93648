"""Questions as Chat Completions: what is set is sent, what came goes back, and nothing else."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit import evolve
from arshai_kit.dialects.chat import CHAT, STANDARD, Style, build, chat_dialect, messages, parse
from arshai_kit.effects import Reply, Request, Secret
from arshai_kit.errors import Misuse
from arshai_kit.fetching import MustFetch
from arshai_kit.models import Ask, Endpoint, OutputSpec, Settings
from arshai_kit.providers import azure, openai
from arshai_kit.records import (
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    ToolSpec,
    assistant,
    system,
    tool_result,
    user,
)
from tests.dialects.wires import ENDPOINT, Wire, arguments, assistants, names, words

ASK = Ask((user("Hi"),))
ADD = ToolSpec("add", "Add two numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})
OURS = {"chat": "openai-compatible"}


def body(ask: Ask = ASK, model: Endpoint = ENDPOINT, *, stream: bool = False) -> Wire:
    found: Wire = json.loads(model.dialect.build(model, ask, stream).content)
    return found


def sent(*said: Message, provider: str = "openai-compatible") -> list[Wire]:
    found: list[Wire] = json.loads(json.dumps(messages(said, provider)))
    return found


def headers(made: Request) -> dict[str, Any]:
    return dict(made.headers)


# The request


def test_what_is_not_set_is_not_sent() -> None:
    assert body() == {"model": "model", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_stream_asks_for_its_usage() -> None:
    told = body(stream=True)
    assert (told["stream"], told["stream_options"]) == (True, {"include_usage": True})
    assert headers(build(ENDPOINT, ASK, True))["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.5, "top_k": 3}, {"top_p": 0.5, "top_k": 3}),
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"stop": "END"}, {"stop": ["END"]}),
        ({"seed": 7}, {"seed": 7}),
        ({"presence_penalty": 1, "frequency_penalty": -1}, {"presence_penalty": 1, "frequency_penalty": -1}),
        ({"candidates": 2}, {"n": 2}),
        ({"logprobs": 0}, {"logprobs": True}),
        ({"logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"reasoning": "low"}, {"reasoning_effort": "low"}),
        ({"extra": {"min_p": 0.1}}, {"min_p": 0.1}),
        ({"max_tokens": 9, "extra": {"max_tokens": 10, "model": "other"}}, {"max_tokens": 10, "model": "other"}),
        ({"seed": 7, "extra": {"seed": None, "other": None}}, {}),
        ({"tool_choice": "required", "parallel_tool_calls": False}, {}),
    ],
)
def test_each_setting_has_its_field(settings: Any, told: Wire) -> None:
    plain = body()
    assert body(model=evolve(ENDPOINT, **settings)) == {**plain, **told}
    assert body(Ask(ASK.messages, settings=Settings(**settings))) == {**plain, **told}


def test_the_settings_of_a_question_win() -> None:
    model = evolve(ENDPOINT, temperature=1, seed=7)
    told = body(Ask(ASK.messages, settings=Settings(temperature=0)), model)
    assert (told["temperature"], told["seed"]) == (0, 7)


def test_styles_differ_in_where_limit_and_reasoning_go() -> None:
    dialect = chat_dialect(Style(limit="max_completion_tokens", effort=False, hint=False))

    def told(ask: Ask = ASK, **settings: Any) -> Wire:
        return body(ask, evolve(ENDPOINT, dialect=dialect, **settings))

    assert told(max_tokens=5)["max_completion_tokens"] == 5
    assert told(reasoning="high")["reasoning"] == {"effort": "high"}
    assert told(reasoning=1024)["reasoning"] == {"max_tokens": 1024}
    output = OutputSpec("city", {"type": "object"}, mode="json_object")
    assert told(Ask(ASK.messages, output=output))["response_format"] == {"type": "json_object"}


def test_a_dialect_is_known_by_its_style() -> None:
    other = chat_dialect(Style(limit="max_completion_tokens"))
    assert chat_dialect(Style()) is chat_dialect(STANDARD)
    assert chat_dialect() == CHAT
    assert other != CHAT
    assert pickle.loads(pickle.dumps(evolve(ENDPOINT, api_key=None, dialect=other))).dialect == other


@pytest.mark.parametrize("part", [File(url="https://x/r.pdf"), Audio(url="https://x/a.mp3"), Image(url="https://x/i")])
@pytest.mark.parametrize("place", [user, assistant, lambda part: tool_result("c", (part,))])
def test_an_address_goes_out_only_where_it_is_taken(part: File | Audio | Image, place: Any) -> None:
    message = place(part)
    addresses = {"image", "file", "audio"}
    kind = type(part).__name__.lower()
    with pytest.raises(MustFetch) as caught:
        messages([message], "p", Style(addresses=addresses - {kind}))
    assert caught.value.part is part
    assert part.url in json.dumps(messages([message], "p", Style(addresses=addresses)))
    known = evolve(part, data=b"hi")
    for style in (Style(addresses=()), Style(addresses=addresses)):
        assert "aGk=" in json.dumps(messages([place(known)], "p", style))
        assert part.url not in json.dumps(messages([place(known)], "p", style))


def test_by_default_pictures_alone_go_by_their_address() -> None:
    assert sent(user(Image(url="https://x/i.png")))[0]["content"][0]["image_url"] == {"url": "https://x/i.png"}
    for part in (File(url="https://x/r.pdf"), Audio(url="https://x/a.mp3")):
        with pytest.raises(MustFetch):
            build(ENDPOINT, Ask((user("Look"), user(part))), False)


def test_a_number_of_tokens_for_reasoning_has_no_field_and_says_so() -> None:
    with pytest.raises(Misuse, match="reasoning='low'"):
        body(model=evolve(ENDPOINT, reasoning=1024))


def test_tools_are_functions_and_the_choice_goes_with_them() -> None:
    tools = (ADD, ToolSpec("now", strict=True))
    told = body(Ask(ASK.messages, tools), evolve(ENDPOINT, tool_choice="add", parallel_tool_calls=False))
    assert told["tools"] == [
        {
            "type": "function",
            "function": {"name": "add", "description": "Add two numbers.", "parameters": dict(ADD.parameters)},
        },
        {
            "type": "function",
            "function": {
                "name": "now",
                "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
                "strict": True,
            },
        },
    ]
    assert told["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert told["parallel_tool_calls"] is False
    assert body(Ask(ASK.messages, tools), evolve(ENDPOINT, tool_choice="required"))["tool_choice"] == "required"
    assert "tool_choice" not in body(Ask(ASK.messages, tools))
    both = body(Ask(ASK.messages, tools), evolve(ENDPOINT, extra={"tools": [{"type": "web_search"}, told["tools"][0]]}))
    assert both["tools"] == [*told["tools"], {"type": "web_search"}]
    foreign = evolve(ENDPOINT, tool_choice="auto", extra={"tools": [{"type": "web_search"}]})
    assert (body(model=foreign)["tool_choice"], body(model=foreign)["tools"]) == ("auto", [{"type": "web_search"}])


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            OutputSpec("city", {"type": "object"}),
            {"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}}},
        ),
        (
            OutputSpec("city", {"type": "object"}, strict=True),
            {"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}, "strict": True}},
        ),
        (
            OutputSpec("city", {"type": "object"}, mode="json_object"),
            {"type": "json_object", "schema": {"type": "object"}},
        ),
    ],
)
def test_the_shape_of_the_answer_is_asked_for(output: OutputSpec, told: Wire) -> None:
    assert body(Ask(ASK.messages, output=output))["response_format"] == told


def test_headers_hold_the_key_and_the_endpoint_has_the_last_word() -> None:
    made = build(evolve(ENDPOINT, headers=(("X-Title", "app"), ("Accept", "x/y"))), ASK, False)
    assert headers(made) == {
        "content-type": "application/json",
        "accept": "x/y",
        "authorization": Secret("Bearer sk-secret"),
        "x-title": "app",
    }
    assert "sk-secret" not in repr(made)
    assert "sk-secret" not in repr(ENDPOINT)
    for keyless in (None, ""):
        assert "authorization" not in headers(build(evolve(ENDPOINT, api_key=keyless), ASK, False))


def test_limits_go_with_the_request() -> None:
    made = build(evolve(ENDPOINT, timeout=1.0, connect_timeout=2.0, max_body=3), ASK, False)
    assert (made.method, made.timeout, made.connect_timeout, made.max_body) == ("POST", 1.0, 2.0, 3)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://x.example/v1", "https://x.example/v1/chat/completions"),
        ("https://x.example/v1//", "https://x.example/v1/chat/completions"),
        ("https://x.example/v1/chat/completions", "https://x.example/v1/chat/completions"),
        ("https://x.example/v1/?api-version=1", "https://x.example/v1/chat/completions?api-version=1"),
    ],
)
def test_the_address_is_found_from_whatever_people_paste(base: str, url: str) -> None:
    assert build(evolve(ENDPOINT, base_url=base), ASK, False).url == url


# Messages


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (system("Be brief."), {"role": "system", "content": "Be brief."}),
        (Message("system", (Text("a"), Text("b"))), {"role": "system", "content": "ab"}),
        (Message("user", "Hi", "ann"), {"role": "user", "content": "Hi", "name": "ann"}),
        (
            Message("user", (Text("a"), Text("b"))),
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ),
        (Message("user", ()), {"role": "user", "content": ""}),
        (assistant("Hello"), {"role": "assistant", "content": "Hello"}),
        (Message("assistant", (Text("a"), Text("b"))), {"role": "assistant", "content": "ab"}),
        (Message("assistant", ()), {"role": "assistant", "content": ""}),
        (Message("assistant", (Thinking("private"),)), {"role": "assistant", "content": ""}),
        (
            assistant("Sum", ToolCall("c", "add", {"a": 1})),
            {
                "role": "assistant",
                "content": "Sum",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}],
            },
        ),
        (
            assistant(ToolCall("c", "add", broken='{"a":')),
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a":'}}],
            },
        ),
        (
            assistant(Opaque("refusal", "No")),
            {"role": "assistant", "content": "", "refusal": "No"},
        ),
        (
            assistant(Opaque("audio", {"id": "a1", "data": "…"}, state=OURS)),
            {"role": "assistant", "audio": {"id": "a1"}},
        ),
        (
            assistant("a", Opaque("provider_metadata", {"x": 1}, state=OURS)),
            {"role": "assistant", "content": "a"},
        ),
        (
            assistant("See", Image(b"hi", media_type="image/png")),
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "See"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                ],
            },
        ),
    ],
)
def test_messages_of_all_roles(message: Message, expected: Wire) -> None:
    assert sent(message) == [expected]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            Image(url="https://x/c.png", detail="low"),
            {"type": "image_url", "image_url": {"url": "https://x/c.png", "detail": "low"}},
        ),
        (Image(b"hi"), {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}),
        (
            File(b"hi", media_type="application/pdf", name="r.pdf"),
            {"type": "file", "file": {"filename": "r.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        ),
        (
            File(b"hi", media_type="application/pdf"),
            {"type": "file", "file": {"filename": "file.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        ),
        (
            File(b"hi"),
            {
                "type": "file",
                "file": {"filename": "file.bin", "file_data": "data:application/octet-stream;base64,aGk="},
            },
        ),
        (
            Audio(b"hi", media_type="audio/mpeg"),
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        ),
        (Audio(b"hi"), {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}),
        (
            Opaque("video", {"type": "video_url", "video_url": {"url": "u"}}),
            {"type": "video_url", "video_url": {"url": "u"}},
        ),
        (
            Text("a", state={**OURS, "part": {"cache_control": {"type": "ephemeral"}}}),
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        ),
    ],
)
def test_parts_of_all_kinds(part: Part, expected: Wire) -> None:
    assert sent(user("Look", part))[0]["content"][1:] == [expected]


def test_parts_that_have_no_place_in_content_are_left_out() -> None:
    assert sent(user("a", Thinking("b"), Opaque("e", "f"))) == [{"role": "user", "content": "a"}]


def test_results_are_paired_by_id_one_message_each() -> None:
    assert sent(Message("tool", (ToolResult("a", "f", "1"), ToolResult("b", "f", "2"), Thinking("?")))) == [
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
    ]


@pytest.mark.parametrize(
    ("style", "taken"),
    [
        (Style(longest_id=40), lambda key: len(key) <= 40),
        (Style(longest_id=9, plain_ids=True), lambda key: len(key) == 9 and key.isascii() and key.isalnum()),
    ],
)
@given(ids=st.lists(words.map(lambda word: word * 5) | words, min_size=2, unique=True))
def test_ids_are_what_a_server_takes_and_calls_still_have_their_results(
    style: Style, taken: Callable[[str], bool], ids: list[str]
) -> None:
    said = [assistant(*[ToolCall(each, "add") for each in ids]), *[tool_result(each, "3") for each in ids]]
    called, *results = messages(said, "openai", style)
    told = [each["id"] for each in called["tool_calls"]]
    assert told == [each["tool_call_id"] for each in results]
    assert all(map(taken, told))
    assert len(set(told)) == len(ids)
    assert all(new == old for new, old in zip(told, ids, strict=True) if taken(old))
    assert [each["id"] for each in messages(said, "openai")[0]["tool_calls"]] == ids


def test_a_conversation_with_long_ids_goes_on_at_openai() -> None:
    """As xAI gives them, which OpenAI refuses."""
    key = "call_" + "7" * 38
    said = Ask((user("Hi"), assistant(ToolCall(key, "add")), tool_result(key, "3")))
    at_azure = azure("gpt-4.1", endpoint="https://me.openai.azure.com", api_key="k", api="chat")
    for model in (openai("gpt-4.1", api_key="k", api="chat"), at_azure):
        _, called, result = body(said, model)["messages"]
        assert called["tool_calls"][0]["id"] == result["tool_call_id"]
        assert len(result["tool_call_id"]) <= 40
    assert body(said)["messages"][2]["tool_call_id"] == key


def test_results_are_messages_wherever_they_stand_and_nothing_comes_between_them() -> None:
    one, two, three = (ToolResult(each, "f", each) for each in "abc")
    answers: list[Wire] = [{"role": "tool", "tool_call_id": each, "content": each} for each in "abc"]
    picture = {"type": "image_url", "image_url": {"url": "https://x.example/p.png"}}
    said = [user("Look", one), Message("tool", (two, Image(url="https://x.example/p.png"))), user(three)]
    beside = [{"role": "user", "content": "Look"}, {"role": "user", "content": [picture]}]
    assert messages([*said, user("?")], "p") == [
        *answers,
        *beside,
        {"role": "user", "content": "?"},
    ]
    assert sent(Message("tool", (Text("alone"),))) == [{"role": "user", "content": "alone"}]
    called = sent(assistant("Hm", ToolCall("a", "f"), one))
    assert [each["role"] for each in called] == ["assistant", "tool"]
    assert called[1] == answers[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("no such file", "Error: no such file"),
        ("Error: no such file", "Error: no such file"),
        (
            (Text("see"), Image(url="u")),
            [
                {"type": "text", "text": "Error:"},
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "u"}},
            ],
        ),
    ],
)
def test_a_result_that_failed_says_so(content: Any, expected: Any) -> None:
    assert sent(tool_result("a", content, is_error=True))[0]["content"] == expected


def test_a_result_may_have_parts() -> None:
    assert sent(tool_result("a", (Text("one"),)))[0]["content"] == "one"
    assert sent(tool_result("a", (Image(url="u"),)))[0]["content"] == [{"type": "image_url", "image_url": {"url": "u"}}]


@pytest.mark.parametrize("legacy", [{}, {**OURS, "legacy": True}])
def test_a_message_that_only_calls_may_have_no_content_at_all(legacy: Wire) -> None:
    call = ToolCall("c", "f", state=legacy or None)
    (told,) = messages([assistant(call)], "openai-compatible", Style(empty=False))
    assert "content" not in told
    (spoken,) = messages([assistant("Hm", call)], "openai-compatible", Style(empty=False))
    assert spoken == {**told, "content": "Hm"}
    assert messages([assistant()], "p", Style(empty=False)) == [{"role": "assistant", "content": ""}]


def test_a_call_in_the_shape_before_tool_calls_is_answered_in_that_shape() -> None:
    call = ToolCall("", "f", {"x": 1}, state={**OURS, "legacy": True})
    assert sent(assistant(call), tool_result(call, "1")) == [
        {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": '{"x":1}'}},
        {"role": "function", "name": "f", "content": "1"},
    ]


@pytest.mark.parametrize(
    "said",
    [
        user("Hi", ToolCall("c", "add")),
        Message("system", (ToolCall("c", "add"),)),
        Message("tool", (ToolResult("c", "add", "3"), ToolCall("c", "add"))),
        user(ToolResult("c", "add", "3"), ToolCall("c", "add")),
        tool_result("c", (ToolCall("c", "add"),), name="add"),
    ],
)
def test_a_call_that_the_model_did_not_make_is_refused(said: Message) -> None:
    with pytest.raises(Misuse, match=r"the call of 'add' .* assistant\(ToolCall\(…\)\)"):
        sent(said)


def test_tools_that_extra_takes_back_are_not_chosen_from() -> None:
    ask = Ask((user("Hi"),), (ToolSpec("add"),), Settings(tool_choice="required", parallel_tool_calls=False))
    assert body(ask, evolve(ENDPOINT, extra={"tools": None})) == body()
    given = evolve(ENDPOINT, extra={"tools": None, "tool_choice": "none"})
    assert body(ask, given) == {**body(), "tool_choice": "none"}
    assert body(ask, evolve(ENDPOINT, extra={"tools": []}))["tool_choice"] == "required"


# What came goes back, and only to where it came from


def said(wire: Wire) -> Message:
    body = {"choices": [{"index": 0, "message": wire, "finish_reason": "stop"}]}
    return parse(ENDPOINT, Reply(200, (), json.dumps(body).encode())).message


def as_data(wire: Wire) -> Wire:
    """*wire* with the arguments of its calls as data: their text may be spaced otherwise."""
    calls = [
        {**each, "function": {**each["function"], "arguments": json.loads(each["function"]["arguments"])}}
        for each in wire.get("tool_calls", ())
    ]
    return {**wire, **({"tool_calls": calls} if calls else {})}


@given(wire=assistants())
def test_what_an_assistant_said_goes_back_unchanged(wire: Wire) -> None:
    (back,) = sent(said(wire))
    assert as_data(back) == as_data({**wire, "content": wire["content"] or ""})
    assert said(back) == said(wire)


@pytest.mark.parametrize(
    "content",
    [
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}], "closed": True},
            {"type": "text", "text": "Yes"},
        ],
        [{"type": "text", "text": "a", "novel": 1}, {"type": "reference", "ids": [1, 2]}],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}, "index": 0}],
    ],
)
def test_a_list_of_content_goes_back_as_it_was(content: list[Wire]) -> None:
    assert sent(said({"role": "assistant", "content": content})) == [{"role": "assistant", "content": content}]


@pytest.mark.parametrize(
    "more",
    [
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
        {"tool_calls": [{"type": "custom", "id": "c", "custom": {"name": "sql", "input": "select"}}]},
        {
            "tool_calls": [
                {"id": "", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"s": 1}}
            ]
        },
        {"annotations": [{"type": "url_citation"}]},
        {"content": 7},
        {"content": [7, {"type": "text", "text": "a"}]},
        {"tool_calls": "call f"},
        {"tool_calls": ["call f", {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"reasoning": {"odd": 1}, "images": "none"},
    ],
)
def test_what_only_some_providers_send_goes_back_as_it_was(more: Wire) -> None:
    (back,) = sent(said({"role": "assistant", "content": None, **more}))
    assert back == {"role": "assistant", "content": "", **more}


THOUGHT = {"type": "reasoning.text", "text": "Hm.", "format": "unknown", "index": 0}


@pytest.mark.parametrize(
    ("under", "details", "back"),
    [
        ("reasoning_content", [THOUGHT], {"reasoning_content"}),
        ("reasoning_content", [{**THOUGHT, "text": "H"}, {**THOUGHT, "text": "m.", "sig": ""}], {"reasoning_content"}),
        ("reasoning_content", [{**THOUGHT, "signature": "s"}], {"reasoning_content", "reasoning_details"}),
        ("reasoning_content", [{**THOUGHT, "text": "Other."}], {"reasoning_content", "reasoning_details"}),
        ("reasoning_content", [THOUGHT, {"type": "sealed", "data": "d"}], {"reasoning_content", "reasoning_details"}),
        ("reasoning", [THOUGHT], {"reasoning", "reasoning_details"}),
        ("", [THOUGHT], {"reasoning_details"}),
    ],
)  # fmt: skip
def test_a_thought_goes_back_once_where_its_details_are_but_the_same_words(
    under: str, details: list[Wire], back: set[str]
) -> None:
    wire = {"role": "assistant", "content": "", **({under: "Hm."} if under else {}), "reasoning_details": details}
    assert sent(said(wire)) == [{name: value for name, value in wire.items() if name in back | {"role", "content"}}]


@given(wire=assistants())
def test_no_state_goes_to_a_provider_that_did_not_send_it(wire: Wire) -> None:
    (back,) = sent(said(wire), provider="another")
    assert back.keys() <= {"role", "content", "tool_calls", "refusal"}


def test_state_of_other_dialects_stays_where_it_is() -> None:
    strange = assistant(
        Thinking("t", state={"signature": "x"}),
        Text("a", state="opaque"),
        Opaque("search", {"q": 1}, state={"gemini": 1}),
        ToolCall("c", "f", state=("a",)),
    )
    (back,) = sent(strange)
    assert back["content"] == "a"
    assert back.keys() == {"role", "content", "tool_calls"}
    assert back["tool_calls"] == [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


# Histories


media: st.SearchStrategy[Part] = st.sampled_from(
    [Image(b"i", media_type="image/png"), Image(url="https://x/i.png", detail="high")]
) | st.sampled_from([File(b"f", media_type="application/pdf", name="f.pdf"), Audio(b"a", media_type="audio/wav")])
turns = st.one_of(
    words.map(system),
    words.map(user),
    st.tuples(words, media, words).map(lambda parts: user(*parts)),
    st.tuples(words, names, arguments).map(
        lambda it: assistant(it[0], ToolCall("c1", it[1], it[2]), ToolCall("c2", it[1]))
    ),
    words.map(lambda text: tool_result("c1", text)),
    assistants().map(said),
)


def part_of(wire: Wire) -> Part:
    match wire:
        case {"type": "text", "text": text}:
            return Text(text)
        case {"type": "image_url", "image_url": {"url": str(url), **more}}:
            data = b"i" if url.startswith("data:") else b""
            return Image(data, "" if data else url, "image/png" if data else "", str(more.get("detail", "")))
        case {"type": "file", "file": {"filename": name}}:
            return File(b"f", media_type="application/pdf", name=name)
    return Audio(b"a", media_type="audio/wav")


def read_back(wire: Wire) -> Message:
    match wire:
        case {"role": "assistant"}:
            return said(wire)
        case {"role": "tool", "tool_call_id": key, "content": content}:
            return tool_result(key, content)
        case {"role": role, "content": str(text)}:
            return Message(role, text)
    return Message(wire["role"], tuple(map(part_of, wire["content"])))


@given(history=st.lists(turns, max_size=6))
def test_a_history_survives_the_request(history: list[Message]) -> None:
    assert [read_back(wire) for wire in sent(*history)] == history


def test_what_orjson_refuses_is_sent_all_the_same() -> None:
    told = json.loads(
        build(ENDPOINT, Ask((user("lone \ud800"), assistant(ToolCall("c", "f", {"n": 2**70})))), False).content
    )
    assert told["messages"][0]["content"] == "lone \ud800"
    assert json.loads(told["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"n": 2**70}

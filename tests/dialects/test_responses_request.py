"""Questions over the Responses API: what is set is sent, what came goes back, ids only where they mean something."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.dialects.responses import RESPONSES, build, count, counted, items, parse
from arshai_kit.effects import Reply
from arshai_kit.errors import BadReply, Misuse, Unsupported
from arshai_kit.fetching import MustFetch
from arshai_kit.models import Ask, Endpoint, OutputSpec, Settings
from arshai_kit.records import (
    Audio,
    File,
    Image,
    Message,
    Opaque,
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
from tests.dialects.responses_wires import ENDPOINT, Wire, outputs

ASK = Ask((user("Hi"),))
ADD = ToolSpec("add", "Add two numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})
OURS = {"responses": "openai"}
KEPT = {**OURS, "stored": True}


def body(ask: Ask = ASK, model: Endpoint = ENDPOINT, *, stream: bool = False) -> Wire:
    found: Wire = json.loads(build(model, ask, stream).content)
    return found


def sent(*said: Message, provider: str = "openai") -> list[Wire]:
    found: list[Wire] = json.loads(json.dumps(items(said, provider)))
    return found


def asked(**settings: Any) -> Wire:
    """The body of a question with *settings*, without what is in every body."""
    plain = body()
    return {name: value for name, value in body(model=evolve(ENDPOINT, **settings)).items() if plain.get(name) != value}


# The request


def test_a_question_leaves_no_state_behind() -> None:
    assert body() == {
        "model": "model",
        "input": [{"role": "user", "content": "Hi"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    assert body(stream=True) == {**body(), "stream": True}
    assert build(ENDPOINT, ASK, False).url == "https://api.openai.com/v1/responses"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
        ({"max_tokens": 9}, {"max_output_tokens": 9}),
        ({"reasoning": "low"}, {"reasoning": {"effort": "low"}}),
        (
            {"reasoning": "low", "extra": {"reasoning": {"summary": "auto"}}},
            {"reasoning": {"effort": "low", "summary": "auto"}},
        ),
        ({"candidates": 1, "stop": ()}, {}),
        ({"logprobs": 0}, {"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}),
        (
            {"logprobs": 3},
            {"include": ["reasoning.encrypted_content", "message.output_text.logprobs"], "top_logprobs": 3},
        ),
        ({"extra": {"user": "ann", "model": "other"}}, {"user": "ann", "model": "other"}),
        (
            {"extra": {"include": ["file_search_call.results", "reasoning.encrypted_content"]}},
            {"include": ["reasoning.encrypted_content", "file_search_call.results"]},
        ),
        ({"extra": {"store": True}}, {"store": True}),
        ({"extra": {"text": {"verbosity": "low"}}}, {"text": {"verbosity": "low"}}),
        ({"tool_choice": "required", "parallel_tool_calls": False}, {}),
    ],
)
def test_each_setting_has_its_field(settings: Any, told: Wire) -> None:
    assert asked(**settings) == told


@pytest.mark.parametrize("mode", [{"previous_response_id": "resp_1"}, {"conversation": "c"}, {"background": True}])
def test_whoever_asks_for_state_gets_it(mode: Wire) -> None:
    told = body(model=evolve(ENDPOINT, extra=mode))
    assert "store" not in told
    assert told.items() >= mode.items()
    assert body(model=evolve(ENDPOINT, extra={**mode, "store": False}))["store"] is False


def test_none_leaves_a_field_out_and_models_that_do_not_reason_are_not_asked_for_it() -> None:
    assert "include" not in body(model=evolve(ENDPOINT, extra={"include": None, "absent": None}))
    for name in ("gpt-4o", "openai/gpt-4.1-mini", "gpt-5-chat-latest", "chatgpt-4o-latest"):
        assert "include" not in body(model=evolve(ENDPOINT, name=name))
    assert "include" in body(model=evolve(ENDPOINT, name="gpt-5.6-luna"))


def test_models_that_do_not_reason_are_told_no_thoughts_and_no_ids_of_what_stood_beside_them() -> None:
    thought = Thinking("Hm.", state={**KEPT, "item": {"type": "reasoning", "id": "rs_1", "encrypted_content": "g"}})
    plain = evolve(ENDPOINT, name="gpt-4o")
    said = assistant(thought, Text("Hi", state={**KEPT, "item": {"id": "msg_1"}}), ToolCall("c", "add"))
    told = body(Ask((user("Hi"), said, assistant(thought))), plain)["input"][1:]
    assert [(item.get("type"), item.get("id")) for item in told] == [(None, None), ("function_call", None)]
    kept = body(Ask((user("Hi"), said)))["input"][1:]
    assert [item.get("id") for item in kept] == ["rs_1", "msg_1", None]


@pytest.mark.parametrize("extra", [{"tools": 5}, {"include": "all"}, {"reasoning": "low"}, {"text": 5}])
def test_what_cannot_be_joined_is_refused(extra: Wire) -> None:
    model = evolve(ENDPOINT, extra=extra, reasoning="low")
    with pytest.raises(Misuse, match="in extra= are"):
        body(Ask((user("Hi"),), (ADD,), output=OutputSpec("answer", {})), model)


@pytest.mark.parametrize("part", [Image(url="gs://b/a.png"), File(url="s3://b/a.pdf"), Image(url="file:///a")])
def test_an_address_that_only_others_read_is_refused(part: Any) -> None:
    with pytest.raises(Unsupported, match="give the bytes, or an http"):
        body(Ask((user(part),)))


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 3},
        {"seed": 1},
        {"stop": "END"},
        {"presence_penalty": 1},
        {"frequency_penalty": 0},
        {"candidates": 2},
    ],
)
def test_what_there_is_no_field_for_is_refused_by_name(settings: Any) -> None:
    with pytest.raises(Unsupported, match=rf"takes no {next(iter(settings))}=.*api='chat'"):
        body(Ask(ASK.messages, settings=Settings(**settings)))


def test_a_number_of_tokens_for_reasoning_is_refused() -> None:
    with pytest.raises(Unsupported, match="reasoning='low'"):
        asked(reasoning=1024)


def test_tools_say_whether_they_are_strict_and_those_of_the_provider_come_behind() -> None:
    tools = (ADD, ToolSpec("now", strict=True))
    told = body(
        Ask(ASK.messages, tools),
        evolve(ENDPOINT, tool_choice="add", parallel_tool_calls=False, extra={"tools": [{"type": "web_search"}]}),
    )
    empty = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    assert told["tools"] == [
        {
            "type": "function",
            "name": "add",
            "description": "Add two numbers.",
            "parameters": dict(ADD.parameters),
            "strict": False,
        },
        {"type": "function", "name": "now", "parameters": empty, "strict": True},
        {"type": "web_search"},
    ]
    assert told["tool_choice"] == {"type": "function", "name": "add"}
    assert told["parallel_tool_calls"] is False
    only = body(model=evolve(ENDPOINT, tool_choice="required", extra={"tools": [{"type": "web_search"}]}))
    assert (only["tool_choice"], only["tools"]) == ("required", [{"type": "web_search"}])


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (OutputSpec("city", {}), {"type": "json_schema", "name": "city", "schema": {}}),
        (OutputSpec("city", {}, strict=True), {"type": "json_schema", "name": "city", "schema": {}, "strict": True}),
        (OutputSpec("city", {}, mode="json_object"), {"type": "json_object"}),
        (
            OutputSpec("city", {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
            {
                "type": "json_schema",
                "name": "city",
                "schema": {
                    "type": "object",
                    "properties": {"n": {"type": "integer"}},
                    "required": ["n"],
                    "additionalProperties": False,
                },
                "strict": True,
            },
        ),
    ],
)
def test_the_shape_of_the_answer_stands_beside_other_wishes_for_its_text(output: OutputSpec, told: Wire) -> None:
    found = body(Ask(ASK.messages, output=output), evolve(ENDPOINT, extra={"text": {"verbosity": "low"}}))
    assert found["text"] == {"format": told, "verbosity": "low"}


def test_tokens_are_counted_by_the_provider() -> None:
    model = evolve(ENDPOINT, temperature=0, reasoning="low", base_url="https://x.example/v1/responses?v=1")
    made = count(model, Ask(ASK.messages, (ADD,)))
    assert made.url == "https://x.example/v1/responses/input_tokens?v=1"
    assert json.loads(made.content).keys() == {"model", "input", "reasoning", "tools"}
    assert counted(model, Reply(200, (), b'{"object": "response.input_tokens", "input_tokens": 11}')) == 11
    with pytest.raises(BadReply, match="no count of tokens"):
        counted(model, Reply(200, (), b'{"input_tokens": true}'))
    assert (RESPONSES.count, RESPONSES.counted) == (count, counted)


# What is told to the model


def test_system_messages_keep_their_places() -> None:
    assert sent(system("Be brief."), user("Hi"), system("Be kind.")) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Be kind."},
    ]


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (
            Image(b"GIF8", media_type="image/gif"),
            {"type": "input_image", "image_url": "data:image/gif;base64,R0lGOA=="},
        ),
        (
            Image(url="https://x.example/a.png", detail="low"),
            {"type": "input_image", "image_url": "https://x.example/a.png", "detail": "low"},
        ),
        (File(url="https://x.example/a.pdf"), {"type": "input_file", "file_url": "https://x.example/a.pdf"}),
        (
            File(b"%PDF", media_type="application/pdf"),
            {"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
        ),
        (
            File(b"%PDF", name="a.pdf"),
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/octet-stream;base64,JVBERg=="},
        ),
        (
            Audio(b"ID3", media_type="audio/mpeg"),
            {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
        ),
        (
            Text("x", state={**OURS, "part": {"prompt_cache_breakpoint": {"mode": "explicit"}}}),
            {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
        ),
        (Opaque("input_file", {"type": "input_file", "file_id": "f"}), {"type": "input_file", "file_id": "f"}),
    ],
)
def test_parts_are_content(part: Any, told: Wire) -> None:
    assert sent(user("See", part)) == [{"role": "user", "content": [{"type": "input_text", "text": "See"}, told]}]
    result = tool_result("c1", (Text("See"), part))
    assert sent(result)[0]["output"] == [{"type": "input_text", "text": "See"}, told]


def test_sound_at_an_address_is_fetched_first() -> None:
    with pytest.raises(MustFetch):
        sent(user(Audio(url="https://x.example/a.mp3")))


def test_results_are_paired_by_the_id_of_the_call() -> None:
    parts = (
        ToolResult("c1", "add", "3"),
        ToolResult("c2", "add", "no", is_error=True),
        ToolResult("c3", "add", "Error: no", is_error=True),
        ToolResult("c4", "add", (Text("no"),), is_error=True),
        ToolResult("c5", "add", (Thinking("hm"),)),
    )
    assert sent(Message("tool", parts)) == [
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
        {"type": "function_call_output", "call_id": "c2", "output": "Error: no"},
        {"type": "function_call_output", "call_id": "c3", "output": "Error: no"},
        {
            "type": "function_call_output",
            "call_id": "c4",
            "output": [{"type": "input_text", "text": "Error:"}, {"type": "input_text", "text": "no"}],
        },
        {"type": "function_call_output", "call_id": "c5", "output": ""},
    ]


def test_items_of_a_user_stand_by_themselves() -> None:
    approval = Opaque("mcp_approval_response", {"type": "mcp_approval_response", "approve": True})
    assert sent(user(approval, "Go on")) == [
        {"type": "mcp_approval_response", "approve": True},
        {"role": "user", "content": [{"type": "input_text", "text": "Go on"}]},
    ]
    assert sent(user(approval)) == [{"type": "mcp_approval_response", "approve": True}]
    foreign = Opaque("x", {"type": "x"}, state={"chat": "openai"})
    assert sent(user(foreign), assistant(foreign), assistant()) == []


@pytest.mark.parametrize(
    "said",
    [
        user("Hi", ToolCall("c", "add")),
        Message("system", (ToolCall("c", "add"),)),
        Message("tool", (ToolResult("c", "add", "3"), ToolCall("c", "add"))),
        tool_result("c", (ToolCall("c", "add"),), name="add"),
    ],
)
def test_a_call_that_the_model_did_not_make_is_refused(said: Message) -> None:
    with pytest.raises(Misuse, match=r"the call of 'add' .* assistant\(ToolCall\(…\)\)"):
        sent(said)


def test_tools_that_extra_takes_back_are_not_chosen_from() -> None:
    ask = Ask((user("Hi"),), (ToolSpec("add"),), Settings(tool_choice="required", parallel_tool_calls=False))
    assert body(ask, evolve(ENDPOINT, extra={"tools": None})) == body()


# What the model said

SEALED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
BARE = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
SHOWN = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}


def test_what_other_models_said_is_told_plainly() -> None:
    said = assistant(
        Thinking("private", state={"chat": "openai", "field": "reasoning"}),
        Thinking("bare"),
        Text("", state={"chat": "x"}),
        Text("Sum", state={"chat": "openai"}),
        ToolCall("c1", "add", {"a": 1}),
        Text("a"),
        Text("b"),
        Opaque("refusal", "No."),
        Image(b"GIF8", media_type="image/gif"),
    )
    assert sent(said) == [
        {"role": "assistant", "content": [{"type": "output_text", "text": "Sum"}]},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a":1}'},
        {
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "a"},
                {"type": "output_text", "text": "b"},
                {"type": "refusal", "refusal": "No."},
            ],
        },
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/gif;base64,R0lGOA=="}]},
    ]


@pytest.mark.parametrize(
    ("item", "unkept"),
    [(SEALED, [SEALED]), (SHOWN, [SHOWN]), (BARE, []), ({**SEALED, "encrypted_content": None}, [])],
)
def test_a_thought_goes_back_if_it_carries_itself_or_is_kept(item: Wire, unkept: list[Wire]) -> None:
    answer = {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}
    assert sent(assistant(Thinking("", state={**OURS, "item": item}), "Hi")) == [*unkept, answer]
    assert sent(assistant(Thinking("", state={**KEPT, "item": item}), "Hi")) == [item, answer]
    assert sent(assistant(Thinking("", state={**KEPT, "item": item}), "Hi"), provider="azure") == [answer]


def test_a_thought_that_led_to_nothing_does_not_go_back() -> None:
    """As after an answer of thoughts alone, or a stream that was cut behind one: it is refused by itself."""
    thought, call = Thinking("", state={**OURS, "item": SEALED}), ToolCall("c1", "add", {"a": 1})
    cut = sent(user("Hi"), assistant(thought, call, thought, thought), user("Go on."))
    assert [each.get("type", each.get("role")) for each in cut] == ["user", "reasoning", "function_call", "user"]
    assert sent(user("Hi"), assistant(thought)) == sent(user("Hi"))
    assert sent(assistant(thought, Opaque("web_search_call", {"type": "web_search_call"}, state=OURS)))[0] == SEALED


def test_an_id_that_is_too_long_is_replaced_on_a_call_and_its_result_alike() -> None:
    ids = ["c" * 64, "c" * 65, "c" * 66]
    calls = sent(assistant(*[ToolCall(each, "add") for each in ids]))
    results = sent(*[tool_result(each, "3") for each in ids])
    told = [each["call_id"] for each in calls]
    assert told == [each["call_id"] for each in results]
    assert (told[0], len(set(told))) == (ids[0], 3)
    assert all(len(each) <= 64 and each.startswith("c" * 15) for each in told)


def test_an_id_goes_back_only_where_it_is_kept() -> None:
    message = {"id": "msg_1", "status": "completed", "phase": "final_answer"}
    call = {"id": "fc_1", "namespace": "n"}

    def said(sign: Wire) -> list[Wire]:
        parts = (Text("a", state={**sign, "item": message}), Text("b", state={**sign, "item": message}))
        other = Text("c", state={**sign, "item": {**message, "id": "msg_2"}})
        return sent(assistant(*parts, other, ToolCall("c1", "add", state={**sign, "item": call})))

    two = [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}]
    one = [{"type": "output_text", "text": "c"}]
    made = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}", "namespace": "n"}
    assert said(OURS) == [
        {"role": "assistant", "content": two, "phase": "final_answer"},
        {"role": "assistant", "content": one, "phase": "final_answer"},
        made,
    ]
    assert said(KEPT) == [
        {"role": "assistant", "content": two, "type": "message", **message},
        {"role": "assistant", "content": one, "type": "message", **message, "id": "msg_2"},
        {**made, "id": "fc_1"},
    ]


def test_a_call_whose_arguments_were_no_json_goes_back_as_it_was() -> None:
    assert sent(assistant(ToolCall("c1", "add", broken='{"a":')))[0]["arguments"] == '{"a":'


@given(output=outputs())
def test_what_came_goes_back(output: list[Wire]) -> None:
    """All that an answer is made of goes back, in its order, and reading it again gives the same parts."""
    reply = {"id": "resp_1", "status": "completed", "store": True, "output": output}
    first = parse(ENDPOINT, Reply(200, (), json.dumps(reply).encode()))
    back = sent(first.message)
    while output and output[-1]["type"] == "reasoning":
        output = output[:-1]
    assert [item["type"] for item in back] == [item["type"] for item in output]
    again = parse(ENDPOINT, Reply(200, (), json.dumps({**reply, "output": back}).encode()))
    assert [(type(part), getattr(part, "text", None)) for part in again.message.parts] == [
        (type(part), getattr(part, "text", None)) for part in first.message.parts[: len(again.message.parts)]
    ]
    assert sent(again.message) == back


@given(output=outputs())
def test_what_is_not_kept_goes_back_without_references(output: list[Wire]) -> None:
    reply = {"id": "resp_1", "status": "completed", "store": False, "output": output}
    back = sent(parse(ENDPOINT, Reply(200, (), json.dumps(reply).encode())).message)
    assert [item["call_id"] for item in back if item.get("type") == "function_call"] == [
        item["call_id"] for item in output if item["type"] == "function_call"
    ]
    for item in back:
        if item.get("type") == "reasoning":
            assert item in output
            assert item.get("encrypted_content") or item.get("content")
        elif item.get("type") in {None, "function_call"}:
            assert "id" not in item
        else:
            assert item in output


@given(text=st.text())
def test_words_alone_are_sent_as_they_are(text: str) -> None:
    assert items((user(text), assistant(text)), "openai") == [
        {"role": "user", "content": text},
        {"role": "assistant", "content": text},
    ]


def test_entries_of_content_that_are_new_to_us_go_back_in_their_message() -> None:
    entries = [{"type": "output_text", "text": "Hi"}, {"type": "output_novel", "x": 1}, {"type": "novel"}]
    reply = {"status": "completed", "output": [{"type": "message", "id": "msg_1", "content": entries}]}
    said = parse(ENDPOINT, Reply(200, (), json.dumps(reply).encode())).message
    assert sent(said) == [{"role": "assistant", "content": entries}]

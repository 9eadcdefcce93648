"""Requests of generateContent: what is asked, in Google's words."""

from __future__ import annotations

import base64
import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
from attrs import evolve

from arshai_kit.dialects.gemini import GEMINI
from arshai_kit.errors import Misuse, Unsupported
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
    user,
)
from arshai_kit.schema import json_schema
from tests.dialects.test_gemini_stream import ENDPOINT, Wire

OLD = evolve(ENDPOINT, name="gemini-2.5-flash")
GO = ToolSpec("go", "Go there.", {"type": "object", "properties": {"to": {"type": "string", "pattern": "x"}}})


def sent(*messages: Message, model: Endpoint = ENDPOINT, **settings: Any) -> Wire:
    tools, output = settings.pop("tools", ()), settings.pop("output", None)
    ask = Ask(messages or (user("Hi"),), tools, Settings(**settings), output)
    body: Wire = json.loads(GEMINI.build(model, ask, False).content)
    return body


def shaped(output: OutputSpec) -> Wire:
    body: Wire = json.loads(GEMINI.build(ENDPOINT, Ask((user("Hi"),), output=output), False).content)
    return body


def test_the_address_names_the_model_and_the_key_is_in_a_header() -> None:
    ask = Ask((user("Hi"),))
    plain, streaming = GEMINI.build(ENDPOINT, ask, False), GEMINI.build(ENDPOINT, ask, True)
    assert plain.url == "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-flash:generateContent"
    assert (
        streaming.url
        == "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"
    )
    assert plain.content == streaming.content == b'{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}'
    key = dict(plain.headers)["x-goog-api-key"]
    assert not isinstance(key, str)
    assert (key.reveal(), "AIza" in plain.url) == ("AIza-secret", False)
    tuned = evolve(ENDPOINT, name="tunedModels/mine", base_url="https://generativelanguage.googleapis.com/v1beta?x=1")
    assert GEMINI.build(tuned, ask, True).url.endswith("/v1beta/tunedModels/mine:streamGenerateContent?x=1&alt=sse")


def test_tokens_are_counted_in_the_shape_that_each_service_wants() -> None:
    assert GEMINI.count is not None
    ask = Ask((system("Be brief."), user("Hi")))
    body = {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
    }
    request = GEMINI.count(ENDPOINT, ask)
    assert request.url.endswith("/models/gemini-3-flash:countTokens")
    assert json.loads(request.content) == {"generateContentRequest": {"model": "models/gemini-3-flash", **body}}
    vertex = evolve(ENDPOINT, provider="vertex")
    assert json.loads(GEMINI.count(vertex, ask).content) == body
    more = Settings(tool_choice="auto", max_tokens=5, extra={"labels": {"a": "b"}, "safetySettings": []})
    full = evolve(ask, tools=(GO,), settings=more)
    assert json.loads(GEMINI.build(vertex, full, False).content).keys() - {
        *json.loads(GEMINI.count(vertex, full).content)
    } == {"toolConfig", "labels", "safetySettings"}
    assert json.loads(GEMINI.count(vertex, full).content)["generationConfig"] == {"maxOutputTokens": 5}
    assert json.loads(GEMINI.count(ENDPOINT, full).content)["generateContentRequest"]["labels"] == {"a": "b"}


def test_settings_have_google_s_names() -> None:
    body = sent(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        max_tokens=100,
        stop=["END"],
        seed=7,
        candidates=2,
        logprobs=3,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        reasoning="low",
    )
    assert body["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "maxOutputTokens": 100,
        "stopSequences": ["END"],
        "seed": 7,
        "candidateCount": 2,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "responseLogprobs": True,
        "logprobs": 3,
        "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
    }
    assert sent(logprobs=0)["generationConfig"] == {"responseLogprobs": True}


@pytest.mark.parametrize(
    ("name", "reasoning", "config"),
    [
        ("gemini-3.5-flash", "max", {"thinkingLevel": "XHIGH", "includeThoughts": True}),
        ("gemini-3.5-flash", "xhigh", {"thinkingLevel": "XHIGH", "includeThoughts": True}),
        ("gemini-flash-latest", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-3-pro", 512, {"thinkingBudget": 512, "includeThoughts": True}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", 0, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "minimal", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash-lite", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
    ],
)
def test_effort_is_a_level_or_a_number_of_tokens(name: str, reasoning: Any, config: Wire) -> None:
    body = sent(model=evolve(ENDPOINT, name=name), reasoning=reasoning)
    assert body["generationConfig"]["thinkingConfig"] == config


@pytest.mark.parametrize("reasoning", ["none", 0])
@pytest.mark.parametrize("name", ["gemini-2.5-pro", "gemini-3-flash", "gemini-pro-latest"])
def test_a_model_that_always_thinks_cannot_be_asked_not_to(name: str, reasoning: Any) -> None:
    with pytest.raises(Unsupported, match="always thinks: take reasoning='minimal'"):
        sent(model=evolve(ENDPOINT, name=name), reasoning=reasoning)


@pytest.mark.parametrize("reasoning", ["hihg", "", 1.5, True])
def test_an_effort_that_nobody_knows_is_refused_by_naming_those_that_are_known(reasoning: Any) -> None:
    for model in (ENDPOINT, OLD):
        with pytest.raises(Misuse, match="or a whole number of tokens"):
            sent(model=model, reasoning=reasoning)


@pytest.mark.parametrize(
    "name", ["../../v1/x", "..", "a/..", "./a", "a//b", "/a", "a/", "a?b=1", "a#b", "a b", "a%2e", ""]
)
def test_no_name_leads_to_another_address(name: str) -> None:
    with pytest.raises(Misuse, match="no name of a model"):
        GEMINI.build(evolve(ENDPOINT, name=name), Ask((user("Hi"),)), False)


def test_models_that_stand_beside_google_s_on_vertex_ai_are_found_there() -> None:
    root = "http://127.0.0.1:1/v1/projects/p/locations/l"
    vertex = evolve(ENDPOINT, provider="vertex", base_url=f"{root}/publishers/google")
    for name in ("publishers/google/models/x..y", "endpoints/123"):
        request = GEMINI.build(evolve(vertex, name=name), Ask((user("Hi"),)), False)
        assert request.url == f"{root}/{name}:generateContent"


def test_nothing_to_answer_is_refused_and_what_says_nothing_is_left_out() -> None:
    for said in ((system("Be brief."),), (user(""),), (Message("user", ()),), (Message("tool", (Text(""),)),)):
        with pytest.raises(Misuse, match="nothing to answer"):
            sent(*said)
    assert sent(user(""), user("Hi"))["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]
    assert sent(user(""), extra={"contents": [7]})["contents"] == [7]


def test_tools_and_how_they_are_chosen() -> None:
    bare = ToolSpec("stay")
    body = sent(tools=(GO, bare), tool_choice="required", parallel_tool_calls=True)
    schema = {"type": "object", "properties": {"to": {"type": "string"}}}
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "go", "description": "Go there.", "parametersJsonSchema": schema},
                {"name": "stay"},
            ]
        }
    ]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    named = sent(tools=(GO,), tool_choice="go")["toolConfig"]
    assert named == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["go"]}}
    assert sent(tools=(GO,), tool_choice="none")["toolConfig"]["functionCallingConfig"] == {"mode": "NONE"}
    assert "toolConfig" not in sent(tools=(GO,))
    assert "toolConfig" not in sent(tool_choice="required")
    with pytest.raises(Unsupported, match="leave parallel_tool_calls= out"):
        sent(tools=(GO,), parallel_tool_calls=False)


def test_tools_that_extra_takes_back_are_not_chosen_from() -> None:
    body = sent(tools=(GO,), tool_choice="go", parallel_tool_calls=False, extra={"tools": None})
    assert body == sent()


def test_extra_is_merged_in_and_tools_of_google_s_are_added_to_ours() -> None:
    extra: Wire = {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "tools": [{"googleSearch": {}}],
        "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW", "temperature": 1},
        "toolConfig": {"retrievalConfig": {}},
    }
    body = sent(tools=(GO,), extra=extra, temperature=0)
    assert body["safetySettings"] == extra["safetySettings"]
    assert [list(each) for each in body["tools"]] == [["functionDeclarations"], ["googleSearch"]]
    assert body["generationConfig"] == {"temperature": 1, "mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert body["toolConfig"] == {"includeServerSideToolInvocations": True, "retrievalConfig": {}}
    vertex = evolve(ENDPOINT, provider="vertex")
    assert "includeServerSideToolInvocations" not in sent(model=vertex, tools=(GO,), extra=extra)["toolConfig"]
    for beside in ({"tools": (GO,)}, {"output": OutputSpec("answer", {})}):
        with pytest.raises(Unsupported, match="together with tools of Google's: leave those out of extra="):
            sent(model=OLD, extra=extra, **beside)
    assert sent(model=OLD, extra=extra)["tools"] == [{"googleSearch": {}}]
    assert sent(extra={"tools": [{"codeExecution": {}}]})["tools"] == [{"codeExecution": {}}]
    assert "toolConfig" not in sent(tools=(GO,), extra={"tools": [{"functionDeclarations": []}]})
    assert sent(tools=(GO,), extra={"tools": "mine"})["tools"] == "mine"
    left = sent(reasoning="low", seed=1, extra={"generationConfig": {"thinkingConfig": {"includeThoughts": None}}})
    assert left["generationConfig"] == {"seed": 1, "thinkingConfig": {"thinkingLevel": "LOW"}}


def test_a_typed_answer_is_asked_for_in_the_schema_that_gemini_takes() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "exclusiveMinimum": 0, "minimum": 1}}}
    config = shaped(OutputSpec("answer", schema))["generationConfig"]
    reduced = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    assert config == {"responseMimeType": "application/json", "responseJsonSchema": reduced}
    loose = shaped(OutputSpec("answer", schema, mode="json_object"))["generationConfig"]
    assert loose == {"responseMimeType": "application/json"}


def test_what_is_reduced_takes_all_that_the_schema_takes() -> None:
    schema = {
        "type": "object",
        "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A", "description": "Again."}}}},
        "properties": {
            "first": {"$ref": "#/$defs/A", "default": None},
            "both": {"allOf": [{"type": "string", "minLength": 1}, {"description": "Words."}, True]},
            "flags": {"enum": [True, None]},
            "one": {"const": 1},
            "pair": {"type": "array", "prefixItems": [{"type": "string", "format": "date"}], "items": False},
            "any": {"anyOf": [{"type": "string", "pattern": "a+"}, {"type": "null"}]},
        },
        "required": ["one"],
        "additionalProperties": {"type": "integer", "not": {"const": 3}},
    }
    reduced = sent(tools=(ToolSpec("t", "", schema),))["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]
    assert reduced["properties"] == {
        "first": {"$ref": "#/$defs/A"},
        "both": {"type": "string", "description": "Words."},
        "flags": {},
        "one": {"enum": [1]},
        "pair": {"type": "array", "prefixItems": [{"type": "string", "format": "date"}], "items": False},
        "any": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }
    assert reduced["additionalProperties"] == {"type": "integer"}
    value = {"first": {"a": {}}, "both": "x", "flags": True, "one": 1, "pair": ["2024-01-01"], "any": None, "z": 4}
    for each in (schema, reduced):
        jsonschema.validate(value, each)
    assert json_schema(dict[str, int])["additionalProperties"] == {"type": "integer"}


def test_what_the_system_says_has_its_own_place() -> None:
    body = sent(system("Be brief."), user("Hi"), system("And kind."))
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "And kind."}]}
    assert [content["role"] for content in body["contents"]] == ["user"]


def test_results_stand_in_the_order_of_their_calls_with_ids_only_if_the_api_gave_them() -> None:
    mine = {"gemini": "gemini"}
    calls = (
        ToolCall("a", "first", {"x": 1}, state={**mine, "id": "a"}),
        ToolCall("call_1_1", "again", state=mine),
        ToolCall("call_1_2", "again", state=mine),
    )
    results = [
        Message("tool", (ToolResult("call_1_2", "again", "3"), Text("Behind."))),
        Message("tool", (ToolResult("unknown", "lost", "?"),)),
        Message("tool", (ToolResult("call_1_1", "", "broke", is_error=True),)),
        Message("tool", (ToolResult("a", "first", "1"),)),
    ]
    body = sent(user("Hi"), assistant(Text("So:"), *calls), *results, user("Go on."))
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user", "user"]
    *told, behind = body["contents"][2]["parts"]
    answers = [part["functionResponse"] for part in told]
    assert behind == {"text": "Behind."}
    assert answers == [
        {"id": "a", "name": "first", "response": {"output": "1"}},
        {"name": "again", "response": {"error": "broke"}},
        {"name": "again", "response": {"output": "3"}},
        {"name": "lost", "response": {"output": "?"}},
    ]
    assert sent(user("Hi"), assistant(*calls), *results)["contents"][-1]["parts"][0]["functionResponse"]["id"] == "a"


@pytest.mark.parametrize(
    "said",
    [
        user("Hi", ToolCall("c", "go")),
        Message("system", (ToolCall("c", "go"),)),
        Message("tool", (ToolResult("c", "go", "3"), ToolCall("c", "go"))),
    ],
)
def test_a_call_that_the_model_did_not_make_is_refused(said: Message) -> None:
    with pytest.raises(Misuse, match=r"the call of 'go' .* assistant\(ToolCall\(…\)\)"):
        sent(said, user("Hi"))


def test_media_are_in_a_result_where_they_can_be_and_behind_it_where_not() -> None:
    call = ToolCall("c", "look", state={"gemini": "gemini"})
    result = Message("tool", (ToolResult("c", "look", (Text("Here: "), Image(b"GIF8"), Text("a cat"))),))
    blob = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"GIF8").decode()}}
    answer = {"name": "look", "response": {"output": "Here: a cat"}}
    new = sent(assistant(call), result)["contents"][-1]["parts"]
    assert new == [{"functionResponse": {**answer, "parts": [blob]}}]
    assert sent(assistant(call), result, model=OLD)["contents"][-1]["parts"] == [{"functionResponse": answer}, blob]


def test_calls_that_another_model_made_say_that_they_cannot_be_signed() -> None:
    foreign = assistant(
        Thinking("Hm.", state={"chat": "openai"}),
        Text("", state={"chat": "openai"}),
        ToolCall("1", "go", {"to": "x"}, state={"chat": "openai", "extra": {"a": 1}}),
        ToolCall("2", "go", broken='{"to": "y"'),
        ToolCall("3", "go", broken='{"to": "z"}'),
        Opaque("novel", {"x": 1}, state={"chat": "openai"}),
    )
    first, *rest = sent(foreign)["contents"][0]["parts"]
    assert first == {
        "functionCall": {"name": "go", "args": {"to": "x"}},
        "thoughtSignature": "skip_thought_signature_validator",
    }
    assert rest == [
        {"functionCall": {"name": "go", "args": {"arguments": '{"to": "y"'}}},
        {"functionCall": {"name": "go", "args": {"to": "z"}}},
    ]
    assert all("thoughtSignature" not in part for part in sent(foreign, model=OLD)["contents"][0]["parts"])
    assert sent(assistant(Thinking("Hm.")), user("Hi"))["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]


def test_media_go_as_bytes_or_as_addresses_that_google_reads() -> None:
    def part(given: Any) -> Wire:
        found: Wire = sent(user(given))["contents"][0]["parts"][0]
        return found

    assert part(File(b"%PDF", "", "application/pdf", "r.pdf")) == {
        "inlineData": {"mimeType": "application/pdf", "data": "JVBERg=="}
    }
    assert part(Audio(b"RIFF"))["inlineData"]["mimeType"] == "audio/wav"
    assert part(File(b"x"))["inlineData"]["mimeType"] == "application/octet-stream"
    assert part(Image(url="gs://b/a.PNG")) == {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a.PNG"}}
    assert part(File(url="gs://b/novel")) == {"fileData": {"fileUri": "gs://b/novel"}}
    for url in (
        "https://generativelanguage.googleapis.com/v1beta/files/abc",
        "https://www.youtube.com/watch?v=1",
        "https://m.youtube.com/watch?v=1",
        "https://youtube.com/watch?v=1",
        "https://youtu.be/1",
    ):
        assert part(File(url=url)) == {"fileData": {"fileUri": url}}
    assert part(Opaque("novel", {"videoMetadata": {}})) == {"videoMetadata": {}}
    answer = {"functionResponse": {"name": "look", "response": {"output": "a cat"}}}
    placed = user("So:", ToolResult("c", "look", "a cat"), "Hi")
    assert sent(placed)["contents"][0]["parts"] == [{"text": "So:"}, answer, {"text": "Hi"}]


@pytest.mark.parametrize(
    "url", ["https://example.org/cat.png", "http://notyoutube.com/x", "https://example.org/?u=https://youtu.be/1"]
)
def test_any_other_address_has_to_be_fetched(url: str) -> None:
    part = Image(url=url)
    for message in (user(part), Message("tool", (ToolResult("c", "look", (part,)),))):
        with pytest.raises(MustFetch) as caught:
            sent(message)
        assert caught.value.part is part
    with pytest.raises(Unsupported, match="give the bytes"):
        sent(user(Image(url="s3://bucket/cat.png")))

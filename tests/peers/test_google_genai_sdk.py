"""Google's own SDK reads what Gemini would send as we do, and sends what we send."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from arshai_kit import (
    Finished,
    Message,
    Response,
    ToolCall,
    ToolSpec,
    complete,
    embed,
    extract,
    file,
    gemini,
    image,
    request,
    run_tools,
    stream,
    system,
    tool_result,
    user,
)
from arshai_kit.completion import count_tokens
from arshai_kit.models import Endpoint, evolve, written
from arshai_kit.providers import gemini_embedder
from arshai_kit.testing import strategies
from tests.laws.provider import KEY, Provider, Sent, whole
from tests.peers.test_openai_sdk import stateless, untitled, weather

pytestmark = [pytest.mark.peers, pytest.mark.needs("google-genai")]

with_examples = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

Wire = dict[str, Any]
Read = tuple[bytes, Response]

NAME = "gemini-2.5-flash"


@pytest.fixture(scope="module")
def types() -> Any:
    """The types of the SDK, which is told to be silent: it logs what it advises against."""
    logging.getLogger("google_genai").setLevel(logging.ERROR)
    return import_module("google.genai.types")


@pytest.fixture
def asked() -> list[Any]:
    """The requests that the SDK has sent."""
    return []


@pytest.fixture
def client(types: Any, toy: Provider, asked: list[Any]) -> Iterator[Any]:
    """Its client, pointed at the toy."""
    genai, httpx = import_module("google.genai"), import_module("httpx")
    base = toy.address.removesuffix("/v1")
    with httpx.Client(event_hooks={"request": [asked.append]}) as watched:
        options = types.HttpOptions(base_url=base, api_version="v1", httpx_client=watched)
        yield genai.Client(api_key=KEY, http_options=options).models


def model(toy: Provider, **options: Any) -> Endpoint:
    """The same model, as ours."""
    return gemini(NAME, base_url=toy.address, api_key=KEY, **options)


def ask(client: Any, contents: Any = "Go!", **config: Any) -> Any:
    """Ask as a program that uses the SDK does."""
    return client.generate_content(model=NAME, contents=contents, config=config)


# It reads what the provider would send


@with_examples
@given(strategies.gemini_replies())
def test_a_reply_reads_alike(toy: Provider, client: Any, reply: Read) -> None:
    data, meant = reply
    toy.answers(whole(data), whole(data))
    theirs, ours = ask(client), complete(model(toy), "Go!")
    assert told([theirs]) == said(ours) == said(meant)


@with_examples
@given(strategies.gemini_streams())
def test_a_stream_reads_alike(toy: Provider, client: Any, streamed: Read) -> None:
    data, meant = streamed
    toy.answers(Sent((data,)), Sent((data,)))
    theirs = list(client.generate_content_stream(model=NAME, contents="Go!"))
    *_, final = stream(model(toy), "Go!")
    assert isinstance(final, Finished)
    assert told(theirs) == said(final.response) == said(meant)


def told(chunks: Iterable[Any]) -> Wire:
    """What the SDK has read, *chunks* after one another."""
    found: Wire = {"text": "", "reasoning": "", "calls": []}
    for chunk in chunks:
        for part in chunk.parts or () if chunk.candidates else ():
            if part.function_call:
                found["calls"].append((part.function_call.name, part.function_call.args or {}))
            else:
                found["reasoning" if part.thought else "text"] += part.text or ""
        ended = [each.finish_reason.value for each in chunk.candidates or () if each.finish_reason]
        ended += [chunk.prompt_feedback.block_reason.value] if chunk.prompt_feedback else []
        found |= {"ended": ended[0]} if ended else {}
        usage = chunk.usage_metadata
        if usage is not None:
            counts = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
            read, thought = usage.prompt_token_count, usage.thoughts_token_count
            found["usage"] = (
                read,
                usage.cached_content_token_count or 0,
                counts,
                thought or 0,
                usage.total_token_count,
            )
        found["from"] = (chunk.response_id, chunk.model_version)
    return found


def said(response: Response) -> Wire:
    """What we have read; the ids of calls are ours where there are none."""
    usage = response.usage
    return {
        "text": response.text,
        "reasoning": response.reasoning,
        "calls": [(call.name, json.loads(written(call))) for call in response.tool_calls],
        "ended": response.raw_finish_reason,
        "usage": (
            usage.input_tokens,
            usage.cached_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            usage.total_tokens,
        ),
        "from": (response.id, response.model),
    }


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it knows no other
async def test_its_async_client_reads_them_too(types: Any, toy: Provider) -> None:
    genai, httpx = import_module("google.genai"), import_module("httpx")
    toy.answers(answer(SAYS))
    async with httpx.AsyncClient() as client:
        base = toy.address.removesuffix("/v1")
        options = types.HttpOptions(base_url=base, api_version="v1", httpx_async_client=client)
        models = genai.Client(api_key=KEY, http_options=options).aio.models
        theirs = await models.generate_content(model=NAME, contents="Go!")
    assert theirs.text == SAYS["text"]


SAYS: Wire = {"text": '{"name": "Oslo", "people": 700000}'}
ASKS: Wire = {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}
SIGNED: Wire = {**ASKS, "thoughtSignature": "+/8="}
NAMED: Wire = {"functionCall": {**ASKS["functionCall"], "id": "call-7"}}
THINKS: Wire = {"text": "Hm.", "thought": True}
SIGN: Wire = {"text": "", "thoughtSignature": "c2ln"}


def answer(*parts: Wire) -> Sent:
    """A whole answer."""
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    counts = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return whole({"candidates": [candidate], "usageMetadata": counts, "modelVersion": "m", "responseId": "r"})


# What it sends, and what we send

AS_THEY_ARE = ("args", "response", "parametersJsonSchema", "responseJsonSchema")


def normal(wire: Any) -> Any:
    """*wire* as it means the same to Google: names in one of two spellings, base64 in one of two alphabets."""
    if isinstance(wire, list):
        return [normal(each) for each in wire]
    if not isinstance(wire, dict):
        return wire
    found = {}
    for name, value in wire.items():
        spelt = re.sub("_([a-z])", lambda match: match[1].upper(), name)
        found[spelt] = untitled(value) if spelt in AS_THEY_ARE else normal(value)
        if spelt in ("data", "thoughtSignature"):
            found[spelt] = value.replace("-", "+").replace("_", "/")
    return found


def without_role(body: Wire, name: str) -> Wire:
    """*body*, whose content *name* does not say who speaks."""
    return {**body, name: {"parts": body[name]["parts"]}} if name in body else body


CHOICES: Mapping[str, Callable[[Wire], Wire]] = {
    "what the system says has one place, where a role says nothing": lambda body: without_role(
        body, "systemInstruction"
    ),
    "a text to embed is nobody's turn": lambda body: without_role(body, "content"),
    "what is not set is not sent, not even as an empty object": lambda body: {
        name: value for name, value in body.items() if (name, value) != ("generationConfig", {})
    },
}
"""Why we send something otherwise, each with what makes of a body of the SDK's what we send."""


def as_ours(theirs: Wire) -> Wire:
    """The body *theirs*, with our choices."""
    found: Wire = normal(theirs)
    for undone in CHOICES.values():
        found = undone(found)
    return found


def loop(client: Any, types: Any, tools: list[Any]) -> str:
    """A loop with a tool, as a program that uses the SDK writes it."""
    turns: list[Any] = [types.Content(role="user", parts=[types.Part(text="Oslo?")])]
    while True:
        reply = ask(client, turns, system_instruction="Be brief.", tools=tools)
        turns.append(reply.candidates[0].content)
        if not reply.function_calls:
            return str(reply.text)
        results = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call.id, name=call.name, response={"output": weather(**call.args)}
                )
            )
            for call in reply.function_calls
        ]
        turns.append(types.Content(role="user", parts=results))


@pytest.mark.parametrize(
    "parts",
    [(ASKS,), (SIGNED, ASKS), (THINKS, SAYS, SIGN, NAMED), (SAYS, SIGNED)],
    ids=["call", "signed", "thought", "words"],
)
def test_a_loop_with_a_tool_sends_the_same(toy: Provider, client: Any, types: Any, parts: tuple[Wire, ...]) -> None:
    toy.answers(answer(*parts), answer(SAYS))
    response = run_tools(model(toy), "Oslo?", [weather], system="Be brief.")
    ours = list(toy.asked)
    toy.answers(answer(*parts), answer(SAYS))
    assert loop(client, types, ours[0]["tools"]) == response.text
    assert len(toy.asked) == len(ours) == 2
    for theirs, mine in zip(toy.asked, ours, strict=True):
        assert as_ours(theirs) == normal(mine)


def test_a_tool_is_what_it_makes_of_a_function(toy: Provider, client: Any) -> None:
    """But for the docstring, which it takes whole, and for what Google does not list among what a schema may hold."""
    toy.answers(answer(SAYS), answer(SAYS))
    ask(client, tools=[weather], automatic_function_calling={"disable": True})
    run_tools(model(toy), "Go!", [weather])
    theirs, ours = [normal(each)["tools"][0]["functionDeclarations"][0] for each in toy.asked]
    assert theirs["name"] == ours["name"]
    assert theirs["description"].startswith(ours["description"])
    assert bare(theirs["parametersJsonSchema"]) == bare(ours["parametersJsonSchema"])


def bare(schema: Any) -> Any:
    """*schema* without what one of us leaves out: words, defaults, and that there is nothing more."""
    if not isinstance(schema, dict):
        return schema
    return {
        name: bare(each)
        for name, each in schema.items()
        if name not in ("description", "default", "additionalProperties")
    }


def test_a_typed_answer_is_asked_for_alike_and_read_alike(toy: Provider, client: Any) -> None:
    """As JSON Schema, which the SDK sends as well as its own kind of schema."""
    pydantic: Any = import_module("pydantic")
    city = pydantic.create_model("City", name=(str, ...), people=(int, ...))
    toy.answers(answer(SAYS), answer(SAYS))
    theirs = ask(client, response_mime_type="application/json", response_json_schema=city.model_json_schema())
    ours = extract(model(toy), "Go!", city)
    assert city.model_validate_json(theirs.text) == ours == city(name="Oslo", people=700000)
    told, mine = [normal(each)["generationConfig"] for each in toy.asked]
    assert bare(told) == bare(mine)


OSLO = Message("assistant", (ToolCall("c1", "weather", {"city": "Oslo"}),))
PNG = b"\x89PNG"
SCHEMA: Wire = {"type": "object", "properties": {"city": {"type": "string"}}}
LOOK = ToolSpec("look", "Look.", SCHEMA)
LOOKS = {"function_declarations": [{"name": "look", "description": "Look.", "parameters_json_schema": SCHEMA}]}

SETTINGS: Wire = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 3,
    "seed": 1,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "logprobs": 3,
}

SAME: dict[str, tuple[Wire, Any, Any, Wire]] = {
    "text": ({}, "Go!", "Go!", {}),
    "system": ({}, (system("Be brief."), user("Go!")), "Go!", {"system_instruction": "Be brief."}),
    "media": (
        {},
        user(
            "What?",
            image(PNG, media_type="image/png"),
            file(b"%PDF", media_type="application/pdf"),
            image("gs://bucket/a.png"),
        ),
        {
            "role": "user",
            "parts": [
                {"text": "What?"},
                {"inline_data": {"data": PNG, "mime_type": "image/png"}},
                {"inline_data": {"data": b"%PDF", "mime_type": "application/pdf"}},
                {"file_data": {"file_uri": "gs://bucket/a.png", "mime_type": "image/png"}},
            ],
        },
        {},
    ),
    "results": (
        {},
        (user("Oslo?"), OSLO, tool_result("c1", "rain")),
        [
            {"role": "user", "parts": [{"text": "Oslo?"}]},
            {"role": "model", "parts": [{"function_call": {"name": "weather", "args": {"city": "Oslo"}}}]},
            {
                "role": "user",
                "parts": [{"function_response": {"name": "weather", "response": {"output": "rain"}}}],
            },
        ],
        {},
    ),
    "settings": (
        {**SETTINGS, "max_tokens": 9, "stop": ["x"], "candidates": 2, "reasoning": 1024},
        "Go!",
        "Go!",
        {
            **SETTINGS,
            "max_output_tokens": 9,
            "stop_sequences": ["x"],
            "candidate_count": 2,
            "response_logprobs": True,
            "thinking_config": {"thinking_budget": 1024, "include_thoughts": True},
        },
    ),
    "tools": (
        {"tool_choice": "look"},
        "Go!",
        "Go!",
        {
            "tools": [LOOKS],
            "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["look"]}},
        },
    ),
    "hosted": (
        {
            "extra": {
                "tools": [{"googleSearch": {}}],
                "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            }
        },
        "Go!",
        "Go!",
        {
            "tools": [{"google_search": {}}],
            "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        },
    ),
}
"""Our settings and prompt, and what a program that uses the SDK writes for the same."""


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
def test_what_is_the_same_is_sent_alike(
    toy: Provider, client: Any, asked: list[Any], case: tuple[Wire, Any, Any, Wire], streams: bool
) -> None:
    options, prompt, theirs, config = case
    toy.answers(Sent((b'data: {"candidates": []}\r\n\r\n',)) if streams else answer(SAYS))
    send = client.generate_content_stream if streams else client.generate_content
    for _ in send(model=NAME, contents=theirs, config=config):
        pass
    tools = [LOOK] if "function_declarations" in str(config) else []
    ours = request(model(toy, **options), prompt, tools=tools, stream=streams)
    assert as_ours(toy.asked[0]) == normal(json.loads(ours.content))
    assert (ours.method, ours.url) == (asked[0].method, str(asked[0].url))
    headers: Mapping[str, Any] = dict(ours.headers)
    assert headers["x-goog-api-key"].reveal() == asked[0].headers["x-goog-api-key"] == KEY


def test_tokens_are_counted_alike(toy: Provider, client: Any, asked: list[Any]) -> None:
    """We count all that would be sent, in the field that takes a whole request; the SDK counts the contents alone."""
    counted = whole({"totalTokens": 7})
    toy.answers(counted, counted)
    theirs = client.count_tokens(model=NAME, contents="Go!")
    assert count_tokens(model(toy), "Go!") == theirs.total_tokens == 7
    told, mine = toy.asked
    assert mine == {"generateContentRequest": {"model": f"models/{NAME}", **as_ours(told)}}
    assert asked[0].url.path.endswith(f"/models/{NAME}:countTokens")


def test_vectors_are_asked_for_alike_and_read_alike(toy: Provider, client: Any) -> None:
    sent = whole({"embeddings": [{"values": [0.5, 1.0]}, {"values": [0.25, 0.0]}]})
    toy.answers(sent, sent)
    name = "gemini-embedding-001"
    config = {"task_type": "RETRIEVAL_QUERY", "output_dimensionality": 2}
    theirs = client.embed_content(model=name, contents=["a", "b"], config=config)
    ours = embed(gemini_embedder(name, base_url=toy.address, api_key=KEY, dimensions=2), ["a", "b"], kind="query")
    assert [each.values for each in theirs.embeddings] == [list(each) for each in ours.vectors]
    told, mine = [each["requests"] for each in toy.asked]
    assert [as_ours(each) for each in told] == mine


# What we send has the types that it declares


@with_examples
@given(strategies.conversations())
def test_every_conversation_has_the_types_that_it_declares(
    toy: Provider, types: Any, messages: tuple[Message, ...]
) -> None:
    plain = [evolve(message, parts=tuple(map(stateless, message.parts))) for message in messages]
    valid(types, json.loads(request(model(toy), (user("Go!"), *plain), tools=[weather]).content))


@with_examples
@given(strategies.gemini_replies())
def test_so_does_every_answer_that_goes_back(toy: Provider, types: Any, reply: Read) -> None:
    toy.answers(whole(reply[0]))
    valid(types, json.loads(request(model(toy), ("Go!", complete(model(toy), "Go!"), "And now?")).content))


def valid(types: Any, body: Wire) -> None:
    """Refuse *body* unless it has the types of the SDK, which forbid what they do not know."""
    for each in body["contents"]:
        types.Content.model_validate(each)
    for each in body.get("tools", ()):
        types.Tool.model_validate(each)

"""OpenAI's own SDK reads what the Responses API would send as we do, and sends what we send."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

import pytest
from attrs import frozen
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
    image,
    openai,
    request,
    run_tools,
    stream,
    system,
    tool,
    tool_result,
    user,
)
from arshai_kit.completion import count_tokens
from arshai_kit.models import Endpoint, evolve, written
from arshai_kit.providers import openai_embedder
from arshai_kit.testing import strategies
from tests.laws.provider import KEY, Provider, Sent, whole
from tests.peers.test_openai_sdk import exhausted, stateless, untitled, weather

pytestmark = [pytest.mark.peers, pytest.mark.needs("openai")]

with_examples = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

Wire = dict[str, Any]
Read = tuple[bytes, Response]

OURS: Wire = {"store": False, "include": ["reasoning.encrypted_content"]}
"""What we say in every request, and a program that keeps its own history with the SDK must say."""


@pytest.fixture(scope="module")
def sdk() -> Any:
    """The SDK."""
    return import_module("openai")


@pytest.fixture
def asked() -> list[Any]:
    """The requests that the SDK has sent."""
    return []


@pytest.fixture
def client(sdk: Any, toy: Provider, asked: list[Any]) -> Iterator[Any]:
    """Its client, pointed at the toy."""
    httpx: Any = import_module("httpx")
    watched = httpx.Client(event_hooks={"request": [asked.append]})
    with sdk.OpenAI(base_url=toy.address, api_key=KEY, max_retries=0, http_client=watched) as made:
        yield made


def model(toy: Provider, **options: Any) -> Endpoint:
    """The same model, as ours."""
    return openai("toy-1", base_url=toy.address, api_key=KEY, **options)


def ask(client: Any, **more: Any) -> Any:
    """Ask as a program that uses the SDK does."""
    return client.responses.create(model="toy-1", input="Go!", **more)


# It reads what the provider would send


@with_examples
@given(strategies.responses_replies())
def test_a_reply_reads_alike(toy: Provider, client: Any, reply: Read) -> None:
    data, meant = reply
    toy.answers(whole(data), whole(data))
    theirs, ours = ask(client), complete(model(toy), "Go!")
    assert told(theirs) == said(ours) == said(meant)


@with_examples
@given(strategies.responses_streams())
def test_a_stream_reads_alike(toy: Provider, client: Any, streamed: Read) -> None:
    """Whether the program looks at the events or waits for the last."""
    data, meant = streamed
    toy.answers(Sent((data,)), Sent((data,)))
    words, calls, last = dict[str, str](), dict[int, str](), None
    with client.responses.stream(model="toy-1", input="Go!") as events:
        for event in events:
            if event.type == "response.function_call_arguments.delta":
                calls[event.output_index] = calls.get(event.output_index, "") + event.delta
            elif event.type.endswith(".delta"):
                words[event.type] = words.get(event.type, "") + event.delta
            last = event
    *_, final = stream(model(toy), "Go!")
    assert isinstance(final, Finished)
    ours = final.response
    assert last is not None
    assert told(last.response) == said(ours) == said(meant)
    assert words.get("response.output_text.delta", "") == ours.text
    assert words.get("response.refusal.delta", "") == ours.refusal
    assert [json.loads(calls[place]) for place in sorted(calls)] == [
        json.loads(written(call)) for call in ours.tool_calls
    ]


def told(reply: Any) -> Wire:
    """What the SDK has read."""
    items = reply.output
    shown = [[*item.summary, *(item.content or ())] for item in items if item.type == "reasoning"]
    parts = [part for item in items if item.type == "message" for part in item.content]
    calls, usage = [item for item in items if item.type == "function_call"], reply.usage
    return {
        "text": reply.output_text,
        "reasoning": "\n\n".join([part.text for thought in shown for part in thought]),
        "refusal": "".join([part.refusal for part in parts if part.type == "refusal"]),
        "calls": [(call.call_id, call.name, json.loads(call.arguments)) for call in calls],
        "ended": reply.incomplete_details.reason if reply.incomplete_details else reply.status,
        "usage": (
            usage.input_tokens,
            usage.input_tokens_details.cached_tokens,
            usage.output_tokens,
            usage.output_tokens_details.reasoning_tokens,
            usage.total_tokens,
        ),
        "from": (reply.id, reply.model),
    }


def said(response: Response) -> Wire:
    """What we have read."""
    usage = response.usage
    return {
        "text": response.text,
        "reasoning": response.reasoning,
        "refusal": response.refusal,
        "calls": [(call.id, call.name, json.loads(written(call))) for call in response.tool_calls],
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
async def test_its_async_client_reads_them_too(sdk: Any, toy: Provider) -> None:
    toy.answers(answer(SAYS))
    async with sdk.AsyncOpenAI(base_url=toy.address, api_key=KEY, max_retries=0) as client:
        theirs = await ask(client)
    assert theirs.output_text == '{"name": "Oslo", "people": 700000}'


SAYS: Wire = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [
        {"type": "output_text", "text": '{"name": "Oslo", "people": 700000}', "annotations": [], "logprobs": []}
    ],
}
THINKS: Wire = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA-_=="}
ASKS: Wire = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city":"Oslo"}',
}


def answer(*output: Wire) -> Sent:
    """A whole answer."""
    counts = {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 2,
    }
    return whole(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": "toy-1",
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": counts,
        }
    )


# What it sends, and what we send


@frozen
class Choice:
    """Something that we send otherwise, and why; *undone* makes of an item of the SDK's what we send."""

    why: str
    undone: Callable[[Wire], Wire]


def without(item: Wire, *names: str) -> Wire:
    """*item* without the fields *names*."""
    return {name: value for name, value in item.items() if name not in names}


CHOICES = (
    Choice(
        "what is not stored has no id: the provider looks for it, and refuses what it does not find",
        lambda item: item if item.get("type") == "reasoning" else without(item, "id", "status"),
    ),
    Choice(
        "a message is known by its role, and servers that know little take it without a type",
        lambda item: without(item, "type") if item.get("type") == "message" else item,
    ),
    Choice(
        "what is empty says nothing, and likelihoods are not asked for again",
        lambda item: (
            item
            if not isinstance(item.get("content"), list)
            else {**item, "content": [without(part, "annotations", "logprobs") for part in item["content"]]}
        ),
    ),
)


def normal(body: Wire) -> Wire:
    """*body*, which the SDK sends, with our choices."""
    items = body["input"]
    for choice in CHOICES:
        items = items if isinstance(items, str) else [choice.undone(item) for item in items]
    return {**body, "input": [{"role": "user", "content": items}] if isinstance(items, str) else items}


def loop(client: Any, tools: list[Any]) -> str:
    """A loop with a tool, as a program that uses the SDK writes it."""
    items: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Oslo?"}]
    while True:
        reply = client.responses.create(model="toy-1", input=items, tools=tools, **OURS)
        items += reply.output
        calls = [item for item in reply.output if item.type == "function_call"]
        if not calls:
            return str(reply.output_text)
        for call in calls:
            result = weather(**json.loads(call.arguments))
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})


@pytest.mark.parametrize("output", [(ASKS,), (THINKS, ASKS), (THINKS, SAYS, ASKS, {**ASKS, "call_id": "call_2"})])
def test_a_loop_with_a_tool_sends_the_same(toy: Provider, client: Any, output: tuple[Wire, ...]) -> None:
    toy.answers(answer(*output), answer(SAYS))
    response = run_tools(model(toy), "Oslo?", [weather], system="Be brief.")
    ours = list(toy.asked)
    toy.answers(answer(*output), answer(SAYS))
    assert loop(client, ours[0]["tools"]) == response.text
    assert [normal(each) for each in toy.asked] == ours
    assert len(ours) == 2


def test_a_conversation_goes_on_with_the_same(toy: Provider, client: Any) -> None:
    """The items of an answer, and what the user says next."""
    toy.answers(answer(THINKS, SAYS), answer(SAYS), answer(THINKS, SAYS), answer(SAYS))
    first = complete(model(toy), "Oslo?")
    complete(model(toy), ("Oslo?", first, "And now?"))
    ours = toy.asked[1]
    toy.asked.clear()
    items: list[Any] = [{"role": "user", "content": "Oslo?"}]
    items += client.responses.create(model="toy-1", input=items, **OURS).output
    client.responses.create(model="toy-1", input=[*items, {"role": "user", "content": "And now?"}], **OURS)
    assert normal(toy.asked[1]) == ours


def test_a_typed_answer_is_asked_for_alike_and_read_alike(toy: Provider, client: Any) -> None:
    """But for the titles that pydantic makes up."""
    pydantic: Any = import_module("pydantic")
    city = pydantic.create_model("City", name=(str, ...), people=(int, ...))
    toy.answers(answer(SAYS), answer(SAYS))
    theirs = client.responses.parse(model="toy-1", input="Go!", text_format=city, **OURS)
    ours = extract(model(toy), "Go!", city)
    assert theirs.output_parsed == ours == city(name="Oslo", people=700000)
    assert untitled(normal(toy.asked[0])) == untitled(toy.asked[1])


def test_the_tool_is_what_its_own_helper_makes_of_it(sdk: Any, toy: Provider, client: Any) -> None:
    """As `parse` flattens it; the schema does not repeat what the tool is for."""
    pydantic: Any = import_module("pydantic")
    fields: Any = {"city": (str, pydantic.Field(description="Where."))}
    helped = sdk.pydantic_function_tool(pydantic.create_model("look", **fields), description="Look.")

    def look(city: str) -> str:
        """Look.

        Args:
            city: Where.
        """
        return city

    toy.answers(answer(SAYS), answer(SAYS))
    client.responses.parse(model="toy-1", input="Go!", tools=[helped], **OURS)
    run_tools(model(toy), "Go!", [tool(look, strict=True)])
    assert untitled(normal(toy.asked[0])) == untitled(toy.asked[1])


OSLO = Message("assistant", (ToolCall("c1", "weather", {"city": "Oslo"}),))
PNG = b"\x89PNG"
TOOL: Wire = {"type": "function", "name": "look", "description": "Look.", "parameters": {"type": "object"}}
LOOK = ToolSpec("look", "Look.", {"type": "object"})

SAME: dict[str, tuple[Wire, Any, Wire]] = {
    "text": ({}, "Go!", {"input": "Go!"}),
    "system": (
        {},
        (system("Be brief."), user("Go!")),
        {"input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go!"}]},
    ),
    "media": (
        {},
        user(
            "What?",
            image("https://example.com/a.png"),
            image(PNG, media_type="image/png"),
            file(b"%PDF", media_type="application/pdf", name="a.pdf"),
        ),
        {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What?"},
                        {"type": "input_image", "image_url": "https://example.com/a.png"},
                        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw=="},
                        {
                            "type": "input_file",
                            "filename": "a.pdf",
                            "file_data": "data:application/pdf;base64,JVBERg==",
                        },
                    ],
                }
            ]
        },
    ),
    "results": (
        {},
        (user("Oslo?"), OSLO, tool_result("c1", "rain")),
        {
            "input": [
                {"role": "user", "content": "Oslo?"},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            ]
        },
    ),
    "settings": (
        {"temperature": 0.5, "top_p": 0.9, "max_tokens": 9, "reasoning": "low", "extra": {"truncation": "auto"}},
        "Go!",
        {
            "input": "Go!",
            "temperature": 0.5,
            "top_p": 0.9,
            "max_output_tokens": 9,
            "reasoning": {"effort": "low"},
            "truncation": "auto",
        },
    ),
    "logprobs": (
        {"logprobs": 2},
        "Go!",
        {"input": "Go!", "top_logprobs": 2, "include": [*OURS["include"], "message.output_text.logprobs"]},
    ),
    "tools": (
        {"tool_choice": "look", "parallel_tool_calls": False},
        "Go!",
        {
            "input": "Go!",
            "tools": [{**TOOL, "strict": False}],
            "tool_choice": {"type": "function", "name": "look"},
            "parallel_tool_calls": False,
        },
    ),
}
"""Our settings and prompt, and what a program that uses the SDK writes for the same."""


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("same", SAME.values(), ids=SAME)
def test_what_is_the_same_is_sent_alike(
    toy: Provider, client: Any, asked: list[Any], same: tuple[Wire, Any, Wire], streams: bool
) -> None:
    options, prompt, theirs = same
    toy.answers(answer(SAYS))
    more = {"stream": True} if streams else {}
    for _ in client.responses.create(model="toy-1", **{**OURS, **theirs, **more}):
        pass
    tools = [LOOK] if "tools" in theirs else []
    ours = request(model(toy, **options), prompt, tools=tools, stream=streams)
    assert json.loads(ours.content) == normal(toy.asked[0])
    assert (ours.method, ours.url) == (asked[0].method, str(asked[0].url))
    headers = {name: value.reveal() if hasattr(value, "reveal") else value for name, value in ours.headers}
    assert {name: asked[0].headers[name] for name in ("authorization", "content-type")} == {
        name: headers[name] for name in ("authorization", "content-type")
    }


def test_tokens_are_counted_alike(toy: Provider, client: Any, asked: list[Any]) -> None:
    counted = whole({"object": "response.input_tokens", "input_tokens": 7})
    toy.answers(counted, counted)
    theirs = client.responses.input_tokens.count(model="toy-1", input="Go!", tools=[{**TOOL, "strict": False}])
    assert count_tokens(model(toy), "Go!", tools=[LOOK]) == theirs.input_tokens == 7
    assert normal(toy.asked[0]) == toy.asked[1]
    assert asked[0].url.path.endswith("/v1/responses/input_tokens")


def test_vectors_are_asked_for_alike_and_read_alike(toy: Provider, client: Any) -> None:
    """The SDK leaves it to the server in which order the vectors come; we put them in the order of the texts."""
    data = [{"object": "embedding", "index": n, "embedding": text} for n, text in ((1, "AACAPw=="), (0, "AAAAQA=="))]
    counts = {"prompt_tokens": 4, "total_tokens": 4}
    sent = whole({"object": "list", "model": "toy-2", "data": data, "usage": counts})
    toy.answers(sent, sent)
    theirs = client.embeddings.create(model="toy-2", input=["a", "b"], dimensions=1)
    ours = embed(openai_embedder("toy-2", base_url=toy.address, api_key=KEY, dimensions=1), ["a", "b"])
    placed = {each.index: each.embedding for each in theirs.data}
    assert [placed[place] for place in range(2)] == [list(vector) for vector in ours.vectors] == [[2.0], [1.0]]
    assert (ours.usage.input_tokens, ours.model) == (theirs.usage.prompt_tokens, theirs.model)
    assert toy.asked[0] == toy.asked[1]


# What we send has the types that it declares


@pytest.mark.parametrize("same", SAME.values(), ids=SAME)
def test_what_we_send_has_the_types_that_it_declares(toy: Provider, same: tuple[Wire, Any, Wire]) -> None:
    options, prompt, _ = same
    valid(json.loads(request(model(toy, **options), prompt, tools=[weather, LOOK]).content))


@with_examples
@given(strategies.conversations())
def test_every_conversation_has_the_types_that_it_declares(toy: Provider, messages: Iterable[Message]) -> None:
    plain = [evolve(message, parts=tuple(map(stateless, message.parts))) for message in messages]
    valid(json.loads(request(model(toy), (user("Go!"), *plain)).content))


@with_examples
@given(strategies.responses_replies())
def test_so_does_every_answer_that_goes_back(toy: Provider, reply: Read) -> None:
    toy.answers(whole(reply[0]))
    valid(json.loads(request(model(toy), ("Go!", complete(model(toy), "Go!"), "And now?")).content))


DEMANDED: dict[str, Wire] = {
    "input_image": {"detail": "auto"},
    "output_text": {"annotations": []},
    "assistant": {"id": "msg_1", "type": "message", "status": "completed"},
}
"""What its types demand and the API does not: it has defaults, and no use for ids of what it has not kept."""


def demanded(item: Wire) -> Wire:
    """*item* with what the types of the SDK demand of it."""
    content = item.get("content")
    if not isinstance(content, list):
        return item
    parts = [{**DEMANDED.get(part["type"], {}), **part} for part in content]
    return {**DEMANDED.get(item.get("role", ""), {}), **item, "content": parts}


@cache
def checks() -> dict[str, Any]:
    """What checks the types of a body."""
    pydantic: Any = import_module("pydantic")
    types: Any = import_module("openai.types.responses")
    kinds = {"input": types.ResponseInputItemParam, "tools": types.ToolParam}
    return {name: pydantic.TypeAdapter(kind) for name, kind in kinds.items()}


def valid(body: Wire) -> None:
    """Refuse *body* unless it has the types of the SDK."""
    for name, check in checks().items():
        for each in body.get(name, ()):
            exhausted(check.validate_python(demanded(each)))

"""OpenAI's own SDK reads what is made from our records as we do, and sends what we send."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from arshai_kit import (
    Message,
    Response,
    ToolCall,
    ToolSpec,
    complete,
    image,
    request,
    run_tools,
    stream,
    system,
    tool,
    tool_result,
    user,
)
from arshai_kit.models import evolve, written
from arshai_kit.records import Finished
from arshai_kit.testing import strategies
from tests.laws.provider import KEY, Provider, Sent, whole

pytestmark = [pytest.mark.peers, pytest.mark.needs("openai")]

with_examples = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def sdk() -> Any:
    """The SDK."""
    return import_module("openai")


@pytest.fixture
def client(sdk: Any, toy: Provider) -> Iterator[Any]:
    """Its client, pointed at the toy."""
    with sdk.OpenAI(base_url=toy.address, api_key=KEY, max_retries=0) as made:
        yield made


def ask(client: Any, **more: Any) -> Any:
    """Ask as a program that uses the SDK does."""
    return client.chat.completions.create(model="toy-1", messages=[{"role": "user", "content": "Go!"}], **more)


# It reads what is made from our records


@with_examples
@given(strategies.chat_replies())
def test_a_reply_reads_alike(toy: Provider, client: Any, reply: tuple[bytes, Response]) -> None:
    data, meant = reply
    toy.answers(whole(data), whole(data))
    theirs = ask(client)
    ours = complete(toy.model(), "Go!")
    (choice,) = theirs.choices
    assert (choice.message.content or "") == ours.text == meant.text
    assert choice.finish_reason == ours.raw_finish_reason == meant.raw_finish_reason
    assert called(choice.message.tool_calls) == asked(ours) == asked(meant)
    assert (theirs.id, theirs.model) == (ours.id, ours.model)
    assert theirs.usage.prompt_tokens == ours.usage.input_tokens
    assert theirs.usage.completion_tokens == ours.usage.output_tokens
    assert theirs.usage.total_tokens == ours.usage.total_tokens


@with_examples
@given(strategies.chat_streams())
def test_a_stream_reads_alike(toy: Provider, client: Any, streamed: tuple[bytes, Response]) -> None:
    data, meant = streamed
    toy.answers(Sent((data,)), Sent((data,)))
    words, finish, usage, fragments = "", None, None, dict[int, list[str]]()
    for chunk in ask(client, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            words += choice.delta.content or ""
            finish = choice.finish_reason or finish
            for each in choice.delta.tool_calls or ():
                told = fragments.setdefault(each.index, [each.id, each.function.name, ""])
                told[2] += each.function.arguments or ""
    *_, final = stream(toy.model(), "Go!")
    assert isinstance(final, Finished)
    ours = final.response
    assert words == ours.text == meant.text
    assert finish == ours.raw_finish_reason == meant.raw_finish_reason
    assert [(key, name, json.loads(text)) for key, name, text in fragments.values()] == asked(ours) == asked(meant)
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (ours.usage.input_tokens, ours.usage.output_tokens)


def called(calls: Iterable[Any] | None) -> list[tuple[str, str, Any]]:
    """The calls that the SDK has read."""
    return [(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls or ()]


def asked(response: Response) -> list[tuple[str, str, Any]]:
    """The calls that we have read."""
    return [(call.id, call.name, json.loads(written(call))) for call in response.tool_calls]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it knows no other
async def test_its_async_client_reads_them_too(sdk: Any, toy: Provider) -> None:
    data, meant = SAID
    toy.answers(whole(data))
    async with sdk.AsyncOpenAI(base_url=toy.address, api_key=KEY, max_retries=0) as client:
        theirs = await ask(client)
    assert theirs.choices[0].message.content == meant


SAID = (
    json.dumps(
        {
            "id": "c-1",
            "object": "chat.completion",
            "created": 1,
            "model": "toy-1",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        }
    ).encode(),
    "Hello",
)


# What it sends, and what we send


def weather(city: str, days: int = 1) -> str:
    """Tell the weather.

    Args:
        city: Where.
        days: For how long.
    """
    return f"rain in {city}"


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}


def answer(message: dict[str, Any], finish: str) -> Sent:
    """A whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return whole({"id": "c-1", "object": "chat.completion", "created": 1, "model": "toy-1", "choices": [choice]})


def loop(client: Any, tools: list[Any]) -> None:
    """A loop with a tool, as a program that uses the SDK writes it."""
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Oslo?"}]
    while True:
        message = client.chat.completions.create(model="toy-1", messages=messages, tools=tools).choices[0].message
        messages.append(message.model_dump(exclude_unset=True))
        if not message.tool_calls:
            return
        for call in message.tool_calls:
            result = weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


@pytest.mark.parametrize("words", [None, "Let me see."])
def test_a_loop_with_a_tool_sends_the_same(toy: Provider, client: Any, words: str | None) -> None:
    replies = (answer({"content": words, "tool_calls": [CALL]}, "tool_calls"), answer({"content": "Rain."}, "stop"))
    toy.answers(*replies)
    response = run_tools(toy.model(), "Oslo?", [weather], system="Be brief.")
    ours = list(toy.asked)
    assert (response.text, len(ours)) == ("Rain.", 2)
    toy.answers(*replies)
    loop(client, ours[0]["tools"])
    assert [as_ours(each) for each in toy.asked] == ours


def as_ours(body: dict[str, Any]) -> dict[str, Any]:
    """*body* with our one choice: a message that only calls has an empty text, for some servers refuse none."""
    empty = {"content": ""}
    return {**body, "messages": [each | empty if each["content"] is None else each for each in body["messages"]]}


def test_the_tool_is_what_its_own_helper_makes_of_it(sdk: Any) -> None:
    """But for the order of the keys, and the words that the SDK makes up as titles."""
    pydantic: Any = import_module("pydantic")
    fields = {
        "city": (str, pydantic.Field(description="Where.")),
        "unit": (str | None, pydantic.Field(description="Which.")),
    }
    theirs = sdk.pydantic_function_tool(pydantic.create_model("weather_of", **fields), description="Tell the weather.")

    def weather_of(city: str, unit: str | None) -> str:
        """Tell the weather.

        Args:
            city: Where.
            unit: Which.
        """
        return city

    function = body("Hi", tools=[tool(weather_of, strict=True)])["tools"][0]
    assert untitled(function) == untitled(theirs)


def untitled(value: Any) -> Any:
    """*value* without the titles that pydantic makes up."""
    if isinstance(value, dict):
        return {name: untitled(each) for name, each in value.items() if name != "title"}
    return [untitled(each) for each in value] if isinstance(value, list) else value


def body(prompt: Any, **more: Any) -> dict[str, Any]:
    """The body of the request that we would send."""
    from arshai_kit import openai_compatible

    model = openai_compatible("toy-1", base_url="http://localhost", api_key="")
    told: dict[str, Any] = json.loads(request(model, prompt, **more).content)
    return told


PROMPTS: list[Any] = [
    "Hello",
    (system("Be brief."), user("Hello")),
    user("What is this?", image("https://example.com/a.png")),
    user("What is this?", image(b"\x89PNG", media_type="image/png")),
    (user("Oslo?"), Message("assistant", (ToolCall("c1", "weather", {"city": "Oslo"}),)), tool_result("c1", "rain")),
]


@pytest.mark.parametrize("prompt", PROMPTS, ids=["text", "system", "image", "picture", "tool"])
def test_what_we_send_has_the_types_that_it_declares(sdk: Any, prompt: Any) -> None:
    valid(sdk, body(prompt, tools=[weather, ToolSpec("look", "Look.")]))


@with_examples
@given(strategies.conversations())
def test_every_conversation_has_the_types_that_it_declares(sdk: Any, said: tuple[Message, ...]) -> None:
    plain = tuple([evolve(message, parts=tuple(map(stateless, message.parts))) for message in said])
    valid(sdk, body((user("Go!"), *plain)))


def stateless(part: Any) -> Any:
    """*part* as it would be after another provider: what only that one knows is not sent."""
    return evolve(part, state=None) if getattr(part, "state", None) is not None else part


def valid(sdk: Any, told: dict[str, Any]) -> None:
    """Refuse *told* unless it has the types of the SDK."""
    pydantic: Any = import_module("pydantic")
    types: Any = import_module("openai.types.chat")
    for name, kind in (("messages", types.ChatCompletionMessageParam), ("tools", types.ChatCompletionToolParam)):
        check = pydantic.TypeAdapter(kind)
        for each in told.get(name, ()):
            exhausted(check.validate_python(each))


def exhausted(value: Any) -> None:
    """Walk through *value*, for what is iterable is only looked at on the way."""
    if isinstance(value, dict):
        for each in value.values():
            exhausted(each)
    elif not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        for each in value:
            exhausted(each)

"""The same work as a careful engineer writes it with httpx and `json`: one client reused, threads kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

HEADERS = {"authorization": "Bearer k"}
TIMEOUT = httpx.Timeout(300, connect=10)


def weather(city: str, days: int) -> str:
    """Say what the weather will be in a city."""
    return f"sunny in {city} for {days} days"


TOOLS: dict[str, Callable[..., str]] = {"weather": weather}
WEATHER_SPEC = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Say what the weather will be in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


def body(messages: list[Any], **more: Any) -> dict[str, Any]:
    """The request."""
    return {"model": "bench-1", "messages": messages, **more}


def asked(client: httpx.Client, url: str, messages: list[Any], **more: Any) -> dict[str, Any]:
    """The message that answers *messages*."""
    reply = client.post(url, json=body(messages, **more))
    reply.raise_for_status()
    message: dict[str, Any] = json.loads(reply.content)["choices"][0]["message"]
    return message


def call(client: httpx.Client, url: str, messages: list[Any]) -> str:
    """The text that answers *messages*."""
    text: str = asked(client, url, messages)["content"]
    return text


def told(lines: Iterator[str]) -> Iterator[str]:
    """The words of a stream."""
    for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]" and (text := word(line)):
            yield text


def word(line: str) -> str:
    """What one event adds to the text."""
    choices = json.loads(line[6:])["choices"]
    return (choices[0]["delta"].get("content") or "") if choices else ""


STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def streamed(client: httpx.Client, url: str, messages: list[Any]) -> Iterator[str]:
    """The words of the answer as they come."""
    with client.stream("POST", url, json=body(messages, **STREAMED)) as reply:
        reply.raise_for_status()
        yield from told(reply.iter_lines())


def events(lines: Iterator[str]) -> Iterator[Any]:
    """What the events of a stream hold."""
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line[6:])


def responses_call(client: httpx.Client, url: str, messages: list[Any]) -> str:
    """The text that answers *messages*, asked over the Responses API."""
    reply = client.post(url, json={"model": "bench-1", "input": messages, "store": False})
    reply.raise_for_status()
    output = json.loads(reply.content)["output"]
    messages = [item for item in output if item["type"] == "message"]
    return "".join(part["text"] for item in messages for part in item["content"] if part["type"] == "output_text")


def responses_streamed(client: httpx.Client, url: str, messages: list[Any]) -> Iterator[str]:
    """The words of the answer as they come over the Responses API."""
    question = {"model": "bench-1", "input": messages, "store": False, "stream": True}
    with client.stream("POST", url, json=question) as reply:
        reply.raise_for_status()
        for event in events(reply.iter_lines()):
            if event["type"] == "response.output_text.delta":
                yield event["delta"]


def contents(messages: list[Any]) -> dict[str, Any]:
    """The request to Gemini."""
    return {"contents": [{"role": each["role"], "parts": [{"text": each["content"]}]} for each in messages]}


def texts(body: Any) -> str:
    """The text of a reply of Gemini's, or of one chunk of it."""
    return "".join(part.get("text", "") for part in body["candidates"][0]["content"]["parts"])


def gemini_call(client: httpx.Client, url: str, messages: list[Any]) -> str:
    """The text that answers *messages*, asked as Gemini is."""
    reply = client.post(url, json=contents(messages))
    reply.raise_for_status()
    return texts(json.loads(reply.content))


def gemini_streamed(client: httpx.Client, url: str, messages: list[Any]) -> Iterator[str]:
    """The words of Gemini's answer as they come."""
    with client.stream("POST", url, json=contents(messages)) as reply:
        reply.raise_for_status()
        for event in events(reply.iter_lines()):
            if text := texts(event):
                yield text


async def streamed_async(client: httpx.AsyncClient, url: str, messages: list[Any]) -> str:
    """The text of a streamed answer."""
    async with client.stream("POST", url, json=body(messages, **STREAMED)) as reply:
        reply.raise_for_status()
        texts = [
            text
            async for line in reply.aiter_lines()
            if line.startswith("data: ") and line != "data: [DONE]" and (text := word(line))
        ]
    return "".join(texts)


def answered(tool_call: dict[str, Any]) -> dict[str, Any]:
    """The message that answers one tool call."""
    function = tool_call["function"]
    try:
        result = TOOLS[function["name"]](**json.loads(function["arguments"]))
    except Exception as error:  # noqa: BLE001  # a tool may raise anything, and the model is told
        result = f"error: {error}"
    return {"role": "tool", "tool_call_id": tool_call["id"], "content": result}


def agent(client: httpx.Client, pool: ThreadPoolExecutor, url: str, question: str) -> str:
    """Ask, answer the tool calls side by side, and ask again until there is a text."""
    messages: list[Any] = [{"role": "user", "content": question}]
    while True:
        message = asked(client, url, messages, tools=[WEATHER_SPEC])
        messages.append(message)
        if not message.get("tool_calls"):
            text: str = message["content"]
            return text
        messages.extend(pool.map(answered, message["tool_calls"]))


def listed(client: httpx.Client, url: str, question: str, schema: dict[str, Any]) -> Any:
    """The JSON that the answer's text holds, untyped."""
    answer_format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    messages = [{"role": "user", "content": question}]
    return json.loads(asked(client, url, messages, response_format=answer_format)["content"])


def client(connections: int = 100) -> httpx.Client:
    """One client for all the work."""
    return httpx.Client(headers=HEADERS, timeout=TIMEOUT, limits=limits(connections))


def limits(connections: int) -> httpx.Limits:
    """Room for *connections* at once; few are kept, since httpcore looks at each kept one for each other's sake."""
    return httpx.Limits(max_connections=connections, max_keepalive_connections=20)


async def conversations(url: str, count: int) -> list[Any]:
    """The texts of *count* streamed conversations at once, or what went wrong with them."""
    async with httpx.AsyncClient(headers=HEADERS, timeout=TIMEOUT, limits=limits(count)) as shared:
        talks = (streamed_async(shared, url, [{"role": "user", "content": f"Question {n}"}]) for n in range(count))
        return await asyncio.gather(*talks, return_exceptions=True)


def conversations_in_threads(url: str, count: int) -> list[Any]:
    """The same, each in a thread of its own."""
    with client(count) as shared, ThreadPoolExecutor(count) as pool:

        def talk(n: int) -> Any:
            try:
                return "".join(streamed(shared, url, [{"role": "user", "content": f"Question {n}"}]))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is counted
                return error

        return list(pool.map(talk, range(count)))

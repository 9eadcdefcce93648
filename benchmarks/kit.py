"""The same work as `byhand`, done with arshai_kit and its default settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from attrs import frozen

import arshai_kit
from arshai_kit import Message, TextDelta, aio, assistant, openai_compatible, user, using
from arshai_kit.effects import Plan, Step, Where
from benchmarks.byhand import weather


@frozen
class Item:
    """One entry of the typed list."""

    name: str
    price: float
    count: int
    tags: list[str]


def chat(base: str) -> Any:
    """The fake provider's model under *base*, asked over Chat Completions."""
    return openai_compatible("bench-1", base_url=base, api_key="k")


def responses(base: str) -> Any:
    """The same, asked over the Responses API."""
    from arshai_kit.providers.openai import openai

    return openai("bench-1", base_url=base, api_key="k")


def gemini(base: str) -> Any:
    """The same, asked as Gemini is."""
    from arshai_kit.providers.gemini import gemini as made

    return made("bench-1", base_url=base, api_key="k")


def history(messages: Sequence[Any]) -> tuple[Message, ...]:
    """*messages*, written as dicts for `byhand`, as records."""
    makers: dict[str, Callable[[str], Message]] = {"user": user, "assistant": assistant}
    return tuple(makers[each["role"]](each["content"]) for each in messages)


def call(model: Any, prompt: Any) -> str:
    """The text that answers *prompt*."""
    return arshai_kit.complete(model, prompt).text


def words(model: Any, prompt: Any) -> Iterator[str]:
    """The words of the answer as they come."""
    for event in arshai_kit.stream(model, prompt):
        if type(event) is TextDelta:
            yield event.text


def agent(model: Any, question: str) -> str:
    """Ask, run the tools side by side, and ask again until there is a text."""
    return arshai_kit.run_tools(model, question, [weather]).text


def listed(model: Any, question: str) -> list[Item]:
    """The answer as typed records."""
    answer: list[Item] = arshai_kit.extract(model, question, list[Item])
    return answer


def passed_on(step: Step[Any], _where: Where) -> Plan[Any]:
    """Do nothing about a step but perform it."""
    return (yield from step)


@contextmanager
def one_layer() -> Iterator[None]:
    """Put one layer that does nothing on every `Step`."""
    with using(layers=[{Step: passed_on}]):
        yield


async def conversations(url: str, count: int) -> list[Any]:
    """The texts of *count* streamed conversations at once, or what went wrong with them."""
    shared = chat(url.removesuffix("/chat/completions"))

    async def talk(n: int) -> str:
        async with aio.stream(shared, f"Question {n}") as events:
            return "".join([event.text async for event in events if type(event) is TextDelta])

    return await asyncio.gather(*map(talk, range(count)), return_exceptions=True)


def conversations_in_threads(url: str, count: int, *, layered: bool = False) -> list[Any]:
    """The same, each in a thread of its own, which `using` around them does not reach."""
    shared = chat(url.removesuffix("/chat/completions"))

    def talk(n: int) -> Any:
        with ExitStack() as stack:
            if layered:
                stack.enter_context(one_layer())
            try:
                return "".join(words(shared, f"Question {n}"))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is counted
                return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(talk, range(count)))

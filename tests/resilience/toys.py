"""A model that does what a test says, and what a test needs around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
from attrs import field, frozen

from arshai_kit.effects import Call, Emit, Plan
from arshai_kit.models import Ask, Capabilities, retold
from arshai_kit.records import Response, assistant, user

__all__ = ["ASK", "Toy", "said", "talk", "until"]

ASK = Ask((user("Hello, who is there?"),))


def said(text: str = "It is me.", **known: Any) -> Response:
    """A reply that says *text*."""
    return Response((assistant(text),), **known)


@frozen
class Toy:
    """A model that answers what *answer* gives, which is called as a foreign function, or raises what it is."""

    answer: Callable[[], Any] = said
    name: str = "toy"
    provider: str = "box"
    max_tokens: int | None = None
    capabilities: Capabilities = field(factory=Capabilities)

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The next answer."""
        answer = yield from Call(self.answer)
        if isinstance(answer, Exception):
            raise answer
        response: Response = answer
        if stream:
            yield from Emit(retold(response))
        return response


def talk(model: Any, *, stream: bool = False) -> Callable[[], Plan[Response]]:
    """A plan that asks *model*, made anew at each call."""
    return lambda: model.ask(ASK, stream=stream)


async def until(true: Callable[[], Any]) -> None:
    """Wait until *true* says so."""
    while not true():  # noqa: ASYNC110  # what it waits for happens in a thread
        await anyio.sleep(0.001)

"""A model that goes by a script, so that what it says depends on the conversation alone; and tools that are counted."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from threading import Lock
from typing import Any

from attrs import field, frozen

from arshai_kit import Response, ToolCall, Usage, assistant
from arshai_kit.agents import agent, approve
from arshai_kit.effects import Emit, Plan
from arshai_kit.models import UNKNOWN, Ask, retold

__all__ = ["BOTH", "PAY", "Ran", "Speaker", "calling", "desk", "results", "teller"]


@frozen(eq=False)
class Speaker:
    """Says the line of its *script* that has the number of what was said before it."""

    script: tuple[Any, ...]
    name: str = "speaker"
    asked: list[Ask] = field(factory=list)
    provider: str = "box"
    capabilities = UNKNOWN

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """Its line."""
        self.asked.append(ask)
        place = sum(message.role == "assistant" for message in ask.messages)
        line = self.script[min(place, len(self.script) - 1)]
        message = assistant(*line) if isinstance(line, tuple) else assistant(line)
        response = Response(
            (message,),
            "tool_calls" if message.tool_calls else "stop",
            usage=Usage(place + 1, 2),
            cost=Decimal(place + 1) / 1000,
            model=self.name,
            provider="box",
        )
        if stream:
            yield from Emit(retold(response))
        return response


def calling(*calls: tuple[str, dict[str, Any]], first: int = 0) -> tuple[ToolCall, ...]:
    """A line that asks for *calls*, with ids of their own."""
    return tuple([ToolCall(f"c{first + place}", name, arguments) for place, (name, arguments) in enumerate(calls)])


class Ran:
    """What has been done, from whichever thread."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._lock = Lock()

    def note(self, what: Any) -> None:
        """One more."""
        with self._lock:
            self.all.append(what)

    def pay(self, cents: int) -> str:
        """Pay somebody."""
        self.note(("pay", cents))
        return f"paid {cents}"

    async def look(self, at: str) -> str:
        """Look at something."""
        self.note(("look", at))
        return f"saw {at}"


def results(asked: Iterable[Any]) -> list[str]:
    """What the model was told by tools, in the question *asked*."""
    return [part.content for message in asked for part in message.parts if hasattr(part, "content")]


PAY = calling(("pay", {"cents": 5}))
BOTH = calling(("pay", {"cents": 5}), ("look", {"at": "a"}), ("pay", {"cents": 7}))


def desk(script: tuple[Any, ...], ran: Ran, **how: Any) -> Any:
    """An agent with two tools, one of which is harmless."""
    return agent(Speaker(script), name="desk", tools=[ran.pay, ran.look], **how)


def teller(ran: Ran | None = None) -> Any:
    """An agent that is the same in every process, and waits for a person."""
    return approve(desk((BOTH, "Done."), ran or Ran(), system="You pay."), tools="pay", secret="s3cret")

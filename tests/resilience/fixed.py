"""A model that answers what it was given to answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from arshai_kit import Response, Usage, assistant
from arshai_kit._record import Record
from arshai_kit.effects import Call, Emit, Plan, Sleep
from arshai_kit.models import UNKNOWN, Ask, Capabilities, retold


@frozen(eq=False, repr=False)
class Fixed(Record):
    """Answers with *answers*, by how many the conversation has had; errors are raised, functions called first."""

    answers: tuple[Any, ...]
    name: str = "fixed"
    provider: str = "here"
    capabilities: Capabilities = UNKNOWN
    max_tokens: int | None = 100
    before: Callable[[], Any] | None = None
    pause: float = field(default=0.0, kw_only=True)

    def ask(self, ask: Ask, *, stream: bool) -> Plan[Response]:
        """The answer that is due."""
        if self.before is not None:
            yield from Call(self.before)
        answer: Any = self.answers[sum(message.role == "assistant" for message in ask.messages)]
        if isinstance(answer, Exception):
            raise answer
        yield from Emit(retold(answer) if stream else ())
        if self.pause:
            yield from Sleep(self.pause)
        return answer  # type: ignore[no-any-return]  # a response


def said(words: Any, went_in: int = 10, came_out: int = 10, **more: Any) -> Response:
    """An answer, and what it used."""
    return Response((assistant(words),), usage=Usage(went_in, came_out), model="fixed", **more)

"""A run that waits for a person, as a value: what was said, what was done, and the calls that wait."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.records.parts import Message, ToolCall
from arshai_kit.records.responses import Response, ToolRun

__all__ = ["Paused"]


def _tuple(value: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(value)


@frozen(eq=False, repr=False)
class Paused(Record):
    """A run that goes on once it is decided what becomes of *calls*; see `arshai_kit.agents.approve`.

    *prompt* is what the *agent* was asked, and *before* what its run had added until the *reply* that asks for the
    calls, in the round with the number *round*; *runs* are the other calls of that reply, which are answered. Where
    the agent was handed the conversation, *earlier* is what the others had added, after so many *handoffs*. *id* is
    drawn once for each pause, and *seal* tells whether it has been changed; *keys* are those of the conversations
    that it is a part of, where there is a memory.
    """

    agent: str
    prompt: tuple[Message, ...] = field(converter=_tuple)
    before: Response
    reply: Response
    calls: tuple[ToolCall, ...] = field(converter=_tuple)
    runs: tuple[ToolRun, ...] = field(default=(), converter=_tuple)
    round: int = field(default=0, kw_only=True)
    earlier: Response | None = field(default=None, kw_only=True)
    handoffs: int = field(default=0, kw_only=True)
    id: str = field(default="", kw_only=True)
    seal: str = field(default="", kw_only=True)
    keys: tuple[str, ...] = field(default=(), converter=_tuple, kw_only=True)

    @property
    def asked(self) -> tuple[Message, ...]:
        """What the run was asked: the *prompt*, but for what it had added itself before the agent was handed it."""
        added = 0 if self.earlier is None else len(self.earlier.messages)
        return self.prompt[: len(self.prompt) - added]

"""What a stream tells, as it happens; *path* says which agent is speaking, empty when there is only one."""

from __future__ import annotations

from typing import Any, TypeAlias

from attrs import evolve, field, frozen

from arshai_kit._json import EMPTY, Json, freeze
from arshai_kit._record import Record
from arshai_kit.records.parts import Part, ToolCall
from arshai_kit.records.responses import Response

__all__ = [
    "BackgroundFailed",
    "BackgroundStarted",
    "Event",
    "Finished",
    "Notice",
    "PartialOutput",
    "StepFinished",
    "StepStarted",
    "TextDelta",
    "ThinkingDelta",
    "ToolCallDelta",
    "ToolFailed",
    "ToolFinished",
    "ToolProgress",
    "ToolStarted",
    "tagged",
]


def _path() -> Any:
    return field(default="", kw_only=True)


@frozen(eq=False, repr=False)
class TextDelta(Record):
    """More words of the answer."""

    text: str
    path: str = _path()


@frozen(eq=False, repr=False)
class ThinkingDelta(Record):
    """More of what the model thinks."""

    text: str
    path: str = _path()


@frozen(eq=False, repr=False)
class ToolCallDelta(Record):
    """More of a call that the model is writing: *arguments* is a fragment of JSON text.

    The last one of a call holds the whole *call*.
    """

    index: int
    name: str = ""
    arguments: str = ""
    call: ToolCall | None = None
    path: str = _path()


@frozen(eq=False, repr=False)
class PartialOutput(Record):
    """A typed answer as far as it can no longer change, as plain JSON data."""

    value: Json = field(converter=freeze)
    path: str = _path()


@frozen(eq=False, repr=False)
class ToolStarted(Record):
    """A tool is being called."""

    call: ToolCall
    path: str = _path()


@frozen(eq=False, repr=False)
class ToolProgress(Record):
    """A tool that yields has got so far."""

    call: ToolCall
    value: Any = field(hash=False)
    path: str = _path()


@frozen(eq=False, repr=False)
class ToolFinished(Record):
    """A tool has answered; *result* is what the model is told."""

    call: ToolCall
    result: str | tuple[Part, ...]
    path: str = _path()


@frozen(eq=False, repr=False)
class ToolFailed(Record):
    """A tool has failed; *error* is what the model is told."""

    call: ToolCall
    error: str
    path: str = _path()


@frozen(eq=False, repr=False)
class BackgroundStarted(Record):
    """A tool has been started that nobody waits for."""

    call: ToolCall
    path: str = _path()


@frozen(eq=False, repr=False)
class BackgroundFailed(Record):
    """A tool that nobody waited for has failed."""

    call: ToolCall
    error: str
    path: str = _path()


@frozen(eq=False, repr=False)
class StepStarted(Record):
    """A named step of the run has begun: a model call, a tool call, an agent."""

    kind: str
    name: str
    path: str = _path()


@frozen(eq=False, repr=False)
class StepFinished(Record):
    """A named step of the run has ended; *error* says how, if it failed."""

    kind: str
    name: str
    error: str = ""
    path: str = _path()


@frozen(eq=False, repr=False)
class Notice(Record):
    """What was done so that a run goes on: *kind* says what, *name* where, *text* why, *data* the figures, as JSON.

    Wrappers of `arshai_kit.resilience` tell them. After `restarted`, what the model named so told of its reply is void:
    it begins anew.
    """

    kind: str
    name: str
    text: str = ""
    data: Json = field(default=EMPTY, converter=freeze)
    path: str = _path()


@frozen(eq=False, repr=False)
class Finished(Record):
    """The run has ended; always the last event."""

    response: Response
    path: str = _path()


Event: TypeAlias = (
    TextDelta
    | ThinkingDelta
    | ToolCallDelta
    | PartialOutput
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | ToolFailed
    | BackgroundStarted
    | BackgroundFailed
    | StepStarted
    | StepFinished
    | Notice
    | Finished
)


def tagged(event: Event, path: str) -> Event:
    """*event*, told by *path*."""
    return evolve(event, path=f"{path}/{event.path}" if event.path else path)

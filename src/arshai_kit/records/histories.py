"""What can be done with a conversation as a whole; pure."""

from __future__ import annotations

from collections.abc import Iterable

from arshai_kit.records.media import tool_result
from arshai_kit.records.parts import Message, ToolCall, ToolResult

__all__ = ["close_open_calls"]

_INTERRUPTED = "The call was interrupted; it is not known whether it took effect."


def close_open_calls(messages: Iterable[Message], text: str = _INTERRUPTED) -> tuple[Message, ...]:
    """*messages*, in which every call has a result: one that had none is answered by *text*, marked as an error.

    A history that was cut off, as by a cancelled run, becomes one that providers take; the order of what is there is
    not changed. A result answers the last call before it that has its id and no result yet. What has no open call stays
    as it is.

    >>> from arshai_kit.records import assistant, user
    >>> cut = (user("Rain?"), assistant(ToolCall("c1", "weather")), user("Well?"))
    >>> [message.role for message in close_open_calls(cut)]
    ['user', 'assistant', 'tool', 'user']
    """
    said = tuple(messages)
    left = _unanswered(said)
    if not any(left):
        return said
    closed: list[Message] = []
    for message, calls in zip(said, left, strict=True):
        closed += [message, *[tool_result(call, text, is_error=True) for call in calls]]
    return tuple(closed)


def _unanswered(messages: tuple[Message, ...]) -> list[list[ToolCall]]:
    """For each of *messages*, its calls that no result after them answers."""
    left: list[list[ToolCall]] = [[] for _ in messages]
    waiting: dict[object, list[tuple[int, ToolCall]]] = {}
    for place, message in enumerate(messages):
        for part in message.parts:
            if type(part) is ToolCall:
                left[place].append(part)
                waiting.setdefault(_key(part), []).append((place, part))
            elif type(part) is ToolResult and (calls := waiting.get(_key(part))):
                asked, call = _first_of_last(calls)
                _remove(left[asked], call)
    return left


def _first_of_last(calls: list[tuple[int, ToolCall]]) -> tuple[int, ToolCall]:
    """Take the first call of the last message that waits: results come in the order of the calls of one message."""
    last = calls[-1][0]
    return calls.pop(next(number for number, (place, _) in enumerate(calls) if place == last))


def _remove(calls: list[ToolCall], call: ToolCall) -> None:
    """Take *call* itself out of *calls*, which may hold others that equal it."""
    del calls[next(number for number, each in enumerate(calls) if each is call)]


def _key(part: ToolCall | ToolResult) -> object:
    """What pairs a call with its result: its id, or its name where a provider gives no ids."""
    return part.id or ("", part.name)

"""Each result stands right behind the message that asks for it, as providers want it, whoever spoke in between."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from arshai_kit.errors import Misuse
from arshai_kit.records import Message, ToolCall, ToolResult, close_open_calls

__all__ = ["expected", "paired", "put_right"]

_PAIRED: Final = frozenset({ToolCall, ToolResult})


def paired(messages: Iterable[Message]) -> tuple[Message, ...]:
    """*messages*, where the results of its calls follow each message; one that there is none of is made up.

    But for the calls at the end, whose results the next prompt may hold. A result of no call stays where it is.

    >>> from arshai_kit.records import assistant, tool_result, user
    >>> call = ToolCall("c1", "ask")
    >>> late = [assistant(call), user("And?"), assistant("Well."), tool_result(call, "Yes.")]
    >>> [message.role for message in paired(late)]
    ['assistant', 'tool', 'user', 'assistant']
    """
    said = tuple(messages)
    return tuple([message for _, message in _sided(said, ())]) if _has_calls(said) else said


def put_right(
    said: tuple[Message, ...], new: tuple[Message, ...]
) -> tuple[tuple[Message, ...], tuple[Message, ...], bool]:
    """What was *said*, and what is *new*, with each call answered; and whether the one can stand behind the other.

    It cannot where a result in *new* belongs between what was *said*; then both are given back as they are.
    """
    if not (_has_calls(said) or _has_calls(new)):
        return said, new, True
    sided = _sided(said, new)
    if any(later < earlier for (earlier, _), (later, _) in pairwise(sided)):
        return said, new, False
    before, behind = ([message for which, message in sided if which is side] for side in (False, True))
    return tuple(before), tuple(behind), True


def expected(said: tuple[Message, ...], new: tuple[Message, ...], key: str) -> None:
    """Refuse a result in *new* that no call waits for: no provider takes such a conversation."""
    for place, owner in _owners((*said, *new)).items() if _has_calls(new) else ():
        if owner is None and place >= len(said):
            result = next(part for part in new[place - len(said)].parts if type(part) is ToolResult)
            why = (
                f"the prompt holds a result of {result.name!r} ({result.id!r}), for which no call waits in {key!r:.80}"
            )
            raise Misuse(f"{why}: it has one, a later turn has closed it, or it is forgotten; say it as user(…)")


def _has_calls(messages: tuple[Message, ...]) -> bool:
    """Whether there is anything in *messages* to pair: in most conversations nothing is."""
    return any(type(part) in _PAIRED for message in messages for part in message.parts)


def _sided(said: tuple[Message, ...], new: tuple[Message, ...]) -> list[tuple[bool, Message]]:
    """All messages in the order in which they can be sent, and whether each is of *new*."""
    whole = (*said, *new)
    behind = _behind(whole)
    moved = {place for places in behind.values() for place in places}
    stay = [place for place in range(len(whole)) if place not in moved]
    end = max([place for place in stay if place < len(said)], default=-1)
    sided: list[tuple[bool, Message]] = []
    for place in stay:
        results = behind.get(place, [])
        sided += [(each >= len(said), whole[each]) for each in (place, *results)]
        if place != stay[-1] and whole[place].tool_calls:
            group = [whole[each] for each in (place, *results)]
            known = set(map(id, group))
            sided += [(place >= end, each) for each in close_open_calls(group) if id(each) not in known]
    return sided


def _behind(messages: tuple[Message, ...]) -> dict[int, list[int]]:
    """The places of the messages whose results belong behind each message."""
    behind: dict[int, list[int]] = {}
    for place, owner in _owners(messages).items():
        if owner is not None and owner != place and messages[place].role == "tool":
            behind.setdefault(owner, []).append(place)
    return behind


def _owners(messages: tuple[Message, ...]) -> dict[int, int | None]:
    """For each message with results, the place of the one that asks for the first of them, if there is any."""
    owners: dict[int, int | None] = {}
    waiting: dict[object, list[int]] = {}
    for place, message in enumerate(messages):
        for part in message.parts:
            if type(part) is ToolCall:
                waiting.setdefault(part.id or ("", part.name), []).append(place)
            elif type(part) is ToolResult:
                calls = waiting.get(part.id or ("", part.name))
                owner = calls.pop() if calls else None
                owners[place] = owner if owners.get(place) is None else owners[place]
    return owners

"""A conversation as its turns: each begins with what a user says, and holds every call together with its result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from arshai_kit._json import dumps
from arshai_kit.records import Message, Part, Text, Thinking, ToolCall, ToolResult

__all__ = ["digest", "hands_over", "may_hand_over", "told", "turns"]

_HAND_OFF: Final = "hand_off_to_"
"""How the tools that `handoff` makes are called, unless they are given another name."""
_GIVES: Final = " hands over to "
_GOES_ON: Final = " goes on with the conversation."
"""What they tell, in their last line."""


def turns(messages: Sequence[Message]) -> tuple[tuple[int, ...], ...]:
    """The turns of *messages*, each the numbers of its messages; what the system says belongs to none.

    A turn begins with a user's message that follows on somebody else's, unless a call before it is answered after it;
    what stands before the first one belongs to it.

    >>> from arshai_kit.records import assistant, system, user
    >>> turns([system("Be brief."), user("Hi"), assistant("Hello!"), user("Rain?"), user("Today."), assistant("No.")])
    ((1, 2), (3, 4, 5))
    """
    ends = _ends(messages)
    found: list[list[int]] = []
    before, answered, heard = "user", 0, False
    for number, message in enumerate(messages):
        if message.role == "system":
            continue
        user = message.role == "user"
        if not found or (user and heard and before != "user" and number >= answered):
            found.append([])
            heard = False
        heard |= user
        found[-1].append(number)
        before, answered = message.role, max(answered, ends[number])
    return tuple([tuple(each) for each in found])


def _ends(messages: Sequence[Message]) -> list[int]:
    """For each of *messages*, the number after the last result of its calls."""
    waiting: dict[object, list[int]] = {}
    ends = [0] * len(messages)
    for number, message in enumerate(messages):
        for part in message.parts:
            if type(part) is ToolCall:
                waiting.setdefault(_key(part), []).append(number)
            elif type(part) is ToolResult and (asked := waiting.get(_key(part))):
                ends[asked.pop()] = number + 1
    return ends


def _key(part: ToolCall | ToolResult) -> object:
    """What pairs a call with its result: its id, or its name where a provider gives no ids."""
    return part.id or ("", part.name)


def hands_over(message: Message) -> bool:
    """Whether *message* tells that the conversation was handed to another agent (`arshai_kit.agents.handoff`).

    >>> from arshai_kit.records import tool_result
    >>> hands_over(tool_result(ToolCall("1", "hand_off_to_billing"), "billing goes on with the conversation."))
    True
    """
    return any(
        type(part) is ToolResult and part.name.startswith(_HAND_OFF) and not part.is_error for part in message.parts
    )


def may_hand_over(message: Message) -> bool:
    """Whether *message* may tell that, by a tool of another name.

    >>> from arshai_kit.records import tool_result
    >>> may_hand_over(tool_result(ToolCall("1", "transfer"), "triage hands over to billing."))
    True
    """
    return any(
        type(part) is ToolResult and isinstance(part.content, str) and not part.is_error and _tells(part.content)
        for part in message.parts
    )


def _tells(content: str) -> bool:
    return content.endswith(_GOES_ON) or (content.endswith(".") and _GIVES in content.rpartition("\n")[2])


def told(messages: Iterable[Message]) -> str:
    """*messages* as a text, who says what, for a model to read about them.

    >>> from arshai_kit.records import assistant, user
    >>> print(told([user("Rain?"), assistant(ToolCall("1", "weather", {"city": "Oslo"}))]))
    user: Rain?
    assistant: [calls weather {"city":"Oslo"}]
    """
    lines = [f"{message.role}: {said}" for message in messages if (said := " ".join(_words(message.parts)))]
    return "\n".join(lines)


def _words(parts: Iterable[Part]) -> list[str]:
    said: list[str] = []
    for part in parts:
        match part:
            case Text(text=text):
                said.append(text)
            case ToolCall(name=name, arguments=arguments):
                said.append(f"[calls {name} {dumps(arguments).decode()}]")
            case ToolResult(name=name, content=str(text)):
                said.append(f"[{name} gives] {text}")
            case ToolResult(name=name, content=tuple(inner)):
                said += [f"[{name} gives]", *_words(inner)]
            case Thinking():
                pass
            case _:
                said.append(f"[{type(part).__name__.lower()}]")
    return said


def digest(messages: Iterable[Message]) -> str:
    """What tells *messages* from others by their words, the same in every process.

    >>> from arshai_kit.records import user
    >>> digest([user("a"), user("b")]) == digest([user("ab")])
    False
    """
    summed = blake2b(digest_size=12)
    for message in messages:
        words = "\x1e".join(_words(message.parts))
        summed.update(f"{message.role}\x1f{len(words)}\x1f{words}".encode("utf-8", "surrogatepass"))
    return summed.hexdigest()

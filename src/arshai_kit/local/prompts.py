"""A conversation, told to a small model in the three ways that it understands: to choose, to conclude, to chat.

Each opens with a few turns that show what is wanted: so small a model follows what it is shown, not what it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from arshai_kit.errors import BadRequest
from arshai_kit.local.copying import NONE
from arshai_kit.local.runtime import Turns
from arshai_kit.local.shapes import written
from arshai_kit.records import Audio, File, Image, Message, Part, Text, ToolCall, ToolResult, ToolSpec

__all__ = ["Asked", "Talk", "answer_turns", "chat_turns", "output_turns", "pick_turns", "talk"]

EARLIER = 3
"""Questions before this one that are shown when a tool is chosen, with what was called for them."""


@frozen
class Asked:
    """One question and what came of it: tools that were called, what they said, and the answer."""

    question: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    answer: str = ""


@frozen
class Talk:
    """A conversation by its questions; the last is the one to answer."""

    system: str = ""
    asked: tuple[Asked, ...] = (Asked(),)

    @property
    def now(self) -> Asked:
        """The question to answer."""
        return self.asked[-1]


def talk(messages: Iterable[Message]) -> Talk:
    """*messages* by their questions; raises `BadRequest` for what is not text.

    >>> from arshai_kit.records import user
    >>> talk([user("Hello")]).now
    Asked(question='Hello', calls=(), results=(), answer='')
    """
    system: list[str] = []
    asked: list[Asked] = []
    for message in messages:
        last = asked[-1] if asked else Asked()
        match message.role:
            case "system":
                system.append(_words(message.parts))
                continue
            case "user" if not asked or last.answer or last.calls:
                asked.append(Asked(_words(message.parts)))
                continue
            case "user":
                now = evolve(last, question=f"{last.question}\n{_words(message.parts)}")
            case "assistant":
                now = evolve(last, calls=(*last.calls, *message.tool_calls), answer=last.answer + _words(message.parts))
            case _:
                found = tuple([part for part in message.parts if isinstance(part, ToolResult)])
                now = evolve(last, results=(*last.results, *found))
        asked[-1:] = [now]
    return Talk("\n".join(system), tuple(asked) or (Asked(),))


def _words(parts: str | Iterable[Part]) -> str:
    if isinstance(parts, str):
        return parts
    found: list[str] = []
    for part in parts:
        if isinstance(part, Image | File | Audio):
            kind = type(part).__name__.lower()
            raise BadRequest(f"the local model reads text alone: leave the {kind} out, or ask a model that takes it")
        if isinstance(part, Text):
            found.append(part.text)
    return "".join(found)


def result_text(result: ToolResult) -> str:
    """What a tool said, as text."""
    return _words(result.content)


# Choosing


def pick_turns(tools: Sequence[ToolSpec], said: Talk) -> Turns:
    """The choice of one of *tools*, or none, for the question to answer."""
    told = "\n".join(map(_signature, tools))
    shown = [turn for tool in tools if tool.example for turn in _shown(*tool.example, tool.name)]
    earlier = [
        turn
        for each in said.asked[-1 - EARLIER : -1]
        for turn in (("user", each.question), ("assistant", _chosen(each)))
    ]
    return (
        ("system", f"Choose the tool that answers the user, or {NONE}.\n{told}"),
        *_NO_TOOL[:2],
        *_OTHER_TOOL,
        *_NO_TOOL[2:4],
        *shown,
        *_NO_TOOL[4:],
        *earlier,
        ("user", said.now.question),
    )


_OTHER_TOOL: Turns = (
    ("user", "Could you turn on the light in the living room now?"),
    ("assistant", 'light {"room": "living room"}'),
)
_NO_TOOL: Turns = (
    ("user", "Hello there!"),
    ("assistant", NONE),
    ("user", "Who painted the Mona Lisa?"),
    ("assistant", NONE),
    ("user", "Write a short story."),
    ("assistant", NONE),
)


def _signature(tool: ToolSpec) -> str:
    names = ", ".join((tool.parameters or {}).get("properties", {}))
    first, *_ = tool.description.strip().splitlines() or [""]
    return f"{tool.name}({names}): {first}"


def _shown(question: str, arguments: Any, name: str) -> Turns:
    return (("user", question), ("assistant", f"{name} {written(arguments)}"))


def _chosen(asked: Asked) -> str:
    return f"{asked.calls[0].name} {written(asked.calls[0].arguments)}" if asked.calls else NONE


# Concluding


def answer_turns(said: Talk) -> Turns:
    """The sentence that tells what the tools said to the question to answer."""
    return (*_system(said), *_CONCLUDED, *_earlier(said), ("user", _with_results(said.now)))


_CONCLUDED: Turns = (
    ("user", "What is 12 times 5?\nmultiply(12, 5) = 60"),
    ("assistant", "12 times 5 is 60."),
    ("user", "What is the weather in Rome?\nweather(Rome) = 25°C, sunny"),
    ("assistant", "The weather in Rome is 25°C, sunny."),
    ("user", "Who is in the office?\npresent() = Ann and Bob"),
    ("assistant", "Ann and Bob are in the office."),
)


def _with_results(asked: Asked) -> str:
    calls: Mapping[str, ToolCall] = {call.id: call for call in asked.calls}
    return "\n".join((asked.question, *(_told(each, calls.get(each.id)) for each in asked.results)))


def _told(result: ToolResult, call: ToolCall | None) -> str:
    values = call.arguments.values() if call and isinstance(call.arguments, Mapping) else ()
    given = ", ".join(value if isinstance(value, str) else written(value) for value in values)
    return f"{result.name}({given}) {'failed' if result.is_error else '='} {result_text(result)}"


# Chatting


def chat_turns(said: Talk) -> Turns:
    """The conversation as it was."""
    return (*_system(said), *_earlier(said), ("user", _with_results(said.now)))


def output_turns(said: Talk, schema: Any) -> Turns:
    """The question to answer with JSON that fits *schema*."""
    wish = f"Extract {listed(schema) or 'the answer'} from the text as JSON."
    return (("system", f"{said.system}\n{wish}".strip()), *_earlier(said), ("user", _with_results(said.now)))


def listed(schema: Any) -> str:
    """What *schema* asks for, in words.

    >>> listed({"properties": {"name": {}, "mood": {"enum": ["good", "bad"]}, "at": {"properties": {"x": {}}}}})
    'name, mood (good or bad), at (x)'
    """
    match schema:
        case {"properties": Mapping() as properties}:
            told = ((name, listed(each)) for name, each in properties.items())
            return ", ".join(f"{name} ({more})" if more else name for name, more in told)
        case {"enum": [*values]}:
            return " or ".join(map(str, values))
        case {"items": Mapping() as items}:
            return listed(items)
        case _:
            return ""


def _system(said: Talk) -> Turns:
    return (("system", said.system),) if said.system else ()


def _earlier(said: Talk) -> Turns:
    """The questions before, each with its answer."""
    turns = ((("user", _with_results(each)), ("assistant", each.answer)) for each in said.asked[:-1])
    return tuple(turn for pair in turns for turn in pair if turn[1])

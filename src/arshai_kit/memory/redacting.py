"""What nobody else needs to read is taken out of what is sent and, if wanted, of what is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Plan, call
from arshai_kit.errors import Misuse
from arshai_kit.faces import blocking, drive
from arshai_kit.memory.records import Memory
from arshai_kit.memory.views import Recalled
from arshai_kit.records import File, Message, Opaque, Part, Text, Thinking, ToolCall, ToolResult

__all__ = ["Redacted", "Redaction", "cards", "emails", "redacted"]

Redaction: TypeAlias = Callable[[str], str]
"""What is left of a text: a pure function that changes nothing of what it has given."""

_EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_DIGITS: Final = re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d.,]?\d)")


def emails(text: str) -> str:
    """*text* without the addresses of e-mail.

    >>> emails("Write to ann.b@example.org, please.")
    'Write to [e-mail], please.'
    """
    return _EMAIL.sub("[e-mail]", text)


def cards(text: str) -> str:
    """*text* without the numbers of payment cards: 13 to 19 digits whose last one checks the others.

    >>> cards("It is 4111 1111 1111 1111, order 4111 1111 1111 1112.")
    'It is [card], order 4111 1111 1111 1112.'
    """
    return _DIGITS.sub(lambda found: "[card]" if _checks(found[0]) else found[0], text)


def _checks(text: str) -> bool:
    digits = [int(each) for each in text if each.isdecimal()]
    doubled = [sum(divmod(2 * each, 10)) for each in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


@frozen(eq=False, repr=False)
class Redacted(Record):
    """A view: every text, of the past and of the prompt, as *rules* leave it."""

    rules: tuple[Redaction, ...]

    def __call__(self, recalled: Recalled) -> Recalled:
        """*recalled*, without what the rules take out."""
        return drive(self.plan(recalled))

    def plan(self, recalled: Recalled) -> Plan[Recalled]:
        """What calling it does, as a plan."""
        said = tuple([self.message(each) for each in recalled.messages])
        return evolve(recalled, messages=said, prompt=[self.message(each) for each in recalled.prompt])
        yield  # it asks the world for nothing

    def stored(self, memory: Memory) -> Memory:
        """*memory*, which keeps no more of a message than the rules leave."""
        whole = {name: getattr(memory, name) for name in ("append", "replace", "end")}
        return evolve(memory, **{name: self._writing(memory, each) for name, each in whole.items() if each is not None})

    def _writing(self, memory: Memory, function: Callable[..., Any]) -> Any:
        """*function* of *memory*, which writes messages under a key, as the rules leave them."""

        @blocking
        def write(key: str, messages: Iterable[Message], *args: Any, **kwargs: Any) -> Plan[Any]:
            left = tuple([self.message(each) for each in messages])
            if getattr(function, "plan", None) is not None:
                return (yield from call(function, key, left, *args, **kwargs))
            return (yield from memory.asked(partial(function, **kwargs) if kwargs else function, key, left, *args))

        return write

    def text(self, text: str) -> str:
        """What the rules leave of *text*."""
        for rule in self.rules:
            text = rule(text)
        return text

    def message(self, message: Message) -> Message:
        """What the rules leave of *message*; the same object if that is all of it."""
        parts = tuple([self._part(part) for part in message.parts])
        same = all(new is old for new, old in zip(parts, message.parts, strict=True))
        return message if same else evolve(message, parts=parts)

    def _part(self, part: Part) -> Part:
        match part:
            case Text(text=text) | Thinking(text=text):
                left: Part = part if (cut := self.text(text)) == text else evolve(part, text=cut, state=None)
            case ToolCall(arguments=arguments, broken=broken):
                words = None if broken is None else self.text(broken)
                left = evolve(part, arguments=self._json(arguments), broken=words)
            case ToolResult(content=str(text)):
                left = evolve(part, content=self.text(text))
            case ToolResult(content=tuple(inner)):
                left = evolve(part, content=tuple([self._part(each) for each in inner]))
            case Opaque(value=value):
                left = evolve(part, value=self._json(value))
            case File(name=name):
                left = evolve(part, name=self.text(name))
            case _:
                left = part
        if self._json(left.state) != left.state:
            left = evolve(left, state=None)
        return part if left == part else left

    def _json(self, value: Any) -> Any:
        """The texts in *value*, JSON, as the rules leave them; names stay."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {name: self._json(each) for name, each in value.items()}
            case tuple():
                return tuple([self._json(each) for each in value])
        return value


def redacted(*rules: str | re.Pattern[str] | Redaction) -> Redacted:
    r"""A view: what *rules* find is taken out of all texts that are sent, the prompt's too; what is kept stays whole.

    A rule is a pattern, whose finds become `[redacted]`, or a pure function from a text to what is left of it, such as
    `emails` and `cards`. Texts are those of messages, of tool calls and of their results; a text that changes loses
    the state of its provider, such as a signature; pictures and files are not looked into. `redacted(…).stored(memory)`
    is a memory which keeps no more than that either.

    >>> from arshai_kit.records import user
    >>> redacted(emails, r"[A-Z]{2}-\d+").text("ann@example.org, order NO-17")
    '[e-mail], order [redacted]'
    """
    made: list[Redaction] = []
    for rule in rules:
        if isinstance(rule, str | re.Pattern):
            made.append(_cutting(re.compile(rule)))
        elif callable(rule):
            made.append(rule)
        else:
            raise Misuse(f"redacted() takes patterns and functions from str to str, not {type(rule).__name__}")
    return Redacted(tuple(made))


def _cutting(pattern: re.Pattern[str]) -> Redaction:
    return lambda text: pattern.sub("[redacted]", text)

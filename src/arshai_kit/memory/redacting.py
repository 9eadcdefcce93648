"""What nobody else needs to read is taken out of what is sent and, if wanted, of what is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Plan, call
from arshai_kit.errors import Misuse
from arshai_kit.faces import blocking, drive
from arshai_kit.memory.encoding import decoded, encoded
from arshai_kit.memory.records import Memory
from arshai_kit.memory.views import Recalled
from arshai_kit.records import File, Message, Opaque, Part, Text, Thinking, ToolCall, ToolResult

__all__ = ["Redacted", "Redaction", "cards", "emails", "redacted"]

_PAUSES: Final = "paused"
"""The note in which `remembering` keeps the prompts of runs that wait for a person."""

Redaction: TypeAlias = Callable[[str], str]
"""What is left of a text: a pure function that changes nothing of what it has given."""

_EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}(?:xn--[\w-]{1,59}|[^\W\d_]{2,24})")
_RUN: Final = re.compile(r"(?<!\d)(?<!\d\.)\d(?:[ \u00a0\u202f-]?\d){12,}+")
"""Digits in which a card's may stand; those behind a decimal point are a part of another number."""
_GROUP: Final = re.compile(r"\d+")
_LENGTHS: Final = range(13, 20)
_LEAST: Final = 3
"""Digits that a group of a card's number has, where other numbers stand beside it."""


def emails(text: str) -> str:
    """*text* without the addresses of e-mail.

    >>> emails("Write to ann.b@example.org, please.")
    'Write to [e-mail], please.'
    """
    return _EMAIL.sub("[e-mail]", text)


def cards(text: str) -> str:
    """*text* without the numbers of payment cards: 13 to 19 digits whose last one checks the others.

    >>> cards("It is 4111 1111 1111 1111 12/27, order 4111 1111 1111 1112.")
    'It is [card] 12/27, order 4111 1111 1111 1112.'
    """
    return _RUN.sub(_without_cards, text)


def _without_cards(run: re.Match[str]) -> str:
    """What is left of a *run* of digits: all of it may be a card's, or some of its groups."""
    text = run[0]
    groups = [each.span() for each in _GROUP.finditer(text)]
    after = run.string[run.end() : run.end() + 2]
    if after[:1] == "." and after[1:].isdecimal():  # the last group is the whole part of a decimal number
        groups.pop()
    left, done, first = list[str](), 0, 0
    while first < len(groups):
        if last := _card(text, groups, first):
            left += [text[done : groups[first][0]], "[card]"]
            done = groups[last - 1][1]
        first = last or first + 1
    return "".join([*left, text[done:]])


def _card(text: str, groups: list[tuple[int, int]], first: int) -> int:
    """The number after the last of the groups that from the *first* on are the longest number of a card; 0 for none."""
    found, digits = 0, 0
    alone = not first and sum([end - start for start, end in groups[: _LENGTHS.stop]]) < _LENGTHS.stop
    for number in range(first, len(groups)):
        start, end = groups[number]
        digits += end - start
        if digits >= _LENGTHS.stop or (end - start < _LEAST and not alone):
            break
        fits = digits in _LENGTHS and (not alone or number == len(groups) - 1 or _are_long(groups[first : number + 1]))
        if fits and _checks(text[groups[first][0] : end]):
            found = number + 1
    return found


def _are_long(groups: list[tuple[int, int]]) -> bool:
    return all(end - start >= _LEAST for start, end in groups)


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
        whole = {name: getattr(memory, name) for name in ("append", "replace", "end", "note")}
        return evolve(memory, **{name: self._writing(memory, each) for name, each in whole.items() if each is not None})

    def _writing(self, memory: Memory, function: Callable[..., Any]) -> Any:
        """*function* of *memory*, which writes messages under a key, as the rules leave them."""
        is_note = function is memory.note

        @blocking
        def write(key: str, given: Any, *args: Any, **kwargs: Any) -> Plan[Any]:
            if not is_note:
                given = self._all(given)
            elif given == _PAUSES and args:  # it holds prompts, which will be messages
                args = (self._prompts(args[0]), *args[1:])
            if getattr(function, "plan", None) is not None:
                return (yield from call(function, key, given, *args, **kwargs))
            return (yield from memory.asked(partial(function, **kwargs) if kwargs else function, key, given, *args))

        return write

    def _all(self, messages: Iterable[Message]) -> tuple[Message, ...]:
        return tuple([self.message(each) for each in messages])

    def _prompts(self, value: Any) -> Any:
        """The prompts of the runs that wait, by their names, as the rules leave them."""
        if not isinstance(value, Mapping):
            return value
        return {name: self._prompt(text) if str(text).startswith("[") else text for name, text in value.items()}

    def _prompt(self, record: str) -> str:
        return encoded(self._all(decoded(record.encode()))).decode()

    def text(self, text: str) -> str:
        """What the rules leave of *text*."""
        for rule in self.rules:
            text = rule(text)
        return text

    def message(self, message: Message) -> Message:
        """What the rules leave of *message*; the same object if that is all of it."""
        parts = tuple([self._part(part) for part in message.parts])
        name = self.text(message.name)
        same = name == message.name and all(new is old for new, old in zip(parts, message.parts, strict=True))
        return message if same else evolve(message, parts=parts, name=name)

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
        """The texts in *value*, JSON, as the rules leave them; a number of which they leave less becomes a text."""
        match value:
            case str():
                return self.text(value)
            case bool():
                return value
            case int():
                return value if (left := self.text(f"{value:d}")) == f"{value:d}" else left
            case Mapping():
                return self._object(value)
            case tuple():
                return tuple([self._json(each) for each in value])
        return value

    def _object(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """A JSON object, whose names are texts too; of two that become one, the later has a mark."""
        found: dict[str, Any] = {}
        for name, each in value.items():
            left = self.text(name)
            while left in found:
                left += "'"
            found[left] = self._json(each)
        return found


def redacted(*rules: str | re.Pattern[str] | Redaction) -> Redacted:
    r"""A view: what *rules* find is taken out of all texts that are sent, the prompt's too; what is kept stays whole.

    A rule is a pattern, whose finds become `[redacted]`, or a pure function from a text to what is left of it, such as
    `emails` and `cards`. Texts are those of messages, of tool calls (the names and whole numbers in them too) and of
    their results; a text that changes loses the state of its provider, such as a signature; pictures and files are not
    looked into. `redacted(…).stored(memory)` is a memory which keeps no more than that either.

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

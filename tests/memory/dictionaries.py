"""A memory of dictionaries, which obeys the contract and can be looked into; and what is often needed beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from threading import RLock
from typing import Any

from hypothesis import strategies as st

from arshai_kit.errors import Conflict
from arshai_kit.memory import Conversation, Memory, Note
from arshai_kit.memory.views import Recalled
from arshai_kit.records import Message, ToolCall, ToolResult, assistant, system, tool_result, user


class Store:
    """What a memory of dictionaries holds; *asked* counts the questions by their names."""

    def __init__(self) -> None:
        self.said: dict[str, Conversation] = {}
        self.notes: dict[tuple[str, str], Note] = {}
        self.ids: dict[str, set[str]] = {}
        self.lock = RLock()
        self._versions = count(3, 7)  # they grow, and not by one

    def load(self, key: str) -> Conversation:
        return self.said.get(key, Conversation())

    def append(self, key: str, messages: Iterable[Message], id: str = "") -> int:  # noqa: A002
        with self.lock:
            before = self.load(key)
            if id and id in self.ids.setdefault(key, set()):
                return before.version
            self.ids[key].add(id) if id else None
            self.said[key] = Conversation((*before.messages, *messages), next(self._versions))
            return self.said[key].version

    def replace(self, key: str, messages: Iterable[Message], version: int) -> int:
        with self.lock:
            if self.load(key).version != version:
                raise Conflict(key)
            self.said[key] = Conversation(tuple(messages), next(self._versions))
            return self.said[key].version

    def forget(self, key: str) -> None:
        with self.lock:
            self.said.pop(key, None)
            self.ids.pop(key, None)
            for each in [each for each in self.notes if each[0] == key]:
                del self.notes[each]

    def noted(self, key: str, name: str) -> Note:
        return self.notes.get((key, name), Note())

    def note(self, key: str, name: str, value: Any, version: int | None) -> int:
        with self.lock:
            if version is not None and self.noted(key, name).version != version:
                raise Conflict(f"{key} {name}")
            if value is None:
                self.notes.pop((key, name), None)
                return 0
            self.notes[key, name] = Note(value, next(self._versions))
            return self.notes[key, name].version

    @property
    def memory(self) -> Memory:
        return Memory(
            self.load, self.append, self.replace, self.forget, self.noted, self.note, in_memory=True, backend=self
        )

    def recalled(self, key: str, *prompt: Message, memory: Any = None) -> Recalled:
        """What is recalled of *key* as *prompt* comes."""
        now = self.load(key)
        return Recalled(key, now.messages, prompt, memory or self.memory, now.version)

    def dump(self) -> str:
        """All that is kept, as a text to be searched."""
        return repr([(key, each.version, *each.messages) for key, each in self.said.items()]) + repr(
            [(key, str(each.value)) for key, each in self.notes.items()]
        )


def turn(number: int, words: str = "") -> tuple[Message, ...]:
    """A turn of a question and an answer."""
    return user(f"question {number} {words}".strip()), assistant(f"answer {number}")


def _called(number: int, ids: tuple[str, ...], words: str = "") -> tuple[Message, ...]:
    calls = [ToolCall(id_, f"tool_{place}", {"of": number}) for place, id_ in enumerate(ids)]
    results = [tool_result(call, f"result {number}") for call in calls]
    return user(f"use {number}"), assistant(words, *calls), *results, assistant(f"used {number}")


def _handed(number: int) -> tuple[Message, ...]:
    call = ToolCall(f"h{number}", f"hand_off_to_{number}")
    return assistant(call), tool_result(call, "Somebody goes on.")


_KINDS: tuple[Callable[[int], tuple[Message, ...]], ...] = (
    turn,
    lambda number: (user("yes"), assistant("ok")),  # the same words again and again
    lambda number: _called(number, ("call_0",)),  # the same id again and again
    lambda number: _called(number, (f"a{number}", f"b{number}"), "Let me see."),
    lambda number: _called(number, ("",)),  # a provider that gives no ids
    lambda number: (*_called(number, (f"h{number}",))[:1], *_handed(number), assistant("Here I am.")),
    lambda number: (user(f"and {number}"), user("?"), assistant("!")),
    lambda number: (user(f"unanswered {number}"),),
    lambda number: (system(f"From now on {number}."),),
    lambda number: (assistant(f"By the way {number}."),),
    lambda number: (user("cut"), assistant(ToolCall(f"cut{number}", "lost"))),
)


def histories() -> st.SearchStrategy[tuple[Message, ...]]:
    """Conversations as a memory has them: turns of many kinds."""
    return st.lists(st.sampled_from(_KINDS), max_size=7).map(
        lambda kinds: tuple([message for number, kind in enumerate(kinds) for message in kind(number)])
    )


def unpaired(messages: Iterable[Message]) -> tuple[int, int]:
    """How many calls of *messages* have no result after them, and how many results no call before them."""
    waiting: list[tuple[str, str]] = []
    lost = 0
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                waiting.append((part.id, part.name))
            elif isinstance(part, ToolResult) and (part.id, part.name) in waiting:
                waiting.remove((part.id, part.name))
            elif isinstance(part, ToolResult):
                lost += 1
    return len(waiting), lost


def is_within(some: Iterable[Any], all_: Iterable[Any]) -> bool:
    """Whether *some* stand in *all_*, in their order."""
    left = iter(all_)
    return all(any(each == other for other in left) for each in some)

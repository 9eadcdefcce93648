"""What is remembered under a key: a conversation, which only grows, and notes that were made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from arshai_kit._json import Json, freeze
from arshai_kit._record import Record
from arshai_kit.effects import Plan, call
from arshai_kit.records import Message
from arshai_kit.resilience.around import asking

__all__ = ["Conversation", "Memory", "Note"]


def _messages(messages: Any) -> tuple[Message, ...]:
    return tuple(messages)


@frozen(eq=False, repr=False)
class Conversation(Record):
    """What has been said under a key: empty, and of version 0, where nothing has been.

    *version* grows with each change, and tells whether somebody else was there in the meantime. *room* is how many
    bytes may be added to it, where the memory has said so.
    """

    messages: tuple[Message, ...] = field(default=(), converter=_messages)
    version: int = 0
    room: int | None = field(default=None, kw_only=True, eq=False, repr=False)


@frozen(eq=False, repr=False)
class Note(Record):
    """What was made of a conversation and is kept under its key: a summary, facts, vectors; as JSON.

    Nothing has been noted where *version* is 0.
    """

    value: Json = field(default=None, converter=freeze)
    version: int = 0


@frozen(eq=False, repr=False)
class Memory(Record):
    """Where conversations are kept: a record of functions, each sync, async, or with a `.plan`.

    ========== ==================================== =================================================================
    `load`     `(key) -> Conversation`              all that has been said
    `append`   `(key, messages, id="") -> int`      adds all or none of *messages*, once for each *id*; the version
    `replace`  `(key, messages, version) -> int`    in place of all, if it still is of *version*, else `Conflict`
    `forget`   `(key) -> None`                      the conversation, its notes, and all else that is kept under *key*
    `noted`    `(key, name) -> Note`                the note of that name
    `note`     `(key, name, value, version) -> int` in place of it, if it still is of *version*, else `Conflict`;
                                                    `None` is whatever it is
    `enter`    `(key, id, seconds) -> float`        takes the turn of *key* for at most *seconds*; 0.0 when it is given,
                                                    else the seconds after which to ask again; who asked first is first
    `leave`    `(key, id) -> None`                  gives it back, or stops waiting for it
    `begin`    `(key, id, seconds)                  `enter` and `load` in one round trip: the seconds after which to ask
               -> (float, Conversation)`            again (nothing is loaded), or 0.0 and all that has been said
    `end`      `(key, messages, id, turn) -> int`   `append` and `leave` in one round trip
    `watch`    `(key, since=None) -> Watch`         an iterator, sync and async, of what others add
    ========== ==================================== =================================================================

    Those that may be `None` are what a memory can do without; then whoever uses it makes do with the others. With
    *in_memory*, none of them waits for anything, and they are called in place.
    """

    load: Callable[..., Any] = field(repr=False)
    append: Callable[..., Any] = field(repr=False)
    replace: Callable[..., Any] = field(repr=False)
    forget: Callable[..., Any] = field(repr=False)
    noted: Callable[..., Any] | None = field(default=None, repr=False)
    note: Callable[..., Any] | None = field(default=None, repr=False)
    enter: Callable[..., Any] | None = field(default=None, repr=False)
    leave: Callable[..., Any] | None = field(default=None, repr=False)
    begin: Callable[..., Any] | None = field(default=None, repr=False)
    end: Callable[..., Any] | None = field(default=None, repr=False)
    watch: Callable[..., Any] | None = field(default=None, repr=False)
    name: str = field(default="memory", kw_only=True)
    in_memory: bool = field(default=False, kw_only=True, repr=False)
    backend: Any = field(default=None, kw_only=True, repr=False)

    def asked(self, function: Callable[..., Any], *args: Any) -> Plan[Any]:
        """What *function*, one of these, gives, inside a plan."""
        if getattr(function, "plan", None) is not None:
            return (yield from call(function, *args))
        return (yield from asking(self, function, *args))

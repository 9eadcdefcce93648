"""Memory in this process: what is used is kept, what is not gives way, and no operation looks through all of it."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import RLock
from time import monotonic
from typing import Any, Final

from attrs import frozen

from arshai_kit._json import freeze
from arshai_kit._record import Record
from arshai_kit.errors import Misuse
from arshai_kit.memory.encoding import checked, said, worded
from arshai_kit.memory.leases import Turns
from arshai_kit.memory.records import Conversation, Memory, Note
from arshai_kit.memory.sharing import conflict, too_large
from arshai_kit.records import Message
from arshai_kit.resilience.forks import wait_in_forks

__all__ = ["Held", "InProcess", "in_memory"]

_MEGABYTES: Final = 1024.0
"""What is kept at most when neither an argument nor the environment says anything."""
_INTERVAL: Final = 300.0
_AT_ONCE: Final = 64
"""So many conversations whose time is over one operation lets go at most."""
_EACH: Final = 1000
"""Bytes that a conversation takes besides what is in it, and its key: its place in the table and the like."""
_OWN_ID: Final = 150
_FOREVER: Final = float("inf")


@frozen(eq=False, repr=False)
class Held(Record):
    """How much a memory holds, in estimated *bytes*; so many were *dropped* to make room, and so many had *expired*."""

    conversations: int = 0
    messages: int = 0
    notes: int = 0
    bytes: int = 0
    dropped: int = 0
    expired: int = 0


class _Kept:
    """What is kept under one key."""

    __slots__ = ("bytes", "ids", "messages", "notes", "used", "version")

    def __init__(self) -> None:
        self.messages: tuple[Message, ...] = ()
        self.version = 0
        self.ids: set[str] = set()
        self.notes: dict[str, tuple[Note, int]] = {}
        self.bytes = 0
        self.used = 0.0


class InProcess:
    """What `in_memory` asks; safe across threads, tasks and event loops. A pickle holds its limits and nothing else."""

    def __init__(
        self,
        *,
        max_conversations: int | None = None,
        max_bytes: float | None = None,
        ttl: float | None = None,
        cleanup_interval: float | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        million = 1024 * 1024
        self.max_conversations = max(1, _limit("max_conversations", max_conversations, _FOREVER))
        self.max_bytes = _limit("max_bytes", max_bytes, million * _number("ARSHAI_MAX_MEMORY_MB", _MEGABYTES))
        self.ttl = _limit("ttl", ttl, _FOREVER)
        self.cleanup_interval = _limit("cleanup_interval", cleanup_interval, _number(_CLEANUP, _INTERVAL))
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # what was used longest ago is first
        self._changes = 0
        self._bytes = self._messages = self._notes = self._dropped = self._expired = 0
        self._next_cleanup = clock() + self.cleanup_interval
        self.forked()
        wait_in_forks(self)

    def forked(self) -> None:
        """Have a lock that nobody holds, and no turns: of a parent's threads, which are not in a forked child."""
        self._turns = Turns()
        self._lock = RLock()  # a plan may be freed, and leave, while this very thread holds it

    def __repr__(self) -> str:
        return f"InProcess({len(self._kept)} conversations)"

    def __len__(self) -> int:
        return len(self._kept)

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.max_conversations, self.max_bytes, self.ttl, self.cleanup_interval)

    @property
    def held(self) -> Held:
        """How much it holds."""
        with self._lock:
            figures = self._messages, self._notes, self._bytes, self._dropped, self._expired
            return Held(len(self._kept), *figures)

    @staticmethod
    def sized(messages: Iterable[Message]) -> int:
        """About how many bytes *messages* take."""
        return sum(map(_size, messages))

    # -- the functions of a memory --

    def load(self, key: str) -> Conversation:
        """All that has been said."""
        with self._lock:
            kept = self._used(key)
            if kept is None:
                return Conversation(room=self._room(_EACH + _size(key)))
            return Conversation(kept.messages, kept.version, room=self._room(kept.bytes))

    def append(self, key: str, messages: Iterable[Message], id: str = "") -> int:  # noqa: A002  # as Memory says
        """Add all of *messages*, once for each *id*; the version."""
        new = said(messages)
        size = self.sized(new) + (_OWN_ID if worded(id, "id=") else 0)
        with self._lock:
            kept = self._used(key)
            if kept is not None and (id in kept.ids or not new):
                return kept.version
            if not new:
                return 0
            kept = self._grown(key, kept, size)
            if id:
                kept.ids.add(id)
            kept.messages = (*kept.messages, *new)
            self._messages += len(new)
            return self._changed(kept)

    def replace(self, key: str, messages: Iterable[Message], version: int) -> int:
        """Put *messages* in place of all, if it still is of *version*; the new version."""
        new = said(messages)
        with self._lock:
            kept = self._used(key)
            found = 0 if kept is None else kept.version
            if found != version:
                raise conflict(key, version, found)
            old = () if kept is None else kept.messages
            kept = self._grown(key, kept, self.sized(new) - self.sized(old))
            kept.messages = new
            self._messages += len(new) - len(old)
            return self._changed(kept)

    def forget(self, key: str) -> None:
        """Keep nothing under *key*; who has its turn or waits for it still does."""
        with self._lock:
            if (kept := self._kept.pop(checked(key), None)) is not None:
                self._without(kept)

    def noted(self, key: str, name: str) -> Note:
        """The note of that *name*."""
        with self._lock:
            kept = self._used(key)
            name = worded(name, "the name of a note")
            return Note() if kept is None or name not in kept.notes else kept.notes[name][0]

    def note(self, key: str, name: str, value: Any, version: int | None = None) -> int:
        """Put *value* in place of the note of *version* (`None`: of any); the new version."""
        frozen_value = freeze(value)
        size = _size(worded(name, "the name of a note")) + _size(frozen_value)
        with self._lock:
            kept = self._used(key)
            old, old_size = (Note(), 0) if kept is None else kept.notes.get(name, (Note(), 0))
            if version is not None and version != old.version:
                raise conflict(key, version, old.version, name)
            kept = self._grown(key, kept, size - old_size)
            self._notes += name not in kept.notes
            self._changes += 1
            kept.notes[name] = Note(frozen_value, self._changes), size
            return self._changes

    def enter(self, key: str, id: str, seconds: float) -> float:  # noqa: A002  # as Memory says
        """Take the turn of *key*: 0.0, or the seconds after which to ask again."""
        with self._lock:
            return self._turns.enter(checked(key), id, seconds, now=self._clock())

    def leave(self, key: str, id: str) -> None:  # noqa: A002  # as Memory says
        """Give the turn back, or stop waiting for it."""
        with self._lock:
            self._turns.leave(key, id)

    # -- what is kept --

    def _used(self, key: str) -> _Kept | None:
        """What is kept under *key*, which is used now; nothing, where its time is over."""
        now = self._clock()
        if now >= self._next_cleanup:
            self._clean(now)
        kept = self._kept.get(checked(key))
        if kept is None:
            return None
        if kept.used + self.ttl <= now:
            self._expire(key)
            return None
        kept.used = now
        self._kept.move_to_end(key)
        return kept

    def _grown(self, key: str, kept: _Kept | None, size: int) -> _Kept:
        """What is kept under *key*, *size* bytes larger than it was; what was used longest ago gives way to it."""
        whole = size + (_EACH + _size(key) if kept is None else kept.bytes)
        if whole > self.max_bytes:
            raise too_large(key, whole, self.max_bytes)
        if kept is None:
            kept = self._kept[key] = _Kept()
            kept.used = self._clock()
        self._bytes += whole - kept.bytes
        kept.bytes = whole
        while self._bytes > self.max_bytes or len(self._kept) > self.max_conversations:
            _, oldest = self._kept.popitem(last=False)
            self._without(oldest)
            self._dropped += 1
        return kept

    def _room(self, taken: int) -> int | None:
        """How many bytes may be added where so many are *taken*."""
        return None if self.max_bytes == _FOREVER else max(0, int(self.max_bytes) - taken)

    def _changed(self, kept: _Kept) -> int:
        """Count on: no two states of a conversation have one version, not even one that was forgotten in between."""
        self._changes += 1
        kept.version = self._changes
        return kept.version

    def _clean(self, now: float) -> None:
        """Let go of some whose time is over; they stand first, for every use renews it."""
        for _ in range(_AT_ONCE):
            first = next(iter(self._kept.items()), None)
            if first is None or first[1].used + self.ttl > now:
                self._next_cleanup = now + self.cleanup_interval
                return
            self._expire(first[0])

    def _expire(self, key: str) -> None:
        self._without(self._kept.pop(key))
        self._expired += 1

    def _without(self, kept: _Kept) -> None:
        self._bytes -= kept.bytes
        self._messages -= len(kept.messages)
        self._notes -= len(kept.notes)


def in_memory(
    *,
    max_conversations: int | None = None,
    max_bytes: float | None = None,
    ttl: float | None = None,
    cleanup_interval: float | None = None,
) -> Memory:
    """Conversations in this process, for as long as it lives; threads, tasks and event loops may share it.

    A conversation is let go *ttl* seconds after it was last used. What was used longest ago gives way when there are
    more than *max_conversations*, or more than *max_bytes* (estimated; by default `ARSHAI_MAX_MEMORY_MB`, or 1,024
    megabytes). Every *cleanup_interval* seconds (by default `ARSHAI_CLEANUP_INTERVAL`, or 300), whoever comes lets go
    of what nobody has used in its time. Infinity sets no limit. `memory.backend.held` tells how much there is.

    >>> from arshai_kit.records import user
    >>> memory = in_memory(ttl=3600)
    >>> memory.append("user-7", [user("Hello")])
    1
    >>> memory.load("user-7").messages[0].text, memory.load("nobody").messages
    ('Hello', ())
    """
    limits: dict[str, Any] = {"max_conversations": max_conversations, "max_bytes": max_bytes, "ttl": ttl}
    store = InProcess(**limits, cleanup_interval=cleanup_interval)
    functions = (store.load, store.append, store.replace, store.forget, store.noted, store.note)
    return Memory(*functions, store.enter, store.leave, name="in_memory", in_memory=True, backend=store)


# What is given


_CLEANUP: Final = "ARSHAI_CLEANUP_INTERVAL"


def _number(name: str, default: float) -> float:
    """The number above zero that the environment gives for *name*."""
    text = os.environ.get(name, "").strip()
    try:
        value = float(text or default)
    except ValueError:
        value = -1.0
    if not value > 0:
        raise Misuse(f"{name} is {text!r}; it must be a number above zero")
    return value


def _limit(name: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    if type(value) not in (int, float) or not value > 0:
        raise Misuse(f"{name}= is a number above zero, infinity for no limit, not {value!r}")
    return value


def _size(value: Any) -> int:
    """About how many bytes *value*, a record or JSON, takes."""
    match value:
        case str() | bytes():
            return sys.getsizeof(value)
        case dict():
            return sys.getsizeof(value) + sum([_size(key) + _size(each) for key, each in value.items()])
        case tuple():
            return sys.getsizeof(value) + sum(map(_size, value))
        case Record():
            return sys.getsizeof(value) + sum([_size(getattr(value, name)) for name in _fields(type(value))])
    return 32


def _fields(kind: type) -> list[str]:
    return [spot.name for spot in kind.__attrs_attrs__]  # type: ignore[attr-defined]  # every record has them


def _again(*limits: Any) -> InProcess:
    names = ("max_conversations", "max_bytes", "ttl", "cleanup_interval")
    return InProcess(**dict(zip(names, limits, strict=True)))

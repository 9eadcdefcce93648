"""What places where conversations are kept have in common: what they refuse, and how they outlive a fork."""

from __future__ import annotations

import os
from threading import local
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakValueDictionary

from arshai_kit.errors import Conflict, TooLarge

if TYPE_CHECKING:
    from threading import RLock

__all__ = ["conflict", "free_in_forks", "too_large"]


def conflict(key: str, expected: int, found: int, note: str = "") -> Conflict:
    """The error for something that is not of the version that it was *expected* to be."""
    what = f"the note {note!r:.80} of {key!r:.80}" if note else f"the conversation {key!r:.80}"
    why = f"{what} is of version {found} by now, not {expected}: load it again, and replace that"
    return Conflict(why, version=found)


def too_large(key: str, size: int, limit: float) -> TooLarge:
    """The error for a conversation of more bytes than are kept."""
    why = f"with this, the conversation {key!r:.80} would take {size:,} bytes, and at most {limit:,.0f} are kept"
    return TooLarge(f"{why}: raise max_bytes=, or replace what was said by less", size=size, limit=int(limit))


class Locked(Protocol):
    """Whatever has a lock, under which alone it calls what has locks of its own, such as SQLite."""

    _lock: RLock

    def lock_anew(self) -> None:
        """Be that of a forked child: with a lock that nobody holds, and without what the parent's threads were at."""
        ...


_LONGEST: Final = 30.0
"""A fork waits so many seconds for who is at it; who takes longer waits for somebody, and holds nothing meanwhile."""


class _Forks(local):
    """What the thread that forks holds meanwhile."""

    def __init__(self) -> None:
        self.held: list[RLock] = []

    def before(self) -> None:
        """Wait until no other thread is in the midst of something: its locks would never be given back in the child."""
        until = monotonic() + _LONGEST
        for store in list(_living.values()):
            lock = store._lock  # noqa: SLF001  # which it shows to nobody else
            if lock.acquire(timeout=max(0.0, until - monotonic())):
                self.held.append(lock)

    def in_parent(self) -> None:
        """Let the others go on."""
        while self.held:
            self.held.pop().release()

    def in_child(self) -> None:
        """Have locks that nobody holds."""
        self.held.clear()
        for store in list(_living.values()):
            store.lock_anew()


_living: Final[WeakValueDictionary[int, Any]] = WeakValueDictionary()
"""By their ids, for some are equal."""
_forks: Final = _Forks()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forks.before, after_in_parent=_forks.in_parent, after_in_child=_forks.in_child)


def free_in_forks(store: Locked) -> None:
    """Fork when no thread is at *store*, and have it told that it is in a forked child: other threads are not there."""
    _living[id(store)] = store

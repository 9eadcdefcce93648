"""A forked child shares no lock with its parent, and none of the parent's calls is under way there."""

from __future__ import annotations

import os
from threading import local
from time import monotonic
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

__all__ = ["Forkable", "free_in_forks", "wait_in_forks"]


class Forkable(Protocol):
    """A state that threads share; in `_lock` it has the lock under which it does all that it does."""

    def forked(self) -> None:
        """Be that of a forked child: with a lock that nobody holds, and without the calls of the parent's threads."""
        ...


_LONGEST: Final = 30.0
"""A fork waits so many seconds for who is at it; who takes longer waits for somebody, and holds nothing meanwhile."""

_living: Final[WeakValueDictionary[int, Any]] = WeakValueDictionary()
"""By their ids, for some are equal; what is gone is not here, so that nobody has to take it out."""
_awaited: Final[WeakValueDictionary[int, Any]] = WeakValueDictionary()
"""Those of them that a fork waits for."""


def free_in_forks(state: Forkable) -> None:
    """Have *state* told that it is in a forked child now: who held its lock, or was to give a place back, is not."""
    _living[id(state)] = state


def wait_in_forks(state: Forkable) -> None:
    """The same, and fork when no thread is at *state*: what it calls, such as SQLite, has locks of its own."""
    free_in_forks(state)
    _awaited[id(state)] = state


class _Held(local):
    """The locks that the thread that forks holds meanwhile."""

    def __init__(self) -> None:
        self.locks: list[Any] = []


_held: Final = _Held()


def _before() -> None:
    """Wait until no other thread is in the midst of something: its locks would never be given back in the child."""
    until = monotonic() + _LONGEST
    for state in list(_awaited.values()):
        lock = state._lock  # noqa: SLF001  # which it shows to nobody else
        if lock.acquire(timeout=max(0.0, until - monotonic())):
            _held.locks.append(lock)


def _in_parent() -> None:
    """Let the others go on."""
    while _held.locks:
        _held.locks.pop().release()


def _forked() -> None:
    _held.locks.clear()
    for state in list(_living.values()):
        state.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_forked)

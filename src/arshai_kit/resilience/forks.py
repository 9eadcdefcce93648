"""A forked child shares no lock with its parent, and none of the parent's calls is under way there."""

from __future__ import annotations

import os
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

__all__ = ["Forkable", "free_in_forks"]


class Forkable(Protocol):
    """A state that threads share."""

    def forked(self) -> None:
        """Be that of a forked child: with a lock that nobody holds, and without the calls of the parent's threads."""
        ...


_living: Final[WeakValueDictionary[int, Any]] = WeakValueDictionary()
"""By their ids, for some are equal; what is gone is not here, so that nobody has to take it out."""


def free_in_forks(state: Forkable) -> None:
    """Have *state* told that it is in a forked child now: who held its lock, or was to give a place back, is not."""
    _living[id(state)] = state


def _forked() -> None:
    for state in list(_living.values()):
        state.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

"""What places where conversations are kept have in common: what they refuse, and how they outlive a fork."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import ref

from arshai_kit.errors import Conflict, TooLarge

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
    """Whatever has a lock."""

    def lock_anew(self) -> None:
        """Have a lock that nobody holds."""
        ...


def free_in_forks(store: Locked) -> None:
    """Give *store* a new lock in a forked child: another thread may have held the old one, and is not there."""
    here = ref(store)

    def after() -> None:
        if (found := here()) is not None:
            found.lock_anew()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after)

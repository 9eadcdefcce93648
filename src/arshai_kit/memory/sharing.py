"""What places where conversations are kept have in common: what they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arshai_kit.errors import Conflict, TooLarge
from arshai_kit.memory.encoding import encoded
from arshai_kit.memory.records import Conversation
from arshai_kit.records import Message, Text

__all__ = ["conflict", "fitting", "too_large"]

_ALL_BUT_TEXT = 1000
"""Bytes that a message takes at most besides its text; and so many each letter."""
_LETTER = 6


def conflict(key: str, expected: int, found: int, note: str = "") -> Conflict:
    """The error for something that is not of the version that it was *expected* to be."""
    what = f"the note {note!r:.80} of {key!r:.80}" if note else f"the conversation {key!r:.80}"
    why = f"{what} is of version {found} by now, not {expected}: load it again, and replace that"
    return Conflict(why, version=found)


def too_large(key: str, size: int, limit: float) -> TooLarge:
    """The error for a conversation of more bytes than are kept."""
    why = f"with this, the conversation {key!r:.80} would take {size:,} bytes, and at most {limit:,.0f} are kept"
    return TooLarge(f"{why}: raise max_bytes=, or replace what was said by less", size=size, limit=int(limit))


def fitting(said: Conversation, new: Sequence[Message], key: str, backend: Any) -> None:
    """Refuse what is *new* where it alone is too large to be kept behind what was *said*.

    >>> from arshai_kit.records import user
    >>> fitting(Conversation(room=10), [user("Hello")], "ann", None)
    Traceback (most recent call last):
        ...
    arshai_kit.errors.TooLarge: with this, the conversation 'ann' would take 34 bytes, and at most 10 are kept...
    """
    if said.room is None or sum(map(_at_most, new)) <= said.room:
        return
    sized = getattr(backend, "sized", None)
    size = len(encoded(new)) if sized is None else sized(new)
    if size > said.room:
        limit = getattr(backend, "max_bytes", said.room)
        raise too_large(key, int(limit) - said.room + size, limit)


def _at_most(message: Message) -> float:
    """A number of bytes that *message* takes no more than."""
    plain = not message.name and all(type(part) is Text and part.state is None for part in message.parts)
    return _ALL_BUT_TEXT * len(message.parts) + _LETTER * len(message.text) if plain else float("inf")

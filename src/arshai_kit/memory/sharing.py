"""What places where conversations are kept have in common: what they refuse."""

from __future__ import annotations

from arshai_kit.errors import Conflict, TooLarge

__all__ = ["conflict", "too_large"]


def conflict(key: str, expected: int, found: int, note: str = "") -> Conflict:
    """The error for something that is not of the version that it was *expected* to be."""
    what = f"the note {note!r:.80} of {key!r:.80}" if note else f"the conversation {key!r:.80}"
    why = f"{what} is of version {found} by now, not {expected}: load it again, and replace that"
    return Conflict(why, version=found)


def too_large(key: str, size: int, limit: float) -> TooLarge:
    """The error for a conversation of more bytes than are kept."""
    why = f"with this, the conversation {key!r:.80} would take {size:,} bytes, and at most {limit:,.0f} are kept"
    return TooLarge(f"{why}: raise max_bytes=, or replace what was said by less", size=size, limit=int(limit))

"""What is made of a conversation is kept as a note, made by one at a time, and never comes back once it is forgotten.

Whoever is about to make something says so in the note first, by a mark of its own, then sees that the conversation is
still there, and writes only while that mark stands: `forget` takes the mark away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from attrs import frozen

from arshai_kit._record import Record
from arshai_kit.agents.joining import hushed
from arshai_kit.effects import Emit, Now, Plan, Random, Spawn
from arshai_kit.errors import Conflict, ForeignFormat, Misuse
from arshai_kit.memory.records import Note
from arshai_kit.memory.turns import digest
from arshai_kit.memory.views import Recalled
from arshai_kit.records import Notice

__all__ = ["Change", "Kept", "Update", "derive", "kept", "updated"]

FORMAT: Final = 1
"""The format of these notes: only what an older reader would misread makes a new one."""
_PATIENCE: Final = 900.0
"""For how many seconds a mark stands: longer than a model may take. Whoever left one behind has died."""
_TRIES: Final = 100

Kept: TypeAlias = Mapping[str, Any]
Change: TypeAlias = Callable[[Kept], Kept]
"""What a note is to hold, of what it holds."""


def kept(recalled: Recalled, key: str, name: str) -> Plan[tuple[Kept, int]]:
    """What the note *name* of *key* holds, nothing at first, and its version.

    A note of a later format is refused, and left as it is.
    """
    memory = recalled.memory
    if getattr(memory, "noted", None) is None or memory.note is None:
        raise Misuse("this view keeps notes, and there is no memory for them: give it to remembering(…, view=…)")
    note: Note = yield from memory.asked(memory.noted, key, name)
    value = note.value
    if value is None:
        return {}, note.version
    if not isinstance(value, Mapping) or value.get("v") != FORMAT:
        raise ForeignFormat(
            f"the note {name!r} of {key!r} is of another format than {FORMAT}, the one known here: upgrade arshai_kit, "
            f"or forget it by memory.note({key!r}, {name!r}, None, None)"
        )
    return value, note.version


def derive(recalled: Recalled, key: str, name: str, make: Callable[[], Plan[Change]]) -> Plan[bool]:
    """Change the note *name* of *key* by what *make* gives; whether it was done.

    It is not while somebody else does so for this conversation, nor once the conversation or the note is gone.
    """
    mark = yield from _claimed(recalled, key, name)
    return bool(mark) and (yield from _made(recalled, key, name, mark, make))


def _made(recalled: Recalled, key: str, name: str, mark: str, make: Callable[[], Plan[Change]]) -> Plan[bool]:
    """The same, by who put *mark* into the note."""
    value, _ = yield from kept(recalled, key, name)
    if value.get("busy", {}).get(recalled.key, ("",))[0] != mark:  # it was forgotten before we came to it
        return False
    if not (yield from _is_there(recalled)):
        yield from _settled(recalled, key, name, mark, _same)
        return False
    try:
        change = yield from hushed(make())  # its words are no part of the answer
    except Exception:
        yield from _settled(recalled, key, name, mark, _same)
        raise
    return (yield from _settled(recalled, key, name, mark, change))


def _same(value: Kept) -> Kept:
    return value


def _claimed(recalled: Recalled, key: str, name: str, found: tuple[Kept, int] | None = None) -> Plan[str]:
    """Put a mark into the note, which was *found* so; empty when another one stands there."""
    now, mark = (yield from Now()), str((yield from Random()))
    for _ in range(_TRIES):
        value, version = found or (yield from kept(recalled, key, name))
        found = None
        busy = value.get("busy", {})
        if recalled.key in busy and abs(busy[recalled.key][1] - now) < _PATIENCE:
            return ""
        marked = {**value, "v": FORMAT, "busy": {**busy, recalled.key: (mark, now)}}
        if (yield from _written(recalled, key, name, marked, version)):
            return mark
    return ""


def _settled(recalled: Recalled, key: str, name: str, mark: str, change: Change) -> Plan[bool]:
    """Take *mark* out of the note and make *change*, if it still stands there."""
    for _ in range(_TRIES):
        value, version = yield from kept(recalled, key, name)
        busy = dict(value.get("busy", {}))
        if busy.pop(recalled.key, ("",))[0] != mark:
            return False
        changed = change({name: each for name, each in value.items() if name != "busy"})
        whole = {**changed, "v": FORMAT, **({"busy": busy} if busy else {})}
        left = whole if whole.keys() != {"v"} else None
        if (yield from _written(recalled, key, name, left, version)):
            return True
    return False


def _written(recalled: Recalled, key: str, name: str, value: Kept | None, version: int) -> Plan[bool]:
    """Write the note, unless it is no longer of *version*."""
    try:
        yield from recalled.memory.asked(recalled.memory.note, key, name, value, version)
    except Conflict:
        return False
    return True


def _is_there(recalled: Recalled) -> Plan[bool]:
    """Whether the conversation still is what was recalled, and perhaps more."""
    now = yield from recalled.memory.asked(recalled.memory.load, recalled.key)
    return digest(now.messages[: len(recalled.whole)]) == digest(recalled.whole)


@frozen(eq=False, repr=False)
class Update(Record):
    """What is to become of the note *name* of *key*, which was *found* so: what *make* gives."""

    key: str
    name: str
    found: tuple[Kept, int]
    make: Callable[[], Plan[Change]]


def updated(recalled: Recalled, update: Update, name: str, kind: str, *, wait: bool) -> Plan[bool]:
    """Make the *update*, in the background as *name*, or here if we *wait*; whether it has been done by now.

    The mark is put into the note here in any case: what was forgotten before the background comes to it stays
    forgotten. A failure is told as a `Notice` of that *kind*: the conversation goes on without.
    """

    def failed(error: Exception) -> Notice:
        return Notice(kind, update.key, f"{type(error).__name__}: {error}")

    try:
        mark = yield from _claimed(recalled, update.key, update.name, update.found)
        make = partial(_made, recalled, update.key, update.name, mark, update.make)
        if mark and wait:
            return (yield from make())
    except Exception as error:  # noqa: BLE001  # whatever it is
        yield from Emit((failed(error),))
        return False
    if mark:
        yield from Spawn(name, make, failed)
    return False

"""The tables of a memory's file, and how an older file becomes one of today's.

A file says who made it (`application_id`) and of which version it is (`user_version`). Each version is one step from
the one before, and a new file takes them all. A file of somebody else, or of a version to come, is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from arshai_kit.resilience.files import looked_at, version_of, write_ahead

if TYPE_CHECKING:
    import sqlite3

__all__ = ["OURS", "STEPS", "prepared"]

OURS: Final = 0x41524B4D
"""`application_id` of our files: the letters ARKM."""

_CONVERSATIONS: Final = """
create table counter (value integer not null);
insert into counter values (0);
create table conversations (
    conversation integer primary key, key blob not null unique, version integer not null, bytes integer not null);
create table records (
    conversation integer not null, place integer not null, record blob not null,
    primary key (conversation, place)) without rowid;
create table ids (conversation integer not null, id blob not null, primary key (conversation, id)) without rowid;
create table notes (
    conversation integer not null, name blob not null, version integer not null, record blob not null,
    primary key (conversation, name)) without rowid
"""
_TURNS: Final = """
create table turns (
    key blob not null, id blob not null, place integer not null, until real not null, span real not null,
    held integer not null, primary key (key, id)) without rowid
"""
STEPS: Final = (_CONVERSATIONS, _TURNS)
"""What makes each version of the one before."""


def prepared(path: str, patience: float, steps: tuple[str, ...] = STEPS) -> sqlite3.Connection:
    """The file at *path*, opened, made or brought up to date."""
    import sqlite3

    file = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        with looked_at(file):
            version = _version(file, path, len(steps))
        write_ahead(file, patience)
        file.execute("pragma synchronous = full")
        file.execute("pragma secure_delete = on")  # what is forgotten is overwritten
        if version < len(steps):
            _update(file, path, steps)
    except BaseException:
        file.close()
        raise
    return file


def _version(file: sqlite3.Connection, path: str, known: int) -> int:
    """The version of *file*, 0 for a new one; nothing has been written by then."""
    return version_of(file, path, owner=OURS, known=known, given="sqlite_memory")


def _update(file: sqlite3.Connection, path: str, steps: tuple[str, ...]) -> None:
    """Take the steps that *file* has not taken, all or none; another process may have done so by now."""
    file.execute("begin immediate")
    try:
        for step in steps[_version(file, path, len(steps)) :]:
            for statement in step.split(";"):
                file.execute(statement)
        file.execute(f"pragma application_id = {OURS}")
        file.execute(f"pragma user_version = {len(steps)}")
        file.execute("commit")
    finally:
        if file.in_transaction:
            file.execute("rollback")

"""Files of SQLite that processes share: whose they are, seen as of one moment, and a log that keeps nobody waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from arshai_kit.errors import ForeignFormat

if TYPE_CHECKING:
    import sqlite3

__all__ = ["looked_at", "version_of", "write_ahead"]

_PAUSE: Final = 0.01


@contextmanager
def looked_at(file: sqlite3.Connection) -> Iterator[None]:
    """Whatever is read in this block is as of one moment: another process may be making *file*."""
    file.execute("begin")
    try:
        yield
    finally:
        file.execute("rollback")


def version_of(file: sqlite3.Connection, path: str, *, owner: int, known: int, given: str) -> int:
    """The version of *file*, 0 for a new one; it is refused if it is not of *owner*, or of a version above *known*.

    *given* says who was given the *path*.
    """
    (made_by,) = file.execute("pragma application_id").fetchone()
    (version,) = file.execute("pragma user_version").fetchone()
    (tables,) = file.execute("select count(*) from sqlite_master").fetchone()
    if made_by != owner and (made_by or version or tables):
        raise ForeignFormat(f"{path} belongs to another program: give {given} a path of its own")
    if version > known:
        why = f"{path} is of format {version}, and format {known} is known here"
        raise ForeignFormat(f"{why}: upgrade arshai_kit to use it; it is left as it is")
    return int(version)


def write_ahead(file: sqlite3.Connection, patience: float) -> None:
    """Have readers and a writer not wait for each other; two who set this at once get in each other's way."""
    import sqlite3

    until = time.monotonic() + patience
    while file.execute("pragma journal_mode").fetchone()[0] != "wal":
        try:
            file.execute("pragma journal_mode = wal").fetchall()
        except sqlite3.OperationalError:
            if time.monotonic() >= until:
                raise
            time.sleep(_PAUSE)

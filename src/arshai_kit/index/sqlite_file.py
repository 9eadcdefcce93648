"""A file of SQLite that threads, forks and processes share: a change is in it whole or not at all, errors are ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar
from weakref import finalize

from arshai_kit.errors import BadRecord, ForeignFormat, Misuse, StoreFull, StoreRefused, StoreUnreachable, TooLarge
from arshai_kit.resilience.files import write_ahead
from arshai_kit.resilience.forks import wait_in_forks

if TYPE_CHECKING:
    import sqlite3

__all__ = ["SqliteFile", "absolute"]

T = TypeVar("T")

_BUSY: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
_ANY_TEXT: Final = partial(str, encoding="utf-8", errors="surrogatepass")
"""Reads half characters too, and takes its time."""


class SqliteFile:
    """One connection to the file at *path*, made by *prepare* when it is first needed."""

    def __init__(
        self,
        path: str,
        prepare: Callable[[sqlite3.Connection], None],
        *,
        patience: float,
        synchronous: Literal["full", "normal"],
    ) -> None:
        import sqlite3  # noqa: F401  # here, so that no fork finds a thread in the midst of it

        self.path, self.patience, self.synchronous = path, patience, synchronous
        self._prepare = prepare
        self._opened: sqlite3.Connection | None = None
        self._inherited: list[sqlite3.Connection] = []
        self._closing: Any = None
        self.forked()
        wait_in_forks(self)

    def forked(self) -> None:
        """Have a lock that nobody holds, and no connection: one that a fork inherits is neither used nor closed."""
        self._lock = RLock()
        if self._opened is not None:
            self._closing.detach()
            self._inherited.append(self._opened)
            self._opened = None

    def read(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """What *ask* finds, all of it as it is at one moment."""
        return self._within("begin", ask)

    def change(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """What *change* gives, all of which is in the file then, or none of it."""
        return self._within("begin immediate", change)

    def close(self) -> None:
        """Close the file; it is opened again when it is needed again."""
        with self._lock:
            if self._opened is not None:
                self._closing()
                self._opened = None

    def _within(self, begin: str, ask: Callable[[sqlite3.Connection], T]) -> T:
        import sqlite3

        with self._lock:
            try:
                return self._whole(begin, ask)
            except sqlite3.Error as error:
                if not _is_undecoded(error) or self._opened is None or self._opened.text_factory is not str:
                    self._raised(error)
                self._opened.text_factory = _ANY_TEXT
                return self._within(begin, ask)  # slower from now on, for some text has half a character
            except UnicodeError as error:
                raise BadRecord(f"{self.path} is damaged: restore it from a copy, or ingest anew") from error

    def _whole(self, begin: str, ask: Callable[[sqlite3.Connection], T]) -> T:
        file = self._connection()
        file.execute(begin)
        try:
            found = ask(file)
            file.execute("commit")
        finally:
            if file.in_transaction:
                file.execute("rollback")
        return found

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = self._made()
            self._closing = finalize(self, self._opened.close)
        return self._opened

    def _made(self) -> sqlite3.Connection:
        import sqlite3

        file = sqlite3.connect(self.path, timeout=self.patience, isolation_level=None, check_same_thread=False)
        try:
            file.text_factory = _ANY_TEXT
            file.execute("select count(*) from sqlite_master").fetchone()  # whether it is a file of SQLite at all
            write_ahead(file, self.patience)
            file.execute(f"pragma synchronous = {self.synchronous}")
            self._prepare(file)
            file.text_factory = str
        except BaseException:
            file.close()
            raise
        return file

    def _raised(self, error: sqlite3.Error) -> NoReturn:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_NOTADB"):
            raise ForeignFormat(f"{self.path} is no file of SQLite: give the index a path of its own") from error
        if name.startswith("SQLITE_CORRUPT"):
            raise BadRecord(f"{self.path} is damaged: restore it from a copy, or ingest anew") from error
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")):
            why = f"there is no room for {self.path}: the disk is full, or a limit on its size is reached ({error})"
            raise StoreFull(f"{why}; nothing was written") from error
        if name.startswith("SQLITE_TOOBIG"):
            raise TooLarge(
                "a text, a vector or a field has more bytes than SQLite takes; nothing was written"
            ) from error
        if name.startswith(_BUSY):
            why = f"{self.path} has been locked by somebody else for {self.patience:g} s"
            raise StoreUnreachable(f"{why}; nothing was written") from error
        if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN")):
            self._refused(error)
        raise StoreUnreachable(f"{self.path} cannot be used, nothing was written: {error}") from error

    def _refused(self, error: sqlite3.Error) -> NoReturn:
        """Say why the file cannot be opened, or not be written."""
        folder = os.path.dirname(self.path)  # noqa: PTH120
        if os.path.isdir(self.path):  # noqa: PTH112
            why = "it is a folder: give the path of a file in it"
        elif not os.path.isdir(folder):  # noqa: PTH112
            why = f"there is no folder {folder}: make it first"
        else:
            why = f"the file, and the folder in which SQLite keeps its log, have to be writable ({error})"
        raise StoreRefused(f"{self.path} cannot be used: {why}") from error


def _is_undecoded(error: sqlite3.Error) -> bool:
    return "decode to UTF-8" in str(error)


def absolute(path: str | os.PathLike[str]) -> str:
    """*path* from the root, for it is opened later, wherever the process is then."""
    found = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(found, str) or not found or found == ":memory:" or found.startswith("file:") or "\0" in found:
        raise Misuse(f"sqlite_index takes the path of a file, not {found!r}; in_memory_index() needs none")
    return os.path.abspath(found)  # noqa: PTH100  # a path may be any PathLike

"""Memory in a file: what has been acknowledged is in it, whoever is killed; processes and threads share it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from threading import RLock
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar
from weakref import finalize

from arshai_kit._json import freeze
from arshai_kit.errors import BadRecord, ForeignFormat, Misuse, StoreFull, StoreUnreachable
from arshai_kit.memory.encoding import checked, encoded, note_decoded, note_encoded, said, worded
from arshai_kit.memory.leases import GRACE, pause
from arshai_kit.memory.recent import Recent
from arshai_kit.memory.records import Conversation, Memory, Note
from arshai_kit.memory.sharing import conflict, too_large
from arshai_kit.memory.sqlite_schema import prepared
from arshai_kit.records import Message
from arshai_kit.resilience.forks import wait_in_forks

if TYPE_CHECKING:
    import sqlite3

__all__ = ["SqliteStore", "sqlite_memory"]

T = TypeVar("T")

_LARGEST: Final = 32 * 1024 * 1024
_BUSY: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
_DAMAGED: Final = ("SQLITE_CORRUPT",)
_FOREIGN: Final = ("SQLITE_NOTADB",)
_FULL: Final = ("SQLITE_FULL",)

_LOAD: Final = """
select version, bytes, record from conversations left join records using (conversation) where key = ? order by place
"""
_FIND: Final = "select conversation, version, bytes from conversations where key = ?"
_NOTED: Final = (
    "select notes.version, record from notes join conversations using (conversation) where key = ? and name = ?"
)
_MARK: Final = b""
"""No key, so nobody's turn: its row says that something was forgotten of which a copy may be left, since when."""
_AT_ONCE: Final = 100
_PAUSE: Final = 0.02
_NEVER: Final = 9e99
_STAND: Final = "insert or replace into turns (key, id, place, until, span, held) values (?, ?, ?, ?, ?, ?)"


class SqliteStore:
    """What `sqlite_memory` asks. It is opened when it is first asked; a pickle holds the path and the limits."""

    renews: Final = True  # who has a turn may take it anew

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = _LARGEST,
        patience: float = 30.0,
        synchronous: Literal["full", "normal"] = "full",
    ) -> None:
        import sqlite3  # noqa: F401  # here, so that no fork finds a thread in the midst of it

        self.path, self.max_bytes, self.patience, self.synchronous = _path(path), max_bytes, patience, synchronous
        if not (type(max_bytes) is int and max_bytes > 0):
            raise Misuse(f"max_bytes= is a whole number above zero, not {max_bytes!r}")
        if isinstance(patience, bool) or not isinstance(patience, int | float) or not 0 <= patience < 1e6:
            raise Misuse(f"patience= is a number of seconds, not {patience!r}")
        if synchronous not in ("full", "normal"):
            raise Misuse(f"synchronous= is 'full' or 'normal', not {synchronous!r}")
        self._opened: sqlite3.Connection | None = None
        self._inherited: list[sqlite3.Connection] = []
        self._closing: Any = None
        self._syncs = True
        self.recent = Recent()
        self.forked()
        wait_in_forks(self)

    def forked(self) -> None:
        """Have a lock that nobody holds, and no connection: one that a fork inherits is neither used nor closed."""
        self._lock = RLock()
        if self._opened is not None:
            self._closing.detach()
            self._inherited.append(self._opened)
            self._opened = None

    def __repr__(self) -> str:
        return f"SqliteStore({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SqliteStore) and os.path.realpath(self.path) == os.path.realpath(other.path)

    def __hash__(self) -> int:
        return hash(SqliteStore)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.path, self.max_bytes, self.patience, self.synchronous)

    # -- the functions of a memory --

    def load(self, key: str) -> Conversation:
        """All that has been said."""
        name = _bytes(key)
        rows = self._asked(lambda file: file.execute(_LOAD, (name,)).fetchall())
        if not rows:
            self.recent.drop(key)
            return Conversation(room=self.max_bytes)
        version, size, _ = rows[0]
        records = [_written(record) for *_, record in rows if record is not None]
        return Conversation(self.recent.joined(records, key), version, room=max(0, self.max_bytes - size))

    def append(self, key: str, messages: Iterable[Message], id: str = "") -> int:  # noqa: A002  # as Memory says
        """Add all of *messages*, once for each *id*; the version."""
        new, name, own = said(messages), _bytes(key), _text(id, "id=")
        record = encoded(new)

        def change(file: sqlite3.Connection) -> int:
            conversation, version, size = _found(file, name)
            known = "select 1 from ids where conversation = ? and id = ?"
            if not new or (own and conversation and file.execute(known, (conversation, own)).fetchone()):
                return version
            conversation, version = self._grown(file, key, size + len(record) + len(own))
            file.execute("insert into records values (?, ?, ?)", (conversation, version, record))
            if own:
                file.execute("insert into ids values (?, ?)", (conversation, own))
            return version

        return self._changed(change)

    def replace(self, key: str, messages: Iterable[Message], version: int) -> int:
        """Put *messages* in place of all, if it still is of *version*; the new version."""
        record, name = encoded(messages), _bytes(key)

        def change(file: sqlite3.Connection) -> int:
            conversation, found, size = _found(file, name)
            if found != version:
                raise conflict(key, version, found)
            held = "select coalesce(sum(length(record)), 0) from records where conversation = ?"
            gone = file.execute(held, (conversation,)).fetchone()[0]
            conversation, version_now = self._grown(file, key, size + len(record) - gone)
            file.execute("delete from records where conversation = ?", (conversation,))
            file.execute("insert into records values (?, ?, ?)", (conversation, version_now, record))
            return version_now

        return self._changed(change)

    def forget(self, key: str) -> None:
        """Keep nothing under *key*, nor in what is left of it in the file; who has its turn still does."""
        self.forget_all([key])

    def forget_all(self, keys: Iterable[str]) -> None:
        """`forget` each of *keys*; the file is written anew once for all of them."""
        if isinstance(keys, str):
            raise Misuse("forget_all takes keys, not one of them: forget does")
        names = {_bytes(key): key for key in keys}
        self._changed(lambda file: _forgotten(file, list(names)))
        for key in names.values():
            self.recent.drop(key)
        if self._asked(_marked):
            self.clean()

    def clean(self) -> None:
        """Leave no byte of what was forgotten or replaced in the file, nor in its log: both are written anew.

        SQLite overwrites what it deletes, and no copy that it left behind when it moved it from page to page.
        """
        mark = self._asked(_marked)
        until = monotonic() + self.patience
        try:
            self._cut(until)
            self._asked(lambda file: file.execute("vacuum"))
            self._cut(until)
        except (StoreFull, StoreUnreachable) as error:
            why = f"it is forgotten, but its file could not be written anew, so a copy may be left there: {error}"
            raise StoreUnreachable(
                f"{why}; memory.backend.clean() tries again, and so does who forgets next"
            ) from error
        done = "delete from turns where key = ? and place = ?"  # unless somebody has forgotten more since
        if mark:
            self._changed(lambda file: file.execute(done, (_MARK, mark)))

    def _cut(self, until: float) -> None:
        """Put the log into the file and leave nothing in it; who reads what was there before is waited for."""

        def cut(file: sqlite3.Connection) -> tuple[int, int, int]:
            file.execute(f"pragma busy_timeout = {_AT_ONCE}")  # whoever writes waits for no longer than that
            try:
                found: tuple[int, int, int] = file.execute("pragma wal_checkpoint(truncate)").fetchone()
            finally:
                file.execute(f"pragma busy_timeout = {int(1000 * self.patience)}")
            return found

        while self._asked(cut)[0]:
            if monotonic() >= until:
                raise StoreUnreachable(f"somebody has been reading or writing {self.path} for {self.patience:g} s")
            sleep(_PAUSE)

    def noted(self, key: str, name: str) -> Note:
        """The note of that *name*."""
        names = _bytes(key), _text(name, "the name of a note")
        rows = self._asked(lambda file: file.execute(_NOTED, names).fetchall())
        return Note(note_decoded(_written(rows[0][1]), key), rows[0][0]) if rows else Note()

    def note(self, key: str, name: str, value: Any, version: int | None = None) -> int:
        """Put *value* in place of the note of *version* (`None`: of any); the new version."""
        record, own, label = note_encoded(freeze(value)), _bytes(key), _text(name, "the name of a note")

        def change(file: sqlite3.Connection) -> int:
            conversation, _, size = _found(file, own)
            known = "select version, length(record) + length(name) from notes where conversation = ? and name = ?"
            found, gone = file.execute(known, (conversation, label)).fetchone() or (0, 0)
            if version is not None and version != found:
                raise conflict(key, version, found, name)
            conversation, now = self._grown(file, key, size + len(record) + len(label) - gone, said=False)
            file.execute("insert or replace into notes values (?, ?, ?, ?)", (conversation, label, now, record))
            return now

        return self._changed(change)

    def enter(self, key: str, id: str, seconds: float) -> float:  # noqa: A002  # as Memory says
        """Take the turn of *key*: 0.0, or the seconds after which to ask again."""
        name, own = _bytes(key), _text(id, "id=")
        look = "select id, place, until, held from turns where key = ? order by held desc, place"
        line = self._asked(lambda file: file.execute(look, (name,)).fetchall())
        now = time()
        for place, (who, _, until, held) in enumerate(line):
            if who == own and not held and line[0][3] and line[0][2] > now and GRACE < 2 * (until - now) < 3 * GRACE:
                return pause(place - 1)  # nothing has changed, so nothing is written
        return self._changed(lambda file: _entered(file, name, own, seconds), durable=False)

    def leave(self, key: str, id: str) -> None:  # noqa: A002  # as Memory says
        """Give the turn back, or stop waiting for it."""
        names = _bytes(key), _text(id, "id=")
        self._changed(lambda file: file.execute("delete from turns where key = ? and id = ?", names), durable=False)

    def begin(self, key: str, id: str, seconds: float) -> tuple[float, Conversation]:  # noqa: A002
        """`enter`, and `load` once it is this one's turn."""
        wait = self.enter(key, id, seconds)
        return wait, Conversation() if wait else self.load(key)

    def end(self, key: str, messages: Iterable[Message], id: str, turn: str) -> int:  # noqa: A002
        """`append`, and `leave` what was entered as *turn*."""
        version = self.append(key, messages, id)
        self.leave(key, turn)
        return version

    def close(self) -> None:
        """Close the file; it is opened again when it is asked again."""
        with self._lock:
            if self._opened is not None:
                self._closing()
                self._opened = None

    # -- the file --

    def _grown(self, file: sqlite3.Connection, key: str, size: int, *, said: bool = True) -> tuple[int, int]:
        """The conversation *key*, of *size* bytes now, and the next version: no other was or will ever be of it."""
        if size > self.max_bytes:
            raise too_large(key, size, self.max_bytes)
        (version,) = file.execute("update counter set value = value + 1 returning value").fetchone()
        upsert = """
            insert into conversations (key, version, bytes) values (?, ?, ?)
            on conflict (key) do update set bytes = excluded.bytes, version = iif(?, excluded.version, version)
            returning conversation
        """
        values = (_bytes(key), version if said else 0, size, said)
        return file.execute(upsert, values).fetchone()[0], version

    def _asked(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        """What *ask* finds in the file."""
        import sqlite3

        with self._lock:
            try:
                return ask(self._connection())
            except sqlite3.Error as error:
                self._raised(error)

    def _changed(self, change: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> T:
        """What *change* gives, all of which is in the file then, or none of it."""

        def whole(file: sqlite3.Connection) -> T:
            self._sync(file, durable and self.synchronous == "full")
            file.execute("begin immediate")
            try:
                found = change(file)
                file.execute("commit")
            finally:
                if file.in_transaction:
                    file.execute("rollback")
            return found

        return self._asked(whole)

    def _sync(self, file: sqlite3.Connection, syncs: bool) -> None:  # noqa: FBT001
        """Have a change wait until the disk has it, or not: whose turn it is need not outlive a power cut."""
        if syncs is not self._syncs:
            file.execute(f"pragma synchronous = {'full' if syncs else 'normal'}")
            self._syncs = syncs

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened, self._syncs = prepared(self.path, self.patience), True
            self._closing = finalize(self, self._opened.close)
        return self._opened

    def _raised(self, error: sqlite3.Error) -> NoReturn:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(_FOREIGN):
            raise ForeignFormat(f"{self.path} is no file of SQLite: give sqlite_memory a path of its own") from error
        if name.startswith(_DAMAGED):
            raise BadRecord(f"{self.path} is damaged: restore it from a copy") from error
        if name.startswith(_FULL):
            raise StoreFull(f"the disk of {self.path} is full: make room on it; nothing was written") from error
        if name.startswith(_BUSY):
            why = f"{self.path} has been locked by somebody else for {self.patience:g} s"
            raise StoreUnreachable(f"{why}; nothing was written") from error
        raise StoreUnreachable(f"{self.path} cannot be used, nothing was written: {error}") from error


def sqlite_memory(
    path: str | os.PathLike[str],
    *,
    max_bytes: int = _LARGEST,
    patience: float = 30.0,
    synchronous: Literal["full", "normal"] = "full",
) -> Memory:
    """Conversations in the SQLite file at *path*, which the threads and processes of one machine share.

    It is made when it is first asked, if it is not there. A conversation takes at most *max_bytes*. Who finds the file
    locked waits for *patience* seconds. With *synchronous* "full", what has been acknowledged outlives a power cut too;
    with "normal", which is faster, it outlives whatever befalls the process. `memory.backend.close()` closes the file.
    """
    store = SqliteStore(path, max_bytes=max_bytes, patience=patience, synchronous=synchronous)
    functions = (store.load, store.append, store.replace, store.forget, store.noted, store.note)
    return Memory(*functions, store.enter, store.leave, store.begin, store.end, name="sqlite", backend=store)


def _found(file: sqlite3.Connection, name: bytes) -> tuple[int, int, int]:
    """The number of the conversation under *name*, its version and its bytes; zeros where there is none."""
    return file.execute(_FIND, (name,)).fetchone() or (0, 0, 0)


def _forgotten(file: sqlite3.Connection, names: list[bytes]) -> None:
    """Delete what is kept under *names*, and note that a copy may be left."""
    gone = 0
    for name in names:
        conversation, _, _ = _found(file, name)
        for table in ("records", "ids", "notes", "conversations"):
            delete = f"delete from {table} where conversation = ?"  # noqa: S608  # ours
            gone += file.execute(delete, (conversation,)).rowcount
        gone += file.execute("delete from turns where key = ? and until <= ?", (name, time())).rowcount
    if gone:
        (version,) = file.execute("update counter set value = value + 1 returning value").fetchone()
        file.execute(_STAND, (_MARK, b"", version, _NEVER, _NEVER, 0))


def _marked(file: sqlite3.Connection) -> int:
    """Since which version something was forgotten of which a copy may be left; 0 where there is none."""
    return int((file.execute("select place from turns where key = ?", (_MARK,)).fetchone() or (0,))[0])


def _written(record: Any) -> bytes:
    """A *record*, also where somebody has put text in its place."""
    return record if type(record) is bytes else str(record).encode("utf-8", "surrogatepass")


def _entered(file: sqlite3.Connection, name: bytes, own: bytes, seconds: float) -> float:
    """Let *own* have the turn, or stand in line; whose time is over, or was set by a clock since put back, has gone."""
    now = time()
    file.execute("delete from turns where until <= ? or until > ? + span", (now, now + 1))  # of all keys, forgotten too
    line = file.execute("select id, place, held from turns where key = ? order by held desc, place", (name,)).fetchall()
    place = next((place for who, place, _ in line if who == own), 1 + max([place for _, place, _ in line], default=0))
    if not line or line[0][0] == own:
        file.execute(_STAND, (name, own, place, now + seconds, seconds, 1))
        return 0.0
    before = [who for who, _, held in line if not held]
    wait = pause(before.index(own) if own in before else len(before))
    file.execute(_STAND, (name, own, place, now + wait + GRACE, wait + GRACE, 0))
    return wait


def _bytes(key: str) -> bytes:
    return checked(key).encode("utf-8", "surrogatepass")


def _text(text: str, what: str) -> bytes:
    return worded(text, what).encode("utf-8", "surrogatepass")


def _path(path: str | os.PathLike[str]) -> str:
    found = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(found, str) or not found or found == ":memory:" or found.startswith("file:"):
        raise Misuse(f"sqlite_memory takes the path of a file, not {path!r}; in_memory() needs none")
    return os.path.abspath(found)  # noqa: PTH100  # it is opened later, wherever the process is then


def _again(path: str, max_bytes: int, patience: float, synchronous: Literal["full", "normal"]) -> SqliteStore:
    return SqliteStore(path, max_bytes=max_bytes, patience=patience, synchronous=synchronous)

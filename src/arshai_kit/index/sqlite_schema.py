"""The tables of an index's file, and how a file of other fields becomes one of today's, or is refused.

A file says who made it (`application_id`), of which version it is (`user_version`), and of which fields. A field that
is new and has a default is added; a file of somebody else, of a version to come, or of fields that the class has not,
is left as it is.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from attrs import NOTHING, frozen

from arshai_kit._json import dumps, loads
from arshai_kit._record import Record
from arshai_kit.errors import BadRecord, ForeignFormat, Misuse
from arshai_kit.index.compiling import from_sql, quoted, to_sql
from arshai_kit.index.fields import Column, columns, default, heard
from arshai_kit.index.words import VERSION, spelled
from arshai_kit.resilience.files import looked_at, version_of

if TYPE_CHECKING:
    import sqlite3

__all__ = ["OURS", "State", "prepared", "state", "told"]

OURS: Final = 0x41524B49
"""`application_id` of our files: the letters ARKI."""

_FORMAT: Final = 1
_TABLES: Final = """
create table state (
    changes integer not null, entries integer not null, vectors integer not null, last integer not null,
    dimensions integer not null, space text not null, words text not null, fields text not null);
create table entries (entry integer primary key, id text not null unique);
create table texts (entry integer primary key, text text not null);
create table vectors (entry integer primary key, vector blob not null);
create virtual table found using fts5(words, tokenize = 'ascii')
"""
_STATE: Final = "select changes, entries, vectors, last, dimensions, space, fields, words from state"


@frozen(eq=False, repr=False)
class State(Record):
    """What a file says of itself: how often it was changed, what there is, and the highest number of an entry ever."""

    changes: int
    entries: int
    vectors: int
    last: int
    dimensions: int
    space: str
    fields: str
    words: str


def state(file: sqlite3.Connection, kind: type) -> State:
    """What *file* says of itself now; its fields may have become others since it was opened."""
    kept = file.execute(_STATE).fetchone()
    if kept is None:
        raise _damaged("the file of the index")
    found = State(*kept)
    if (found.fields, found.words) != (told(kind), spoken(kind)):
        raise ForeignFormat(
            f"the fields of the index were changed by another program to {found.fields} (words of {found.words}): "
            f"start this one anew, with a {kind.__name__} that has them all"
        )
    return found


def _damaged(path: str) -> BadRecord:
    return BadRecord(f"{path} is damaged: restore it from a copy, or ingest anew")


@cache
def spoken(kind: type) -> str:
    """How the words of entries are found: by which version of `words`, and in which fields of *kind*."""
    return f"{VERSION}:{','.join(sorted([each.name for each in columns(kind).values() if each.searched]))}"


@cache
def told(kind: type) -> str:
    """The fields of *kind* that are kept, as text."""
    return dumps({each.name: _kept(each) for each in sorted(columns(kind).values(), key=_name)}).decode()


def _name(column: Column) -> str:
    return column.name


def _kept(column: Column) -> str:
    return f"{column.kind} or None" if column.nullable else column.kind


def prepared(file: sqlite3.Connection, kind: type, path: str) -> None:
    """Make the tables of a new *file*, or bring those of an older one up to date."""
    if _ready(file, kind, path):
        return
    file.execute("begin immediate")
    try:
        if not _made(file, path):
            for statement in _TABLES.split(";"):
                _executed(file, statement)
            file.execute("insert into state values (0, 0, 0, 0, 0, '', ?, '{}')", (spoken(kind),))
            file.execute(f"pragma application_id = {OURS}")
            file.execute(f"pragma user_version = {_FORMAT}")
        _add_fields(file, kind, path)
        _reword(file, kind)
        file.execute("commit")
    finally:
        if file.in_transaction:
            file.execute("rollback")


def _ready(file: sqlite3.Connection, kind: type, path: str) -> bool:
    """Whether *file* is as it has to be; nothing has been written by then."""
    with looked_at(file):
        if not _made(file, path):
            return False
        found = file.execute("select fields, words from state").fetchone()
    if found is None:
        raise _damaged(path)
    return bool(found == (told(kind), spoken(kind)))


def _made(file: sqlite3.Connection, path: str) -> bool:
    """Whether *file* has its tables; one that is not ours is refused."""
    return version_of(file, path, owner=OURS, known=_FORMAT, given="the index") > 0


def _executed(file: sqlite3.Connection, statement: str) -> None:
    import sqlite3

    try:
        file.execute(statement)
    except sqlite3.OperationalError as error:
        if "fts5" not in str(error):
            raise
        raise Misuse(
            "the SQLite of this Python was built without FTS5, which finds words: use a Python that has it, "
            "or in_memory_index()"
        ) from error


def _reword(file: sqlite3.Connection, kind: type) -> None:
    """Find the words of all entries anew, where they were found by another version, or in other fields."""
    (found,) = file.execute("select words from state").fetchone()
    if int(found.partition(":")[0]) > VERSION:
        raise ForeignFormat(f"the words of the index are of version {found}: upgrade arshai_kit to use it")
    if found == spoken(kind):
        return
    names = "".join([f", {quoted(name)}" for name in columns(kind)])
    plain = from_sql(kind)
    file.execute("delete from found")
    for entry, text, *values in file.execute(f"select entry, text{names} from entries join texts using (entry)"):  # noqa: S608
        heards = spelled(heard(kind, plain(values), text)).encode("utf-8", "surrogatepass")
        file.execute("insert into found (rowid, words) values (?, cast(? as text))", (entry, heards))
    file.execute("update state set words = ?, changes = changes + 1", (spoken(kind),))


def _add_fields(file: sqlite3.Connection, kind: type, path: str) -> None:
    """Add the columns that *kind* has beyond those of *file*; all others have to be the same."""
    before: dict[str, str] = loads(file.execute("select fields from state").fetchone()[0])
    now = columns(kind)
    for name, kept in before.items():
        if name not in now or _kept(now[name]) not in (kept, f"{kept} or None"):
            has = f"is {_kept(now[name])} there" if name in now else "is not there"
            raise ForeignFormat(
                f"{path} keeps the field {name!r} as {kept}, which {has} in {kind.__name__}: give it back, "
                "or use another file and ingest anew"
            )
    new = [each for each in now.values() if each.name not in before]
    entries = file.execute("select entries from state").fetchone()[0]
    for each in new:
        _add_field(file, kind, each, path, given=not entries)
    file.execute("update state set fields = ?, changes = changes + 1", (told(kind),))


def _add_field(file: sqlite3.Connection, kind: type, column: Column, path: str, *, given: bool) -> None:
    """Add *column*, whose default all entries have; there are none yet if it is always *given*."""
    name = quoted(column.name)
    file.execute(f"alter table entries add column {name}")
    if not given:
        value: Any = default(kind, column.name)
        if value is NOTHING:
            raise ForeignFormat(
                f"{path} has no field {column.name!r}, and {kind.__name__} has no default for it: give it one, "
                "or use another file and ingest anew"
            )
        mark, parameter = to_sql(value, column.kind)
        file.execute(f"update entries set {name} = {mark}", (parameter,))  # noqa: S608  # quoted
    if column.indexed:
        file.execute(f"create index {quoted('index', column.name)} on entries ({name})")

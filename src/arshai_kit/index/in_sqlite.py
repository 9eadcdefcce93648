"""An index in a file: what has been acknowledged is in it, whoever is killed; processes and threads share it.

An entry is never changed: whoever writes another under its id takes it out and adds one with a higher number.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from arshai_kit._json import FrozenDict
from arshai_kit.errors import BadRecord, Misuse
from arshai_kit.index.compiling import fitted, from_sql, parameter, quoted, sql, to_sql
from arshai_kit.index.cosine import Query
from arshai_kit.index.facets import counted, facets_of
from arshai_kit.index.fields import Plain, columns, heard, made, row
from arshai_kit.index.filters import EVERYTHING, Everything, Filter
from arshai_kit.index.giving import at_most, batch_size, entries, question, refuse_all, space_of
from arshai_kit.index.giving import ids as checked
from arshai_kit.index.in_process import index_of
from arshai_kit.index.records import Entry, Hit, Index, Passage, Statistics
from arshai_kit.index.sqlite_file import SqliteFile, absolute
from arshai_kit.index.sqlite_schema import prepared, state
from arshai_kit.index.sqlite_vectors import SqliteVectors, cut
from arshai_kit.index.words import asked, spelled
from arshai_kit.records.vectors import Vector

if TYPE_CHECKING:
    import sqlite3

__all__ = ["SqliteIndex", "sqlite_index"]

F = TypeVar("F")

_CACHE: Final = 256 * 1024 * 1024


class SqliteIndex:
    """What `sqlite_index` asks. It is opened when it is first asked; a pickle holds the path and the settings."""

    def __init__(
        self,
        path: str,
        fields: type,
        batch: int,
        cache_bytes: int,
        patience: float,
        synchronous: Literal["full", "normal"],
    ) -> None:
        self.path, self.fields, self.batch, self.cache_bytes = path, fields, batch, cache_bytes
        self.patience, self.synchronous = patience, synchronous
        names = [quoted(name) for name in columns(fields)]
        self._columns = "".join([f", {name}" for name in names])
        self._marks = "".join(
            [f", {to_sql('' if each.kind in _TEXT else 0, each.kind)[0]}" for each in columns(fields).values()]
        )
        self._plain = from_sql(fields)
        self._reads, self._writes = (
            SqliteFile(path, self._prepare, patience=patience, synchronous=synchronous) for _ in range(2)
        )
        self._vectors = SqliteVectors(cache_bytes)

    def _prepare(self, file: sqlite3.Connection) -> None:
        prepared(file, self.fields, self.path)

    def __repr__(self) -> str:
        return f"SqliteIndex({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SqliteIndex) and self.fields is other.fields and _real(self) == _real(other)

    def __hash__(self) -> int:
        return hash(SqliteIndex)

    def __reduce__(self) -> tuple[Any, ...]:
        settings = (self.batch, self.cache_bytes, self.patience, self.synchronous)
        return SqliteIndex, (self.path, self.fields, *settings)

    # -- the functions of an index: what changes it --

    def upsert(self, entries_: Iterable[Entry[Any]], space: str = "") -> int:
        """All of them, each in place of what has its id."""
        new = entries(entries_)
        plain = [row(self.fields, each.fields) for each in new.values()]
        rows = [_parameters(each.id, values) for each, values in zip(new.values(), plain, strict=True)]
        heards = [heard(self.fields, values, each.text) for each, values in zip(new.values(), plain, strict=True)]
        found = [_utf8(spelled(each)) for each in heards]
        if new:
            self._writes.change(lambda file: self._upserted(file, list(new.values()), rows, found, space))
        return len(new)

    def _upserted(
        self,
        file: sqlite3.Connection,
        new: list[Entry[Any]],
        rows: list[tuple[Any, ...]],
        found: list[bytes],
        space: str,
    ) -> None:
        was = state(file, self.fields)
        dimensions, space = space_of(new, space, was.dimensions, was.space)
        gone, vectors = self._dropped(file, [each.id for each in new])
        numbers = range(was.last + 1, was.last + 1 + len(new))
        insert = f"insert into entries (entry, id{self._columns}) values (?, cast(? as text){self._marks})"  # noqa: S608
        file.executemany(insert, [(number, *values) for number, values in zip(numbers, rows, strict=True)])
        texts = [(number, _utf8(each.text)) for number, each in zip(numbers, new, strict=True)]
        file.executemany("insert into texts values (?, cast(? as text))", texts)
        file.executemany(
            "insert into found (rowid, words) values (?, cast(? as text))", zip(numbers, found, strict=True)
        )
        given = [
            (number, each.vector.data) for number, each in zip(numbers, new, strict=True) if each.vector is not None
        ]
        file.executemany("insert into vectors values (?, ?)", given)
        left = was.vectors - vectors + len(given)
        _write(file, was.entries - gone + len(new), left, numbers[-1], dimensions if left else 0, space if left else "")

    def _dropped(self, file: sqlite3.Connection, ids: list[str]) -> tuple[int, int]:
        """Delete the entries with these *ids*: how many there were, and how many of them had vectors."""
        numbers: list[tuple[int]] = []
        for some in cut(ids):
            marks = ", ".join(["cast(? as text)"] * len(some))
            numbers += file.execute(f"select entry from entries where id in ({marks})", [_utf8(own) for own in some])  # noqa: S608
        if not numbers:
            return 0, 0
        vectors = file.executemany("delete from vectors where entry = ?", numbers).rowcount
        file.executemany("delete from found where rowid = ?", numbers)
        file.executemany("delete from texts where entry = ?", numbers)
        file.executemany("delete from entries where entry = ?", numbers)
        return len(numbers), vectors

    def delete(self, where: Filter, *, everything: bool = False) -> int:
        """What *where* is true of."""
        where = fitted(where, self.fields)
        refuse_all(where, everything)
        condition, parameters = sql(where, self.fields)

        def change(file: sqlite3.Connection) -> int:
            was = state(file, self.fields)
            those = f"in (select entry from entries where {condition})"  # noqa: S608  # parameters only
            vectors = file.execute(f"delete from vectors where entry {those}", parameters).rowcount  # noqa: S608
            file.execute(f"delete from found where rowid {those}", parameters)  # noqa: S608
            file.execute(f"delete from texts where entry {those}", parameters)  # noqa: S608
            gone = file.execute(f"delete from entries where {condition}", parameters).rowcount  # noqa: S608
            if gone:
                left = was.vectors - vectors
                whose = (was.dimensions, was.space) if left else (0, "")
                _write(file, was.entries - gone, left, was.last, *whose)
            return gone

        return self._writes.change(change)

    # -- what asks it --

    def dense(self, vector: Any, limit: int, where: Filter = EVERYTHING, space: str = "") -> tuple[Hit[Any], ...]:
        """The nearest by cosine."""
        query, limit, where = Query(vector), at_most(limit), fitted(where, self.fields)

        def ask(file: sqlite3.Connection) -> tuple[Hit[Any], ...]:
            now = state(file, self.fields)
            query.checked(now.dimensions, now.space, space)
            if not now.vectors:
                return ()
            try:
                found = self._vectors.nearest(file, now, query, limit, sql(where, self.fields))
            except (ValueError, struct.error) as error:  # a vector of another size than all
                raise BadRecord(f"{self.path} is damaged: restore it from a copy, or ingest anew") from error
            return self._hits(file, "dense", found)

        return self._reads.read(ask)

    def sparse(self, text: str, limit: int, where: Filter = EVERYTHING) -> tuple[Hit[Any], ...]:
        """The best by BM25."""
        limit, where = at_most(limit), fitted(where, self.fields)
        wanted = " OR ".join([f'"{word}"' for word in asked(question(text))])
        condition, parameters = sql(where, self.fields)
        among = "" if isinstance(where, Everything) else f"and {condition}"
        query = (
            "select entry, -bm25(found) as score from found join entries on entry = found.rowid "  # noqa: S608
            f"where found match ? {among} order by score desc, id limit ?"
        )

        def ask(file: sqlite3.Connection) -> tuple[Hit[Any], ...]:
            state(file, self.fields)
            return self._hits(file, "sparse", file.execute(query, (wanted, *parameters, limit)).fetchall())

        return self._reads.read(ask) if wanted else ()

    def get(self, ids: Iterable[str]) -> tuple[Entry[Any], ...]:
        """Those that there are."""
        wanted = checked(ids)

        def ask(file: sqlite3.Connection) -> dict[str, Entry[Any]]:
            state(file, self.fields)
            found: dict[str, Entry[Any]] = {}
            for some in cut(wanted):
                marks = ", ".join(["cast(? as text)"] * len(some))
                values = tuple([_utf8(own) for own in some])
                found.update({each.id: each for each in self._entries(file, f"id in ({marks})", values)})
            return found

        kept = self._reads.read(ask)
        return tuple([kept[own] for own in wanted if own in kept])

    def scan(self, where: Filter = EVERYTHING, after: str = "", limit: int | None = None) -> tuple[Entry[Any], ...]:
        """A page of all, by their ids."""
        limit, where = at_most(self.batch if limit is None else limit), fitted(where, self.fields)
        condition, parameters = sql(where, self.fields)
        page = f"id > cast(? as text) and {condition} order by id limit ?"

        def ask(file: sqlite3.Connection) -> tuple[Entry[Any], ...]:
            state(file, self.fields)
            return tuple(self._entries(file, page, (_utf8(after), *parameters, limit)))

        return self._reads.read(ask)

    def count(self, where: Filter = EVERYTHING) -> int:
        """How many there are."""
        where = fitted(where, self.fields)
        condition, parameters = sql(where, self.fields)
        query = f"select count(*) from entries where {condition}"  # noqa: S608  # parameters only

        def ask(file: sqlite3.Connection) -> int:
            now = state(file, self.fields)
            if isinstance(where, Everything):
                return now.entries
            return int(file.execute(query, parameters).fetchone()[0])

        return self._reads.read(ask)

    def statistics(self, facets: Iterable[str] = ()) -> Statistics:
        """How much there is."""
        wanted = facets_of(self.fields, facets)

        def ask(file: sqlite3.Connection) -> Statistics:
            now = state(file, self.fields)
            size = file.execute("select page_count * page_size from pragma_page_count, pragma_page_size").fetchone()[0]
            found = {column.name: self._counted(file, place, column) for place, column in wanted}
            return Statistics(now.entries, now.vectors, now.dimensions, now.space, size, found)

        return self._reads.read(ask)

    def _counted(self, file: sqlite3.Connection, place: int, column: Any) -> Any:
        name = quoted(column.name)
        blank: list[Any] = [None] * len(columns(self.fields))
        values: Counter[Any] = Counter()
        for value, count in file.execute(f"select {name}, count(*) from entries group by 1"):  # noqa: S608  # quoted
            blank[place] = value
            values[self._plain(blank)[place]] += count
        return counted(column, values)

    def close(self) -> None:
        """Close the file, and let go of the vectors; all is there again when it is asked again."""
        self._writes.close()
        with self._reads._lock:  # noqa: SLF001  # under which the vectors are held
            self._reads.close()
            self._vectors.forget()

    # -- entries --

    def _entries(self, file: sqlite3.Connection, condition: str, parameters: tuple[Any, ...]) -> Iterator[Entry[Any]]:
        query = (
            f"select id, text, vector{self._columns} from entries join texts using (entry) "  # noqa: S608  # quoted
            f"left join vectors using (entry) where {condition}"
        )
        for own, text, vector, *values in file.execute(query, parameters):
            yield Entry(own, text, None if vector is None else Vector(vector), self._fields(values))

    def _fields(self, values: list[Any]) -> Any:
        try:
            return made(self.fields, self._plain(values))
        except (TypeError, AttributeError) as error:  # somebody else has put something else there
            raise BadRecord(f"{self.path} is damaged: restore it from a copy, or ingest anew") from error

    def _hits(self, file: sqlite3.Connection, name: str, found: list[tuple[int, float]]) -> tuple[Hit[Any], ...]:
        """The entries with these numbers, and their scores, in their order."""
        kept: dict[int, tuple[Any, ...]] = {}
        for some in cut([number for number, _ in found]):
            query = (
                f"select entry, id, text{self._columns} from entries join texts using (entry) "  # noqa: S608
                f"where entry in ({', '.join('?' * len(some))})"
            )
            kept.update({found[0]: found for found in file.execute(query, some)})
        hits = []
        for number, score in found:
            _, own, text, *values = kept[number]
            hits.append(Hit(own, text, score, self._fields(values), FrozenDict({name: score})))
        return tuple(hits)


_TEXT: Final = ("text", "date", "time", "json")


def _write(file: sqlite3.Connection, entries: int, vectors: int, last: int, dimensions: int, space: str) -> None:
    """Have the file say what there is, and that it was changed."""
    update = (
        "update state set changes = changes + 1, entries = ?, vectors = ?, last = ?, dimensions = ?, "
        "space = cast(? as text)"
    )
    file.execute(update, (entries, vectors, last, dimensions, _utf8(space)))


def _parameters(own: str, plain: tuple[Plain, ...]) -> tuple[Any, ...]:
    """The id *own* of an entry and its fields, as parameters."""
    return (parameter(own), *[each if type(each) is int or each is None else parameter(each) for each in plain])


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _real(store: SqliteIndex) -> str:
    return os.path.realpath(store.path)


@overload
@overload
def sqlite_index(
    path: str | os.PathLike[str],
    *,
    batch: int | None = None,
    cache_bytes: int = _CACHE,
    patience: float = 30.0,
    synchronous: Literal["full", "normal"] = "full",
) -> Index[Passage]: ...
@overload
def sqlite_index(
    path: str | os.PathLike[str],
    fields: type[F],
    *,
    batch: int | None = None,
    cache_bytes: int = _CACHE,
    patience: float = 30.0,
    synchronous: Literal["full", "normal"] = "full",
) -> Index[F]: ...
def sqlite_index(
    path: str | os.PathLike[str],
    fields: type[Any] = Passage,
    *,
    batch: int | None = None,
    cache_bytes: int = _CACHE,
    patience: float = 30.0,
    synchronous: Literal["full", "normal"] = "full",
) -> Index[Any]:
    """An index in the SQLite file at *path*, which the threads and processes of one machine share.

    It is made when it is first asked, if it is not there; its entries' fields are of the attrs class *fields*. Searches
    are exact; with NumPy (the extra `index`) they are quick, without it they take Python's time. A process holds the
    vectors that it searches, as far as they fit into *cache_bytes*; more are read from the file for each search. Who
    finds the file locked waits for *patience* seconds. With *synchronous* "full", what has been acknowledged outlives a
    power cut too; with "normal", which is faster, it outlives whatever befalls the process. A page of `scan` has
    *batch* entries (by default `ARSHAI_BATCH_SIZE`, or 256).
    """
    if isinstance(patience, bool) or not isinstance(patience, int | float) or not 0 <= patience < 1e6:
        raise Misuse(f"patience= is a number of seconds, not {patience!r}")
    if type(cache_bytes) is not int or cache_bytes < 0:
        raise Misuse(f"cache_bytes= is a number of bytes, not {cache_bytes!r}")
    if synchronous not in ("full", "normal"):
        raise Misuse(f"synchronous= is 'full' or 'normal', not {synchronous!r}")
    store = SqliteIndex(absolute(path), fields, batch_size(batch), cache_bytes, patience, synchronous)
    return index_of(store, "sqlite")

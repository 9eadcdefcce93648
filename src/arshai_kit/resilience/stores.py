"""Where answers are kept: in memory, in a file, or in Redis; text under a key, until its time is over."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, ClassVar, Final, Protocol
from weakref import finalize

from arshai_kit.effects import veiled
from arshai_kit.errors import Misuse
from arshai_kit.resilience.flights import Flights
from arshai_kit.resilience.forks import free_in_forks, wait_in_forks
from arshai_kit.resilience.reach import client_of, reach_of

__all__ = ["Cache", "MemoryCache", "RedisCache", "SqliteCache"]

_OWN: Final = 400
"""Bytes that an entry takes besides its text: its key, and its place in the table."""


class Cache(Protocol):
    """Whatever keeps text under a key; its functions may be async, and what they raise makes a miss.

    *now* is the time of the run, in seconds since the epoch. One that has `get_many` (of several keys, a mapping of
    those that are there) and `put_many` (a mapping of texts by their keys) is asked for many vectors at a time.
    """

    def get(self, key: str, now: float, /) -> Any:
        """The text under *key*, `None` if there is none."""
        ...

    def put(self, key: str, text: str, now: float, /) -> Any:
        """Keep *text* under *key*, in place of what was there."""
        ...


def _positive(name: str, value: float | None) -> None:
    if value is not None and (type(value) not in (int, float) or not 0 < value < float("inf")):
        raise Misuse(f"{name}= is a number above zero, or None for no limit, not {value!r}")


class MemoryCache:
    """Answers in this process: the *max_entries* used last, within *max_bytes*, each for *ttl* seconds.

    `None` sets no limit. A pickle holds none of the answers.
    """

    in_memory: ClassVar[bool] = True

    def __init__(
        self, *, max_entries: int | None = 1000, ttl: float | None = None, max_bytes: int | None = 64 * 1024 * 1024
    ) -> None:
        for name, value in (("max_entries", max_entries), ("ttl", ttl), ("max_bytes", max_bytes)):
            _positive(name, value)
        self.max_entries, self.ttl, self.max_bytes = max_entries, ttl, max_bytes
        self.flights = Flights()
        self.bytes = 0
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()
        free_in_forks(self)

    def __repr__(self) -> str:
        return f"MemoryCache(max_entries={self.max_entries}, ttl={self.ttl}, max_bytes={self.max_bytes})"

    def __len__(self) -> int:
        return len(self._kept)

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return _memory, (self.max_entries, self.ttl, self.max_bytes)

    def get(self, key: str, now: float, /) -> str | None:
        """The text under *key*, `None` if there is none."""
        with self._lock:
            if key not in self._kept:
                return None
            text, until = self._kept[key]
            if until <= now:
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return text

    def get_many(self, keys: Sequence[str], now: float, /) -> dict[str, str]:
        """The texts under those of *keys* that are there."""
        return {key: text for key in keys if (text := self.get(key, now)) is not None}

    def put_many(self, texts: Mapping[str, str], now: float, /) -> None:
        """Keep each of *texts* under its key."""
        for key, text in texts.items():
            self.put(key, text, now)

    def put(self, key: str, text: str, now: float, /) -> None:
        """Keep *text* under *key*; what was used longest ago gives way."""
        with self._lock:
            if key in self._kept:
                self._drop(key)
            size = _size(text)
            if self.max_bytes is not None and size > self.max_bytes:
                return
            self._kept[key] = text, float("inf") if self.ttl is None else now + self.ttl
            self.bytes += size
            while self._is_over():
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def forked(self) -> None:
        """Be that of a forked child: with what was kept until then."""
        self._lock = Lock()
        self.bytes = sum([_size(text) for text, _ in self._kept.values()])  # another thread may have been at it

    def _is_over(self) -> bool:
        many = self.max_entries is not None and len(self._kept) > self.max_entries
        return many or (self.max_bytes is not None and self.bytes > self.max_bytes)

    def _drop(self, key: str) -> None:
        self.bytes -= _size(self._kept.pop(key)[0])


def _size(text: str) -> int:
    return text.__sizeof__() + _OWN


def _memory(max_entries: int | None, ttl: float | None, max_bytes: int | None) -> MemoryCache:
    return MemoryCache(max_entries=max_entries, ttl=ttl, max_bytes=max_bytes)


_PUT: Final = "insert or replace into answers values (?, ?, ?)"
_GET_MANY: Final = "select key, text from answers where key in ({}) and (until is null or until > ?)"
_AT_ONCE: Final = 500
_TABLE: Final = """
create table if not exists answers (key text primary key, text text not null, until real);
create index if not exists answers_until on answers (until) where until is not null;
"""


class SqliteCache:
    """Answers in the SQLite file at *path*, which threads and processes share, each for *ttl* seconds.

    It is opened when it is first asked, and made if it is not there. That it cannot be is told, once, by the log
    `arshai_kit.resilience`: whoever asks is answered by the model all the same.
    """

    def __init__(self, path: str | os.PathLike[str], *, ttl: float | None = None) -> None:
        _positive("ttl", ttl)
        self.path, self.ttl = os.fspath(path), ttl
        self.flights = Flights()
        self._lock = Lock()
        self._opened: Any = None
        self._closing: Any = None
        self._process = 0
        self._told = False
        wait_in_forks(self)

    def __repr__(self) -> str:
        return f"SqliteCache({self.path!r}, ttl={self.ttl})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _file, (self.path, self.ttl)

    def get(self, key: str, now: float, /) -> str | None:
        """The text under *key*, `None` if there is none."""
        found = self._done("select text from answers where key = ? and (until is null or until > ?)", key, now)
        return found[0][0] if found else None

    def put(self, key: str, text: str, now: float, /) -> None:
        """Keep *text* under *key*; what has had its time goes."""
        self._done("delete from answers where until <= ?", now)
        self._done(_PUT, key, text, self._until(now))

    def get_many(self, keys: Sequence[str], now: float, /) -> dict[str, str]:
        """The texts under those of *keys* that are there."""
        found: dict[str, str] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            found.update(self._done(_GET_MANY.format(", ".join("?" * len(part))), *part, now))
        return found

    def put_many(self, texts: Mapping[str, str], now: float, /) -> None:
        """Keep each of *texts* under its key: all of them, or none; what has had its time goes."""
        until = self._until(now)
        with self._lock:
            opened = self._connection()
            opened.execute("begin immediate")
            with opened:  # commits
                opened.execute("delete from answers where until <= ?", (now,))
                opened.executemany(_PUT, [(key, text, until) for key, text in texts.items()])

    def _until(self, now: float) -> float | None:
        return None if self.ttl is None else now + self.ttl

    def clear(self) -> None:
        """Forget all."""
        self._done("delete from answers")

    def close(self) -> None:
        """Close the file; it is opened again when it is asked again."""
        with self._lock:
            if self._opened is not None and self._process == os.getpid():
                self._closing()
                self._opened = None

    def forked(self) -> None:
        """Be that of a forked child, which opens the file anew."""
        self._lock = Lock()

    def _done(self, command: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._connection().execute(command, values).fetchall()  # type: ignore[no-any-return]  # rows

    def _connection(self) -> Any:
        """The connection of this process: one that a fork has inherited is neither used nor closed."""
        if self._opened is None or self._process != os.getpid():
            if self._opened is not None:
                self._closing.detach()
            try:
                opened = _open(self.path)
            except Exception as error:
                self._tell(error)
                raise
            self._opened, self._process = opened, os.getpid()
            self._closing = finalize(self, opened.close)
        return self._opened

    def _tell(self, error: Exception) -> None:
        """Who does not listen to a stream would pay for each call without ever hearing of a mistyped path."""
        if not self._told:
            import logging  # it imports much: only when there is something to tell

            self._told = True
            logging.getLogger("arshai_kit.resilience").warning("nothing is kept in %s: %s", self.path, error)


def _open(path: str) -> Any:
    import sqlite3

    opened = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        opened.execute("pragma journal_mode = wal")
        opened.execute("pragma synchronous = normal")
        opened.executescript(_TABLE)
    except BaseException:
        opened.close()
        raise
    return opened


def _file(path: str, ttl: float | None) -> SqliteCache:
    return SqliteCache(path, ttl=ttl)


_NAMED: Final = "the Redis that holds the answers"


class RedisCache:
    """Answers in Redis, which processes and machines share, each for *ttl* seconds.

    *redis* is its address (`redis://…`) or a client of `redis`; keys begin with *prefix*. When Redis cannot be asked,
    that is a miss; one that does not answer is waited for three seconds, and then for five by nobody.
    """

    def __init__(self, redis: Any, *, ttl: float | None = None, prefix: str = "arshai:cache:") -> None:
        _positive("ttl", ttl)
        self.redis, self.ttl, self.prefix = redis, ttl, prefix
        self.flights = Flights()
        self._client = client_of(redis, self)
        self._reach = reach_of(redis)

    def __repr__(self) -> str:
        where = repr(veiled(self.redis)) if isinstance(self.redis, str) else type(self.redis).__name__
        return f"RedisCache({where}, ttl={self.ttl}, prefix={self.prefix!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_redis, (self.redis, self.ttl, self.prefix)

    def get(self, key: str, _now: float, /) -> str | None:
        """The text under *key*, `None` if there is none."""
        found: Any = self._reach.asked(_NAMED, lambda: self._client.get(self.prefix + key))
        return found.decode() if isinstance(found, bytes) else found

    def put(self, key: str, text: str, _now: float, /) -> None:
        """Keep *text* under *key*; Redis lets it go in time."""
        self._reach.asked(_NAMED, lambda: self._client.set(self.prefix + key, text, px=self._lasts()))

    def get_many(self, keys: Sequence[str], _now: float, /) -> dict[str, str]:
        """The texts under those of *keys* that are there."""
        found = self._reach.asked(_NAMED, lambda: self._together("get", [(key,) for key in keys]))
        texts = [text.decode() if isinstance(text, bytes) else text for text in found]
        return {key: text for key, text in zip(keys, texts, strict=True) if text is not None}

    def put_many(self, texts: Mapping[str, str], _now: float, /) -> None:
        """Keep each of *texts* under its key."""
        lasts = self._lasts()
        self._reach.asked(_NAMED, lambda: self._together("set", [*texts.items()], px=lasts))

    def _together(self, command: str, each: Sequence[tuple[str, ...]], **more: Any) -> list[Any]:
        """What Redis says to *command* for each key and its values, all of them sent in one go."""
        pipe = self._client.pipeline(transaction=False)  # a cluster takes that, and no command of many keys
        for key, *values in each:
            getattr(pipe, command)(self.prefix + key, *values, **more)
        return pipe.execute()  # type: ignore[no-any-return]  # one answer for each

    def _lasts(self) -> int | None:
        return None if self.ttl is None else max(1, round(self.ttl * 1000))


def _in_redis(redis: Any, ttl: float | None, prefix: str) -> RedisCache:
    return RedisCache(redis, ttl=ttl, prefix=prefix)

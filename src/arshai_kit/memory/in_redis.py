"""Memory in Redis: what processes and machines share; each change one script, which a lost reply cannot make twice."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen

from arshai_kit._json import freeze
from arshai_kit._record import Record
from arshai_kit.effects import Call, Emit, Now, Plan, Random, Sleep
from arshai_kit.errors import ArshaiError, ForeignFormat, Misuse, StoreUnreachable
from arshai_kit.faces import drive
from arshai_kit.memory.encoding import checked, encoded, joined, note_decoded, note_encoded
from arshai_kit.memory.recent import Recent
from arshai_kit.memory.records import Conversation, Memory, Note
from arshai_kit.memory.redis_client import PATIENCE, Client, client_of
from arshai_kit.memory.redis_scripts import FORMAT, MIGRATIONS, SCRIPTS, migration
from arshai_kit.memory.redis_watch import Watch
from arshai_kit.memory.sharing import conflict, too_large
from arshai_kit.records import Message, Notice

__all__ = ["RedisStore", "redis_memory"]

WhenAway: TypeAlias = Literal["raise"] | float

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_FOREVER: Final = 1e9
"""Seconds, thirty years: Redis counts no further than some more of them."""
_LEAST: Final = 1.0
"""Seconds that an answer may take however short the time is: a busy server is not away."""
_NO_MESSAGES: Final = encoded(())
_ESCAPED: Final = re.compile("[%{}\ud800-\udfff]")
"""What would move a conversation's keys to several nodes of a cluster, or is no text to a client that decodes."""


def redis_memory(
    redis: Any = None,
    *,
    ttl: float | None = None,
    renew: bool = True,
    prefix: str = "arshai:memory",
    max_bytes: int | None = 32 * 1024 * 1024,
    when_away: WhenAway = "raise",
) -> Memory:
    """Conversations in Redis (or Valkey), which processes and machines share.

    *redis* is an address (`redis://`, `rediss://` for TLS, `unix://`; by default `REDIS_URL`) or a client of `redis`,
    also that of a sentinel's master, or a `RedisCluster`. One of `redis.asyncio` is for asyncio alone; any other is
    asked by worker threads there, and under trio. A conversation is kept for *ttl* seconds (by default `REDIS_TTL`;
    without either, or with infinity, for ever), since it was last used, or, without *renew*, since it began. It takes
    at most *max_bytes*. When Redis cannot be asked, a call raises `StoreUnreachable`, at once or after *when_away*
    seconds in which it asks again, a second at least; a change is made once however often it is asked for.
    """
    store = RedisStore(redis, ttl=ttl, renew=renew, prefix=prefix, max_bytes=max_bytes, when_away=when_away)

    def of(name: str) -> _Function:
        return _Function(name, store)

    said = (of("load"), of("append"), of("replace"), of("forget"), of("noted"), of("note"))
    turns = (of("enter"), of("leave"), of("begin"), of("end"))
    return Memory(*said, *turns, _Watching(store), name="redis", backend=store)


@frozen(eq=False, repr=False)
class _Function(Record):
    """A function of *store*: a plan, or called."""

    name: str
    store: RedisStore = field(repr=False)

    @property
    def __name__(self) -> str:
        return self.name

    def plan(self, *args: Any, **kwargs: Any) -> Plan[Any]:
        """What calling it does, as a plan."""
        return getattr(self.store, self.name)(*args, **kwargs)  # type: ignore[no-any-return]  # it is a plan

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What it gives."""
        return drive(self.plan(*args, **kwargs))


@frozen(eq=False, repr=False)
class _Watching(Record):
    """The function `watch` of *store*."""

    store: RedisStore = field(repr=False)

    def __call__(self, key: str, since: int | None = None) -> Watch:
        """As `RedisStore.watch`."""
        return self.store.watch(key, since)


class RedisStore:
    """What `redis_memory` asks; each of its functions is a plan."""

    renews: Final = True  # who has a turn may take it anew

    def __init__(
        self,
        redis: Any = None,
        *,
        ttl: float | None = None,
        renew: bool = True,
        prefix: str = "arshai:memory",
        max_bytes: int | None = None,
        when_away: WhenAway = "raise",
        migrations: Mapping[int, str] = MIGRATIONS,
    ) -> None:
        steps = {f"migrate {number}": migration(number, step) for number, step in migrations.items()}
        self.ttl, self.renew, self.prefix = _ttl(ttl), renew, _bytes(prefix).decode("utf-8", "surrogatepass")
        self.max_bytes, self.when_away = _limit(max_bytes), _patience(when_away)
        self.client = client_of(redis, {**SCRIPTS, **steps}, _each(self.when_away))
        self.migrations, self.format = migrations, max(migrations, default=FORMAT - 1) + 1
        self.recent = Recent()
        self._head = (b"%d" % self.format, b"%d" % round(1000 * (self.ttl or 0)), b"1" if renew else b"0")

    def __repr__(self) -> str:
        return f"RedisStore({self.client!r}, ttl={self.ttl}, prefix={self.prefix!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisStore) and self._same() == other._same()

    def __hash__(self) -> int:
        return hash((RedisStore, self.prefix))

    def __reduce__(self) -> tuple[Any, ...]:
        return _store, (*self._same(),)

    def _same(self) -> tuple[Any, ...]:
        ours = (self.ttl or float("inf"), self.renew, self.prefix, self.max_bytes, self.when_away)
        return (self.client.redis, *ours)

    # -- the functions of a memory --

    def load(self, key: str) -> Plan[Conversation]:
        """All that has been said."""
        _, version, records, size = yield from self._asked("load", key)
        return self._conversation(key, version, records, size)

    def append(self, key: str, messages: Sequence[Message], id: str = "") -> Plan[int]:  # noqa: A002  # as Memory says
        """Add all of *messages*, once for each *id*; the version."""
        record = _some(encoded(messages))
        own = (yield from _drawn()) if id == "" else id
        answer = yield from self._asked("append", key, _bytes(own), record, self.max_bytes or 0)
        return answer[1]  # type: ignore[no-any-return]  # a number

    def replace(self, key: str, messages: Sequence[Message], version: int) -> Plan[int]:
        """Put *messages* in place of all that was said until *version*; the new version."""
        record = encoded(messages)
        own = yield from _drawn()
        expected = version if type(version) is int else -1  # which no conversation is of
        answer = yield from self._asked("replace", key, _bytes(own), record, self.max_bytes or 0, expected)
        if answer[0]:
            raise conflict(key, version, answer[1])
        return answer[1]  # type: ignore[no-any-return]

    def forget(self, key: str) -> Plan[None]:
        """Keep nothing under *key*."""
        self.recent.drop(key)
        yield from self._asked("forget", key)

    def noted(self, key: str, name: str) -> Plan[Note]:
        """The note of that *name*."""
        _, version, record = yield from self._asked("noted", key, _bytes(name))
        return Note(note_decoded(record, key), version) if version else Note()

    def note(self, key: str, name: str, value: Any, version: int | None = None) -> Plan[int]:
        """Put *value* in place of the note of *version* (`None`: of any); the new version."""
        record = note_encoded(freeze(value))
        own = yield from _drawn()
        expected = b"" if version is None else b"%d" % version
        answer = yield from self._asked("note", key, _bytes(own), record, self.max_bytes or 0, _bytes(name), expected)
        if answer[0]:
            raise conflict(key, version or 0, answer[1], name)
        return answer[1]  # type: ignore[no-any-return]

    def enter(self, key: str, id: str, seconds: float) -> Plan[float]:  # noqa: A002  # as Memory says
        """Take the turn of *key*, or its place in the line; the seconds after which to ask again."""
        answer = yield from self._asked("enter", key, _bytes(id), min(seconds, _FOREVER))
        return float(answer[1])

    def leave(self, key: str, id: str) -> Plan[None]:  # noqa: A002
        """Give the turn, or the place in the line, back."""
        yield from self._asked("leave", key, _bytes(id))

    def begin(self, key: str, id: str, seconds: float) -> Plan[tuple[float, Conversation]]:  # noqa: A002
        """`enter`, and `load` once it is this one's turn, in one round trip."""
        _, pause, version, records, size = yield from self._asked("begin", key, _bytes(id), min(seconds, _FOREVER))
        return float(pause), self._conversation(key, version, records, size)

    def end(self, key: str, messages: Sequence[Message], id: str, turn: str) -> Plan[int]:  # noqa: A002
        """`append`, and `leave` what was entered as *turn*, in one round trip."""
        record = _some(encoded(messages))
        own = (yield from _drawn()) if id == "" else id
        answer = yield from self._asked("end", key, _bytes(own), record, self.max_bytes or 0, _bytes(turn))
        return answer[1]  # type: ignore[no-any-return]

    # -- and more --

    def watch(self, key: str, since: int | None = None) -> Watch:
        """What is said under *key* from now on, or since a version, by whomever: a sync and async iterator."""
        return Watch(self, checked(key), since)

    def since(self, key: str, version: int) -> Plan[tuple[int, str, tuple[Message, ...]]]:
        """The version now, and what has been said since *version*: added, or in place of all (`replace`, `forget`)."""
        _, now, kind, records = yield from self._asked("since", key, version)
        return now, kind.decode(), _messages(records, 0, key)

    def keys(self, key: str) -> tuple[bytes, bytes, bytes]:
        """Every key of Redis that the conversation *key* may have: itself, its turn, and the line for that."""
        tag = _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", checked(key))
        itself = b"%b:{%b}" % (_bytes(self.prefix), tag.encode())
        return itself, itself + b":turn", itself + b":line"

    def held(self) -> Callable[[], None]:
        """Have whatever asks Redis for this memory stay until what this gives is called; never blocks."""
        return self.client.held()

    def close(self) -> None:
        """Close the connections of a client that was made for an address."""
        if isinstance(self.client, Client):
            self.client.close()

    # -- asking --

    def _asked(self, script: str, key: str, *args: Any) -> Plan[Any]:
        """What *script* answers, once Redis can be asked, if nothing is in the way."""
        keys = self.keys(key)
        while True:
            answer = yield from self._waited(script, keys, *args)
            if answer[0] in (_DONE, _CONFLICT):
                return answer
            if answer[0] == _LARGE:
                raise too_large(key, answer[1], self.max_bytes or 0)
            name = self._migration(answer[1], key)
            yield from self._waited(name, keys)

    def _waited(self, script: str, keys: tuple[bytes, ...], *args: Any) -> Plan[Any]:
        if not self.when_away:
            return (yield from Call(self.client.ask, script, keys, *self._head, *args))
        now, pause, told = (yield from Now()), _FIRST_PAUSE, False
        until = now + self.when_away
        while True:
            try:
                return (yield from self._once(until - now, script, keys, *self._head, *args))
            except StoreUnreachable as error:
                now = yield from Now()
                if now >= until:
                    raise
                if not told:
                    told = True
                    yield from Emit((Notice("waiting", "redis", str(error), {"seconds": round(until - now, 3)}),))
                yield from Sleep(min(pause, until - now))
                pause = min(2 * pause, _LONGEST_PAUSE)
                now = yield from Now()

    def _once(self, seconds: float, *args: Any) -> Plan[Any]:
        """Ask once; a client that was given may wait for as long as it likes, so it is left after so many *seconds*."""
        ask: Call[Any] = Call(self.client.ask, *args)
        if self.client.is_ours:  # it gives up by itself
            return (yield from ask)
        try:
            return (yield from ask.within(max(seconds, _LEAST)))
        except ArshaiError:
            raise
        except TimeoutError as error:
            raise StoreUnreachable(f"Redis was asked to {args[0]!r}, and says nothing") from error

    def _conversation(self, key: str, version: int, records: bytes, size: int) -> Conversation:
        """What is said in records that stand in lines; there are none where nothing was ever said."""
        messages = self.recent.joined(records.split(b"\n"), key) if records or version else ()
        room = None if self.max_bytes is None else max(0, self.max_bytes - size)
        return Conversation(messages, version, room=room)

    def _migration(self, found: bytes, key: str) -> str:
        """The script that makes the next format of the one that was *found*."""
        if not found:
            why = f"what Redis keeps for the conversation {key!r:.80} says no format, so another program wrote it"
            raise ForeignFormat(f"{why}: give the memory a prefix= of its own; it is left as it is", key=key)
        if found.isdigit() and int(found) in self.migrations:
            return f"migrate {int(found)}"
        why = f"the conversation {key!r:.80} is of format {found.decode(errors='replace')!r:.20}"
        more = f"and format {self.format} is known here: upgrade arshai_kit to read it; it is left as it is"
        raise ForeignFormat(f"{why}, {more}", key=key)


_DONE, _CONFLICT, _LARGE = 0, 2, 3
"""What an answer begins with; 1, that the format is another one."""


def _messages(records: bytes, version: int, key: str) -> tuple[Message, ...]:
    """The messages of records that stand in lines; there are none where nothing was ever said."""
    return joined(records.split(b"\n"), key) if records or version else ()


def _some(record: bytes) -> bytes:
    """*record*, or nothing if it holds none: then there is nothing to add."""
    return b"" if record == _NO_MESSAGES else record


def _drawn() -> Plan[str]:
    """A name that no other change has."""
    return f"{int((yield from Random()) * 2**53):014x}"


def _bytes(text: str) -> bytes:
    if not isinstance(text, str):
        raise Misuse(f"an id, the name of a note, and prefix= is text, not {type(text).__name__}")
    return text.encode("utf-8", "surrogatepass")


def _each(when_away: float) -> float:
    """The seconds that each of the answers for which we wait *when_away* may take.

    >>> _each(0), _each(0.1), _each(3), _each(6), _each(60)
    (5.0, 1.0, 3.0, 3.0, 5.0)
    """
    return max(_LEAST, when_away / ceil(when_away / PATIENCE)) if when_away else PATIENCE


def _store(redis: Any, ttl: float, renew: bool, prefix: str, max_bytes: int | None, when_away: Any) -> RedisStore:  # noqa: FBT001  # a pickle's
    return RedisStore(redis, ttl=ttl, renew=renew, prefix=prefix, max_bytes=max_bytes, when_away=when_away or "raise")


def _ttl(ttl: float | None) -> float | None:
    """The seconds that are meant, `None` for ever."""
    if ttl is None:
        text = os.environ.get("REDIS_TTL", "")
        if not text:
            return None
        try:
            ttl = float(text)
        except ValueError:
            raise Misuse(f"REDIS_TTL is a number of seconds, not {text!r:.80}") from None
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not ttl > 0:
        raise Misuse(f"ttl= (or REDIS_TTL) is a number of seconds above zero, or None, not {ttl!r:.80}")
    return None if ttl > _FOREVER else max(ttl, 0.001)


def _limit(limit: int | None) -> int | None:
    if limit is not None and (type(limit) is not int or limit < 1):
        raise Misuse(f"max_bytes= is a number of bytes above zero, or None for no limit, not {limit!r:.80}")
    return limit


def _patience(when_away: Any) -> float:
    """The seconds to wait for a Redis that is away."""
    if when_away == "raise":
        return 0.0
    if isinstance(when_away, bool) or not isinstance(when_away, int | float) or not 0 <= when_away < float("inf"):
        raise Misuse(f"when_away= is 'raise', or the seconds to wait for Redis, not {when_away!r:.80}")
    return float(when_away)

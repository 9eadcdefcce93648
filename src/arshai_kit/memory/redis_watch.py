"""A conversation as it grows, told to another process: a notice says that there is more, and the memory says what."""

from __future__ import annotations

from collections import deque
from inspect import isawaitable
from threading import Lock
from types import TracebackType
from typing import Any, Final, Literal, Self
from weakref import finalize

from attrs import field, frozen

from arshai_kit._record import Record
from arshai_kit.effects import Call, Plan, Sleep
from arshai_kit.errors import Misuse, StoreUnreachable
from arshai_kit.faces import adrive, drive
from arshai_kit.memory.redis_client import AsyncClient, told
from arshai_kit.records import Message

__all__ = ["Change", "Watch"]

_LOOK: Final = 1.0
"""Seconds that one look for a notice takes; whoever leaves in the meantime need not wait for it."""
_PATIENCE: Final = 5.0
"""Seconds that Redis has to say that we listen."""
_PAUSE: Final = 0.05
_LOOKS: Final = 5
"""Looks after which the memory is asked without a notice: one may be lost with its connection."""


def _messages(value: Any) -> tuple[Message, ...]:
    return tuple(value)


@frozen(eq=False, repr=False)
class Change(Record):
    """What has happened to a conversation: *messages* were added to it (`append`), or put in place of all.

    `replace` says that somebody did so; `forget`, that all was forgotten, and *messages* said since then.
    """

    kind: Literal["append", "replace", "forget"]
    messages: tuple[Message, ...] = field(default=(), converter=_messages)
    version: int = 0


class Watch:
    """The changes of one conversation, for `for` or `async for`, best in a `with` or `async with` block.

    Entering it is where it begins; without a block, the first change that is asked for.
    """

    def __init__(self, store: Any, key: str, since: int | None) -> None:
        if since is not None and (type(since) is not int or since < 0):
            raise Misuse(f"since= is a version, as append gives it, not {since!r:.80}")
        self.key, self.version = key, since
        self._store = store
        self._changes: deque[Change] = deque()
        self._ear: _Ear | _AsyncEar | None = None
        self._is_closed = self._has_begun = self._was_left = False

    def __repr__(self) -> str:
        return f"Watch({self.key!r:.80})"

    # -- as plans --

    def begin(self) -> Plan[None]:
        """Listen, and find out where the conversation is."""
        if self._is_closed:
            raise Misuse("this watch was closed; call watch(…) again")
        if not self._has_begun:
            client, channel = self._store.client, self._store.keys(self.key)[0]
            self._ear = self._ear or (_AsyncEar if isinstance(client, AsyncClient) else _Ear)(client, channel)
            yield from self._hear(0.0)
            yield from self._look()
            self._has_begun = True

    def change(self) -> Plan[Change]:
        """The next change, however long that takes."""
        yield from self.begin()
        if self._was_left:  # a thread that was left behind may have heard a notice, and told nobody
            yield from self._hear(0.0)
            yield from self._look()
        self._was_left = True
        looks = 0
        while not self._changes:
            notice = yield from self._hear(_LOOK)
            looks += 1
            if notice is not None or looks % _LOOKS == 0:
                yield from self._look()
        self._was_left = False
        return self._changes.popleft()

    def _hear(self, seconds: float) -> Plan[Any]:
        """The next notice, if one comes within *seconds*; who waits for Redis waits here too."""
        ear = self._ear
        assert ear is not None  # noqa: S101  # it has begun
        while True:
            try:
                return (yield from Call(ear.hear, seconds))
            except StoreUnreachable:
                if not self._store.when_away:
                    raise
            yield from Sleep(_PAUSE)
            yield from self._look()  # this waits until Redis is there again, or gives up

    def _look(self) -> Plan[None]:
        """Ask the memory for what is new."""
        since = -1 if self.version is None else self.version  # -1: nothing that has been said until now
        version, kind, messages = yield from self._store.since(self.key, since)
        if since >= 0 and version != since:
            self._changes.append(Change(kind, messages, version))
        self.version = version

    # -- for sync code --

    def __enter__(self) -> Self:
        drive(self.begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        if self._is_closed:
            raise StopIteration
        return drive(self.change())

    def close(self) -> None:
        """Listen no longer."""
        self._is_closed = True
        if isinstance(self._ear, _AsyncEar):
            raise Misuse("a watch over a client of redis.asyncio is closed by aclose()")
        if self._ear is not None:
            self._ear.close()

    # -- for async code --

    async def __aenter__(self) -> Self:
        await adrive(self.begin())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        if self._is_closed:
            raise StopAsyncIteration
        return await adrive(self.change())

    async def aclose(self) -> None:
        """Listen no longer."""
        self._is_closed = True
        if isinstance(self._ear, _AsyncEar):
            await self._ear.close()
        elif self._ear is not None:
            self._ear.close()


class _Ear:
    """What hears the notices of one channel, one listener at a time, perhaps in a thread that was left behind."""

    def __init__(self, client: Any, channel: bytes) -> None:
        self._pubsub, self._channel = _listening(client.client), channel
        self._lock = Lock()
        self._is_deaf = False
        self._closing = finalize(self, self._pubsub.close)

    def hear(self, seconds: float) -> Any:
        """The next notice within *seconds*, `None` without one; nothing is missed once this has returned."""
        try:
            with self._lock:
                return None if self._is_deaf else self._heard(seconds)
        finally:
            if self._is_deaf:
                self._closing()

    def _heard(self, seconds: float) -> Any:
        try:
            if not self._pubsub.subscribed:
                self._pubsub.subscribe(self._channel)
                _began(self._pubsub.get_message(timeout=_PATIENCE))
            return _notice(self._pubsub.get_message(timeout=seconds))
        except Exception as error:
            raise told(error, "watch") or error from error

    def close(self) -> None:
        """Hear nothing more; whoever is listening closes the connection, else this does."""
        self._is_deaf = True
        if self._lock.acquire(blocking=False):
            try:
                self._closing()
            finally:
                self._lock.release()


class _AsyncEar:
    """As `_Ear`, of a client of `redis.asyncio`."""

    def __init__(self, client: Any, channel: bytes) -> None:
        self._client, self._pubsub, self._channel = client, _listening(client.client), channel

    async def hear(self, seconds: float) -> Any:
        if not self._client.is_home():
            raise Misuse("a client of redis.asyncio is watched with in its own event loop: async for, there")
        try:
            if not self._pubsub.subscribed:
                await self._pubsub.subscribe(self._channel)
                _began(await self._pubsub.get_message(timeout=_PATIENCE))
            return _notice(await self._pubsub.get_message(timeout=seconds))
        except Exception as error:
            raise told(error, "watch") or error from error

    async def close(self) -> None:
        closed = getattr(self._pubsub, "aclose", self._pubsub.close)()
        if isawaitable(closed):
            await closed


def _listening(client: Any) -> Any:
    if not hasattr(client, "pubsub"):
        raise Misuse(f"{type(client).__name__} hears no notices, so it cannot watch: give the memory another client")
    return client.pubsub()


def _began(message: Any) -> None:
    if message is None:
        raise TimeoutError("it does not say that we listen")


def _notice(message: Any) -> str | None:
    """The kind of a message of Redis: something has changed, or we were away for a while, and listen anew."""
    return None if message is None else str(message["type"])

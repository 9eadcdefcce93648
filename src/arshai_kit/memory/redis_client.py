"""A client of Redis, whoever made it: it runs a script in one round trip, and says in our words what went wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from inspect import iscoroutinefunction
from threading import Event
from types import MappingProxyType
from typing import Any, Final
from weakref import finalize

from arshai_kit.effects import veiled
from arshai_kit.errors import (
    ArshaiError,
    BadRecord,
    ForeignFormat,
    Misuse,
    StoreFull,
    StoreRefused,
    StoreUnreachable,
    need,
)
from arshai_kit.memory.redis_scripts import hash_of

__all__ = ["PATIENCE", "AsyncClient", "Client", "client_of", "told"]

PATIENCE: Final = 5.0
"""Seconds that a client which we make waits for an answer."""


class Client:
    """A sync client: `redis.Redis`, that of a sentinel's master, or `redis.RedisCluster`; or one for an address."""

    def __init__(self, redis: Any, scripts: Mapping[str, str], patience: float = PATIENCE) -> None:
        self.redis, self.is_ours = redis, isinstance(redis, str)
        self.client = _made(redis, patience) if self.is_ours else redis
        self._scripts, self._raw = _hashed(scripts), _raw()
        # or its sockets are left to the garbage collector, which may find them before it finds their client
        self._closing = finalize(self, self.client.close) if self.is_ours else None

    def __repr__(self) -> str:
        return repr(veiled(self.redis)) if self.is_ours else type(self.redis).__name__

    def ask(self, script: str, keys: Sequence[bytes], *args: Any) -> Any:
        """What the script of that name answers."""
        from redis.exceptions import NoScriptError

        run, (text, known) = self.client.execute_command, self._scripts[script]
        try:
            try:
                return run("EVALSHA", known, len(keys), *keys, *args, **self._raw)
            except NoScriptError:  # a server that has just started, or taken over
                return run("EVAL", text, len(keys), *keys, *args, **self._raw)
        except Exception as error:
            if (reason := told(error, script)) is None:
                raise
            if type(error).__name__ == "ReadOnlyError":
                self._forget_connections()
            raise reason from error

    def held(self) -> Callable[[], None]:
        """Nothing need be kept, as by `AsyncClient`."""
        return _nothing

    def close(self) -> None:
        """Close the connections of a client that was made here; a user's own is the user's to close."""
        if self._closing is not None:
            self._closing()

    def _forget_connections(self) -> None:
        """What was the master is a replica: connect anew, by then its name may lead elsewhere."""
        pool = getattr(self.client, "connection_pool", None)
        if pool is not None:
            pool.disconnect(inuse_connections=False)


class AsyncClient:
    """A client of `redis.asyncio`: it belongs to the event loop that asks it first, and only that loop asks it.

    Who comes from elsewhere, as a worker that gives back the turn of a task that was cancelled, has that loop ask.
    """

    is_ours: Final = False

    def __init__(self, redis: Any, scripts: Mapping[str, str]) -> None:
        self.redis = self.client = redis
        self._scripts, self._raw = _hashed(scripts), _raw()
        self._home: Any = None

    def __repr__(self) -> str:
        return f"asyncio.{type(self.redis).__name__}"

    async def ask(self, script: str, keys: Sequence[bytes], *args: Any) -> Any:
        """As `Client.ask`."""
        from asyncio import run_coroutine_threadsafe, wait_for, wrap_future

        if self.is_home():
            return await self._asked(script, keys, *args)
        elsewhere = wrap_future(run_coroutine_threadsafe(self._asked(script, keys, *args), self._home))
        try:
            return await wait_for(elsewhere, 2 * PATIENCE)
        except TimeoutError as error:
            raise StoreUnreachable("the event loop of the client of Redis does not come to ask it") from error

    def held(self) -> Callable[[], None]:
        """Have the loop of the client, if it runs here, not end before what this gives is called.

        A loop that ends waits for its executor, and goes on until then; so does this, for some seconds at most.
        """
        from asyncio import get_running_loop

        over = Event()
        try:
            if (loop := get_running_loop()) is self._home:
                loop.run_in_executor(None, over.wait, 2 * PATIENCE)
        except RuntimeError:  # no loop runs here, or its executor has ended
            return _nothing
        return over.set

    async def _asked(self, script: str, keys: Sequence[bytes], *args: Any) -> Any:
        from redis.exceptions import NoScriptError

        run, (text, known) = self.client.execute_command, self._scripts[script]
        try:
            try:
                return await run("EVALSHA", known, len(keys), *keys, *args, **self._raw)
            except NoScriptError:
                return await run("EVAL", text, len(keys), *keys, *args, **self._raw)
        except Exception as error:
            if (reason := told(error, script)) is None:
                raise
            if type(error).__name__ == "ReadOnlyError":
                await self._forget_connections()
            raise reason from error

    async def _forget_connections(self) -> None:
        pool = getattr(self.client, "connection_pool", None)
        if pool is not None:
            await pool.disconnect(inuse_connections=False)

    def is_home(self) -> bool:
        """Whether this is the loop of the client; refuse where it cannot be asked at all."""
        from asyncio import get_running_loop

        remedy = "an address (redis://…) or a client of redis.Redis works everywhere"
        try:
            loop = get_running_loop()
        except RuntimeError:
            raise Misuse(f"a client of redis.asyncio is for asyncio, and this is none: {remedy}") from None
        self._home = self._home or loop
        if self._home.is_closed():
            raise Misuse(f"the event loop of this client of redis.asyncio is closed: make a client in each; {remedy}")
        return self._home is loop


def _nothing() -> None:
    """Do nothing."""


def _raw() -> dict[str, Any]:
    """What has a client leave an answer as it came: records are bytes, whatever it makes of the rest."""
    from redis.client import NEVER_DECODE

    return {NEVER_DECODE: True}


def _hashed(scripts: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {name: (text, hash_of(text)) for name, text in scripts.items()}


def client_of(redis: Any, scripts: Mapping[str, str], patience: float = PATIENCE) -> Client | AsyncClient:
    """The client that *redis* is, or one for the address that it is, or that `REDIS_URL` is, for *scripts* by name.

    One that is made here waits so many seconds for an answer as *patience* says.
    """
    redis = os.environ.get("REDIS_URL") if redis is None else redis
    if not redis:
        raise Misuse("redis_memory(…) takes an address (redis://…) or a client, and REDIS_URL gives no address either")
    execute = getattr(redis, "execute_command", None)
    if not isinstance(redis, str) and execute is None:
        raise Misuse(f"redis_memory(…) takes an address (redis://…) or a client, not {type(redis).__name__}")
    return AsyncClient(redis, scripts) if iscoroutinefunction(execute) else Client(redis, scripts, patience)


def _made(url: str, patience: float) -> Any:
    """A client for the server at *url*, which may set more: `?socket_timeout=2&max_connections=50`."""
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as Broken
        from redis.retry import Retry
    except ImportError:
        need("redis", "redis")
    once = Retry(NoBackoff(), 1, (Broken,))  # an idle connection may have been closed; who is silent stays so
    try:
        return Redis.from_url(url, socket_timeout=patience, socket_connect_timeout=patience, retry=once)
    except ValueError as error:
        raise Misuse(f"{veiled(url)!r} is no address of a Redis, as redis://localhost:6379/0 is") from error


_KINDS: Final[Mapping[str, type[ArshaiError]]] = MappingProxyType(
    {
        **dict.fromkeys(("AuthenticationError", "AuthorizationError", "NoPermissionError"), StoreRefused),
        **dict.fromkeys(("AuthenticationWrongNumberOfArgsError",), StoreRefused),
        **dict.fromkeys(("OutOfMemoryError",), StoreFull),
        **dict.fromkeys(("ReadOnlyError", "ClusterDownError", "MasterDownError", "TryAgainError"), StoreUnreachable),
        **dict.fromkeys(("ClusterError", "MovedError", "AskError"), StoreUnreachable),
    }
)
_WORDS: Final[Mapping[str, type[ArshaiError]]] = MappingProxyType(
    {
        **dict.fromkeys(("BUSY", "NOREPLICAS", "UNKILLABLE", "READONLY", "LOADING"), StoreUnreachable),
        **dict.fromkeys(("MISCONF", "OOM"), StoreFull),
        "WRONGTYPE": ForeignFormat,
    }
)
_BROKEN: Final = "attempt to "
"""What a script says that finds no number where it wrote one."""
_REMEDIES: Final[Mapping[type[ArshaiError], str]] = MappingProxyType(
    {
        StoreUnreachable: "cannot be asked now; whether it has done so is not known, and to ask again does it once",
        StoreRefused: "does not let us: look at its address, name, password and permissions",
        StoreFull: "has no room: give it more, or let conversations expire (ttl=); nothing was written",
        BadRecord: "finds it changed by hand: forget it, or restore it from a copy; it is left as it is",
        ForeignFormat: "holds something else under this key: give the memory a prefix= of its own; it is left as it is",
    }
)


def told(error: Exception, script: str) -> ArshaiError | None:
    """Our word for what a client of Redis says; `None` for what is no error of Redis."""
    from redis.exceptions import DataError, RedisClusterException, RedisError, ResponseError

    if not isinstance(error, (RedisError, RedisClusterException, OSError)):
        return None
    kind = _KINDS.get(type(error).__name__) or _WORDS.get(str(error).partition(" ")[0])
    if kind is None and isinstance(error, DataError):  # nothing was asked
        return None
    if kind is None and isinstance(error, ResponseError):
        kind = BadRecord if _BROKEN in str(error) else StoreRefused
    kind = kind or StoreUnreachable
    why = f"{type(error).__name__}: {error}"
    return kind(f"the Redis that was to {script!r} a conversation {_REMEDIES[kind]} ({why})")

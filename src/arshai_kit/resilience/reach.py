"""A Redis that does not answer is waited for once, and then for a moment by nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary, finalize

from arshai_kit.errors import Misuse, StoreUnreachable, need

__all__ = ["PATIENCE", "REST", "Reach", "client_of", "reach_of"]

T = TypeVar("T")

PATIENCE: Final = 3.0
"""Seconds that Redis is waited for."""
REST: Final = 5.0
"""Seconds for which it is taken for away once it was waited for in vain."""


def client_of(redis: Any, owner: object) -> Any:
    """The client that *redis* is, or one for the address that it is, which is closed when its *owner* is no more.

    Left to the garbage collector, for a client is full of cycles, its sockets may be found before it can close them.
    """
    if not isinstance(redis, str):
        if iscoroutinefunction(getattr(redis, "execute_command", None)):
            raise Misuse("pass a sync client, redis.Redis(…), or an address: async code asks it too, by a thread")
        return redis
    try:
        from redis import ConnectionError as Broken
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        need("redis", "redis")
    once = Retry(NoBackoff(), 1, (Broken,))  # an idle connection may have been closed; silence is not asked again
    made = Redis.from_url(redis, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=once)
    finalize(owner, made.close)
    return made


class Reach:
    """Whether a Redis is worth waiting for: when it was silent, only one asks it in each *REST* seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._silent_until: float | None = None

    def asked(self, named: str, ask: Callable[[], T]) -> T:
        """What *ask* answers; `StoreUnreachable` when it fails, or somebody asked in vain a moment ago."""
        if self._silent_until is not None:
            if self.clock() < self._silent_until:
                raise StoreUnreachable(f"{named} did not answer a moment ago, and is not waited for again so soon")
            self._silent_until = self.clock() + REST  # the others go on while this one waits
        try:
            answer = ask()
        except _failures() as error:
            silent = isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutError"  # the client has its own
            self._silent_until = self.clock() + REST if silent else None
            raise StoreUnreachable(f"{named} cannot be asked: {type(error).__name__}: {error}") from error
        self._silent_until = None
        return answer


def _failures() -> tuple[type[Exception], ...]:
    """What says that a Redis cannot be asked; a client of the user's may be of another package."""
    try:
        from redis.exceptions import RedisError
    except ImportError:
        return (OSError,)
    return RedisError, OSError


_reaches: Final[WeakValueDictionary[Any, Reach]] = WeakValueDictionary()
"""By address, or by the id of a client of the user's, which lives as long as who asks it: one call may ask it as a
cache, a circuit and a quota, and is to wait once."""


def reach_of(redis: Any) -> Reach:
    """The one of all in this process that ask *redis*, a client or an address."""
    return _reaches.setdefault(redis if isinstance(redis, str) else id(redis), Reach())

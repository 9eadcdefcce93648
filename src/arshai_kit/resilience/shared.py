"""Many processes, one ceiling: quotas and circuits in Redis, each step one script that may be run twice."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeAlias, get_args

from arshai_kit._threads import workers
from arshai_kit.errors import Misuse, StoreUnreachable
from arshai_kit.resilience.breakers import Admission, CircuitRules
from arshai_kit.resilience.quotas import GO, Told, Turn, checked_limits
from arshai_kit.resilience.reach import client_of, reach_of
from arshai_kit.resilience.scripts import ENTER_CIRCUIT, ENTER_QUOTA, LEAVE_CIRCUIT, SETTLE_CIRCUIT, SETTLE_QUOTA

__all__ = ["Away", "RedisCircuit", "RedisQuota"]

Away: TypeAlias = Literal["raise", "allow"]

_MANY = 100


class _Ended:
    """A call that has ended; it may be so more than once."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key


class _Store:
    """The scripts of one state in Redis, and the calls of this process that it is yet to be told have ended."""

    def __init__(self, redis: Any, keys: tuple[str, ...], when_away: Away) -> None:
        if when_away not in get_args(Away):
            raise Misuse(f"when_away= is one of {', '.join(get_args(Away))}, not {when_away!r}")
        self.redis, self.keys, self.when_away = redis, keys, when_away
        self.client = client_of(redis, self)
        self._reach = reach_of(redis)
        self.ended: deque[_Ended] = deque(maxlen=10_000)
        self.gone: deque[str] = deque(maxlen=1_000)
        self._scripts: dict[str, Any] = {}
        self.place = redis, keys
        self._own = os.urandom(6).hex()

    def key(self, key: str) -> str:
        """*key*, as no other process has it."""
        return f"{self._own}-{os.getpid()}-{key}"

    def asked(self, script: str, *args: object) -> Any:
        """What *script* answers to *args*."""
        known = self._scripts.get(script) or self._scripts.setdefault(script, self.client.register_script(script))
        named = f"the Redis that holds {self.keys[0]}"
        return self._reach.asked(named, lambda: known(keys=self.keys, args=[*map(str, args)]))

    def telling(self, tell: Callable[[Sequence[str]], Any]) -> Any:
        """What *tell* answers, which hands on the names of calls that have ended; they are kept until it has.

        Another thread, which may be held up for long, may be about to hand on the same: that is done twice, or whoever
        comes meanwhile would be refused for the sake of a call that has ended.
        """
        ended = list(self.ended)[:_MANY]
        answer = tell([each.key for each in ended])
        for each in ended:
            with suppress(ValueError):  # the other thread was faster
                self.ended.remove(each)
        return answer

    def end(self, key: str) -> None:
        """The call *key* has ended, as is to be told."""
        self.ended.append(_Ended(key))

    def left(self, key: str, tell: Callable[[], None]) -> None:
        """The call *key* was left: have a worker *tell* so; if it cannot, the next call does, or the lease ends."""
        self.end(key)
        self.gone.append(key)
        workers().run(tell)

    def came_late(self, key: str) -> None:
        """The call *key* was under way to Redis; was it left meanwhile, it is to be ended again."""
        if key in self.gone:
            self.end(key)


class RedisQuota:
    """A `Quota` that every process shares whose own has the same *name* in the same Redis.

    *redis* is its address (`redis://…`) or a client of `redis`. Time is that of the Redis server. A call that has not
    ended after *lease* seconds is taken for dead, and so is who waits in line and does not ask again. When Redis cannot
    be asked, calls raise `StoreUnreachable`, or are let through: *when_away* says `raise` or `allow`. One that does not
    answer is waited for three seconds, and then for five by nobody.
    """

    def __init__(
        self,
        name: str,
        redis: Any,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        concurrent: int | None = None,
        lease: float = 900.0,
        when_away: Away = "raise",
        prefix: str = "arshai",
    ) -> None:
        self.name, self.prefix, self.lease = name, prefix, _positive("lease", lease)
        self.limits = checked_limits(requests_per_minute, tokens_per_minute, concurrent)
        parts = ("waiting", "tokens", "seen", "running", "starts", "spent", "state")
        self._store = _Store(redis, tuple([f"{prefix}:quota:{{{name}}}:{part}" for part in parts]), when_away)

    def __repr__(self) -> str:
        return f"RedisQuota({self.name!r}, {', '.join(f'{name}={most}' for name, most in self.limits.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        more = {"lease": self.lease, "when_away": self._store.when_away, "prefix": self.prefix}
        return _made, (RedisQuota, (self.name, self._store.redis), {**self.limits, **more})

    def enter(self, key: str, tokens: int) -> Turn:
        """Start the call *key*, which may need *tokens*, or say when to ask again; it keeps its place in the line."""
        own, numbers = self._store.key(key), self._numbers()
        try:
            wait = self._store.telling(lambda ended: self._store.asked(ENTER_QUOTA, own, *numbers, tokens, *ended))
        except StoreUnreachable:
            if self._store.when_away == "allow":
                return GO
            raise
        self._store.came_late(own)
        pause, least, limit = [part.decode() if isinstance(part, bytes) else part for part in wait]
        return GO if pause == "0" else (float(pause), float(least), limit)

    def settle(self, key: str, tokens: int | None, told: Told, hold: float | None) -> None:
        """End *key*, which used *tokens* (`None`: nobody knows); heed what the provider *told*, *hold* seconds back.

        It never raises: what was answered is worth more.
        """
        own = self._store.key(key)
        used = -1 if tokens is None else tokens
        news = [part for kind in sorted(told, key=lambda each: -each[1]) for part in kind]  # what is least comes last
        self._store.end(own)
        self._told(own, used, hold or 0.0, len(news), *news)

    def leave(self, key: str) -> None:
        """End *key*, or give its place in the line back; never blocks, so a plan that is closed may call it."""
        self._store.left(self._store.key(key), lambda: self._told("", -1, 0.0, 0))

    def _told(self, *args: object) -> None:
        try:
            self._store.telling(lambda ended: self._store.asked(SETTLE_QUOTA, *self._numbers(), *args, *ended))
        except StoreUnreachable:
            return  # the next call says so, if it still is

    def _numbers(self) -> tuple[object, ...]:
        names = ("requests_per_minute", "tokens_per_minute", "concurrent")
        return (*[self.limits.get(name, 0) for name in names], self.lease)


class RedisCircuit:
    """A `Circuit` that every process shares whose own has the same *name* in the same Redis.

    *redis*, *when_away* and time are as in `RedisQuota`. A call that tries whether the server is well again, and does
    not end within *lease* seconds, is taken for dead: another one may try.
    """

    def __init__(
        self,
        name: str,
        redis: Any,
        rules: CircuitRules | None = None,
        *,
        lease: float = 300.0,
        when_away: Away = "raise",
        prefix: str = "arshai",
    ) -> None:
        self.name, self.prefix, self.lease = name, prefix, _positive("lease", lease)
        self.rules = (rules or CircuitRules()).checked()
        parts = ("state", "ended", "failed", "settled")
        self._store = _Store(redis, tuple([f"{prefix}:circuit:{{{name}}}:{part}" for part in parts]), when_away)

    def __repr__(self) -> str:
        return f"RedisCircuit({self.name!r}, {self.rules!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        more = {"lease": self.lease, "when_away": self._store.when_away, "prefix": self.prefix}
        return _made, (RedisCircuit, (self.name, self._store.redis, self.rules), more)

    def enter(self, key: str) -> Admission:
        """Whether the call *key* may be made, of which turn that is, and how long until one may try."""
        own = self._store.key(key)
        try:
            answer = self._store.asked(ENTER_CIRCUIT, own, self.lease)
        except StoreUnreachable:
            if self._store.when_away == "allow":
                return "closed", -1, 0.0
            raise
        state, turn, left = [part.decode() if isinstance(part, bytes) else part for part in answer]
        if own in self._store.gone:
            self._told(own)
        return state, int(turn), float(left)

    def settle(self, key: str, turn: int, went: bool | None) -> str:  # noqa: FBT001  # recorded by place
        """How the call *key* of *turn* *went* (`None`: nobody knows); the state that this brought, if it changed.

        It never raises: what was answered is worth more.
        """
        rules, how = self.rules, "" if went is None else int(went)
        numbers = (rules.failures or 0, rules.rate or 0, rules.window, rules.minimum, rules.reset, self.lease)
        try:
            state = self._store.asked(SETTLE_CIRCUIT, self._store.key(key), turn, how, *numbers)
        except StoreUnreachable:
            return ""
        return state.decode() if isinstance(state, bytes) else str(state)

    def leave(self, key: str) -> None:
        """The call *key* was cancelled: somebody else may try; never blocks, so a plan that is closed may call it."""
        own = self._store.key(key)
        self._store.left(own, lambda: self._told(own))

    def _told(self, own: str) -> None:
        try:
            self._store.asked(LEAVE_CIRCUIT, own)
        except StoreUnreachable:
            return  # its lease will end


def _made(kind: Callable[..., Any], args: tuple[Any, ...], more: dict[str, Any]) -> Any:
    return kind(*args, **more)


def _positive(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise Misuse(f"{name}= is a number of seconds above 0, not {value!r}")
    return value

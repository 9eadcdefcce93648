"""Many processes, one budget: a ledger in Redis, each step one script that may be run twice."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from decimal import ROUND_CEILING, Decimal
from typing import Any, ClassVar, Final

from arshai_kit._threads import workers
from arshai_kit.cost import Spend
from arshai_kit.errors import Misuse, StoreUnreachable
from arshai_kit.resilience.ledgers import Account, Key, Ledger, Ticket
from arshai_kit.resilience.reach import client_of, reach_of

__all__ = ["RedisLedger"]

_DAY: Final = 86_400
_KEPT: Final = 8 * _DAY
_NANO: Final = Decimal("1e-9")
_MOST: Final = 2**53
"""Beyond that, numbers of Redis' scripts are not exact: nine million dollars."""

# An account: what was spent and what is reserved (tokens, billionths of dollars), what is open and until when. Who has
# not settled by then has died in the middle of a call: its worst case is taken for spent.
_ACCOUNT: Final = """
local ACCOUNT, OPEN, UNTIL, LAST = unpack(KEYS)
local function add(field, number) redis.call('HINCRBY', ACCOUNT, field, number) end
local function take(field, number) if number ~= '0' then add(field, '-' .. number) end end
local function settled(id, tokens, money)
    local was = redis.call('HGET', OPEN, id)
    if not was then return end
    redis.call('HDEL', OPEN, id)
    redis.call('ZREM', UNTIL, id)
    local its_tokens, its_money = string.match(was, '^(%d+):(%d+)$')
    take('reserved_tokens', its_tokens)
    take('reserved_money', its_money)
    add('tokens', tokens or its_tokens)
    add('money', money or its_money)
end
local function held()
    return redis.call('HMGET', ACCOUNT, 'tokens', 'money', 'unknown', 'reserved_tokens', 'reserved_money')
end
"""
_RESERVE: Final = (
    _ACCOUNT
    + """
local id, tokens, money, lease, keep, day = ARGV[1], ARGV[2], ARGV[3], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local most_tokens, most_money = tonumber(ARGV[4]), tonumber(ARGV[5])
local stamp = redis.call('TIME')
local now = stamp[1] + stamp[2] / 1000000
for _, old in ipairs(redis.call('ZRANGEBYSCORE', UNTIL, '-inf', string.format('%.6f', now))) do settled(old) end
if redis.call('HEXISTS', OPEN, id) == 1 then return {} end
local are = held()
local function over(most, own, one, other)
    return most >= 0 and (tonumber(one) or 0) + (tonumber(other) or 0) + tonumber(own) > most
end
if over(most_tokens, tokens, are[1], are[4]) or over(most_money, money, are[2], are[5]) then return are end
add('reserved_tokens', tokens)
add('reserved_money', money)
redis.call('HSET', OPEN, id, tokens .. ':' .. money)
redis.call('ZADD', UNTIL, string.format('%.6f', now + lease), id)
if day > (tonumber(redis.call('GET', LAST)) or -1) then redis.call('SET', LAST, day) end
if keep > 0 then for place = 1, 3 do redis.call('EXPIRE', KEYS[place], keep) end end
return {}
"""
)
_SETTLE: Final = (
    _ACCOUNT
    + """
if ARGV[4] == '1' and redis.call('HEXISTS', OPEN, ARGV[1]) == 1 then redis.call('HSET', ACCOUNT, 'unknown', 1) end
settled(ARGV[1], ARGV[2], ARGV[3])
return held()
"""
)
_HELD: Final = _ACCOUNT + "return held()"
_LAST: Final = "return redis.call('GET', KEYS[4])"
_TELL: Final = """
local new = {}
for _, each in ipairs(ARGV) do
    if redis.call('HSETNX', KEYS[1], 'told:' .. each, 1) == 1 then new[#new + 1] = each end
end
return new
"""


class RedisLedger(Ledger):
    """A `Ledger` that every process shares whose own has the same *name* in the same Redis.

    *redis* is its address (`redis://…`) or a client of `redis`. Money is kept in billionths of dollars, rounded up.
    What a call has reserved that does not end within *lease* seconds is taken for spent: its process has died. When
    Redis cannot be asked, nothing is spent: calls raise `StoreUnreachable`. What a run has for itself (`per="run"`)
    stays in its process.
    """

    in_memory: ClassVar[bool] = False

    def __init__(self, name: str, redis: Any, *, lease: float = 1800.0, prefix: str = "arshai") -> None:
        super().__init__()
        if not 0 < lease < float("inf"):
            raise Misuse(f"lease= is a number of seconds above 0, not {lease!r}")
        self.name, self.redis, self.lease, self.prefix = name, redis, lease, prefix
        self._client = client_of(redis, self)
        self._reach = reach_of(redis)
        self._late: deque[tuple[Key, str, Spend]] = deque()

    def __repr__(self) -> str:
        return f"RedisLedger({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisLedger) and self._same() == other._same()

    def __hash__(self) -> int:
        return hash((RedisLedger, self.name, self.prefix))

    def _same(self) -> tuple[Any, ...]:
        return self.name, self.prefix, self.lease, self.redis

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.name, self.redis, self.lease, self.prefix)

    def reserve(self, ticket: Ticket, key: Key, run: Any, wanted: Spend, most: Spend) -> tuple[Spend, Spend] | None:
        """As `Ledger.reserve`, for all processes."""
        if run is not None:
            return super().reserve(ticket, key, run, wanted, most)
        self._catch_up()
        ticket.shared = ticket.shared or os.urandom(12).hex()
        keep = _KEPT if key[0] else 0
        ceiling = -1 if most.money is None else _nano(most.money)
        numbers = (wanted.tokens, _nano(wanted.money), most.tokens, ceiling, self.lease, keep, key[0])
        try:
            held = self._asked(_RESERVE, key, ticket.shared, *numbers)
        except StoreUnreachable:
            self._late.append((key, ticket.shared, Spend()))  # it may have been done all the same
            raise
        if held:
            spent, reserved, _ = _spends(held)
            return most - (spent + reserved), spent
        with self._lock:
            ticket.account, ticket.wanted = key, wanted
            left = ticket.closed
        if left:  # the run was cancelled while this was under way
            self._told(key, ticket.shared, Spend())
        return None

    def settle(self, ticket: Ticket, real: Spend) -> Spend:
        """As `Ledger.settle`; it never fails, as what was answered is worth more: what cannot be told is told later."""
        if isinstance(ticket.account, Account):
            return super().settle(ticket, real)
        key = self._closed(ticket)
        return Spend() if key is None else self._told(key, ticket.shared, real)

    def abandon(self, ticket: Ticket, real: Spend) -> None:
        """As `settle`, by a worker."""
        if isinstance(ticket.account, Account):
            super().settle(ticket, real)
        elif (key := self._closed(ticket)) is not None:
            workers().run(lambda: self._tell_later(key, ticket.shared, real))

    def _closed(self, ticket: Ticket) -> Key | None:
        """Close *ticket*; the account that is to be told, if it is."""
        with self._lock:
            first, ticket.closed = not ticket.closed, True
            return ticket.account if first and isinstance(ticket.account, tuple) else None

    def tell(self, key: Key, run: Any, reached: frozenset[float]) -> tuple[float, ...]:
        """As `Ledger.tell`, for all processes; nothing while Redis cannot be asked."""
        if run is not None:
            return super().tell(key, run, reached)
        try:
            return tuple([float(each) for each in self._asked(_TELL, key, *sorted(reached))])
        except StoreUnreachable:
            return ()

    def held(self, key: Key, run: Any = None) -> tuple[Spend, Spend]:
        """What was spent, and what is reserved, by all processes."""
        if run is not None:
            return super().held(key, run)
        spent, reserved, unknown = _spends(self._asked(_HELD, key))
        return Spend(spent.tokens, None) if unknown else spent, reserved

    def last_day(self) -> int:
        """The last day on which somebody asked."""
        return int(self._asked(_LAST, (0, "")) or 0)

    def _told(self, key: Key, name: str, real: Spend) -> Spend:
        """Tell what the call *name* has really used, now or later; what was spent until now."""
        try:
            return self._settled(key, name, real)
        except StoreUnreachable:
            self._late.append((key, name, real))
            return Spend()

    def _tell_later(self, key: Key, name: str, real: Spend) -> None:
        self._told(key, name, real)

    def _catch_up(self) -> None:
        """Tell what could not be told when it happened."""
        with suppress(IndexError):
            while True:
                late = self._late.popleft()
                try:
                    self._settled(*late)
                except StoreUnreachable:
                    self._late.append(late)
                    raise

    def _settled(self, key: Key, name: str, real: Spend) -> Spend:
        held = self._asked(_SETTLE, key, name, real.tokens, _nano(real.money), int(real.money is None))
        return _spends(held)[0]

    def _keys(self, key: Key) -> list[str]:
        whole = f"{self.prefix}:budget:{{{self.name}}}"
        return [*[f"{whole}:{key[0]}:{part}:{key[1]}" for part in ("account", "open", "until")], f"{whole}:last"]

    def _asked(self, script: str, key: Key, *args: object) -> Any:
        known = self._client.register_script(script)
        named = f"the Redis that holds the budget {self.name!r}"
        return self._reach.asked(named, lambda: known(keys=self._keys(key), args=[*map(str, args)]))


def _made(name: str, redis: Any, lease: float, prefix: str) -> RedisLedger:
    return RedisLedger(name, redis, lease=lease, prefix=prefix)


def _nano(money: Decimal | None) -> int:
    """*money* in billionths of dollars, rounded up."""
    whole = int(((money or Decimal(0)) / _NANO).to_integral_value(ROUND_CEILING))
    if whole > _MOST:
        raise Misuse(f"a ledger in Redis counts up to 9,000,000 US dollars, not {money}")
    return whole


def _spends(held: Any) -> tuple[Spend, Spend, bool]:
    """What was spent as far as it is known, what is reserved, and whether some money that was spent is not known."""
    tokens, money, unknown, reserved_tokens, reserved_money = [int(each or 0) for each in held]
    return Spend(tokens, money * _NANO), Spend(reserved_tokens, reserved_money * _NANO), bool(unknown)

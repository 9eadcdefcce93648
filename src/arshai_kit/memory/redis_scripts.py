"""What Redis runs in one step for a memory: each script may be run twice, and changes what it finds once."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha1
from types import MappingProxyType
from typing import Final

__all__ = ["FORMAT", "MIGRATIONS", "SCRIPTS", "hash_of", "migration"]

FORMAT: Final = 1
"""The version of the layout, which docs/memory/redis.md describes."""

# A conversation is one hash, so that it expires, gives way or moves to another node as a whole. Beside it, while turns
# are taken, stand the turn (a hash) and the line of those who wait (a sorted set). Changes are counted from a base, the
# microsecond in which the conversation began, so that no two states have one version, even if all was forgotten in
# between. What is answered begins with 0, or with what is in the way: 1 (format), 2 (version), 3 (size).
_HEAD: Final = """
local AT, TURN, LINE = unpack(KEYS)
local FORMAT, ttl, renews = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local has = redis.call('HMGET', AT, 'format', 'base', 'count', 'first', 'bytes')
if has[1] ~= FORMAT and (has[1] or redis.call('EXISTS', AT) == 1) then return {1, has[1] or ''} end
local count, first, bytes = tonumber(has[3] or '0'), tonumber(has[4] or '1'), tonumber(has[5] or '0')
local function microseconds()
    local stamp = redis.call('TIME')
    return stamp[1] * 1000000 + stamp[2]
end
local base = tonumber(has[2]) or microseconds()
local function whole(number) return string.format('%.0f', number) end
local function version() return count > 0 and base + count or 0 end
local function keep()
    if ttl > 0 and (renews or not has[1]) then redis.call('PEXPIRE', AT, ttl) end
end
local function changed(...)
    redis.call('HSET', AT, 'format', FORMAT, 'base', whole(base), 'count', count, 'first', first, 'bytes', bytes, ...)
    keep()
end
local function tell() redis.pcall('PUBLISH', AT, whole(version())) end
local function said(from)
    local found = {}
    for place = from, count, 1000 do
        local names = {}
        for each = place, math.min(place + 999, count) do names[#names + 1] = each end
        for _, record in ipairs(redis.call('HMGET', AT, unpack(names))) do found[#found + 1] = record or '' end
    end
    return table.concat(found, '\\n')
end
"""

_TURN: Final = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local function text(number) return string.format('%.6f', number) end
local function gone(id)
    redis.call('ZREM', LINE, id)
    redis.call('HDEL', TURN, 'seen:' .. id)
end
local function first_in_line(id)
    while true do
        local one = redis.call('ZRANGE', LINE, 0, 0)[1]
        if not one or one == id or tonumber(redis.call('HGET', TURN, 'seen:' .. one) or '0') > now then return one end
        gone(one)
    end
end
local function waits(id)
    if not redis.call('ZSCORE', LINE, id) then
        redis.call('ZADD', LINE, redis.call('HINCRBY', TURN, 'count', 1), id)
    end
    local pause = math.min(0.02 + 0.02 * redis.call('ZRANK', LINE, id), 0.5)
    redis.call('HSET', TURN, 'seen:' .. id, text(now + pause + 10))
    return pause
end
local function entered(id, seconds)
    local is = redis.call('HMGET', TURN, 'holder', 'until')
    local until_ = is[1] and tonumber(is[2]) or now
    local first = id
    if is[1] ~= id then first = first_in_line(id) end
    local pause = 0
    if is[1] ~= id and (until_ > now or (first or id) ~= id) then
        pause = waits(id)
    else
        if first then gone(id) end
        redis.call('HSET', TURN, 'holder', id, 'until', text(now + seconds))
    end
    local lasts = math.ceil(math.max(seconds, until_ - now)) + 60
    redis.call('EXPIRE', TURN, lasts)
    if first or pause > 0 then redis.call('EXPIRE', LINE, lasts) end
    return pause
end
local function left(id)
    local holder = redis.call('HGET', TURN, 'holder')
    if holder ~= id or redis.call('EXISTS', LINE) == 1 then
        gone(id)
        if holder == id then redis.call('HDEL', TURN, 'holder', 'until') end
        if (holder and holder ~= id) or redis.call('EXISTS', LINE) == 1 then return end
    end
    redis.call('DEL', TURN)
end
"""

_LOAD: Final = """
keep()
return {0, version(), said(first), bytes}
"""

# What has been said since a version (-1: nothing yet), and how it came about.
_SINCE: Final = """
local since = tonumber(ARGV[4])
if since < 0 or since == version() then return {0, version(), 'append', ''} end
if since > 0 and (since < base or since > version()) then return {0, version(), 'forget', said(first)} end
local place = math.max(since - base, 0)
if place < first and redis.call('HEXISTS', AT, 'replaced') == 1 then return {0, version(), 'replace', said(first)} end
return {0, version(), 'append', said(place + 1)}
"""

# With a turn, the last argument, that is given back too; `left` is there only where a turn may be.
_APPEND: Final = """
local id, record, most = 'id:' .. ARGV[4], ARGV[5], tonumber(ARGV[6])
if record == '' or redis.call('HEXISTS', AT, id) == 1 then
    keep()
else
    bytes = bytes + #record
    if most > 0 and bytes > most then return {3, bytes} end
    count = count + 1
    changed(count, record, id, count)
    tell()
end
if ARGV[7] then left(ARGV[7]) end
return {0, version()}
"""

_REPLACE: Final = """
local id, record, most, expected = 'id:' .. ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
if redis.call('HEXISTS', AT, id) == 1 then
    keep()
    return {0, base + tonumber(redis.call('HGET', AT, id))}
end
if expected ~= version() then return {2, version()} end
local names, freed = {}, 0
for place = first, count do
    freed = freed + redis.call('HSTRLEN', AT, place)
    names[#names + 1] = place
end
bytes = bytes - freed + #record
if most > 0 and bytes > most then return {3, bytes} end
for place = 1, #names, 1000 do
    redis.call('HDEL', AT, unpack(names, place, math.min(place + 999, #names)))
end
count = count + 1
first = count
changed('replaced', 1, count, record, id, count)
tell()
return {0, version()}
"""

_NOTED: Final = """
keep()
local found = redis.call('HMGET', AT, 'note:' .. ARGV[4], 'noted:' .. ARGV[4])
return {0, tonumber(string.match(found[2] or '0', '^%d+')), found[1] or ''}
"""

_NOTE: Final = """
local id, record, most, name, expected = ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8]
local found = redis.call('HMGET', AT, 'note:' .. name, 'noted:' .. name)
local number, by = string.match(found[2] or '0 ', '^(%d+) (.*)$')
if by == id then
    keep()
    return {0, tonumber(number)}
end
if expected ~= '' and expected ~= number then return {2, tonumber(number)} end
bytes = bytes - #(found[1] or '') + #record
if most > 0 and bytes > most then return {3, bytes} end
number = math.max(tonumber(number) + 1, microseconds())
changed('note:' .. name, record, 'noted:' .. name, whole(number) .. ' ' .. id)
return {0, number}
"""

# Whoever asks to be forgotten is, whatever the version; what is not ours stays, and so does whose turn it is.
_FORGET: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HEXISTS', KEYS[1], 'format') == 0 then return {1, ''} end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', KEYS[1], 0)
return {0}
"""

_BEGIN: Final = """
local pause = entered(ARGV[4], tonumber(ARGV[5]))
if pause > 0 then return {0, text(pause), 0, '', bytes} end
keep()
return {0, '0', version(), said(first), bytes}
"""

_TURNS: Final = "local AT, TURN, LINE = unpack(KEYS)\n" + _TURN

SCRIPTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "load": _HEAD + _LOAD,
        "since": _HEAD + _SINCE,
        "append": _HEAD + _APPEND,
        "replace": _HEAD + _REPLACE,
        "noted": _HEAD + _NOTED,
        "note": _HEAD + _NOTE,
        "forget": _FORGET,
        "enter": _TURNS + "return {0, text(entered(ARGV[4], tonumber(ARGV[5])))}",
        "leave": _TURNS + "left(ARGV[4])\nreturn {0}",
        "begin": _HEAD + _TURN + _BEGIN,
        "end": _HEAD + _TURN + _APPEND,
    }
)
"""What Redis runs, by its name. The keys are those of the conversation; the first three arguments are always the
format, the milliseconds that it is kept (0: for ever), and whether each use renews them."""

MIGRATIONS: Final[Mapping[int, str]] = MappingProxyType({})
"""What makes the next format out of one of this number, on the same keys; 1 is the first, so there is none yet."""


def migration(number: int, step: str) -> str:
    """The script of a *step* from the format of that *number* to the next one, once however often it is run.

    >>> print(migration(1, "redis.call('HSET', KEYS[1], 'new', '')"))
    if redis.call('HGET', KEYS[1], 'format') ~= '1' then return {0} end
    redis.call('HSET', KEYS[1], 'new', '')
    redis.call('HSET', KEYS[1], 'format', '2')
    return {0}
    """
    first = f"if redis.call('HGET', KEYS[1], 'format') ~= '{number}' then return {{0}} end"
    return f"{first}\n{step}\nredis.call('HSET', KEYS[1], 'format', '{number + 1}')\nreturn {{0}}"


def hash_of(script: str) -> str:
    """The name that Redis gives to *script*.

    >>> hash_of("return 1")
    'e0e1f9fabfc9d4800c877a703b823ac0578ff8db'
    """
    return sha1(script.encode(), usedforsecurity=False).hexdigest()

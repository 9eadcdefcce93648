"""What Redis runs in one step: the same rules as those of `Quota` and `Circuit`, on the clock of the server."""

from __future__ import annotations

from typing import Final

__all__ = ["ENTER_CIRCUIT", "ENTER_QUOTA", "LEAVE_CIRCUIT", "SETTLE_CIRCUIT", "SETTLE_QUOTA"]

_CLOCK: Final = """
local stamp = redis.call('TIME')
local now = stamp[1] + stamp[2] / 1000000
local function text(number) return string.format('%.6f', number) end
"""

# A quota: the line and what those in it need, when they are missed, who runs and until when, the starts of the last
# minute and what they used, and the rest.
_QUOTA: Final = (
    _CLOCK
    + """
local WAITING, TOKENS, SEEN, RUNNING, STARTS, SPENT, STATE = unpack(KEYS)
local function dropped(id)
    redis.call('ZREM', WAITING, id)
    redis.call('HDEL', TOKENS, id)
    redis.call('ZREM', SEEN, id)
    if redis.call('ZREM', RUNNING, id) == 1 then redis.call('HSET', STATE, 'changed', text(now)) end
end
local function state(name) return tonumber(redis.call('HGET', STATE, name) or '0') end
local function forget(from)
    for index = from, #ARGV do dropped(ARGV[index]) end
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', SEEN, '-inf', text(now))) do dropped(id) end
    redis.call('ZREMRANGEBYSCORE', RUNNING, '-inf', text(now))
    local old = redis.call('ZRANGEBYSCORE', STARTS, '-inf', text(now - 60))
    for _, id in ipairs(old) do
        redis.call('HINCRBY', STATE, 'spent', -tonumber(redis.call('HGET', SPENT, id) or '0'))
        redis.call('HDEL', SPENT, id)
        redis.call('ZREM', STARTS, id)
    end
end
local function keep(lease)
    for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, math.ceil(lease) + 120) end
end
"""
)

ENTER_QUOTA: Final = (
    _QUOTA
    + """
local id, requests, tokens, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lease, own = tonumber(ARGV[5]), tonumber(ARGV[6])
forget(7)
if redis.call('ZSCORE', RUNNING, id) then return {'0', '0', ''} end
if tokens > 0 then own = math.min(own, tokens) end
if not redis.call('ZSCORE', WAITING, id) then
    redis.call('ZADD', WAITING, redis.call('HINCRBY', STATE, 'number', 1), id)
    redis.call('HSET', TOKENS, id, own)
end
own = tonumber(redis.call('HGET', TOKENS, id))
local place = redis.call('ZRANK', WAITING, id)
local needed = own
if place > 0 then
    local before = redis.call('ZRANGE', WAITING, 0, math.min(place, 1000) - 1)
    for _, each in ipairs(redis.call('HMGET', TOKENS, unpack(before))) do
        needed = needed + (tonumber(each) or 0)
    end
end
local wait, limit = state('held') - now, 'provider'
local function longer(seconds, name) if seconds > wait then wait, limit = seconds, name end end
local begun, spent, running = redis.call('ZCARD', STARTS), state('spent'), redis.call('ZCARD', RUNNING)
local function room(calls, soonest, latest)
    local seconds = math.max(state('seconds'), now - state('changed'))
    return math.min(latest, math.max(soonest, seconds / calls)) + math.min(0.05 * place, place / calls * seconds / 2)
end
if requests > 0 and begun + place >= requests then
    local over = begun + place - requests
    local index = over % requests
    local first = redis.call('ZRANGE', STARTS, index, index, 'WITHSCORES')
    longer((tonumber(first[2]) or now) + 60 * (math.floor(over / requests) + 1) - now, 'requests_per_minute')
end
local fixed, least = wait, math.max(wait, 0)
if tokens > 0 and spent + needed > tokens then
    local over, low, from, found, back = spent + needed - tokens, spent + own - tokens, 0, false, {}
    for _, each in ipairs(redis.call('ZRANGE', RUNNING, 0, 999)) do
        back[each] = true
        low = low - tonumber(redis.call('HGET', SPENT, each) or '0')
    end
    local late = low > 0
    while not found and from < begun do
        local some = redis.call('ZRANGE', STARTS, from, from + 99, 'WITHSCORES')
        for index = 1, #some, 2 do
            local used, left = tonumber(redis.call('HGET', SPENT, some[index]) or '0'), some[index + 1] + 60 - now
            over = over - used
            if not back[some[index]] then low = low - used end
            if late and low <= 0 then least, late = math.max(least, left), false end
            if over <= 0 then
                found = true
                longer(left, 'tokens_per_minute')
                break
            end
        end
        from = from + 100
    end
    if not found then longer(60 * math.max(1, math.ceil(needed / tokens) - 1), 'tokens_per_minute') end
end
for kind, wanted in pairs({requests = place + 1, tokens = needed}) do
    local till = state('until:' .. kind)
    if till > now and state('left:' .. kind) < wanted then
        longer(till - now, 'provider')
        least = math.max(least, till - now)
    end
end
local pause = wait
if wait > 0 then
    pause = wait <= 1 and math.max(wait, 0.001) or math.max(1, wait / 2)
    if fixed < wait and running > 0 then
        pause = math.min(pause, math.max(room(running, 0.05, 0.1), fixed / 2))
    elseif fixed < wait and place > 0 then
        pause = math.min(pause, math.max(1 + place / 2, fixed / 2))
    end
elseif most > 0 and place >= most - running then
    limit, pause = 'concurrent', room(most, 0.005, 0.05)
else
    dropped(id)
    redis.call('HSET', STATE, 'changed', text(now))
    redis.call('ZADD', RUNNING, text(now + lease), id)
    redis.call('ZADD', STARTS, text(now), id)
    redis.call('HSET', SPENT, id, own)
    redis.call('HINCRBY', STATE, 'spent', own)
    for kind, used in pairs({requests = 1, tokens = own}) do
        local name = 'left:' .. kind
        if redis.call('HEXISTS', STATE, name) == 1 then redis.call('HINCRBY', STATE, name, -used) end
    end
    keep(lease)
    return {'0', '0', ''}
end
redis.call('ZADD', SEEN, text(now + pause + 10), id)
keep(lease)
return {text(pause), text(least), limit}
"""
)

SETTLE_QUOTA: Final = (
    _QUOTA
    + """
local lease, id, used, hold, news = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local begun, spent = redis.call('ZSCORE', STARTS, id), redis.call('HGET', SPENT, id)
if begun and redis.call('ZSCORE', RUNNING, id) then
    local seconds, took = state('seconds'), now - tonumber(begun)
    redis.call('HSET', STATE, 'seconds', text(seconds + (took - seconds) * (seconds > 0 and 0.2 or 1)))
end
if spent and used >= 0 then
    redis.call('HINCRBY', STATE, 'spent', used - tonumber(spent))
    redis.call('HSET', SPENT, id, used)
end
for index = 9, 8 + news, 3 do
    redis.call('HSET', STATE, 'left:' .. ARGV[index], ARGV[index + 1])
    redis.call('HSET', STATE, 'until:' .. ARGV[index], text(now + tonumber(ARGV[index + 2])))
end
if hold > 0 and now + hold > state('held') then redis.call('HSET', STATE, 'held', text(now + hold)) end
forget(9 + news)
keep(lease)
"""
)

# A circuit: its turn, the failures in a row, when it is to be tried, by whom, and until when; and who has settled in
# the last minute, for a client repeats what it has no answer to.
_CIRCUIT: Final = (
    _CLOCK
    + """
local STATE, ENDED, FAILED, SETTLED = unpack(KEYS)
local function state(name) return redis.call('HGET', STATE, name) or '' end
local function keep(seconds)
    for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, math.ceil(seconds) + 120) end
end
"""
)

ENTER_CIRCUIT: Final = (
    _CIRCUIT
    + """
local id, lease = ARGV[1], tonumber(ARGV[2])
local turn, due, probe = state('turn'), state('due'), state('probe')
if turn == '' then turn = '0' end
if due == '' then return {'closed', turn, '0'} end
local tried = probe ~= '' and tonumber(state('until')) > now
if tried and probe ~= id then return {'probed', turn, '0'} end
if not tried and tonumber(due) > now then return {'open', turn, text(tonumber(due) - now)} end
redis.call('HSET', STATE, 'probe', id, 'until', text(now + lease))
return {'probe', turn, '0'}
"""
)

SETTLE_CIRCUIT: Final = (
    _CIRCUIT
    + """
local id, turn, went, failures, rate = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local window, minimum, reset, lease = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local current = state('turn')
if current == '' then current = '0' end
if redis.call('ZSCORE', SETTLED, id) then return state('changer') == id and state('changed') or '' end
if turn ~= current then return '' end
keep(2 * math.max(window, reset, lease))
local function noted()
    redis.call('ZADD', SETTLED, text(now), id)
    redis.call('ZREMRANGEBYSCORE', SETTLED, '-inf', text(now - 60))
end
local function changed(closed)
    redis.call('DEL', ENDED, FAILED)
    redis.call('HSET', STATE, 'row', 0, 'turn', tonumber(current) + 1)
    redis.call('HDEL', STATE, 'probe', 'until', 'due')
    if not closed then redis.call('HSET', STATE, 'due', text(now + reset)) end
    redis.call('HSET', STATE, 'changer', id, 'changed', closed and 'closed' or 'open')
    noted()
    keep(2 * math.max(window, reset, lease))
    return closed and 'closed' or 'open'
end
if state('due') ~= '' then
    if state('probe') ~= id then return '' end
    if went ~= '' then return changed(went == '1') end
    redis.call('HDEL', STATE, 'probe', 'until')
    return ''
end
if went == '' then return '' end
local row = 0
if went == '1' then redis.call('HSET', STATE, 'row', 0) else row = redis.call('HINCRBY', STATE, 'row', 1) end
local many = false
if rate > 0 then
    redis.call('ZADD', ENDED, text(now), id)
    if went ~= '1' then redis.call('ZADD', FAILED, text(now), id) end
    for _, key in ipairs({ENDED, FAILED}) do redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - window)) end
    local calls = redis.call('ZCARD', ENDED)
    many = calls >= minimum and redis.call('ZCARD', FAILED) >= rate * calls
end
if went ~= '1' and (many or (failures > 0 and row >= failures)) then return changed(false) end
noted()
keep(2 * math.max(window, reset, lease))
return ''
"""
)

LEAVE_CIRCUIT: Final = (
    _CIRCUIT
    + """
if state('probe') == ARGV[1] then redis.call('HDEL', STATE, 'probe', 'until') end
"""
)

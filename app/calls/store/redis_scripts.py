"""What must not be torn apart, as Lua scripts that Redis runs by itself; times are its own, in milliseconds.

Keys are handed in whole, except those that a script only finds by looking (`PRESENT` and `TAKE` need none). All belong
to one server: Redis Cluster, which spreads keys, is refused (`StoreMisconfigured`).
"""

from hashlib import sha1

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

ACQUIRE = (
    _NOW
    + """
local call, journal, leases = KEYS[1], KEYS[2], KEYS[3]
local id, owner, ttl, over, above, live = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), ARGV[6]
local known = redis.call('HMGET', call, 'owner', 'fence', 'until', 'ended')
local fence
if known[2] then
    if known[4] then return {'over'} end
    local remaining = tonumber(known[3]) - now
    fence = tonumber(known[2])
    if remaining > 0 and known[1] ~= owner and known[2] ~= over and fence >= above then
        return {'held', known[1], fence, remaining}
    end
    if known[1] ~= owner or remaining <= 0 or fence <= above then fence = math.max(fence, above) + 1 end
else
    fence = above + 1
end
redis.call('HSET', call, 'owner', owner, 'fence', fence, 'until', now + ttl)
redis.call('PEXPIRE', call, live)
redis.call('PEXPIRE', journal, live)
redis.call('ZADD', leases, now + ttl, id)
return {'lease', fence}
"""
)

RENEW = (
    _NOW
    + """
local call, journal, leases = KEYS[1], KEYS[2], KEYS[3]
local id, fence, ttl, live = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local known = redis.call('HMGET', call, 'fence', 'ended')
if not known[1] or tonumber(known[1]) < tonumber(fence) then return {'forgotten'} end
if known[1] ~= fence then return {'fenced', tonumber(known[1])} end
if known[2] then return {'done'} end
redis.call('HSET', call, 'until', now + ttl)
redis.call('PEXPIRE', call, live)
redis.call('PEXPIRE', journal, live)
redis.call('ZADD', leases, now + ttl, id)
return {'done'}
"""
)

APPEND = (
    _NOW
    + """
local call, journal, calls, leases, caller = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, fence, first, card, key, ended = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local keep, anew, live = ARGV[7], ARGV[8], tonumber(ARGV[9])
local known = redis.call('HMGET', call, 'fence', 'began', 'anew')
if not known[1] or tonumber(known[1]) < tonumber(fence) then return {'forgotten'} end
if known[1] ~= fence then return {'fenced', tonumber(known[1])} end
-- once for each fence: of two connections, the one that was given up may be heard last
if anew == '1' and known[3] ~= fence then
    redis.call('DEL', journal)
    redis.call('HSET', call, 'anew', fence)
end
local length = redis.call('XLEN', journal)
if first > length then return {'forgotten'} end
for index = 10 + length - first, #ARGV do
    redis.call('XADD', journal, string.format('%d-0', first + index - 9), 'entry', ARGV[index])
end
local began = known[2]
if not began then
    began = now
    redis.call('HSET', call, 'began', began)
end
if card ~= '' then
    redis.call('HSET', call, 'card', card)
    redis.call('ZADD', calls, began, id)
end
if key ~= '' then
    redis.call('ZREMRANGEBYSCORE', caller, '-inf', '(' .. now - live)
    redis.call('ZADD', caller, began, id)
    redis.call('PEXPIRE', caller, keep)
end
if ended == '1' then
    redis.call('HSETNX', call, 'ended', now)
    redis.call('ZREM', leases, id)
end
redis.call('PEXPIRE', call, keep)
redis.call('PEXPIRE', journal, keep)
return {'done'}
"""
)

RELEASE = (
    _NOW
    + """
local known = redis.call('HMGET', KEYS[1], 'fence', 'ended')
if known[1] == ARGV[2] and not known[2] then
    redis.call('HSET', KEYS[1], 'until', now)
    redis.call('ZADD', KEYS[2], now, ARGV[1])
end
return {'done'}
"""
)

POST = (
    _NOW
    + """
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[3], '*', 'until', now + tonumber(ARGV[2]), 'message', ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])))
return {'done'}
"""
)

TAKE = (
    _NOW
    + """
local fresh = {}
for _, message in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
    if tonumber(message[2][2]) > now then fresh[#fresh + 1] = message[2][4] end
end
redis.call('DEL', KEYS[1])
return fresh
"""
)

ANNOUNCE = (
    _NOW
    + """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]), ARGV[1])
return {'done'}
"""
)

PRESENT = (
    _NOW
    + """
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
    redis.call('HDEL', KEYS[1], owner)
    redis.call('ZREM', KEYS[2], owner)
end
return redis.call('HGETALL', KEYS[1])
"""
)

NOW = _NOW + "return now"


def digest(script: str) -> str:
    """How Redis names a script that it has loaded."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest()

-- Bans a network, or ends its ban. The record of an ended one stays for a while, so that all readers get the end of it.
-- KEYS: 1 bans  2 changes
-- ARGV: 1 network  2 ms that it lasts, '0' to end it  3 'a' for a ban by a rule, else 'm'  4 details  5 channel for changes
--       6 bans that are kept at most  7 ms for which the record of an ended one is kept
-- Returns 1, or 0 if the network is banned already (by a rule) or was not banned. Cost: O(log(bans)).
local time, lasts = redis.call('TIME'), tonumber(ARGV[2])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
clear(KEYS[1])
if not holds(KEYS[2], 'zset') then redis.call('DEL', KEYS[2]) end
local function parts(network)
  local ends, by, since = string.match(redis.call('HGET', KEYS[1], network) or '', '^(%d+):([am]):(%d+):')
  return tonumber(ends) or 0, by, tonumber(since) or 0
end
local function drop(network)
  redis.call('HDEL', KEYS[1], network)
  redis.call('ZREM', KEYS[2], network)
end
local active = parts(ARGV[1]) > now
if ARGV[3] == 'a' and active then return 0 end
local ends = lasts > 0 and now + lasts or 0
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f:%s:%.0f:%s', ends, ARGV[3], now, ARGV[4]))
redis.call('ZADD', KEYS[2], string.format('%.0f', time[1] * 1000000 + time[2]), ARGV[1])
-- Of the oldest, those that are over go; beyond the bound a ban by a rule, or else the oldest.
local oldest, victim = redis.call('ZRANGE', KEYS[2], 0, 99), nil
for _, network in ipairs(oldest) do
  local over, by, since = parts(network)
  if over <= now and since + ARGV[7] <= now then drop(network) elseif by == 'a' then victim = victim or network end
end
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6]) then drop(victim or oldest[1]) end
redis.call('PUBLISH', ARGV[5], '')
return (lasts > 0 or active) and 1 or 0

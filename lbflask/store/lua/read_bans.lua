-- Reads the bans that were changed since a moment, or all of them if that is too long ago.
-- KEYS: 1 bans  2 changes
-- ARGV: 1 microseconds of the server's clock at the reading before, '0' for none  2 microseconds for which changes are kept
-- Returns {seconds, microseconds, 1 for all or 0, {network, record …}}. Cost: O(changes), or O(bans).
local time, known = redis.call('TIME'), tonumber(ARGV[1])
local now, found = time[1] * 1000000 + time[2], {}
local all = known == 0 or known > now or now - known > tonumber(ARGV[2])
if not holds(KEYS[1], 'hash') then return {tonumber(time[1]), tonumber(time[2]), all and 1 or 0, {}} end
if all then return {tonumber(time[1]), tonumber(time[2]), 1, redis.call('HGETALL', KEYS[1])} end
if holds(KEYS[2], 'zset') then
  for _, network in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[1], '+inf')) do
    local record = redis.call('HGET', KEYS[1], network)
    if record then
      found[#found + 1] = network
      found[#found + 1] = record
    end
  end
end
return {tonumber(time[1]), tonumber(time[2]), 0, found}

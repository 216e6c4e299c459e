-- Drains an instance or ends its drain, and deletes the drains that are over.
-- KEYS: 1 drained  2 notes
-- ARGV: 1 instance  2 ms that it lasts, '0' to end it  3 operator  4 channel for changes  5 reason
-- Returns 1. Cost: O(drained instances).
local time, lasts = redis.call('TIME'), tonumber(ARGV[2])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
clear(KEYS[1])
clear(KEYS[2])
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local until_ms = string.match(all[i + 1], '^(%d+):')
  if not until_ms then note(KEYS[1] .. ' ' .. all[i]) end
  if not until_ms or tonumber(until_ms) <= now then
    redis.call('HDEL', KEYS[1], all[i])
    redis.call('HDEL', KEYS[2], all[i])
  end
end
if lasts > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f:%s', now + lasts, ARGV[3]))
  redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f:%s', now, ARGV[5]))
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
redis.call('PUBLISH', ARGV[4], '')
return 1

-- Writes the discovered backends, in an epoch.
-- KEYS: 1 epoch  2 discovered  3 version
-- ARGV: 1 epoch  2 JSON list of backends  3 channel for changes
-- Returns 1, or 0 without effect if the epoch is over. Cost: O(1).
if text(KEYS[1], '^%d+$', 16) ~= ARGV[1] then
  return 0
end
if holds(KEYS[2], 'string') and redis.call('GET', KEYS[2]) == ARGV[2] then
  return 1
end
redis.call('SET', KEYS[2], ARGV[2])
local time = redis.call('TIME')
local version = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('SET', KEYS[3], version)
redis.call('PUBLISH', ARGV[3], version)
return 1

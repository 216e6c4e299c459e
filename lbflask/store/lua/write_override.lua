-- Sets or deletes the override of a backend, unless it has changed since it was read.
-- KEYS: 1 overrides  2 version
-- ARGV: 1 backend  2 its record before, or ''  3 its record after, or '' to delete it  4 channel for changes
--       5 the version of the pool that is expected, or '' for any
-- Returns 1, or 0 without effect if the record before or the version is another. One that is absent or invalid
-- is none. Cost: O(1).
local version = ARGV[5] ~= '' and text(KEYS[2], '^%d+$', 20)
if field(KEYS[1], ARGV[1]) ~= ARGV[2] or (version and version ~= ARGV[5]) then
  return 0
end
clear(KEYS[1])
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
local time = redis.call('TIME')
redis.call('SET', KEYS[2], string.format('%.0f', time[1] * 1000000 + time[2]))
redis.call('PUBLISH', ARGV[4], ARGV[1])
return 1

-- Writes active health and the checker's heartbeat, in an epoch.
-- KEYS: 1 epoch  2 active  3 heartbeat  4 version
-- ARGV: 1 epoch  2 interval in ms  3 'replace' or 'keep' other backends  4 channel for changes, or ''
--       5… id, record, id, record …
-- Returns 1, or 0 without effect if the epoch is over. Cost: O(backends written).
if text(KEYS[1], '^%d+$', 16) ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
redis.call('SET', KEYS[3], string.format('%.0f:%s', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[2]))
local sound, none = holds(KEYS[2], 'hash')
if ARGV[3] == 'replace' then
  redis.call('DEL', KEYS[2])
elseif not sound and not none then
  return 1 -- The key has another type. Some of the backends would pass for all, so 'replace' has to write it first.
end
for i = 5, #ARGV, 1000 do
  redis.call('HSET', KEYS[2], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
if ARGV[4] ~= '' or text(KEYS[4], '^%d+$', 16) == false then
  local version = string.format('%.0f', time[1] * 1000000 + time[2])
  redis.call('SET', KEYS[4], version)
  if ARGV[4] ~= '' then redis.call('PUBLISH', ARGV[4], version) end
end
return 1

-- Writes active health in the name of an epoch, and beats the checker's heart.
-- KEYS: 1 epoch  2 active  3 heartbeat  4 version
-- ARGV: 1 epoch  2 interval in ms  3 'replace' or 'keep' other backends  4 channel to announce on, or ''
--       5… id, record, id, record …
-- Returns 1, or 0 and has written nothing if the epoch has passed. Cost: O(backends written).
if text(KEYS[1], '^%d+$', 16) ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
redis.call('SET', KEYS[3], string.format('%.0f:%s', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[2]))
local sound, none = holds(KEYS[2], 'hash')
if ARGV[3] == 'replace' then
  redis.call('DEL', KEYS[2])
elseif not sound and not none then
  return 1 -- A part of the backends would look like all: what else stands there is replaced by the whole.
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

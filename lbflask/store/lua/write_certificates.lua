-- Writes records of automatic certificates, in an epoch.
-- KEYS: 1 epoch  2 certificates  3 version
-- ARGV: 1 epoch  2 channel for changes  3… name and record, '' to delete it
-- Returns 1, or 0 without effect if the epoch is over. Cost: O(records).
if text(KEYS[1], '^%d+$', 16) ~= ARGV[1] then
  return 0
end
clear(KEYS[2])
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[i])
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
local time = redis.call('TIME')
redis.call('SET', KEYS[3], string.format('%.0f', time[1] * 1000000 + time[2]))
redis.call('PUBLISH', ARGV[2], '')
return 1

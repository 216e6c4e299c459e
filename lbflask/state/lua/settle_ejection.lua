-- Ends an ejection, or prolongs it after a probe that failed; core/ejection.py is the rule in words.
-- KEYS: 1 ejected  2 probe  3 version
-- ARGV: 1 backend  2 since when it is out, as in its record  3 'back' or 'out'  4 duration in s  5 longest in s
--       6 channel to announce on
-- Returns 1, or 0 and has written nothing if that ejection is over. Cost: O(1).
local record = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local times, since = string.match(record, '^{"out":true,"times":(%d+),"since":([%d.]+),')
if since ~= ARGV[2] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] + math.floor(time[2] / 1000) / 1000
local out, till = 'false', now
if ARGV[3] == 'out' then
  times = times + 1
  out, till = 'true', now + math.min(ARGV[5], ARGV[4] * times)
end
record = string.format('{"out":%s,"times":%d,"since":%s,"until":%.3f}', out, times, since, till)
redis.call('HSET', KEYS[1], ARGV[1], record)
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[3], string.format('%.0f', time[1] * 1000000 + time[2]))
redis.call('PUBLISH', ARGV[6], ARGV[1])
return 1

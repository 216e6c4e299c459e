-- Ends an ejection, or prolongs it after a failed probe; core/ejection.py states the rule.
-- KEYS: 1 ejected  2 probe  3 version
-- ARGV: 1 backend  2 beginning of the ejection, as in its record  3 'back' or 'out'  4 duration in s  5 maximum in s
--       6 channel for changes
-- Returns 1, or 0 without effect if that ejection is over. Cost: O(1).
local pattern = '^{"out":true,"times":(%d+),"since":(%d+%.%d%d%d),"until":%d+%.%d%d%d}$'
local times, since = string.match(field(KEYS[1], ARGV[1]), pattern)
if since ~= ARGV[2] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] + math.floor(time[2] / 1000) / 1000
local out, till = 'false', now
if ARGV[3] == 'out' then
  times = math.min(times + 1, 999999)
  out, till = 'true', now + math.min(ARGV[5], ARGV[4] * times)
end
-- A beginning ahead of the clock, which was set back, counts as now.
local record = string.format(
  '{"out":%s,"times":%d,"since":%.3f,"until":%.3f}', out, times, math.min(since, now), till)
redis.call('HSET', KEYS[1], ARGV[1], record)
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[3], string.format('%.0f', time[1] * 1000000 + time[2]))
redis.call('PUBLISH', ARGV[6], ARGV[1])
return 1

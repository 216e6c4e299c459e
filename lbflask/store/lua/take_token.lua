-- Takes a token from a bucket, if there is one; core/rate_limit.py states the arithmetic. All numbers are integers.
-- KEYS: 1 bucket
-- ARGV: 1 units added in a microsecond  2 units of a token  3 units of a full bucket
-- Returns {1 or 0, units missing from a full bucket}. Cost: O(1).
local time = redis.call('TIME')
local now, missing = time[1] * 1000000 + time[2], 0
local at, lacking = text(KEYS[1], '^(%d+) (%d+)$', 40)
if at then
  -- A time ahead of the clock, which was set back, counts as now.
  missing = math.max(0, math.min(lacking, ARGV[3]) - math.max(0, now - at) * ARGV[1])
end
local passed = missing + ARGV[2] <= tonumber(ARGV[3])
if passed then
  missing = missing + ARGV[2]
elseif tonumber(at) <= now and tonumber(lacking) <= tonumber(ARGV[3]) then
  return {0, string.format('%.0f', missing)}
end
-- Expires when it is full.
local full = math.ceil(missing / ARGV[1] / 1000)
redis.call('SET', KEYS[1], string.format('%.0f %.0f', now, missing), 'PX', math.max(1, full))
return {passed and 1 or 0, string.format('%.0f', missing)}

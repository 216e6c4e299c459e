-- Counts what a worker saw of a backend, and ejects it when that is enough; core/ejection.py is the rule in words.
-- KEYS: 1 failures  2 attempts  3 ejected  4 version
-- ARGV: 1 backend  2 attempts  3 failures  4 their weight  5 weight needed  6 percent needed  7 window in ms
--       8 duration in s  9 longest in s  10 how many may be out  11 channel to announce on  12… ids of the pool
-- Returns 1 if it was ejected, else 0. Cost: O(1), and O(backends) when enough has failed.
local id, record = ARGV[1], redis.call('HGET', KEYS[3], ARGV[1]) or ''
local total = redis.call('HINCRBY', KEYS[2], id, ARGV[2])
if string.find(record, '"out":true', 1, true) then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tally = redis.call('HGET', KEYS[1], id) or ''
local opened, base, failures, weight = string.match(tally, '^(%d+) (-?%d+) (%d+) (%d+)$')
if not opened or now - opened >= tonumber(ARGV[7]) then
  opened, base, failures, weight = now, total - ARGV[3], 0, 0
end
failures, weight = failures + ARGV[3], weight + ARGV[4]
redis.call('HSET', KEYS[1], id, string.format('%.0f %.0f %.0f %.0f', opened, base, failures, weight))
if weight < tonumber(ARGV[5]) or failures * 100 < (total - base) * ARGV[6] then
  return 0
end
local out = 0
for i = 12, #ARGV do
  local other = redis.call('HGET', KEYS[3], ARGV[i]) or ''
  out = out + (string.find(other, '"out":true', 1, true) and 1 or 0)
end
if out >= tonumber(ARGV[10]) then
  return 0
end
local times, back = string.match(record, '"times":(%d+),.*"until":([%d.]+)}')
times = (times and now / 1000 - back <= tonumber(ARGV[9]) and times or 0) + 1
local till = now / 1000 + math.min(ARGV[9], ARGV[8] * times)
redis.call('HSET', KEYS[3], id, string.format('{"out":true,"times":%d,"since":%.3f,"until":%.3f}', times, now / 1000, till))
redis.call('HDEL', KEYS[1], id)
redis.call('SET', KEYS[4], string.format('%.0f', time[1] * 1000000 + time[2]))
redis.call('PUBLISH', ARGV[11], id)
return 1

-- Counts a worker's failures at a backend, and ejects it if they suffice; core/ejection.py states the rule.
-- KEYS: 1 failures  2 attempts  3 ejected  4 version
-- ARGV: 1 backend  2 attempts  3 failures  4 their weight  5 weight needed  6 percent needed  7 window in ms
--       8 duration in s  9 maximum in s  10 limit of ejected backends  11 channel for changes  12… ids of the pool
-- Returns 1 if it was ejected, else 0. Cost: O(1), or O(backends) when the failures suffice.
local id = ARGV[1]
local function ejection(name)
  local pattern = '^{"out":(%a+),"times":(%d+),"since":%d+%.%d%d%d,"until":(%d+%.%d%d%d)}$'
  return string.match(field(KEYS[3], name), pattern)
end
local out, times, back = ejection(id)
local total = add(KEYS[2], id, ARGV[2])
if out == 'true' then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local opened, base, failures, weight = string.match(field(KEYS[1], id), '^(%d+) (-?%d+) (%d+) (%d+)$')
local age = opened and tonumber(base) <= total and now - opened or -1
if age < 0 or age >= tonumber(ARGV[7]) then
  opened, base, failures, weight = now, total - ARGV[3], 0, 0
end
failures, weight = failures + ARGV[3], weight + ARGV[4]
clear(KEYS[1])
redis.call('HSET', KEYS[1], id, string.format('%.0f %.0f %.0f %.0f', opened, base, failures, weight))
if weight < tonumber(ARGV[5]) or failures * 100 < (total - base) * ARGV[6] then
  return 0
end
local room = tonumber(ARGV[10])
for i = 12, #ARGV do
  room = room - (ejection(ARGV[i]) == 'true' and 1 or 0)
end
if room <= 0 then return 0 end
times = (times and #times <= 6 and now / 1000 - back <= tonumber(ARGV[9]) and times or 0) + 1
local till, since = now / 1000 + math.min(ARGV[9], ARGV[8] * times), now / 1000
clear(KEYS[3])
redis.call('HSET', KEYS[3], id, string.format('{"out":true,"times":%d,"since":%.3f,"until":%.3f}', times, since, till))
redis.call('HDEL', KEYS[1], id)
redis.call('SET', KEYS[4], string.format('%.0f', time[1] * 1000000 + time[2]))
redis.call('PUBLISH', ARGV[11], id)
return 1

-- Counts a worker's failures at a backend, and ejects it if they suffice; core/ejection.py states the rule.
-- KEYS: 1 failures  2 attempts  3 ejected  4 version
-- ARGV: 1 backend  2 attempts  3 failures  4 their weight  5 excess needed  6 window in ms  7 forgotten after ms
--       8 attempts kept  9 duration in s  10 maximum in s  11 limit of ejected backends  12 channel for changes
--       13… ids of the pool
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
local attempts = age >= 0 and total - ARGV[2] - base or 0
local full = age >= tonumber(ARGV[6]) or attempts > 2 * ARGV[8]
if age < 0 or age >= tonumber(ARGV[7]) or full and attempts <= 2 * failures then
  opened, base, failures, weight = now, total - ARGV[3], 0, 0
elseif full then
  local kept = math.min(ARGV[8], math.floor(attempts * 2 / 3))
  opened, base = now, total - ARGV[2] - kept
  failures, weight = math.floor(failures * kept / attempts), math.floor(weight * kept / attempts)
end
failures, weight = failures + ARGV[3], weight + ARGV[4]
clear(KEYS[1])
redis.call('HSET', KEYS[1], id, string.format('%.0f %.0f %.0f %.0f', opened, base, failures, weight))
local excess = 2 * failures - math.max(failures, total - base)
if failures == 0 or excess <= 0 or weight * excess < ARGV[5] * failures then
  return 0
end
local room = tonumber(ARGV[11])
for i = 13, #ARGV do
  room = room - (ejection(ARGV[i]) == 'true' and 1 or 0)
end
if room <= 0 then return 0 end
times = (times and #times <= 6 and now / 1000 - back <= tonumber(ARGV[10]) and times or 0) + 1
local till, since = now / 1000 + math.min(ARGV[10], ARGV[9] * times), now / 1000
clear(KEYS[3])
redis.call('HSET', KEYS[3], id, string.format('{"out":true,"times":%d,"since":%.3f,"until":%.3f}', times, since, till))
redis.call('HDEL', KEYS[1], id)
redis.call('SET', KEYS[4], string.format('%.0f', time[1] * 1000000 + time[2]))
redis.call('PUBLISH', ARGV[12], id)
return 1

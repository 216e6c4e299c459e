-- Leases slots of backends to a worker; core/slots.py states the rule.
-- KEYS: 1 slots
-- ARGV: 1 worker  2 ms after which leases expire  3 slots wanted beyond those kept  4 requests waiting there
--       5 ms the oldest has waited  6 limit of waiting requests in the fleet  7 ms to overtake by  8 slots held
--       before  9 channel  10 'call' to call for idle slots of others  11… backend, kept, limit, backend, kept …
-- Returns {waiting elsewhere, held of the first backend, of the second …}. Cost: O(workers × backends they hold).
clear(KEYS[1])
local time, all, dead = redis.call('TIME'), redis.call('HGETALL', KEYS[1]), tonumber(ARGV[2])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since, ahead, elsewhere, taken = now - ARGV[5], 0, 0, {}
for i = 1, #all, 2 do
  local at, rest, waiting, oldest, held = string.match(all[i + 1], '^(%d+)( (%d+) (%d+)(.*))$')
  if not at or #waiting > 7 then at = note(KEYS[1] .. ' ' .. all[i]) end
  if not at or now - at > dead then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then -- A time ahead of the clock, which was set back, counts as now.
    if at - now > dead then redis.call('HSET', KEYS[1], all[i], string.format('%.0f', now) .. rest) end
    elsewhere = elsewhere + waiting
    ahead = ahead + (waiting ~= '0' and tonumber(oldest) < since - ARGV[7] and 1 or 0)
    for count, id in string.gmatch(held, '|(%d+) ([^|]*)') do taken[id] = (taken[id] or 0) + count end
  end
end
local free, room = {}, -ahead
for i = 11, #ARGV, 3 do
  free[i] = math.max(0, ARGV[i + 2] - ARGV[i + 1] - (taken[ARGV[i]] or 0))
  room = room + free[i]
end
local given = math.max(0, math.min(ARGV[3], room))
local left, sum, record, reply = given, 0, '', {elsewhere}
for i = 11, #ARGV, 3 do
  local held = ARGV[i + 1] + math.min(left, free[i])
  left, sum, reply[#reply + 1] = left + ARGV[i + 1] - held, sum + held, held
  record = record .. string.format('|%d %s', held, ARGV[i])
end
local waiting = math.max(0, ARGV[4] - given - (ARGV[4] + elsewhere > tonumber(ARGV[6]) and 1 or 0))
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %d %.0f', now, waiting, given > 0 and now or since) .. record)
redis.call('PEXPIRE', KEYS[1], 60 * ARGV[2])
if sum + waiting == 0 then redis.call('HDEL', KEYS[1], ARGV[1]) end
if ARGV[10] == 'call' or sum < tonumber(ARGV[8]) and elsewhere > 0 then redis.call('PUBLISH', ARGV[9], '') end
return reply

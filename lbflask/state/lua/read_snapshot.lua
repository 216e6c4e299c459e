-- Reads all that is known of a pool at one moment.
-- KEYS: 1 version  2 heartbeat  3 active  4 ejected  5 overrides  6 discovered  7 secret
-- ARGV: 1 the version the caller knows
-- Returns {version, silence in ms or -1, interval in ms, seconds, microseconds} by the server's clock, followed by
-- {id, record …} of active health, of ejections and of overrides, the record of what was discovered or '', and the
-- secret or '', unless the version is known.
-- Cost: O(backends) when a status changed, else O(1).
local version = redis.call('GET', KEYS[1]) or '0'
local heartbeat = redis.call('GET', KEYS[2])
local time = redis.call('TIME')
local silence, interval = -1, 0
if heartbeat then
  local at, every = string.match(heartbeat, '^(%d+):(%d+)$')
  silence = math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(at))
  interval = tonumber(every)
end
local reply = {version, silence, interval, tonumber(time[1]), tonumber(time[2])}
if version ~= ARGV[1] then
  reply[6] = redis.call('HGETALL', KEYS[3])
  reply[7] = redis.call('HGETALL', KEYS[4])
  reply[8] = redis.call('HGETALL', KEYS[5])
  reply[9] = redis.call('GET', KEYS[6]) or ''
  reply[10] = redis.call('GET', KEYS[7]) or ''
end
return reply

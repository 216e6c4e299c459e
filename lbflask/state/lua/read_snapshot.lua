-- Reads all that is known of a pool at one moment.
-- KEYS: 1 version  2 heartbeat  3 active
-- ARGV: 1 the version the caller knows
-- Returns {version, silence in ms or -1, interval in ms, id, record, id, record …}; no records if the version is known.
-- Cost: O(backends) when a status changed, else O(1).
local version = redis.call('GET', KEYS[1]) or '0'
local heartbeat = redis.call('GET', KEYS[2])
local silence, interval = -1, 0
if heartbeat then
  local at, every = string.match(heartbeat, '^(%d+):(%d+)$')
  local time = redis.call('TIME')
  silence = math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(at))
  interval = tonumber(every)
end
local reply = {version, silence, interval}
if version ~= ARGV[1] then
  for _, value in ipairs(redis.call('HGETALL', KEYS[3])) do
    reply[#reply + 1] = value
  end
end
return reply

-- Reads the snapshot of a pool.
-- KEYS: 1 version  2 heartbeat  3 active  4 ejected  5 overrides  6 discovered  7 secret
-- ARGV: 1 the caller's version
-- Returns {version, silence in ms, interval in ms, seconds, microseconds} by the server's clock, followed by {id,
-- record …} of active health, of ejections and of overrides, the record of discovered backends or '', and the secret
-- or '', unless the caller has this version. Of invalid keys the version is -1, the silence -2, the others nil; without
-- a heartbeat the silence is -1. Cost: O(backends) when a status changed, else O(1).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local version = text(KEYS[1], '^%d+$', 16)
version = version or (version == nil and '0' or '-1')
local at, every = text(KEYS[2], '^(%d+):(%d+)$', 24)
local silence, interval = at == nil and -1 or -2, 0
if at and #every <= 8 then
  at, interval = tonumber(at), tonumber(every)
  if at > now + interval then
    -- The clock was set back. The heartbeat counts as now, and is rewritten so that the silence grows from now on.
    at = now
    redis.pcall('SET', KEYS[2], string.format('%.0f:%s', now, every))
  end
  silence = math.max(0, now - at)
end
local reply = {version, silence, interval, tonumber(time[1]), tonumber(time[2])}
local function hash(key)
  local sound, none = holds(key, 'hash')
  return (sound or none) and redis.call('HGETALL', key)
end
if version ~= ARGV[1] or version == '-1' then
  reply[6], reply[7], reply[8] = hash(KEYS[3]), hash(KEYS[4]), hash(KEYS[5])
  local discovered, secret = text(KEYS[6], '^.*$', 2 ^ 24), text(KEYS[7], '^[%w_-]+$', 256)
  reply[9] = discovered == nil and '' or discovered
  reply[10] = secret == nil and '' or secret
end
return reply

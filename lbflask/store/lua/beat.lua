-- Writes a worker's heartbeat with its requests in flight, and adds its attempts since the last one.
-- KEYS: 1 workers  2 attempts  3 reports
-- ARGV: 1 worker  2 JSON of backend id to requests in flight  3 ms after which a worker without a beat is dead
--       4 'read' to return the other workers and purge the dead, or ''  5 the worker's new report, or ''
--       6… id, attempts, id, attempts …
-- Returns the number of workers with the dead that are not purged yet, followed, with 'read', by the JSON of each other
-- living worker. Cost: O(backends), with 'read' also O(workers).
local time, dead = redis.call('TIME'), tonumber(ARGV[3])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
clear(KEYS[1])
clear(KEYS[3])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f:%s', now, ARGV[2]))
redis.call('PEXPIRE', KEYS[1], 60 * dead)
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[1], string.format('%.0f:%s', now, ARGV[5]))
  redis.call('PEXPIRE', KEYS[3], 60 * dead)
end
for i = 6, #ARGV, 2 do
  add(KEYS[2], ARGV[i], ARGV[i + 1])
end
local reply = {0}
local all = ARGV[4] == 'read' and redis.call('HGETALL', KEYS[1]) or {}
for i = 1, #all, 2 do
  local at, loads = string.match(all[i + 1], '^(%d+):(.*)$')
  if not at then note(KEYS[1] .. ' ' .. all[i]) end
  if not at or now - at > dead then
    redis.call('HDEL', KEYS[1], all[i])
    redis.call('HDEL', KEYS[3], all[i])
  elseif all[i] ~= ARGV[1] then
    reply[#reply + 1] = loads
    -- A beat ahead of the clock, which was set back, counts as one of now.
    if at - now > dead then redis.call('HSET', KEYS[1], all[i], string.format('%.0f:%s', now, loads)) end
  end
end
reply[1] = redis.call('HLEN', KEYS[1])
return reply

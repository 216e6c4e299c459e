-- Writes a worker's heartbeat with its requests in flight, and adds its attempts since the last one.
-- KEYS: 1 workers  2 attempts  3 reports
-- ARGV: 1 worker  2 JSON of backend id to requests in flight  3 ms after which a worker without a beat is dead
--       4 'read' to return the other workers and purge the dead, or ''  5 the worker's new report, or ''
--       6 ms after which the report of a dead worker is deleted  7 JSON of backend id to attempts, or ''
-- Returns the number of workers with the dead that are not purged yet, and 1 if the store had no report of the worker
-- although one is given, else 0; followed, with 'read', by the JSON of each other living worker. Cost: O(backends),
-- with 'read' also O(workers).
local time, dead, reading = redis.call('TIME'), tonumber(ARGV[3]), ARGV[4] == 'read'
local now = time[1] * 1000 + math.floor(time[2] / 1000)
clear(KEYS[1])
clear(KEYS[3])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f:%s', now, ARGV[2]))
redis.call('PEXPIRE', KEYS[1], 60 * dead)
local new = 0
if ARGV[5] ~= '' then
  new = redis.call('HSET', KEYS[3], ARGV[1], string.format('%.0f:%s', now, ARGV[5]))
  redis.call('PEXPIRE', KEYS[3], 60 * dead)
end
if ARGV[7] ~= '' then
  clear(KEYS[2])
  for id, attempts in pairs(cjson.decode(ARGV[7])) do increase(KEYS[2], id, attempts) end
end
local reply, all = {0, new}, reading and redis.call('HGETALL', KEYS[1]) or {}
for i = 1, #all, 2 do
  local at, loads = string.match(all[i + 1], '^(%d+):(.*)$')
  if not at then note(KEYS[1] .. ' ' .. all[i]) end
  if not at or now - at > dead then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then
    reply[#reply + 1] = loads
    -- A beat ahead of the clock, which was set back, counts as one of now.
    if at - now > dead then redis.call('HSET', KEYS[1], all[i], string.format('%.0f:%s', now, loads)) end
  end
end
for _, id in ipairs(reading and redis.call('HKEYS', KEYS[3]) or {}) do
  if redis.call('HEXISTS', KEYS[1], id) == 0 then  -- dead, which its report shows to operators for a while
    local at = string.match(redis.call('HGET', KEYS[3], id), '^(%d+):')
    if not at or now - at > tonumber(ARGV[6]) or at - now > dead then redis.call('HDEL', KEYS[3], id) end
  end
end
reply[1] = redis.call('HLEN', KEYS[1])
return reply

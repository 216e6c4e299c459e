-- Deletes the heartbeat and the report of a worker.
-- KEYS: 1 workers  2 reports
-- ARGV: 1 worker
-- Returns 1. Cost: O(1).
for _, key in ipairs({KEYS[1], KEYS[2]}) do
  if holds(key, 'hash') then redis.call('HDEL', key, ARGV[1]) end
end
return 1

-- Reads the leading checker of a pool, and the latest beats and reports of its workers.
-- KEYS: 1 leader  2 workers  3 reports
-- ARGV: none
-- Returns {seconds, microseconds, leader or '', {worker, beat …}, {worker, report …}}. Cost: O(workers).
local time = redis.call('TIME')
local leader = text(KEYS[1], '^.*$', 512) or ''
local workers = holds(KEYS[2], 'hash') and redis.call('HGETALL', KEYS[2]) or {}
local reports = holds(KEYS[3], 'hash') and redis.call('HGETALL', KEYS[3]) or {}
return {tonumber(time[1]), tonumber(time[2]), leader, workers, reports}

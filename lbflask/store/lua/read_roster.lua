-- Reads the leading checker and all checkers of a pool, the latest beats and reports of its workers, and the attempts at
-- its backends.
-- KEYS: 1 leader  2 workers  3 reports  4 attempts  5 checkers  6 source
-- ARGV: none
-- Returns {seconds, microseconds, leader or '', {worker, beat …}, {worker, report …}, {backend, attempts …},
-- {checker, until …}, failure of the source or ''}. Cost: O(workers) and O(backends).
local time = redis.call('TIME')
local leader = text(KEYS[1], '^.*$', 512) or ''
local workers = holds(KEYS[2], 'hash') and redis.call('HGETALL', KEYS[2]) or {}
local reports = holds(KEYS[3], 'hash') and redis.call('HGETALL', KEYS[3]) or {}
local attempts = holds(KEYS[4], 'hash') and redis.call('HGETALL', KEYS[4]) or {}
local checkers = holds(KEYS[5], 'hash') and redis.call('HGETALL', KEYS[5]) or {}
local source = text(KEYS[6], '^.*$', 16384) or ''
return {tonumber(time[1]), tonumber(time[2]), leader, workers, reports, attempts, checkers, source}

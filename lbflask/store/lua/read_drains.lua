-- Reads the drained instances.
-- KEYS: 1 drained  2 notes
-- ARGV: none
-- Returns {seconds, microseconds, {instance, until:operator …}, {instance, since:reason …}}. Cost: O(drained instances).
local time = redis.call('TIME')
local drains = holds(KEYS[1], 'hash') and redis.call('HGETALL', KEYS[1]) or {}
local notes = holds(KEYS[2], 'hash') and redis.call('HGETALL', KEYS[2]) or {}
return {tonumber(time[1]), tonumber(time[2]), drains, notes}

-- Reads the drained instances.
-- KEYS: 1 drained
-- ARGV: none
-- Returns {seconds, microseconds, {instance, until:operator …}}. Cost: O(drained instances).
local time = redis.call('TIME')
local drains = holds(KEYS[1], 'hash') and redis.call('HGETALL', KEYS[1]) or {}
return {tonumber(time[1]), tonumber(time[2]), drains}

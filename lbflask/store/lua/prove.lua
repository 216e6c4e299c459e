-- Runs each command of the other scripts once, so that a store which refuses any of them fails. Leaves no key behind.
-- KEYS: 1 trial
-- ARGV: 1 channel without subscribers
-- Returns 1. Cost: O(1).
redis.call('SET', KEYS[1], 1, 'PX', 1000)
redis.call('INCRBY', KEYS[1], 1)
redis.call('GET', KEYS[1])
redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'field', 1)
redis.call('HINCRBY', KEYS[1], 'field', 1)
redis.call('PEXPIRE', KEYS[1], 1000)
redis.call('HGET', KEYS[1], 'field')
redis.call('HGETALL', KEYS[1])
redis.call('HLEN', KEYS[1])
redis.call('HDEL', KEYS[1], 'field')
redis.call('XADD', KEYS[1], '*', 'field', 1)
redis.call('DEL', KEYS[1])
redis.call('TIME')
redis.call('TYPE', KEYS[1])
redis.call('PUBLISH', ARGV[1], '')
return 1

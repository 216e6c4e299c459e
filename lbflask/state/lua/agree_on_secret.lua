-- Has the fleet agree on a secret: the first that is proposed.
-- KEYS: 1 secret
-- ARGV: 1 what the caller proposes
-- Returns the secret. Cost: O(1).
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])

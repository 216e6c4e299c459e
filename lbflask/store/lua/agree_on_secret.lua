-- Has the fleet agree on a secret: the first that is proposed.
-- KEYS: 1 secret
-- ARGV: 1 what the caller proposes  2 how long a secret is at least
-- Returns the secret. Cost: O(1).
local secret = text(KEYS[1], '^[%w_-]+$', 256)
if secret and #secret >= tonumber(ARGV[2]) then
  return secret
end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]

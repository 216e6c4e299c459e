-- Sets the secret of the fleet, unless it is set.
-- KEYS: 1 secret
-- ARGV: 1 proposed secret  2 minimum length of a secret
-- Returns the secret. Cost: O(1).
local secret = text(KEYS[1], '^[%w_-]+$', 256)
if secret and #secret >= tonumber(ARGV[2]) then
  return secret
end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]

-- Gives up the leadership of a pool, if it is the caller's.
-- KEYS: 1 leader
-- ARGV: 1 holder
-- Returns 1 if it was. Cost: O(1).
if text(KEYS[1], '^.*$', 512) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0

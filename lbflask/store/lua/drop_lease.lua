-- Gives up the leadership of a pool, if it is the caller's, and its place among the checkers.
-- KEYS: 1 leader  2 checkers
-- ARGV: 1 holder
-- Returns 1 if it was. Cost: O(1).
clear(KEYS[2])
redis.call('HDEL', KEYS[2], ARGV[1])
if text(KEYS[1], '^.*$', 512) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0

-- Sets the counter back to the first of the tickets that are returned, unless later ones have been issued.
-- KEYS: 1 ticket
-- ARGV: 1 the first ticket; 2 the number of tickets issued with the last of them
-- Returns 1 if it did. Cost: O(1).
if holds(KEYS[1], 'string') and redis.call('GET', KEYS[1]) == ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[1])
  return 1
end
return 0

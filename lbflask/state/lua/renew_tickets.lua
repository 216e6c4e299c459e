-- Takes tickets from a counter that could not be counted on, and begins anew if it still can't.
-- KEYS: 1 ticket
-- ARGV: 1 how many tickets
-- Returns the last of them. Cost: O(1).
local last = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(last) == 'number' then
  return last
end
note(KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return tonumber(ARGV[1])

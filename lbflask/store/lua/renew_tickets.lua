-- Takes tickets from a counter that INCRBY failed for; an invalid one is replaced.
-- KEYS: 1 ticket
-- ARGV: 1 number of tickets
-- Returns the last of them. Cost: O(1).
local sound, none = holds(KEYS[1], 'string')
local last = (sound or none) and counted('INCRBY', KEYS[1], ARGV[1])
if last then
  return last
end
if sound then note(KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[1])
return tonumber(ARGV[1])

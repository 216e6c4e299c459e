-- Takes or renews the right to probe an ejected backend of the pool.
-- KEYS: 1 probe
-- ARGV: 1 holder  2 lease in ms
-- Returns 1, or 0 while another worker has it. Cost: O(1).
local holder, left = text(KEYS[1], '^.*$', 512), redis.call('PTTL', KEYS[1])
if holder and holder ~= ARGV[1] and left >= 0 and left <= tonumber(ARGV[2]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1

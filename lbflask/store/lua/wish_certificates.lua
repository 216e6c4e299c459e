-- Adds names to the wishes for certificates, up to a limit.
-- KEYS: 1 wishes
-- ARGV: 1 most names  2 ms after the latest wish until all are deleted  3… names
-- Returns the number of wishes. Cost: O(names).
clear(KEYS[1])
local time, count = redis.call('TIME'), redis.call('HLEN', KEYS[1])
for i = 3, #ARGV do
  if count >= tonumber(ARGV[1]) then break end
  count = count + redis.call('HSET', KEYS[1], ARGV[i], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
end
if count > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return count

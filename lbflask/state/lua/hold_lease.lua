-- Takes or keeps the lead of a pool.
-- KEYS: 1 leader  2 epoch
-- ARGV: 1 holder  2 lease in ms
-- Returns {epoch, seconds, microseconds} of the server's clock, or nil while another leads. Cost: O(1).
local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then
  return nil
end
local epoch = redis.call('GET', KEYS[2])
local time = redis.call('TIME')
if not leader or not epoch then
  -- From the clock, so that an emptied server does not begin again with the epochs of before.
  epoch = string.format('%.0f', math.max((epoch or 0) + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', KEYS[2], epoch)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {tonumber(epoch), tonumber(time[1]), tonumber(time[2])}

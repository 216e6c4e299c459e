-- Takes or renews the leadership of a pool, and lists the caller among the checkers, leading or not, for as long.
-- KEYS: 1 leader  2 epoch  3 checkers
-- ARGV: 1 holder  2 lease in ms
-- Returns {epoch, seconds, microseconds} of the server's clock, or nil while another leads. Cost: O(checkers).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
clear(KEYS[3])
redis.call('HSET', KEYS[3], ARGV[1], string.format('%.0f', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[3], ARGV[2])
local leader, left = text(KEYS[1], '^.*$', 512), redis.call('PTTL', KEYS[1])
if leader and leader ~= ARGV[1] and left >= 0 and left <= tonumber(ARGV[2]) then
  return nil -- A lease without an end, or longer than this one, is from before the clock was set back, or invalid.
end
local epoch = tonumber(text(KEYS[2], '^%d+$', 16) or nil)
local listed = redis.call('HGETALL', KEYS[3])
for i = 1, #listed, 2 do
  local till = tonumber(listed[i + 1])
  if not (till and now < till and till <= now + ARGV[2]) then redis.call('HDEL', KEYS[3], listed[i]) end
end
if leader ~= ARGV[1] or not epoch or epoch >= 2 ^ 53 - 1 then
  -- From the clock, so that the epochs of an emptied server exceed those from before.
  epoch = math.max(epoch and epoch < 2 ^ 53 - 2 and epoch + 1 or 0, time[1] * 1000000 + time[2])
  redis.call('SET', KEYS[2], string.format('%.0f', epoch))
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {epoch, tonumber(time[1]), tonumber(time[2])}

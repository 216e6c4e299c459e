-- Counts an answer that a rule of bans is about, in a list of the latest moments.
-- KEYS: 1 offences of a client
-- ARGV: 1 answers that give a ban  2 microseconds within which they must be  3 ms for which it returns 1 afterwards
-- Returns 1 if there are as many, which are then forgotten, else 0. Cost: O(answers).
if not holds(KEYS[1], 'list') then redis.call('DEL', KEYS[1]) end
if redis.call('LINDEX', KEYS[1], 0) == 'banned' then return 1 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local length = redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.max(1, math.ceil(ARGV[2] / 1000)))
if length < tonumber(ARGV[1]) then return 0 end
local first = tonumber(redis.call('LINDEX', KEYS[1], -ARGV[1])) or 0
if now - first <= tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[1])
  redis.call('RPUSH', KEYS[1], 'banned')
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 1
end
redis.call('LTRIM', KEYS[1], -ARGV[1], -1)
return 0

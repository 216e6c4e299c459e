-- Reads the override of a backend.
-- KEYS: 1 overrides
-- ARGV: 1 backend
-- Returns {its record ('' if there is none, nil if the key is invalid), seconds, microseconds} by the server's clock.
-- Cost: O(1).
local time = redis.call('TIME')
local sound, none = holds(KEYS[1], 'hash')
local record = none and ''
if sound then
  record = redis.call('HGET', KEYS[1], ARGV[1])
  record = record ~= '' and (record or '')
end
return {record, tonumber(time[1]), tonumber(time[2])}

-- Appends events to the stream, which is recreated if it accepts no more.
-- KEYS: 1 events
-- ARGV: 1 about how many are kept  2… kind, what, pool, backend, reason, who; kind, what …
-- Returns 1. Cost: O(events).
local names = {'kind', 'what', 'pool', 'backend', 'reason', 'who'}
for i = 2, #ARGV, #names do
  local entry = {}
  for number, name in ipairs(names) do
    local value = ARGV[i + number - 1]
    if value ~= '' then
      entry[#entry + 1] = name
      entry[#entry + 1] = value
    end
  end
  local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(entry))
  if type(added) == 'table' then
    -- The key has another type, or an entry with the largest possible id, which no entry can follow.
    if string.find(added.err, 'WRONGTYPE') or string.find(added.err, ' ID') then
      note(KEYS[1])
      redis.call('DEL', KEYS[1])
    end
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(entry))
  end
end
return 1

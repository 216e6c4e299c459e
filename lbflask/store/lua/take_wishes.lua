-- Takes wishes for certificates, in an epoch.
-- KEYS: 1 epoch  2 wishes
-- ARGV: 1 epoch  2 most names
-- Returns the names, none if the epoch is over. Cost: O(wishes), of which there are some hundreds at most.
if text(KEYS[1], '^%d+$', 16) ~= ARGV[1] or not holds(KEYS[2], 'hash') then
  return {}
end
local taken, names = {}, redis.call('HKEYS', KEYS[2])
for i = 1, math.min(#names, tonumber(ARGV[2])) do
  taken[i] = names[i]
  redis.call('HDEL', KEYS[2], names[i])
end
return taken

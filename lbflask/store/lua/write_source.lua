-- Writes why the discovery source of a pool fails, in an epoch; or that it does not.
-- KEYS: 1 epoch  2 source
-- ARGV: 1 epoch  2 JSON of the failure, or '' for none  3 ms until it is forgotten
-- Returns 1, or 0 without effect if the epoch is over. Cost: O(1).
if text(KEYS[1], '^%d+$', 16) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
return 1

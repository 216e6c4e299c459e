-- Reads the records of automatic certificates, unless their version is known.
-- KEYS: 1 version  2 certificates
-- ARGV: 1 known version
-- Returns {version} if it is the known one, else {version, {name, record …}}; version 0 for none. Cost: O(records).
local version = text(KEYS[1], '^%d+$', 16) or '0'
if version == ARGV[1] then
  return {version}
end
return {version, holds(KEYS[2], 'hash') and redis.call('HGETALL', KEYS[2]) or {}}

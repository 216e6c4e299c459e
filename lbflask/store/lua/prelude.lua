-- Prepended to every script: access to keys that may hold anything. An invalid value counts as absent.
-- KEYS: none
-- ARGV: none
-- Returns nothing; store/scripts.py adds `damaged`, the invalid keys, to each result. Cost: O(1) for each function.
local damaged = {}
local function note(key) damaged[#damaged < 20 and #damaged + 1 or 20] = key end
-- Whether the key has this type, and whether it does not exist.
local function holds(key, kind)
  local actual = redis.call('TYPE', key).ok
  if actual ~= kind and actual ~= 'none' then note(key) end
  return actual == kind, actual == 'none'
end
-- The captures of the pattern in a string of at most so many bytes; nil if there is none, false if it is invalid.
local function text(key, pattern, limit)
  local sound, none = holds(key, 'string')
  if none then return nil end
  local value = sound and redis.call('GET', key)
  if sound and #value <= limit and string.find(value, pattern) then return string.match(value, pattern) end
  if sound then note(key) end
  return false
end
-- Deletes a key that is no hash, so that one can be written.
local function clear(key) if not holds(key, 'hash') then redis.call('DEL', key) end end
local function field(key, name) return holds(key, 'hash') and redis.call('HGET', key, name) or '' end
-- The result of a command that increments; nil if the value is no integer, or too large to be exact in Lua.
local function counted(command, ...)
  local total = redis.pcall(command, ...)
  if type(total) == 'number' then return math.abs(total) < 2 ^ 53 and total or nil end
  local of_value = string.find(total.err, 'not an integer') or string.find(total.err, 'overflow')
  return not of_value and redis.call(command, ...) or nil
end
-- Adds to a counter in a hash; an invalid one is replaced by the count. `add` also accepts a key of another type.
local function increase(key, name, count)
  local total = counted('HINCRBY', key, name, count)
  if total then return total end
  note(key .. ' ' .. name)
  redis.call('HSET', key, name, count)
  return tonumber(count)
end
local function add(key, name, count)
  clear(key)
  return increase(key, name, count)
end

-- Stands before every script: values of keys that may hold anything. What lbflask does not write there counts as absent.
-- KEYS: none
-- ARGV: none
-- Returns nothing by itself; RedisStore adds `damaged` to the script's result. Cost: O(1) for each function.
local damaged = {}
local function note(place) damaged[#damaged < 20 and #damaged + 1 or 20] = place end
-- Whether the key holds this type, and whether it holds nothing.
local function holds(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then note(key) end
  return found == kind, found == 'none'
end
-- What the pattern captures of a string of at most so many bytes; nil of none, false of anything else.
local function text(key, pattern, most)
  local sound, none = holds(key, 'string')
  if none then return nil end
  local value = sound and redis.call('GET', key)
  if sound and #value <= most and string.find(value, pattern) then return string.match(value, pattern) end
  if sound then note(key) end
  return false
end
-- Makes way for a hash where something else stands.
local function clear(key) if not holds(key, 'hash') then redis.call('DEL', key) end end
local function field(key, name) return holds(key, 'hash') and redis.call('HGET', key, name) or '' end
-- What a command gives that counts; nil if what it was to count with is no number, or one that Lua can't count exactly.
local function counted(command, ...)
  local total = redis.pcall(command, ...)
  if type(total) == 'number' then return math.abs(total) < 2 ^ 53 and total or nil end
  local of_value = string.find(total.err, 'not an integer') or string.find(total.err, 'overflow')
  return not of_value and redis.call(command, ...) or nil
end
-- Adds to a counter in a hash, which begins anew where it can't be counted with.
local function add(key, name, count)
  clear(key)
  local total = counted('HINCRBY', key, name, count)
  if total then return total end
  note(key .. ' ' .. name)
  redis.call('HSET', key, name, count)
  return tonumber(count)
end

-- Exchange the id of deleted records, of which only the count of versions is left, and let every process
-- make its search index anew: what it holds of them it would not be told otherwise.
-- KEYS  meta, records, changed
-- ARGV  store id, field, new field, field, new field, ...
-- Answers how many there were, or W where the store is not the one that was opened.

if redis.call('HGET', KEYS[1], 'store_id') ~= ARGV[1] then return 'W' end
local found = 0
for number = 2, #ARGV, 2 do
  local field = ARGV[number]
  local value = redis.call('HGET', KEYS[2], field)
  if value and not string.find(value, ' ', 1, true) then
    redis.call('HDEL', KEYS[2], field)
    redis.call('HSET', KEYS[2], ARGV[number + 1], value)
    redis.call('ZREM', KEYS[3], field)
    found = found + 1
  end
end
if found > 0 then redis.call('HINCRBY', KEYS[1], 'erasures', 1) end
return tostring(found)

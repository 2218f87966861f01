-- Copy a part of a log to a new one, with an id exchanged, and put the new one in its place at the end.
-- A log's entries cannot be changed, and those taken out of it leave their bytes in the server's files.
-- KEYS  meta, log, new log      ARGV  store id, id, what stands for it from now on, limit
-- Answers how many entries are left to copy as far as one look tells: '0' once the new log is in place.

if redis.call('HGET', KEYS[1], 'store_id') ~= ARGV[1] then return 'W' end
local old, new, limit = ARGV[2], ARGV[3], tonumber(ARGV[4])
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
local entries = redis.call('XRANGE', KEYS[2], last and '(' .. last[1] or '-', '+', 'COUNT', limit)
local suffix = '@' .. old
for _, entry in ipairs(entries) do
  local fields = entry[2]
  for number = 1, #fields, 2 do
    local name, value = fields[number], fields[number + 1]
    if name == 'id' and value == old then fields[number + 1] = new end
    if name == 'actor' and string.sub(value, -#suffix) == suffix then
      fields[number + 1] = string.sub(value, 1, #value - #old) .. new
    end
  end
  redis.call('XADD', KEYS[3], entry[1], unpack(fields))
end
if #entries == limit then return '1' end
if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('RENAME', KEYS[3], KEYS[2]) end
return '0'

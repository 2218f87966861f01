-- Streams of one name, the longest untouched first, as of one moment.
-- KEYS  heads, ages      ARGV  stream (measured), limit
-- Answers {key, head, key, head, ...}; a head is 'last trimmed time'.

local found = {}
local members = redis.call('ZRANGEBYLEX', KEYS[2], '[' .. ARGV[1], '(' .. ARGV[1] .. '\255', 'LIMIT', 0, ARGV[2])
for _, member in ipairs(members) do
  local key = string.sub(member, #ARGV[1] + 21)
  found[#found + 1] = key
  found[#found + 1] = redis.call('HGET', KEYS[1], ARGV[1] .. #key .. ':' .. key)
end
return found

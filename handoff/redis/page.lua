-- A page of an index list with its records, as of one moment.
-- KEYS  records, index
-- ARGV  collection, the list's prefix, 'ascending' or 'descending', where to begin, where to end, limit
-- Answers {how many follow, escaped sort of the last, id, record, id, record, ...}

local prefix, ascending, first, last, limit = ARGV[2], ARGV[3] == 'ascending', ARGV[4], ARGV[5], tonumber(ARGV[6])
local command = ascending and 'ZRANGEBYLEX' or 'ZREVRANGEBYLEX'

-- A sort value ends at the first zero byte that is not escaped; the id follows.
local function divided(member)
  local at = #prefix + 1
  while true do
    local zero = string.find(member, '\0', at, true)
    if string.byte(member, zero + 1) ~= 255 then
      return string.sub(member, #prefix + 1, zero - 1), string.sub(member, zero + 1)
    end
    at = zero + 2
  end
end

local members = redis.call(command, KEYS[2], first, last, 'LIMIT', 0, limit + 1)
local more = 0
if #members > limit then
  local after = '(' .. members[limit]
  if ascending then more = redis.call('ZLEXCOUNT', KEYS[2], after, last)
  else more = redis.call('ZLEXCOUNT', KEYS[2], last, after) end
  members[limit + 1] = nil
end

local found = {more, ''}
for _, member in ipairs(members) do
  local sort, id = divided(member)
  found[2] = sort
  found[#found + 1] = id
  found[#found + 1] = redis.call('HGET', KEYS[1], ARGV[1] .. id)
end
return found

-- Records in the order of their ids, and how far the collection's log goes, as of one moment.
-- KEYS  records, ids, log      ARGV  collection (measured), where to begin, where to end, limit
-- Answers {newest position, whether more follow (1) or not (0), id, record, id, record, ...}

local collection, limit = ARGV[1], tonumber(ARGV[4])
local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
local fields = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[2], ARGV[3], 'LIMIT', 0, limit + 1)

local found = {newest and string.match(newest[1], '^%d+') or '0', #fields > limit and 1 or 0}
for number = 1, math.min(#fields, limit) do
  found[#found + 1] = string.sub(fields[number], #collection + 1)
  found[#found + 1] = redis.call('HGET', KEYS[1], fields[number])
end
return found

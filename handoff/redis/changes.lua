-- Texts that changed after a position, the longest unchanged first, each as it is now.
-- KEYS  meta, changed, texts, places      ARGV  position, limit
-- Answers {run id of the server with the number of erasures, store id, newest position, field, position, text, places, ...}

local fields = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local found = {
  string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. (redis.call('HGET', KEYS[1], 'erasures') or ''),
  redis.call('HGET', KEYS[1], 'store_id') or '',
  redis.call('HGET', KEYS[1], 'position') or '0',
}
for number = 1, #fields, 2 do
  local field = fields[number]
  found[#found + 1] = field
  found[#found + 1] = fields[number + 1]
  found[#found + 1] = redis.call('HGET', KEYS[3], field) or ''
  found[#found + 1] = redis.call('HGET', KEYS[4], field) or ''
end
return found

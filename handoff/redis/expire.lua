-- Remove the outcomes of tokens; the tokens stay known.
-- KEYS  meta, tokens, token ends      ARGV  store id, token, token, ...
-- Answers '', or W where the store is not the one that was opened.

if redis.call('HGET', KEYS[1], 'store_id') ~= ARGV[1] then return 'W' end
for number = 2, #ARGV do
  if redis.call('HEXISTS', KEYS[2], ARGV[number]) == 1 then redis.call('HSET', KEYS[2], ARGV[number], '') end
  redis.call('ZREM', KEYS[3], ARGV[number])
end
return ''

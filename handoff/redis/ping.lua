-- Whether the store that was opened is still there, and takes writes where that is asked.
-- KEYS  meta      ARGV  store id, 'write' or 'read'
-- Answers W where the store is not the one that was opened.

if redis.call('HGET', KEYS[1], 'store_id') ~= ARGV[1] then return 'W' end
if ARGV[2] == 'write' then redis.call('HSET', KEYS[1], 'tried', '1') end
return ''

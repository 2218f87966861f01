-- Take possession of a namespace that is empty, or read whose it is.
-- KEYS  all fixed keys, meta first      ARGV  program, owner, schema version, a new store id
-- Answers {program, owner, schema version, store id}, with nils where there is none, or a word.

local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  for number = 2, #KEYS do
    if redis.call('EXISTS', KEYS[number]) == 1 then return 'headless' end
  end
  redis.call('HSET', KEYS[1], 'program', ARGV[1], 'owner', ARGV[2], 'schema_version', ARGV[3],
    'store_id', ARGV[4], 'position', 0)
elseif kind ~= 'hash' then
  return 'foreign'
end
return redis.call('HMGET', KEYS[1], 'program', 'owner', 'schema_version', 'store_id')

-- Leases by the server's clock. A value is 'number expires owner' while held, 'number' once given up.
-- KEYS  meta, leases, lease ends      ARGV  store id, time ('' for the server's own), verb, name, owner, number, seconds,
--       how many times so many seconds a lease may still have to run; more means that the clock was set back
-- Answers 'number expires abandoned' (1 where it was taken from a holder that let it expire), '' where the lease is another's, or 'W' where the store is not the one opened.

local verb, name, owner, number = ARGV[3], ARGV[4], ARGV[5], ARGV[6]

if redis.call('HGET', KEYS[1], 'store_id') ~= ARGV[1] then return 'W' end

local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

local value = redis.call('HGET', KEYS[2], name)
local held, expires, holder
local abandoned = 0
if value then
  held = string.match(value, '^%d+')
  expires, holder = string.match(value, '^%d+ (%S+) (.*)$')
end

if verb == 'acquire' then
  if holder ~= owner then
    local left = holder and tonumber(expires) - now or 0
    if left > 0 and left <= ARGV[8] * ARGV[7] then return '' end
    if holder then abandoned = 1 end
    -- Numbers go on above those of the leases forgotten: one of them may have been of this name.
    held = held or redis.call('HGET', KEYS[1], 'lease_floor') or 0
    held = string.format('%.0f', tonumber(held) + 1)
  end
elseif held ~= number or holder ~= owner then
  return ''
elseif verb == 'release' then
  redis.call('HSET', KEYS[2], name, held)
  redis.call('ZADD', KEYS[3], 0, name)
  return ''
end

local until_then = string.format('%.6f', now + tonumber(ARGV[7]))
redis.call('HSET', KEYS[2], name, held .. ' ' .. until_then .. ' ' .. owner)
redis.call('ZADD', KEYS[3], until_then, name)
return held .. ' ' .. until_then .. ' ' .. abandoned

-- Slots, calls and tokens that all workers share, by the server's clock; slots of dead workers end by themselves.
-- KEYS  slots (sorted set of slot ids by their end), pace (hash: limit, lowered, and what is left of calls and tokens)
-- ARGV  verb, slot, seconds, most at once, calls a minute (0: any), tokens a minute (0: any), tokens, hold seconds
-- 'take' answers how many milliseconds to wait, 0 when the slot is taken; the others answer the limit.

local verb, slot, most, hold = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local limit = tonumber(redis.call('HGET', KEYS[2], 'limit') or most)
if limit > most then limit = most end
local lowered = tonumber(redis.call('HGET', KEYS[2], 'lowered') or 0)

-- A clock that was set back must not hold everybody up.
if lowered > now then lowered = now end

local function keep_limit()
  redis.call('HSET', KEYS[2], 'limit', string.format('%.4f', limit), 'lowered', string.format('%.6f', lowered))
end

-- What is left of a quota per minute: it grows by the second, to one second's worth at most, and may be a debt.
local function left(name, per_minute)
  local second = per_minute / 60
  local burst = math.max(1, second)
  local kept = redis.call('HMGET', KEYS[2], name, name .. '_at')
  if not kept[1] then return burst, second end
  local passed = math.max(0, now - tonumber(kept[2]))
  return math.min(burst, tonumber(kept[1]) + passed * second), second
end

local function spend(name, amount, value)
  redis.call('HSET', KEYS[2], name, string.format('%.4f', value - amount), name .. '_at', string.format('%.6f', now))
end

if verb == 'lower' then
  if now - lowered >= hold then
    limit, lowered = math.max(1, limit / 2), now
    keep_limit()
  end
  return math.floor(limit)
end

local calls, tokens = tonumber(ARGV[5]), tonumber(ARGV[6])

if verb == 'give' or verb == 'refused' then
  if redis.call('ZREM', KEYS[1], slot) == 1 and tokens > 0 then spend('tokens', tonumber(ARGV[7]), (left('tokens', tokens))) end
  if verb == 'give' and now - lowered >= hold and limit < most then
    limit = math.min(most, limit + 1 / limit)
    keep_limit()
  end
  return math.floor(limit)
end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= math.floor(limit) then return 100 end
local calls_left, calls_second, tokens_left, tokens_second
if calls > 0 then
  calls_left, calls_second = left('calls', calls)
  if calls_left < 1 then return math.ceil((1 - calls_left) / calls_second * 1000) end
end
if tokens > 0 then
  tokens_left, tokens_second = left('tokens', tokens)
  if tokens_left <= 0 then return math.ceil((1 - tokens_left) / tokens_second * 1000) end
end
if calls > 0 then spend('calls', 1, calls_left) end
if tokens > 0 then spend('tokens', tonumber(ARGV[7]), tokens_left) end
redis.call('ZADD', KEYS[1], string.format('%.6f', now + tonumber(ARGV[3])), slot)
return 0

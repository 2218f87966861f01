-- Remove payloads of expired tokens, and leases that ended long ago.
-- KEYS  meta, tokens, token ends, leases, lease ends
-- ARGV  store id, time ('' for the server's own), limit of each, seconds for which an ended lease is kept
-- Answers how many of both, or W where the store is not the one that was opened.

local META, TOKENS, TOKEN_ENDS, LEASES, LEASE_ENDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call = redis.call

if call('HGET', META, 'store_id') ~= ARGV[1] then return 'W' end

local now = tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
end
local limit = ARGV[3]

-- An empty value stays, so that the token is known for ever.
local expired = call('ZRANGEBYSCORE', TOKEN_ENDS, '-inf', string.format('%.6f', now), 'LIMIT', 0, limit)
for _, token in ipairs(expired) do
  call('HSET', TOKENS, token, '')
  call('ZREM', TOKEN_ENDS, token)
end

local before = string.format('%.6f', now - tonumber(ARGV[4]))
local ended = call('ZRANGEBYSCORE', LEASE_ENDS, '-inf', before, 'LIMIT', 0, limit)
local floor = tonumber(call('HGET', META, 'lease_floor') or 0)
for _, name in ipairs(ended) do
  floor = math.max(floor, tonumber(string.match(call('HGET', LEASES, name), '^%d+')))
  call('HDEL', LEASES, name)
  call('ZREM', LEASE_ENDS, name)
end
if #ended > 0 then call('HSET', META, 'lease_floor', string.format('%.0f', floor)) end

return tostring(#expired + #ended)

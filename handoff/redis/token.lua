-- What is known of a token.
-- KEYS  tokens      ARGV  time ('' for the server's own), token
-- Answers R<token>, E where its time is over, '' where it is unknown.

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end
local known = redis.call('HGET', KEYS[1], ARGV[2])
if not known then return '' end
local expires = tonumber(string.match(known, '^%S+ (%S+) '))
return expires and expires > now and 'R' .. known or 'E'

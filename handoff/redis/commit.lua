-- One commit. Everything is looked at before anything is written, because a script is not undone when it
-- fails halfway; from the first write on, nothing here can be refused.
--
-- KEYS  meta, records, ids, places, index, texts, changed, entries, heads, ages, tokens, token ends,
--       leases, lease ends, then the logs
-- ARGV  store id, time ('' for the server's own), actor,
--       token key, fingerprint, result ('' for no token), seconds to keep it; the result is measured, and
--       may go on with numbers to be counted from the first entry's, each followed by more of it;
--       fence name, fence number ('' for no fence), 1 to give its lease up; then the writes:
--         P collection id expected data places text log      D collection id expected log
--         C collection id expected                           A stream key seq data        T stream key through
--       `collection` and `stream` are measured (`5:abcde`); '' stands for what was left out.
--
-- Answers C<versions>;<seqs> committed, R<token> replayed, E token expired, F stale fence,
--         V<write> <actual> lost a compare-and-swap, W the store is not the one that was opened.

local META, RECORDS, IDS, PLACES, INDEX, TEXTS, CHANGED = unpack(KEYS, 1, 7)
local ENTRIES, HEADS, AGES, TOKENS, TOKEN_ENDS, LEASES, LEASE_ENDS = unpack(KEYS, 8, 14)
local LOGS = 14
local call = redis.call

if call('HGET', META, 'store_id') ~= ARGV[1] then return 'W' end

local now = ARGV[2]
if now == '' then
  local time = call('TIME')
  now = string.format('%d.%06d', time[1], time[2])
end
local actor, token, fingerprint, result, keep = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local has_token = result ~= ''

if has_token then
  local known = call('HGET', TOKENS, token)
  if known then
    local expires = tonumber(string.match(known, '^%S+ (%S+) '))
    return expires and expires > tonumber(now) and 'R' .. known or 'E'
  end
end
if ARGV[9] ~= '' then
  local lease = call('HGET', LEASES, ARGV[8])
  if not lease or string.match(lease, '^%d+') ~= ARGV[9] then return 'F' end
end

-- Records as they stand, by field: 'version data', or 'version' alone once deleted; false if never written.
local records = {}

local function record(field)
  local value = records[field]
  if value == nil then
    value = call('HGET', RECORDS, field)
    records[field] = value
  end
  return value
end

local function version_of(value)
  return value and string.match(value, '^(%d+) ') or '0'
end

-- Streams as they stand, by field, and as this commit will leave them.
local streams = {}

local function stream(name, key)
  local field = name .. #key .. ':' .. key
  local known = streams[field]
  if known then return known end
  local head = call('HGET', HEADS, field)
  known = {name = name, key = key, field = field, last = 0, trimmed = 0, taken = {}}
  if head then
    local last, trimmed, at = string.match(head, '^(%d+) (%d+) (.*)$')
    known.last, known.trimmed, known.at, known.before = tonumber(last), tonumber(trimmed), at, at
    known.stored, known.exists = known.last, true
  end
  streams[field] = known
  return known
end

local function padded(seq)
  return string.format('%016d', seq)
end

local function is_taken(known, seq)
  if seq <= known.trimmed or known.taken[seq] then return true end
  if not known.stored or seq > known.stored then return false end
  local place = known.field .. padded(seq)
  return call('ZLEXCOUNT', ENTRIES, '[' .. place, '(' .. place .. '\255') > 0
end

local function plan_append(write)
  local known = stream(write.name, write.key)
  local seq = write.seq == '' and known.last + 1 or tonumber(write.seq)
  if write.seq ~= '' and is_taken(known, seq) then return math.max(known.last, seq) end
  known.taken[seq], known.last, known.at, known.exists = true, math.max(known.last, seq), now, true
  write.seq = seq
end

local function plan_trim(write)
  local known = stream(write.name, write.key)
  if write.through == '' then
    known.last, known.trimmed, known.taken = 0, 0, {}
    known.stored, known.exists, known.at = nil, false, nil
  else
    known.trimmed = math.max(known.trimmed, math.min(tonumber(write.through), known.last))
  end
end

-- First pass: read the writes, compare versions, number the entries.
local writes = {}
local at = 11
while at <= #ARGV do
  local kind = ARGV[at]
  local write
  if kind == 'P' then
    write = {kind = kind, collection = ARGV[at + 1], id = ARGV[at + 2], expected = ARGV[at + 3],
      data = ARGV[at + 4], places = ARGV[at + 5], text = ARGV[at + 6], log = ARGV[at + 7]}
    at = at + 8
  elseif kind == 'D' then
    write = {kind = kind, collection = ARGV[at + 1], id = ARGV[at + 2], expected = ARGV[at + 3],
      places = '', text = '', log = ARGV[at + 4]}
    at = at + 5
  elseif kind == 'C' then
    write = {kind = kind, collection = ARGV[at + 1], id = ARGV[at + 2], expected = ARGV[at + 3]}
    at = at + 4
  elseif kind == 'A' then
    write = {kind = kind, name = ARGV[at + 1], key = ARGV[at + 2], seq = ARGV[at + 3], data = ARGV[at + 4]}
    at = at + 5
  else
    write = {kind = kind, name = ARGV[at + 1], key = ARGV[at + 2], through = ARGV[at + 3]}
    at = at + 4
  end
  if write.id then
    write.field = write.collection .. write.id
    if write.expected ~= '' then
      local actual = version_of(record(write.field))
      if actual ~= write.expected then return 'V' .. #writes .. ' ' .. actual end
    end
  end
  writes[#writes + 1] = write
end
for number, write in ipairs(writes) do
  local taken
  if write.kind == 'A' then taken = plan_append(write) end
  if write.kind == 'T' then plan_trim(write) end
  if taken then return string.format('V%d %d', number - 1, taken) end
end

-- Second pass: write.

local function parts_of(packed)
  local parts, from = {}, 1
  while from <= #packed do
    local colon = string.find(packed, ':', from, true)
    local last = colon + tonumber(string.sub(packed, from, colon - 1))
    parts[#parts + 1] = string.sub(packed, colon + 1, last)
    from = last + 1
  end
  return parts
end

local function places_in(packed)
  local places = {}
  for _, place in ipairs(parts_of(packed)) do places[place] = true end
  return places
end

local function move(write, before)
  local old, new = places_in(before), places_in(write.places)
  local head, tail = write.collection, '\0' .. write.id
  for place in pairs(old) do
    if not new[place] then call('ZREM', INDEX, head .. place .. tail) end
  end
  for place in pairs(new) do
    if not old[place] then call('ZADD', INDEX, 0, head .. place .. tail) end
  end
  if write.places == '' then call('HDEL', PLACES, write.field)
  else call('HSET', PLACES, write.field, write.places) end
end

local function set_text(write, before)
  if write.text == '' then call('HDEL', TEXTS, write.field)
  elseif write.text ~= before then call('HSET', TEXTS, write.field, write.text) end
end

local function place(write, is_new, position)
  local before = not is_new and call('HGET', PLACES, write.field) or ''
  local text = not is_new and call('HGET', TEXTS, write.field) or ''
  local moved = before ~= write.places
  if moved then move(write, before) end
  if text ~= write.text then set_text(write, text) end
  if text ~= write.text or (moved and text ~= '') then call('ZADD', CHANGED, position, write.field) end
end

local function log(write, version)
  local position = string.format('%.0f', call('HINCRBY', META, 'position', 1))
  local key = KEYS[LOGS + tonumber(write.log)]
  if has_token then
    call('XADD', key, position .. '-0', 'id', write.id, 'version', version, 'actor', actor, 'at', now,
      'token', token)
  else
    call('XADD', key, position .. '-0', 'id', write.id, 'version', version, 'actor', actor, 'at', now)
  end
  return position
end

local function store(write)
  local before = record(write.field)
  local is_delete, is_live = write.kind == 'D', version_of(before) ~= '0'
  if is_delete and not is_live then return end
  local version = string.format('%.0f', (before and tonumber(string.match(before, '^%d+')) or 0) + 1)
  local value = is_delete and version or version .. ' ' .. write.data
  call('HSET', RECORDS, write.field, value)
  records[write.field] = value
  if is_delete then call('ZREM', IDS, write.field)
  elseif not is_live then call('ZADD', IDS, 0, write.field) end
  place(write, not before, log(write, version))
  return version
end

local function trim(write)
  local prefix = stream(write.name, write.key).field
  if write.through == '' then
    call('ZREMRANGEBYLEX', ENTRIES, '[' .. prefix, '(' .. prefix .. '\255')
  elseif tonumber(write.through) > 0 then
    local last = prefix .. padded(tonumber(write.through))
    call('ZREMRANGEBYLEX', ENTRIES, '[' .. prefix, '(' .. last .. '\255')
  end
end

local versions, seqs = {}, {}
for _, write in ipairs(writes) do
  if write.kind == 'P' then
    versions[#versions + 1] = store(write)
  elseif write.kind == 'D' then
    store(write)
  elseif write.kind == 'A' then
    local seq = padded(write.seq)
    call('ZADD', ENTRIES, 0, stream(write.name, write.key).field .. seq .. now .. ' ' .. write.data)
    seqs[#seqs + 1] = string.format('%.0f', write.seq)
  elseif write.kind == 'T' then
    trim(write)
  end
end

-- 'stream time key', with the time at one width, so that the order of bytes is the order of age.
local function age(known, time)
  return known.name .. string.rep('0', 20 - #time) .. time .. known.key
end

for field, known in pairs(streams) do
  if known.before and known.before ~= known.at then call('ZREM', AGES, age(known, known.before)) end
  if known.exists then
    call('HSET', HEADS, field, string.format('%.0f %.0f %s', known.last, known.trimmed, known.at))
    if known.before ~= known.at then call('ZADD', AGES, 0, age(known, known.at)) end
  elseif known.before then
    call('HDEL', HEADS, field)
  end
end

if ARGV[10] ~= '' then
  call('HSET', LEASES, ARGV[8], ARGV[9])
  call('ZADD', LEASE_ENDS, 0, ARGV[8])
end
if has_token then
  local parts = parts_of(result)
  for number = 2, #parts, 2 do
    parts[number] = string.format('%.0f', tonumber(seqs[1]) + tonumber(parts[number]))
  end
  local expires = string.format('%.6f', tonumber(now) + tonumber(keep))
  call('ZADD', TOKEN_ENDS, expires, token)
  call('HSET', TOKENS, token, now .. ' ' .. expires .. ' ' .. #fingerprint .. ':' .. fingerprint .. table.concat(parts))
end
return 'C' .. table.concat(versions, ',') .. ';' .. table.concat(seqs, ',')

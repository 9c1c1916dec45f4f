-- Decides one application: granted, already granted, or why not.
--
-- Granting writes three things (the stream entry, who holds the serial, the count) and refusing writes
-- nothing. A script is isolated but not transactional: a command that fails leaves what came before it.
-- So everything is read and checked first, and of the writes the one that could still fail comes first:
-- XADD meets every reason that Redis has for refusing a write (out of memory, a replica, a full disk), and
-- the stream is the only key whose type has not been seen. After it, nothing is left that can fail.
--
-- KEYS  1 campaign  2 schedule  3 rounds  4 grants  5 stream           (gate/src/keys.rs says what is in them)
-- ARGV  1 campaign id  2 user id
-- Reply {decision, round, serial, at, now}: flat and always five long; '' and 0 where there is nothing to say.
--   decision  granted, already_granted, sold_out, not_open, closed, paused, halted, unknown_campaign
--   at        when the serial was granted; for not_open, when the round opens
--   now       the clock of Redis; all times in ms since 1970
--
-- Example
--   EVAL … 5 rushgate:{welcome}:campaign … rushgate:{welcome}:stream welcome 7
--   → granted once 42 1796086800123 1796086800123
if #KEYS ~= 5 or #ARGV ~= 2 then
  return redis.error_reply('ERR apply.lua takes 5 keys and 2 arguments')
end
local campaign_id, user_id = ARGV[1], ARGV[2]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function reply(decision, round, serial, at)
  return { decision, round or '', serial or 0, at or 0, now }
end

local campaign = redis.call('HMGET', KEYS[1], 'state', 'one_per')
local state, one_per = campaign[1], campaign[2]
if not state then
  return reply('unknown_campaign')
end
if state == 'paused' or state == 'halted' then
  return reply(state)
end

-- The round that opened last; rounds do not overlap.
local round = redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'LIMIT', 0, 1)[1]

local holder = user_id
if one_per == 'round' then
  holder = (round or '') .. '/' .. user_id
end
local held = redis.call('HGET', KEYS[4], holder)
if held then
  local held_round, serial, at = string.match(held, '^([^/]+)/(%d+)/(%d+)$')
  return reply('already_granted', held_round, tonumber(serial), tonumber(at))
end
if state == 'closed' then
  return reply('closed', round)
end

local closes_at, quota, granted
if round then
  local fields = redis.call('HMGET', KEYS[3], round .. '/closes_at', round .. '/quota', round .. '/granted')
  closes_at, quota, granted = fields[1], tonumber(fields[2]), tonumber(fields[3])
  if not (closes_at and quota and granted) then
    return redis.error_reply('ERR round ' .. round .. ' is scheduled, but its quota is missing')
  end
end

if not round or (closes_at ~= '' and now >= tonumber(closes_at)) then
  local upcoming = redis.call('ZRANGEBYSCORE', KEYS[2], string.format('(%.0f', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if upcoming[1] then
    return reply('not_open', upcoming[1], 0, tonumber(upcoming[2]))
  end
  return reply('closed', round)
end

if granted >= quota then
  return reply('sold_out', round)
end

local serial = granted + 1
local at = string.format('%.0f', now)
redis.call('XADD', KEYS[5], '*',
  'type', 'coupon.granted', 'campaign', campaign_id, 'round', round, 'serial', serial, 'user_id', user_id, 'at', at)
redis.call('HSET', KEYS[4], holder, round .. '/' .. serial .. '/' .. at)
redis.call('HSET', KEYS[3], round .. '/granted', serial)
return reply('granted', round, serial, now)

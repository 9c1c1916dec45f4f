-- Tells how a campaign stands. Writes nothing.
--
-- KEYS  1 campaign  2 schedule  3 rounds
-- Reply {state, round, opens_at, closes_at, quota, granted, issued, waitlisted, next_round, next_opens_at, now}:
-- flat and always eleven long; '' and 0 where there is nothing to say.
--   state      running, paused, closed, halted, unknown_campaign
--   round      the one that opened last, whether or not it has closed; '' before the first
--   closes_at  '' if it never closes (a text, unlike the other times: 0 is an instant)
--   granted    grants that are held: what was taken back and not given again does not count
--
-- Example
--   EVAL … 3 rushgate:{welcome}:campaign rushgate:{welcome}:schedule rushgate:{welcome}:rounds
--   → running once 0 '' 100 42 41 0 '' 0 1796086900000
if #KEYS ~= 3 or #ARGV ~= 0 then
  return redis.error_reply('ERR overview.lua takes 3 keys and no argument')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  return { 'unknown_campaign', '', 0, '', 0, 0, 0, 0, '', 0, now }
end
local current = redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
local upcoming = redis.call('ZRANGEBYSCORE', KEYS[2], string.format('(%.0f', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local round, opens_at = current[1], tonumber(current[2])
local fields = {}
if round then
  fields = redis.call('HMGET', KEYS[3], round .. '/closes_at', round .. '/quota', round .. '/granted',
    round .. '/free', round .. '/issued', round .. '/waiting')
end
local function number(i)
  return tonumber(fields[i]) or 0
end
return {
  state, round or '', opens_at or 0, fields[1] or '', number(2), number(3) - number(4), number(5), number(6),
  upcoming[1] or '', tonumber(upcoming[2]) or 0, now,
}

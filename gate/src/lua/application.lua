-- Tells what became of somebody's application. Writes nothing.
--
-- KEYS  1 campaign  2 schedule  3 grants
-- ARGV  1 user id
-- Reply {status, round, serial, at, now}: flat and always five long; '' and 0 where there is nothing to say.
--   status  granted, not_found, unknown_campaign
-- Where one may win in every round, it speaks of the round that opened last.
--
-- Example
--   EVAL … 3 rushgate:{welcome}:campaign rushgate:{welcome}:schedule rushgate:{welcome}:grants 7
--   → granted once 42 1796086800123 1796086900000
if #KEYS ~= 3 or #ARGV ~= 1 then
  return redis.error_reply('ERR application.lua takes 3 keys and 1 argument')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local one_per = redis.call('HGET', KEYS[1], 'one_per')
if not one_per then
  return { 'unknown_campaign', '', 0, 0, now }
end
local holder = ARGV[1]
if one_per == 'round' then
  local round = redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'LIMIT', 0, 1)[1]
  holder = (round or '') .. '/' .. holder
end
local held = redis.call('HGET', KEYS[3], holder)
if not held then
  return { 'not_found', '', 0, 0, now }
end
local round, serial, at = string.match(held, '^([^/]+)/(%d+)/(%d+)$')
return { 'granted', round, tonumber(serial), tonumber(at), now }

-- Adds to the stream again the last event of an applicant in a round: the grant, or its revocation. The consumer
-- recognises an event whose row exists, so sending it twice does no harm.
--
-- KEYS  1 campaign  2 grants  3 stream  4 revoked
-- ARGV  1 campaign id  2 round id  3 user id
-- Reply {outcome, serial}: a flat array, always of 2 elements.
--   granted  the applicant holds this serial; the grant was added to the stream
--   revoked  the applicant held this serial; the revocation was added to the stream
--   nothing  the gate knows no grant of this applicant in this round
--
-- Example
--   EVAL … 4 rushgate:{welcome}:campaign … rushgate:{welcome}:revoked welcome once 7
--   → granted 42
if #KEYS ~= 4 or #ARGV ~= 3 then
  return redis.error_reply('ERR resend.lua takes 4 keys and 3 arguments')
end
local campaign_id, round, user_id = ARGV[1], ARGV[2], ARGV[3]

local function add(event_type, serial, turn, win, at)
  local event = { 'XADD', KEYS[3], '*', 'type', event_type, 'campaign', campaign_id, 'round', round,
    'serial', serial, 'user_id', user_id, 'at', at }
  if turn > 1 or win > 1 then
    for _, field in ipairs({ 'turn', turn, 'win', win }) do
      event[#event + 1] = field
    end
  end
  redis.call(unpack(event))
end

local one_per = redis.call('HGET', KEYS[1], 'one_per')
local holder = one_per == 'round' and round .. '/' .. user_id or user_id
local held = redis.call('HGET', KEYS[2], holder)
local held_round, serial, at = string.match(held or '', '^([^/]+)/(%d+)/(%d+)')
if held_round == round then
  local turn = 1 + (redis.call('HGET', KEYS[4], round .. '/#' .. serial) or 0)
  local last = one_per ~= 'round' and redis.call('HGET', KEYS[4], user_id)
  add('coupon.granted', serial, turn, 1 + (last and tonumber(string.match(last, '/(%d+)$')) or 0), at)
  return { 'granted', tonumber(serial) }
end
local past = redis.call('HGET', KEYS[4], round .. '/' .. user_id)
if past then
  local past_serial, _, revoked_at = string.match(past, '^(%d+)/(%d+)/(%d+)$')
  -- turn and win are not known here, and not needed: the row of the grant has them.
  add('coupon.revoked', past_serial, 1, 1, revoked_at)
  return { 'revoked', tonumber(past_serial) }
end
return { 'nothing', 0 }

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
-- Takes from the prelude: holder_of, held_of, revoked_of, turns_before, wins_before, emit
--
-- Example
--   EVAL … 4 rushgate:{welcome}:campaign … rushgate:{welcome}:revoked welcome once 7
--   → granted 42
if #KEYS ~= 4 or #ARGV ~= 3 then
  return redis.error_reply('ERR resend.lua takes 4 keys and 3 arguments')
end
local campaign_id, round, user_id = ARGV[1], ARGV[2], ARGV[3]

local one_per = redis.call('HGET', KEYS[1], 'one_per')
local held_round, serial, at, code = held_of(redis.call('HGET', KEYS[2], holder_of(one_per, round, user_id)))
if held_round == round then
  local turn, win = 1 + turns_before(KEYS[4], round, serial), 1 + wins_before(KEYS[4], one_per, user_id)
  emit(KEYS[3], 'coupon.granted', campaign_id, round, serial, user_id, at, turn, win, code)
  return { 'granted', tonumber(serial) }
end
local past = redis.call('HGET', KEYS[4], round .. '/' .. user_id)
if past then
  local past_serial, _, revoked_at = revoked_of(past)
  -- turn, win and code are not known here, and not needed: the row of the grant has them.
  emit(KEYS[3], 'coupon.revoked', campaign_id, round, past_serial, user_id, revoked_at, 1, 1, '')
  return { 'revoked', tonumber(past_serial) }
end
return { 'nothing', 0 }

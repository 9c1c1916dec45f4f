-- Revokes a grant for an operator, and passes its serial on: to the first applicant on the waitlist, or to the pool.
-- Calling it again changes nothing. cancel.lua is the same for applicants.
--
-- KEYS  the ten keys of granting.lua
-- ARGV  1 campaign id
--       2 user id
--       3 round id, or '' for the default: the round of the applicant's grant; with one grant per round (one_per = round)
--         the round that opened last
-- Reply {outcome, round, serial, at, revoked_at, promoted}: a flat array, always of 6 elements; '' or 0 means "no value".
--   outcome   revoked, already_revoked, redeemed (a redeemed coupon cannot be revoked), not_granted, halted,
--             unknown_campaign
--   at        when the serial had been granted (ms since 1970)
--   promoted  user id of the applicant from the waitlist who got a serial; '' if none
--
-- Takes from the prelude: now, current, holder_of, held_of, last_win_of; from revoking.lua: redeemed_of, revoke, past_of
--
-- Example
--   EVAL … 10 rushgate:{welcome}:campaign … rushgate:{welcome}:known welcome 7 ''
--   → revoked once 42 1796086800123 1796086900000 8
if #KEYS ~= 10 or #ARGV ~= 3 then
  return redis.error_reply('ERR revoke.lua takes 10 keys and 3 arguments')
end
local campaign_id, user_id, round = ARGV[1], ARGV[2], ARGV[3]

local campaign = redis.call('HMGET', KEYS[1], 'state', 'one_per')
local state, one_per = campaign[1], campaign[2]
if not state or state == 'halted' then
  return { state or 'unknown_campaign', '', 0, 0, 0, '' }
end
if round == '' and one_per == 'round' then
  round = current() or ''
end

local holder = holder_of(one_per, round, user_id)
local held = redis.call('HGET', KEYS[4], holder)
local held_round, serial, at, _, mark = held_of(held)
if not held or (round ~= '' and held_round ~= round) then
  if round == '' then
    round = last_win_of(redis.call('HGET', KEYS[8], user_id)) or ''
  end
  local past_serial, past_at, revoked_at = past_of(round, user_id)
  if past_serial then
    return { 'already_revoked', round, past_serial, past_at, revoked_at, '' }
  end
  return { 'not_granted', round, 0, 0, 0, '' }
end
if redeemed_of(mark) then
  return { 'redeemed', held_round, tonumber(serial), tonumber(at), 0, '' }
end
local promoted = revoke(campaign_id, one_per, user_id, holder, held)
return { 'revoked', held_round, tonumber(serial), tonumber(at), now, promoted }

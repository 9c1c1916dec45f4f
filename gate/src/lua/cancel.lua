-- Cancels for the applicant: takes them off the waitlist, or gives their coupon back where the campaign allows it. What
-- becomes free is passed on as by revoke.lua. Calling it again changes nothing.
--
-- KEYS  the ten keys of granting.lua
-- ARGV  1 campaign id
--       2 user id
--       3 round id, or '' for the default: the round of the applicant's grant where one grant per campaign is allowed
--         (one_per = campaign) and the applicant holds one; otherwise the round that opened last. Earlier rounds are not
--         looked at, so that a call that is repeated cannot cancel something else.
-- Reply {outcome, round, serial, at, revoked_at, now}: a flat array, always of 6 elements; '' or 0 means "no value".
--   outcome  left (was on the waitlist), revoked (held a grant), already_revoked, not_allowed (holds a grant, and the
--            campaign does not let applicants give coupons back), redeemed (the coupon was redeemed), not_found, halted,
--            unknown_campaign, unknown_round
--   at       when the serial had been granted; for left: when the applicant had joined the waitlist
--   now      the clock of Redis; all times are in ms since 1970
--
-- Takes from the prelude: now, current, holder_of, held_of, place_of, waitlist_member, last_win_of; from
-- grace_period.lua: refusal_before_change, start_grace_period; from revoking.lua: redeemed_of, revoke, past_of
--
-- Example
--   EVAL … 10 rushgate:{welcome}:campaign … rushgate:{welcome}:known welcome 7 ''
--   → revoked once 42 1796086800123 1796086900000 1796086900000
if #KEYS ~= 10 or #ARGV ~= 3 then
  return redis.error_reply('ERR cancel.lua takes 10 keys and 3 arguments')
end
local campaign_id, user_id, asked = ARGV[1], ARGV[2], ARGV[3]

local campaign = redis.call('HMGET', KEYS[1], 'state', 'one_per', 'self_cancel')
local state, one_per = campaign[1], campaign[2]
if not state or state == 'halted' then
  return { state or 'unknown_campaign', '', 0, 0, 0, now }
end
if asked ~= '' and not redis.call('ZSCORE', KEYS[2], asked) then
  return { 'unknown_round', '', 0, 0, 0, now }
end
local round = asked
if round == '' then
  round = current() or ''
end

local holder = holder_of(one_per, round, user_id)
local held = redis.call('HGET', KEYS[4], holder)
local held_round, serial, at, _, mark = held_of(held)
if held and (asked == '' or asked == held_round) then
  local outcome = (redeemed_of(mark) and 'redeemed') or (campaign[3] ~= '1' and 'not_allowed')
  if outcome then
    return { outcome, held_round, tonumber(serial), tonumber(at), 0, now }
  end
  revoke(campaign_id, one_per, user_id, holder, held)
  return { 'revoked', held_round, tonumber(serial), tonumber(at), now, now }
end

local place = redis.call('HGET', KEYS[7], round .. '/' .. user_id)
if place then
  local ticket, since = place_of(place)
  local before = refusal_before_change()
  redis.call('ZREM', KEYS[6], waitlist_member(round, ticket, user_id))
  redis.call('HDEL', KEYS[7], round .. '/' .. user_id)
  redis.call('HINCRBY', KEYS[3], round .. '/waiting', -1)
  start_grace_period(before)
  return { 'left', round, 0, tonumber(since), 0, now }
end

local past_serial, past_at, revoked_at = past_of(round, user_id)
if not past_serial and asked == '' and one_per == 'campaign' then
  round = last_win_of(redis.call('HGET', KEYS[8], user_id)) or ''
  past_serial, past_at, revoked_at = past_of(round, user_id)
end
if past_serial then
  return { 'already_revoked', round, past_serial, past_at, revoked_at, now }
end
return { 'not_found', '', 0, 0, 0, now }

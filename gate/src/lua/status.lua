-- Reports the status of one applicant. Writes nothing.
--
-- KEYS  1 campaign  2 schedule  3 grants  4 waitlist  5 waiting  6 revoked  7 rounds
-- ARGV  1 user id
--       2 round id, or '' for the default. The default is the round of the applicant's grant where one grant per
--         campaign is allowed (one_per = campaign) and the applicant holds one; otherwise the round that opened last.
-- Reply {status, round, serial, at, revoked_at, turn, codes, redeemed_at, now}: a flat array, always of 9 elements; ''
-- or 0 means "no value".
--   status       granted, issued, waitlisted, expired, revoked, not_found, halted, unknown_campaign, or unknown_round
--                (ARGV[2] names no round of the campaign). expired: the applicant was on the waitlist of a round that has
--                closed, and the campaign promotes nobody after that. While the campaign is halted, `halted` replaces
--                not_found and unknown_round, because the grant may be one that Redis has lost.
--   serial       for waitlisted: the position, 1 is next
--   at           when the serial was granted; for waitlisted and expired: when the applicant joined the waitlist
--   turn, codes  for granted and issued: as in the reply of apply.lua
--   redeemed_at  for issued: when the coupon was redeemed
--   now          the clock of Redis; all times are in ms since 1970
--
-- Takes from the prelude: now, current, holder_of, held_of, place_of, waitlist_member, turns_before, last_win_of,
-- revoked_of
--
-- Example
--   EVAL … 7 rushgate:{welcome}:campaign … rushgate:{welcome}:rounds 7 ''
--   → issued once 42 1796086800123 0 1 '' 0 1796086900000
if #KEYS ~= 7 or #ARGV ~= 2 then
  return redis.error_reply('ERR status.lua takes 7 keys and 2 arguments')
end
local user_id, asked = ARGV[1], ARGV[2]

-- After Redis has lost the whole campaign, confirm.lua writes the state and nothing else.
local campaign = redis.call('HMGET', KEYS[1], 'state', 'one_per', 'revokes', 'codes', 'promote_until')
local state, one_per, codes = campaign[1], campaign[2], campaign[4]
if not state then
  return { 'unknown_campaign', '', 0, 0, 0, 0, '', 0, now }
end
local round = asked
if round == '' then
  round = current() or ''
end

local held = redis.call('HGET', KEYS[3], holder_of(one_per, round, user_id))
if held then
  local held_round, serial, at, mark = held_of(held)
  if asked == '' or asked == held_round then
    local status = mark == '' and 'granted' or 'issued'
    local redeemed_at = tonumber(string.match(mark, '%d+$') or 0)
    local turn = codes and (campaign[3] or '0') ~= '0' and 1 + turns_before(KEYS[6], held_round, serial) or 1
    return { status, held_round, tonumber(serial), tonumber(at), 0, turn, codes or '', redeemed_at, now }
  end
end

local place = redis.call('HGET', KEYS[5], round .. '/' .. user_id)
if place then
  local ticket, since = place_of(place)
  local closes_at = campaign[5] == 'closes' and tonumber(redis.call('HGET', KEYS[7], round .. '/closes_at') or '')
  if closes_at and now >= closes_at then
    return { 'expired', round, 0, tonumber(since), 0, 0, '', 0, now }
  end
  local last = '[' .. waitlist_member(round, ticket, user_id)
  local position = redis.call('ZLEXCOUNT', KEYS[4], '[' .. round .. '/', last)
  return { 'waitlisted', round, position, tonumber(since), 0, 0, '', 0, now }
end

-- With one grant per campaign, a revocation in an earlier round is reported until the applicant applies again.
local past = redis.call('HGET', KEYS[6], round .. '/' .. user_id)
if not past and asked == '' and one_per == 'campaign' then
  round = last_win_of(redis.call('HGET', KEYS[6], user_id)) or round
  past = redis.call('HGET', KEYS[6], round .. '/' .. user_id)
end
if past then
  local serial, at, revoked_at = revoked_of(past)
  return { 'revoked', round, tonumber(serial), tonumber(at), tonumber(revoked_at), 0, '', 0, now }
end
if state == 'halted' then
  return { 'halted', '', 0, 0, 0, 0, '', 0, now }
end
if asked ~= '' and not redis.call('ZSCORE', KEYS[2], asked) then
  return { 'unknown_round', '', 0, 0, 0, 0, '', 0, now }
end
return { 'not_found', '', 0, 0, 0, 0, '', 0, now }

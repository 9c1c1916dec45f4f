-- Revokes a grant, and passes its serial on: to the first applicant on the waitlist, or to the pool. Unknown applicants
-- get a pooled serial after the grace period (refusal_cache.lua). Calling it again changes nothing.
--
-- KEYS  the ten keys of granting.lua
-- ARGV  1 campaign id
--       2 user id
--       3 round id, or '' for the default: the round of the applicant's grant; with one grant per round (one_per = round)
--         the round that opened last
-- Reply {outcome, round, serial, at, revoked_at, promoted}: a flat array, always of 6 elements; '' or 0 means "no value".
--   outcome   revoked, already_revoked, not_granted, halted, unknown_campaign
--   at        when the serial had been granted (ms since 1970)
--   promoted  user id of the applicant from the waitlist who got a serial; '' if none
--
-- Takes from the prelude: now, current, holder_of, held_of, last_win_of, revoked_of, turns_before, wins_before, emit;
-- from grace_period.lua: refusal_before_change, start_grace_period; from promoting.lua: pool_member, promote
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
local held_round, serial, at, mark = held_of(held)
if not held or (round ~= '' and held_round ~= round) then
  if round == '' then
    round = last_win_of(redis.call('HGET', KEYS[8], user_id)) or ''
  end
  local past = redis.call('HGET', KEYS[8], round .. '/' .. user_id)
  if past then
    local past_serial, past_at, revoked_at = revoked_of(past)
    return { 'already_revoked', round, tonumber(past_serial), tonumber(past_at), tonumber(revoked_at), '' }
  end
  return { 'not_granted', round, 0, 0, 0, '' }
end
round, serial = held_round, tonumber(serial)
local turn = 1 + turns_before(KEYS[8], round, serial)
local win = 1 + wins_before(KEYS[8], one_per, user_id)
if redis.call('ZSCORE', KEYS[9], pool_member(round, serial)) then
  return redis.error_reply('ERR serial ' .. serial .. ' of round ' .. round .. ' is held and free at once')
end

local before = refusal_before_change()
emit(KEYS[5], 'coupon.revoked', campaign_id, round, serial, user_id, now, turn, win)
redis.call('HDEL', KEYS[4], holder)
redis.call('HSET', KEYS[8], round .. '/' .. user_id, serial .. '/' .. at .. '/' .. now,
  user_id, round .. '/' .. win, round .. '/#' .. serial, turn)
redis.call('HINCRBY', KEYS[1], 'revokes', 1)
redis.call('ZADD', KEYS[9], 0, pool_member(round, serial))
redis.call('HINCRBY', KEYS[3], round .. '/free', 1)
if mark ~= '' then
  redis.call('HINCRBY', KEYS[3], round .. '/issued', -1)
end
local _, promoted = promote(campaign_id, one_per, round)
start_grace_period(before)
return { 'revoked', round, serial, tonumber(at), now, promoted }

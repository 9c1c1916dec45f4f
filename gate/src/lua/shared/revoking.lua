-- For the scripts that revoke (revoke.lua for operators, cancel.lua for applicants), after granting.lua,
-- grace_period.lua and promoting.lua:
--
--   redeemed_of(mark) → redeemed_at                   when the coupon of a grant was redeemed; nil if it was not
--   revoke(campaign_id, one_per, user_id, holder, held) → promoted
--                                                     revokes a grant and passes its serial on
--   past_of(round, user_id) → serial, at, revoked_at  a grant that was revoked, as numbers; nil if there is none
--
-- Takes from the prelude: now, held_of, revoked_of, turns_before, wins_before, emit; from grace_period.lua:
-- refusal_before_change, start_grace_period; from promoting.lua: pool_member, promote

-- `mark` is what held_of returns last.
local function redeemed_of(mark)
  return tonumber(string.match(mark, '^/issued/(%d+)$'))
end

-- Revokes the grant `held`, which is the value of the field `holder` in the hash `grants`. Its serial goes to the first
-- applicant on the waitlist, or to the pool. Returns the user id of that applicant; '' if there is none. Unknown
-- applicants get a pooled serial after the grace period (refusal_cache.lua).
local function revoke(campaign_id, one_per, user_id, holder, held)
  local round, serial, at, code, mark = held_of(held)
  serial = tonumber(serial)
  local turn = 1 + turns_before(KEYS[8], round, serial)
  local win = 1 + wins_before(KEYS[8], one_per, user_id)
  if redis.call('ZSCORE', KEYS[9], pool_member(round, serial)) then
    error('serial ' .. serial .. ' of round ' .. round .. ' is held and free at once', 0)
  end

  local before = refusal_before_change()
  emit(KEYS[5], 'coupon.revoked', campaign_id, round, serial, user_id, now, turn, win, code)
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
  return promoted
end

local function past_of(round, user_id)
  local serial, at, revoked_at = revoked_of(redis.call('HGET', KEYS[8], round .. '/' .. user_id))
  return tonumber(serial), tonumber(at), tonumber(revoked_at)
end


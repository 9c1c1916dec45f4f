-- Reports the status of one applicant. Writes nothing.
--
-- KEYS  1 campaign  2 schedule  3 grants  4 waitlist  5 waiting  6 revoked  7 rounds  8 codes
-- ARGV  1 user id
--       2 round id, or '' for the default. The default is the round of the applicant's grant where one grant per
--         campaign is allowed (one_per = campaign) and the applicant holds one; otherwise the round that opened last. If
--         the applicant has nothing in it: the last of the 32 rounds before it in which they hold a grant or wait.
-- Reply {status, round, serial, at, revoked_at, turn, codes, redeemed_at, now}: a flat array, always of 9 elements; ''
-- or 0 means "no value".
--   status       granted, issued, waitlisted, expired, revoked, not_found, halted, unknown_campaign, or unknown_round
--                (ARGV[2] names no round of the campaign). expired: the applicant was on the waitlist of a round that has
--                closed, and the campaign does not promote after that. While the campaign is halted, `halted` replaces
--                not_found and unknown_round, because the grant may be one that Redis has lost.
--   serial       for waitlisted: the position, 1 is next
--   at           when the serial was granted; for waitlisted and expired: when the applicant joined the waitlist
--   turn, codes  for granted and issued: as in the reply of apply.lua
--   redeemed_at  for issued: when the coupon was redeemed
--   now          the clock of Redis; all times are in ms since 1970
--
-- Takes from the prelude: now, current, holder_of, held_of, place_of, waitlist_member, turns_before, last_win_of,
-- revoked_of; from pool_code.lua: code_in_reply
--
-- Example
--   EVAL … 8 rushgate:{welcome}:campaign … rushgate:{welcome}:codes 7 ''
--   → issued once 42 1796086800123 0 1 '' 0 1796086900000
if #KEYS ~= 8 or #ARGV ~= 2 then
  return redis.error_reply('ERR status.lua takes 8 keys and 2 arguments')
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

-- The reply for a grant, a value of the hash `grants`.
local function granted(held)
  local held_round, serial, at, code, mark = held_of(held)
  local status = mark == '' and 'granted' or 'issued'
  local redeemed_at = tonumber(string.match(mark, '^/issued/(%d+)$') or 0)
  local turn = codes and (campaign[3] or '0') ~= '0' and 1 + turns_before(KEYS[6], held_round, serial) or 1
  local of_code = code_in_reply(codes, KEYS[8], code)
  return { status, held_round, tonumber(serial), tonumber(at), 0, turn, of_code, redeemed_at, now }
end

-- The reply for a place on the waitlist, a value of the hash `waiting`.
local function waitlisted(at_round, place)
  local ticket, since = place_of(place)
  local closes_at = campaign[5] == 'closes' and tonumber(redis.call('HGET', KEYS[7], at_round .. '/closes_at') or '')
  if closes_at and now >= closes_at then
    return { 'expired', at_round, 0, tonumber(since), 0, 0, '', 0, now }
  end
  local last = '[' .. waitlist_member(at_round, ticket, user_id)
  local position = redis.call('ZLEXCOUNT', KEYS[4], '[' .. at_round .. '/', last)
  return { 'waitlisted', at_round, position, tonumber(since), 0, 0, '', 0, now }
end

-- The reply for the last round before the current one in which the applicant holds a grant or waits; nil if there is
-- none. Places in rounds that have closed count only if the campaign promotes for ever.
local function in_earlier_round()
  local rounds = redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'LIMIT', 1, 32)
  if #rounds == 0 then
    return nil
  end
  local fields = {}
  for i, earlier in ipairs(rounds) do
    fields[i] = earlier .. '/' .. user_id
  end
  -- With one grant per campaign, a grant of any round was found before.
  local grants = one_per == 'round' and redis.call('HMGET', KEYS[3], unpack(fields)) or {}
  local places = campaign[5] ~= 'closes' and redis.call('HMGET', KEYS[5], unpack(fields)) or {}
  for i, earlier in ipairs(rounds) do
    if grants[i] then
      return granted(grants[i])
    elseif places[i] then
      return waitlisted(earlier, places[i])
    end
  end
end

local held = redis.call('HGET', KEYS[3], holder_of(one_per, round, user_id))
if held and (asked == '' or asked == (held_of(held))) then
  return granted(held)
end
local place = redis.call('HGET', KEYS[5], round .. '/' .. user_id)
if place then
  return waitlisted(round, place)
end
local past = redis.call('HGET', KEYS[6], round .. '/' .. user_id)
if not past and asked == '' then
  local found = in_earlier_round()
  if found then
    return found
  end
end
-- With one grant per campaign, a revocation in an earlier round is reported until the applicant applies again.
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

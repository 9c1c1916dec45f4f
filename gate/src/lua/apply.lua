-- Decides one application: grants a serial, repeats the applicant's earlier grant, adds the applicant to the waitlist,
-- or refuses.
--
-- Guarantee: a grant is written completely or not at all; a refusal writes nothing. Redis runs a script in isolation
-- but does not roll it back: when a command fails, the writes before it stay. So the script first reads and checks
-- everything. Of the writes of a grant (stream entry, holder, count), XADD comes first. It fails whenever Redis refuses
-- writes (out of memory, a read-only replica, a failing disk). It also fails if the stream key has a wrong type, which
-- no earlier read has checked. The writes after XADD cannot fail: earlier reads have checked the types of their keys.
--
-- KEYS  the ten keys of granting.lua, which stands before it  11 codes
-- ARGV  1 campaign id  2 user id
-- Reply {decision, round, serial, at, turn, codes, now}: a flat array, always of 7 elements; '' or 0 means "no value".
--   decision  granted, already_granted, waitlisted, sold_out, revoked, not_open, closed, paused, halted,
--             unknown_campaign, user_id_not_numeric (the campaign accepts only numeric user ids)
--   serial    for waitlisted: the position, 1 is next
--   at        when the serial was granted; for waitlisted: when the applicant joined the waitlist; for not_open: when
--             the round opens, or when the grace period ends (see refusal_cache.lua)
--   turn      for granted and already_granted: 1, or, in a campaign with codes, how often the serial has been granted
--   codes     for granted and already_granted: see code_in_reply in pool_code.lua; '' in a campaign without codes
--   now       the clock of Redis; all times are in ms since 1970
--
-- Takes from the prelude: now, current, upcoming, holder_of, held_of, place_of, waitlist_member, turns_before, wins_before;
-- from granting.lua: note_current, grace_period, grant; from pool_code.lua: code_in_reply
--
-- Example
--   EVAL … 11 rushgate:{welcome}:campaign … rushgate:{welcome}:codes welcome 7
--   → granted once 42 1796086800123 1 '' 1796086800123
if #KEYS ~= 11 or #ARGV ~= 2 then
  return redis.error_reply('ERR apply.lua takes 11 keys and 2 arguments')
end
local campaign_id, user_id = ARGV[1], ARGV[2]

local campaign = redis.call('HMGET', KEYS[1], 'state', 'one_per', 'waitlist', 'revokes', 'settling',
  'round', 'from', 'until', 'next', 'user_ids', 'codes')
local state, one_per, codes = campaign[1], campaign[2], campaign[11]
if not state then
  return { 'unknown_campaign', '', 0, 0, 0, '', now }
end
if state == 'paused' or state == 'halted' then
  return { state, '', 0, 0, 0, '', now }
end
-- The same rule as `Applicant::as_number`: 0 to 2^63-1, without leading zeros.
if campaign[10] == 'numeric' and not (user_id == '0' or string.find(user_id, '^[1-9]%d*$') and (#user_id < 19
  or #user_id == 19 and user_id <= '9223372036854775807')) then
  return { 'user_id_not_numeric', '', 0, 0, 0, '', now }
end

local revokes = (campaign[4] or '0') ~= '0'
-- The current round as note_current last stored it, while that note is valid. It saves reading the schedule.
local round = campaign[6]
local is_noted = round and now >= tonumber(campaign[7]) and now < tonumber(campaign[8])
if not is_noted then
  round = current()
elseif round == '' then
  round = nil
end

local holder = holder_of(one_per, round or '', user_id)
local held = redis.call('HGET', KEYS[4], holder)
if held then
  local held_round, serial, at, code = held_of(held)
  local turn = codes and revokes and 1 + turns_before(KEYS[8], held_round, serial) or 1
  return { 'already_granted', held_round, tonumber(serial), tonumber(at), turn, code_in_reply(codes, KEYS[11], code),
    now }
end

local closes_at, quota, granted, free, waiting
local is_over = false
if round then
  local fields = redis.call('HMGET', KEYS[3], round .. '/closes_at', round .. '/quota', round .. '/granted',
    round .. '/free', round .. '/waiting')
  closes_at, quota, granted = fields[1], tonumber(fields[2]), tonumber(fields[3])
  free, waiting = tonumber(fields[4]) or 0, tonumber(fields[5]) or 0
  if not (closes_at and quota and granted) then
    return redis.error_reply('ERR round ' .. round .. ' is scheduled, but its quota is missing')
  end
  is_over = closes_at ~= '' and now >= tonumber(closes_at)
  if waiting > 0 then
    local place = redis.call('HGET', KEYS[7], round .. '/' .. user_id)
    -- After the round, applicants wait on only if the campaign promotes for ever.
    if place and not (is_over and redis.call('HGET', KEYS[1], 'promote_until') == 'closes') then
      local ticket, since = place_of(place)
      local last = '[' .. waitlist_member(round, ticket, user_id)
      local position = redis.call('ZLEXCOUNT', KEYS[6], '[' .. round .. '/', last)
      return { 'waitlisted', round, position, tonumber(since), 0, '', now }
    end
  end
end

if state == 'closed' then
  return { 'closed', round or '', 0, 0, 0, '', now }
end
if not round or is_over then
  local following, opens_at = campaign[9], tonumber(campaign[8])
  if not is_noted then
    following, opens_at = upcoming()
  end
  if following and following ~= '' then
    return { 'not_open', following, 0, opens_at, 0, '', now }
  end
  return { 'closed', round or '', 0, 0, 0, '', now }
end

if revokes and redis.call('HEXISTS', KEYS[8], round .. '/' .. user_id) == 1 then
  return { 'revoked', round, 0, 0, 0, '', now }
end

-- While the round is open and its waitlist is not empty, no serial is available: revoke.lua, cancel.lua and project.lua
-- pass every freed or added serial to the waitlist in the same call.
local has_place = waiting == 0 and (free > 0 or granted < quota)
if not has_place and waiting >= (tonumber(campaign[3]) or 0) then
  return { 'sold_out', round, 0, 0, 0, '', now }
end
local grace_ends_at, word = grace_period(campaign[5])
if grace_ends_at then
  return { word, round, 0, word == 'not_open' and grace_ends_at or 0, 0, '', now }
end

if has_place then
  if codes == 'pool' then
    -- If the key has a wrong type, this fails, and not the read after the writes.
    redis.call('GETRANGE', KEYS[11], 0, 0)
  end
  -- If no grant was ever revoked, the applicant has not won before. That saves a read.
  local win = revokes and 1 + wins_before(KEYS[8], one_per, user_id) or 1
  local serial, turn, code = grant(campaign_id, one_per, round, user_id, holder, granted, free, win, codes)
  if not is_noted then
    note_current()
  end
  return { 'granted', round, serial, now, codes and turn or 1, code_in_reply(codes, KEYS[11], code), now }
end
local ticket = string.format('%012d', redis.call('HINCRBY', KEYS[3], round .. '/tickets', 1))
redis.call('ZADD', KEYS[6], 0, waitlist_member(round, ticket, user_id))
redis.call('HSET', KEYS[7], round .. '/' .. user_id, ticket .. '/' .. now)
redis.call('HSET', KEYS[3], round .. '/waiting', waiting + 1)
-- Another known applicant: filter.lua has to build again.
redis.call('HINCRBY', KEYS[1], 'tickets', 1)
return { 'waitlisted', round, waiting + 1, now, 0, '', now }

-- Writes the terms of a campaign (state, rules, rounds) from the database into the gate. Calling it again changes
-- nothing.
--
-- Guarantees:
-- - It never takes back a grant. Counters start at 0 and are not set again; a quota below the highest serial granted is
--   refused.
-- - It can halt a campaign. Only 'restored' ends a halt, after restore.lua has rebuilt the grants.
-- - It refuses a caller whose fencing token is lower than the highest one seen: that command was interrupted for so long
--   that another command has taken over the campaign.
-- - When a quota grows, applicants on the waitlist get the new serials in this call, unless the campaign is halted. A
--   waitlist has at most 10,000 applicants. Unknown applicants get serials after the grace period (refusal_cache.lua).
--
-- KEYS  the ten keys of granting.lua
-- ARGV  1 campaign id
--       2 'known' if the gate must know the campaign, 'new' if it may be unknown, 'restored' to end a halt
--       3 state   4 one_per   5 waitlist: how many applicants may wait in a round   6 fencing token of the caller
--       7 user_ids: which user ids are accepted: any, numeric or unstated
--       8 codes: signed/<fingerprint of the key>, pool, or ''   9 self_cancel: 1 or ''   10 promote_until: closes or ''
--       11 show_remaining: rough, hidden or ''
--       then four for each round: id, opens_at (ms), closes_at (ms, or '' for never), quota
-- Reply {outcome, round, number}: a flat array, always of 3 elements.
--   projected            number: applicants promoted from waitlists
--   unknown_campaign     ARGV[2] is 'known', but Redis has lost the campaign
--   quota_below_granted  round; number: the highest serial granted in it
--   round_has_grants     round: one that is not listed any more, but has granted serials
--   other_one_per        round: the one_per rule of the gate, which cannot change after the first grant
--   halted               the campaign is halted, and ARGV asks for another state
--   superseded           number: the higher fencing token that was seen before
--
-- Takes from granting.lua: note_current; from grace_period.lua: refusal_before_change, start_grace_period; from
-- promoting.lua: promote
--
-- Example
--   EVAL … 10 rushgate:{welcome}:campaign … rushgate:{welcome}:known welcome new running campaign 0 1 any '' '' '' '' once 0 '' 100
--   → projected '' 0
if #KEYS ~= 10 or #ARGV < 15 or (#ARGV - 11) % 4 ~= 0 then
  return redis.error_reply('ERR project.lua takes 10 keys and 11 arguments, then 4 for each round')
end
local campaign_id, one_per = ARGV[1], ARGV[4]

local campaign = redis.call('HMGET', KEYS[1], 'state', 'fence', 'one_per')
local state, fence = campaign[1], tonumber(campaign[2]) or 0
if tonumber(ARGV[6]) < fence then
  return { 'superseded', '', fence }
end
if not state and ARGV[2] ~= 'new' then
  return { 'unknown_campaign', '', 0 }
end
if state == 'halted' and ARGV[3] ~= 'halted' and ARGV[2] ~= 'restored' then
  return { 'halted', '', 0 }
end
-- The rule decides under which field a grant is stored. Under another rule, the same applicant could win twice.
if (campaign[3] or one_per) ~= one_per and redis.call('EXISTS', KEYS[4], KEYS[8]) > 0 then
  return { 'other_one_per', campaign[3], 0 }
end
local listed = {}
for i = 12, #ARGV, 4 do
  listed[ARGV[i]] = true
  local granted = tonumber(redis.call('HGET', KEYS[3], ARGV[i] .. '/granted') or 0)
  if tonumber(ARGV[i + 3]) < granted then
    return { 'quota_below_granted', ARGV[i], granted }
  end
end
local removed = {}
for _, round in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if not listed[round] then
    local granted = tonumber(redis.call('HGET', KEYS[3], round .. '/granted') or 0)
    if granted > 0 then
      return { 'round_has_grants', round, granted }
    end
    removed[#removed + 1] = round
  end
end

local before = refusal_before_change()
for _, round in ipairs(removed) do
  redis.call('ZREM', KEYS[2], round)
  redis.call('HDEL', KEYS[3], round .. '/closes_at', round .. '/quota', round .. '/granted')
end
for i = 12, #ARGV, 4 do
  local round = ARGV[i]
  redis.call('HSET', KEYS[3], round .. '/closes_at', ARGV[i + 2], round .. '/quota', ARGV[i + 3])
  redis.call('HSETNX', KEYS[3], round .. '/granted', 0)
  redis.call('ZADD', KEYS[2], ARGV[i + 1], round)
end
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'one_per', one_per, 'waitlist', ARGV[5], 'fence', ARGV[6],
  'user_ids', ARGV[7])
-- A rule that the campaign does not have is missing, so that apply.lua does not search longer for the other fields.
for i, rule in ipairs({ 'codes', 'self_cancel', 'promote_until', 'show_remaining' }) do
  if ARGV[7 + i] == '' then
    redis.call('HDEL', KEYS[1], rule)
  else
    redis.call('HSET', KEYS[1], rule, ARGV[7 + i])
  end
end
note_current()
local promoted = 0
if ARGV[3] == 'halted' then
  return { 'projected', '', 0 }
end
for i = 12, #ARGV, 4 do
  promoted = promoted + promote(campaign_id, one_per, ARGV[i])
end
start_grace_period(before)
return { 'projected', '', promoted }

-- Brings the gate in line with what the database says of a campaign. Doing it twice changes nothing.
--
-- It never takes back a grant: counts are only ever started at 0, and a quota below what is granted is
-- refused. It can halt a campaign; only 'restored' ends a halt, after restore.lua has rebuilt the grants. A caller whose
-- fencing token is lower than one that was seen before is refused: its command was interrupted for so long that another
-- operator has taken the campaign over. Where a quota has grown, those
-- who wait get the places at once (a waitlist has at most 10,000 people, which takes a moment), unless halted. Strangers
-- get what they were refused once that has settled (refusal_cache.lua says why).
--
-- KEYS  those of grant.lua, which stands before this, with grace_period.lua
-- ARGV  1 campaign id   2 'new' if the campaign may be unknown to the gate, 'restored' to end a halt, else 'known'
--       3 state   4 one_per   5 waitlist: how many may wait in a round   6 fencing token of the caller
--       7 user_ids: which are taken, any, numeric or unstated
--       then four for each round: id, opens_at (ms), closes_at (ms, '' for never), quota
-- Reply {outcome, round, number}: flat and always three long.
--   projected            number: how many were promoted from waitlists
--   unknown_campaign     said 'known', but the gate has lost it
--   quota_below_granted  with the round, and the highest serial that it has given
--   round_has_grants     a round that is no longer listed, and has given serials or has people waiting
--   other_one_per        somebody has won by the rule that the gate was told before; round: that rule
--   halted               and another state was asked for
--   superseded           a caller with a higher fencing token was here before; number: that token
--
-- Example
--   EVAL … 10 rushgate:{welcome}:campaign … rushgate:{welcome}:known welcome new running campaign 0 1 any once 0 '' 100
--   → projected '' 0
if #KEYS ~= 10 or #ARGV < 11 or (#ARGV - 7) % 4 ~= 0 then
  return redis.error_reply('ERR project.lua takes 10 keys and 7 arguments, then 4 for each round')
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
-- The rule is in the name of each grant: by another one, the same person could win twice.
if (campaign[3] or one_per) ~= one_per and redis.call('EXISTS', KEYS[4], KEYS[8]) > 0 then
  return { 'other_one_per', campaign[3], 0 }
end
local listed = {}
for i = 8, #ARGV, 4 do
  listed[ARGV[i]] = true
  local granted = tonumber(redis.call('HGET', KEYS[3], ARGV[i] .. '/granted') or 0)
  if tonumber(ARGV[i + 3]) < granted then
    return { 'quota_below_granted', ARGV[i], granted }
  end
end
local gone = {}
for _, round in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if not listed[round] then
    local granted = tonumber(redis.call('HGET', KEYS[3], round .. '/granted') or 0)
    if granted > 0 then
      return { 'round_has_grants', round, granted }
    end
    gone[#gone + 1] = round
  end
end

local before = refusal_before_change()
for _, round in ipairs(gone) do
  redis.call('ZREM', KEYS[2], round)
  redis.call('HDEL', KEYS[3], round .. '/closes_at', round .. '/quota', round .. '/granted')
end
for i = 8, #ARGV, 4 do
  local round = ARGV[i]
  redis.call('HSET', KEYS[3], round .. '/closes_at', ARGV[i + 2], round .. '/quota', ARGV[i + 3])
  redis.call('HSETNX', KEYS[3], round .. '/granted', 0)
  redis.call('ZADD', KEYS[2], ARGV[i + 1], round)
end
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'one_per', one_per, 'waitlist', ARGV[5], 'fence', ARGV[6],
  'user_ids', ARGV[7])
note_current()
local promoted = 0
if ARGV[3] == 'halted' then
  return { 'projected', '', 0 }
end
for i = 8, #ARGV, 4 do
  promoted = promoted + promote(campaign_id, one_per, ARGV[i])
end
start_grace_period(before)
return { 'projected', '', promoted }

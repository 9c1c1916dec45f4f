-- Reports the terms of a campaign as project.lua wrote them: state, rules, rounds. Writes nothing.
--
-- KEYS  1 campaign  2 schedule  3 rounds
-- Reply {state, one_per, waitlist, fence, user_ids, codes, self_cancel, promote_until,
-- show_remaining}, then five elements for each round in the order of opening: {id, opens_at (ms, 0: always open), closes_at
-- (ms, '' for never), quota, granted (the highest serial granted)}. A flat array.
--   state     running, paused, closed, halted; or unknown_campaign, and no round follows
--   fence     the highest fencing token seen; 0 before the first
--   user_ids  any, numeric, unstated; '' in a campaign that is older than this rule
--   codes, self_cancel, promote_until, show_remaining
--             as in the arguments of project.lua
--   A field that Redis has lost is '' or 0.
--
-- Takes nothing from the prelude.
--
-- Example
--   EVAL … 3 rushgate:{welcome}:campaign rushgate:{welcome}:schedule rushgate:{welcome}:rounds
--   → running campaign 0 1 any '' '' '' '' once 0 '' 100 42
if #KEYS ~= 3 or #ARGV ~= 0 then
  return redis.error_reply('ERR projection.lua takes 3 keys and no argument')
end

local campaign = redis.call('HMGET', KEYS[1], 'state', 'one_per', 'waitlist', 'fence', 'user_ids',
  'codes', 'self_cancel', 'promote_until', 'show_remaining')
if not campaign[1] then
  return { 'unknown_campaign', '', 0, 0, '', '', '', '', '' }
end
local reply = { campaign[1], campaign[2] or '', tonumber(campaign[3]) or 0, tonumber(campaign[4]) or 0,
  campaign[5] or '', campaign[6] or '', campaign[7] or '', campaign[8] or '', campaign[9] or '' }
local schedule = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 1, #schedule, 2 do
  local round = schedule[i]
  local fields = redis.call('HMGET', KEYS[3], round .. '/closes_at', round .. '/quota', round .. '/granted')
  for _, value in ipairs({ round, tonumber(schedule[i + 1]), fields[1] or '', tonumber(fields[2]) or 0,
    tonumber(fields[3]) or 0 }) do
    reply[#reply + 1] = value
  end
end
return reply

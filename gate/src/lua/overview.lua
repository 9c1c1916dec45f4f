-- Reports the state of a campaign and the counts of its current round. Writes nothing.
--
-- KEYS  1 campaign  2 schedule  3 rounds
-- Reply {state, round, opens_at, closes_at, quota, granted, issued, waitlisted, next_round, next_opens_at, one_per,
-- waitlist, self_cancel, show_remaining, now}: a flat array, always of 15 elements; '' or 0 means "no value".
--   state      running, paused, closed, halted, unknown_campaign
--   round      the round that opened last, even if it has closed since; '' before the first
--   closes_at  '' if the round never closes (text, unlike the other times, because 0 is a valid time)
--   granted    serials that an applicant holds; a revoked serial counts again when it is granted again
--   one_per, waitlist, self_cancel, show_remaining
--              as in the arguments of project.lua
--   now        the clock of Redis; all times are in ms since 1970
--
-- Takes from the prelude: now, current, upcoming
--
-- Example
--   EVAL … 3 rushgate:{welcome}:campaign rushgate:{welcome}:schedule rushgate:{welcome}:rounds
--   → running once 0 '' 100 42 41 0 '' 0 campaign 50 '' '' 1796086900000
if #KEYS ~= 3 or #ARGV ~= 0 then
  return redis.error_reply('ERR overview.lua takes 3 keys and no argument')
end

local rules = redis.call('HMGET', KEYS[1], 'state', 'one_per', 'waitlist', 'self_cancel', 'show_remaining')
local state = rules[1]
if not state then
  return { 'unknown_campaign', '', 0, '', 0, 0, 0, 0, '', 0, '', 0, '', '', now }
end
local round, opened_at = current()
local following, opens_at = upcoming()
local fields = {}
if round then
  fields = redis.call('HMGET', KEYS[3], round .. '/closes_at', round .. '/quota', round .. '/granted',
    round .. '/free', round .. '/issued', round .. '/waiting')
end
local function number(i)
  return tonumber(fields[i]) or 0
end
return {
  state, round or '', tonumber(opened_at) or 0, fields[1] or '', number(2), number(3) - number(4), number(5), number(6),
  following or '', opens_at or 0, rules[2] or '', tonumber(rules[3]) or 0, rules[4] or '', rules[5] or '', now,
}

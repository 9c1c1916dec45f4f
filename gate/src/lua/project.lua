-- Brings the gate in line with what the database says of a campaign. Doing it twice changes nothing.
--
-- It never takes back a grant: counts are only ever started at 0, and a quota below what is granted is
-- refused. It does not lift a halt; that is for whoever restores the grants.
--
-- KEYS  1 campaign  2 schedule  3 rounds
-- ARGV  1 'new' if the campaign may be unknown to the gate, else 'known'   2 state   3 one_per
--       then four for each round: id, opens_at (ms), closes_at (ms, '' for never), quota
-- Reply {outcome, round, granted}: flat and always three long.
--   outcome  projected; unknown_campaign (said 'known', but the gate has lost it);
--            quota_below_granted (with the round and what it has granted); halted
--
-- Example
--   EVAL … 3 rushgate:{welcome}:campaign … new running campaign once 0 '' 100
--   → projected '' 0
if #KEYS ~= 3 or #ARGV < 7 or (#ARGV - 3) % 4 ~= 0 then
  return redis.error_reply('ERR project.lua takes 3 keys and 3 arguments, then 4 for each round')
end

local state = redis.call('HGET', KEYS[1], 'state')
if not state and ARGV[1] ~= 'new' then
  return { 'unknown_campaign', '', 0 }
end
if state == 'halted' then
  return { 'halted', '', 0 }
end
for i = 4, #ARGV, 4 do
  local granted = tonumber(redis.call('HGET', KEYS[3], ARGV[i] .. '/granted') or 0)
  if tonumber(ARGV[i + 3]) < granted then
    return { 'quota_below_granted', ARGV[i], granted }
  end
end

for i = 4, #ARGV, 4 do
  local round = ARGV[i]
  redis.call('HSET', KEYS[3], round .. '/closes_at', ARGV[i + 2], round .. '/quota', ARGV[i + 3])
  redis.call('HSETNX', KEYS[3], round .. '/granted', 0)
  redis.call('ZADD', KEYS[2], ARGV[i + 1], round)
end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'one_per', ARGV[3])
return { 'projected', '', 0 }

-- Writes down who holds what, as the database has it, into a campaign whose grants Redis has lost. It is called
-- step by step, while the campaign is halted: nobody is granted anything meanwhile, and whoever dies in the middle
-- begins again. The waitlist stays as Redis still knows it: what one of its two keys has lost, the other one tells.
--
-- Whoever calls it lets what strangers were told before the halt settle first (refusal_cache.lua says why): for a second.
--
-- KEYS  those of grant.lua, which stands before this
-- ARGV  1 fencing token of the caller, as project.lua was told when it halted the campaign
--       2 step, and what it takes:
--   clear    nothing: forgets all grants, revocations and free serials, and counts anew who waits
--   grants   field and value, for each grant
--   revoked  field and value, three for each revocation
--   pool     members, one for each free serial
--   rounds   of each round: id, highest serial given, how many are free, how many issued
--   revokes  how many revocations there were in all
--   reassign campaign id, round, user id: gives a place to somebody who was granted one and lost it to a rival
-- Reply {outcome, number}: flat and always two long.
--   done        number: how many were written
--   seated      number: the serial
--   holds       number: the serial that he holds already
--   full        no place is left in that round
--   not_halted  nothing was changed
--   superseded  another operator restores the campaign now; nothing was changed
--
-- Example
--   EVAL … 10 rushgate:{welcome}:campaign … rushgate:{welcome}:known 17 grants 7 once/42/1796086800123/issued
--   → done 1
if #KEYS ~= 10 or #ARGV < 2 then
  return redis.error_reply('ERR restore.lua takes 10 keys, a fencing token and a step')
end

-- Who waits stands in two keys and in the counts of the rounds. Where they differ, a person in one of them waits.
local function recount_waitlists()
  local rounds = redis.call('ZRANGE', KEYS[2], 0, -1)
  local is_right, waiting = true, 0
  local function count(round)
    return redis.call('ZLEXCOUNT', KEYS[6], '[' .. round .. '/', '(' .. round .. '0')
  end
  for _, round in ipairs(rounds) do
    local counted = tonumber(redis.call('HGET', KEYS[3], round .. '/waiting')) or 0
    is_right = is_right and counted == count(round)
    waiting = waiting + counted
  end
  if is_right and waiting == redis.call('HLEN', KEYS[7]) then
    return
  end
  local known = redis.call('HGETALL', KEYS[7])
  for i = 1, #known, 2 do
    local round, user_id = string.match(known[i], '^([^/]+)/(.+)$')
    redis.call('ZADD', KEYS[6], 0, round .. '/' .. string.match(known[i + 1], '^%d+') .. '/' .. user_id)
  end
  for _, round in ipairs(rounds) do
    local tickets = tonumber(redis.call('HGET', KEYS[3], round .. '/tickets')) or 0
    for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[6], '[' .. round .. '/', '(' .. round .. '0')) do
      local ticket, user_id = string.match(member, '/(%d+)/(.+)$')
      redis.call('HSETNX', KEYS[7], round .. '/' .. user_id, ticket .. '/' .. now)
      tickets = math.max(tickets, tonumber(ticket))
    end
    redis.call('HSET', KEYS[3], round .. '/waiting', count(round), round .. '/tickets', tickets)
  end
end

local step = ARGV[2]
local campaign = redis.call('HMGET', KEYS[1], 'state', 'fence')
if tonumber(ARGV[1]) < (tonumber(campaign[2]) or 0) then
  return { 'superseded', 0 }
end
if campaign[1] ~= 'halted' then
  return { 'not_halted', 0 }
end

if step == 'clear' then
  redis.call('UNLINK', KEYS[4], KEYS[8], KEYS[9], KEYS[10])
  for _, round in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    redis.call('HSET', KEYS[3], round .. '/granted', 0)
    redis.call('HDEL', KEYS[3], round .. '/free', round .. '/issued')
  end
  redis.call('HDEL', KEYS[1], 'revokes', 'known')
  recount_waitlists()
elseif step == 'grants' then
  redis.call('HSET', KEYS[4], unpack(ARGV, 3))
elseif step == 'revoked' then
  redis.call('HSET', KEYS[8], unpack(ARGV, 3))
elseif step == 'pool' then
  for i = 3, #ARGV do
    redis.call('ZADD', KEYS[9], 0, ARGV[i])
  end
elseif step == 'rounds' then
  for i = 3, #ARGV, 4 do
    redis.call('HSET', KEYS[3], ARGV[i] .. '/granted', ARGV[i + 1], ARGV[i] .. '/free', ARGV[i + 2],
      ARGV[i] .. '/issued', ARGV[i + 3])
  end
elseif step == 'revokes' then
  redis.call('HSET', KEYS[1], 'revokes', ARGV[3])
elseif step == 'reassign' then
  local campaign_id, round, user_id = ARGV[3], ARGV[4], ARGV[5]
  local one_per = redis.call('HGET', KEYS[1], 'one_per')
  local held = redis.call('HGET', KEYS[4], holder_of(one_per, round, user_id))
  if held then
    return { 'holds', tonumber(string.match(held, '^[^/]+/(%d+)/')) }
  end
  local fields = redis.call('HMGET', KEYS[3], round .. '/quota', round .. '/granted', round .. '/free')
  local quota, granted, free = tonumber(fields[1]), tonumber(fields[2]), tonumber(fields[3]) or 0
  if not quota or (free == 0 and granted >= quota) then
    return { 'full', 0 }
  end
  return { 'seated', grant(campaign_id, one_per, round, user_id, granted, free, true) }
else
  return redis.error_reply('ERR restore.lua knows no step ' .. step)
end
return { 'done', #ARGV - 2 }

-- Rebuilds the grants of a halted campaign from the database, after Redis has lost some of them. It is called step by
-- step; a caller that is interrupted starts again with the first step. While the campaign is halted, nothing is
-- granted. The waitlist is kept as far as Redis still has it: each of its two keys is completed from the other.
--
-- Before the first step the caller must wait for the grace period (1 s) after the halt, so that every cached refusal
-- has expired (refusal_cache.lua).
--
-- KEYS  the ten keys of granting.lua
-- ARGV  1 fencing token of the caller, the same as in the project.lua call that halted the campaign
--       2 step, followed by its arguments:
--   clear     (none): deletes all grants, revocations and free serials, and repairs the waitlist
--   grants    field and value of each grant
--   revoked   field and value of each entry of the hash `revoked`
--   pool      a member for each free serial
--   rounds    for each round: id, highest serial granted, number of free serials, number of issued serials
--   revokes   the number of all revocations
--   codes     the highest number of a pool code that is known to be taken. A higher one that the gate knows stays
--   reassign  campaign id, round id, user id: grants a serial to an applicant whose earlier serial now belongs to another
--             applicant
-- Reply {outcome, number}: a flat array, always of 2 elements.
--   done        number: arguments written
--   reassigned  number: the serial now granted
--   holds       number: the serial that the applicant holds already
--   full        no serial is left in that round
--   not_halted  nothing was changed
--   superseded  a caller with a higher fencing token has taken over; nothing was changed
--
-- Takes from the prelude: now, holder_of, held_of, place_of, waitlist_member, wins_before; from granting.lua: grant
--
-- Example
--   EVAL … 10 rushgate:{welcome}:campaign … rushgate:{welcome}:known 17 grants 7 once/42/1796086800123/issued
--   → done 1
if #KEYS ~= 10 or #ARGV < 2 then
  return redis.error_reply('ERR restore.lua takes 10 keys, a fencing token and a step')
end

-- The waitlist is stored in two keys, and counted in the rounds. Where they differ, an applicant in either key waits.
local function repair_waitlists()
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
  local tickets_held = redis.call('HGETALL', KEYS[7])
  for i = 1, #tickets_held, 2 do
    local round, user_id = string.match(tickets_held[i], '^([^/]+)/(.+)$')
    redis.call('ZADD', KEYS[6], 0, waitlist_member(round, (place_of(tickets_held[i + 1])), user_id))
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

local steps = {}

function steps.clear()
  redis.call('UNLINK', KEYS[4], KEYS[8], KEYS[9], KEYS[10])
  for _, round in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    redis.call('HSET', KEYS[3], round .. '/granted', 0)
    redis.call('HDEL', KEYS[3], round .. '/free', round .. '/issued')
  end
  redis.call('HDEL', KEYS[1], 'revokes', 'known')
  repair_waitlists()
end

function steps.grants(...)
  redis.call('HSET', KEYS[4], ...)
end

function steps.revoked(...)
  redis.call('HSET', KEYS[8], ...)
end

function steps.pool(...)
  for _, member in ipairs({ ... }) do
    redis.call('ZADD', KEYS[9], 0, member)
  end
end

function steps.rounds(...)
  local args = { ... }
  for i = 1, #args, 4 do
    redis.call('HSET', KEYS[3], args[i] .. '/granted', args[i + 1], args[i] .. '/free', args[i + 2],
      args[i] .. '/issued', args[i + 3])
  end
end

function steps.revokes(count)
  redis.call('HSET', KEYS[1], 'revokes', count)
end

function steps.codes(taken)
  local known = tonumber(redis.call('HGET', KEYS[1], 'codes_taken')) or 0
  redis.call('HSET', KEYS[1], 'codes_taken', math.max(known, tonumber(taken)))
end

function steps.reassign(campaign_id, round, user_id)
  local campaign = redis.call('HMGET', KEYS[1], 'one_per', 'codes')
  local one_per = campaign[1]
  local holder = holder_of(one_per, round, user_id)
  local held = redis.call('HGET', KEYS[4], holder)
  if held then
    local _, serial = held_of(held)
    return { 'holds', tonumber(serial) }
  end
  local fields = redis.call('HMGET', KEYS[3], round .. '/quota', round .. '/granted', round .. '/free')
  local quota, granted, free = tonumber(fields[1]), tonumber(fields[2]), tonumber(fields[3]) or 0
  if not quota or (free == 0 and granted >= quota) then
    return { 'full', 0 }
  end
  local win = 1 + wins_before(KEYS[8], one_per, user_id)
  local serial = grant(campaign_id, one_per, round, user_id, holder, granted, free, win, campaign[2])
  return { 'reassigned', serial }
end

-- How many arguments a step takes. With `many`, it takes any multiple of that.
local arity = {
  clear = { 0 },
  grants = { 2, many = true },
  revoked = { 2, many = true },
  pool = { 1, many = true },
  rounds = { 4, many = true },
  revokes = { 1 },
  codes = { 1 },
  reassign = { 3 },
}
local name, count = ARGV[2], #ARGV - 2
local takes = arity[name]
if not takes or (count ~= takes[1] and not (takes.many and count > 0 and count % takes[1] == 0)) then
  return redis.error_reply('ERR restore.lua has no step ' .. name .. ' with ' .. count .. ' arguments')
end
local campaign = redis.call('HMGET', KEYS[1], 'state', 'fence')
if tonumber(ARGV[1]) < (tonumber(campaign[2]) or 0) then
  return { 'superseded', 0 }
end
if campaign[1] ~= 'halted' then
  return { 'not_halted', 0 }
end
return steps[name](unpack(ARGV, 3)) or { 'done', count }

-- Shared functions: find the current round, grant a serial, promote from the waitlist. Prepended to the scripts that
-- grant (apply.lua, revoke.lua, project.lua, restore.lua) and to refusal_cache.lua.
--
-- KEYS  1 campaign  2 schedule  3 rounds  4 grants  5 stream  6 waitlist  7 waiting  8 revoked  9 pool  10 known
--       (gate/src/keys.rs describes their content)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The round that opened last; rounds do not overlap.
local function current()
  return redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'LIMIT', 0, 1)[1]
end

-- The round that opens next, and when.
local function upcoming()
  local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return found[1], tonumber(found[2])
end

-- Stores in the campaign which round is current, the period for which that holds, and which round is next. While the
-- note is valid, apply.lua does not read the schedule.
local function note_current()
  local opened = redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  local following, opens_at = upcoming()
  redis.call('HSET', KEYS[1], 'round', opened[1] or '', 'from', opened[2] or '-inf', 'until', opens_at or '+inf',
    'next', following or '')
end

-- The end of the grace period (ms) and the decision that unknown applicants get until then; nil if no grace period
-- runs. `field` is the field `settling` of the campaign. grace_period.lua writes it.
local function grace_period(field)
  local grace_ends_at, word = string.match(field or '', '^(%d+)/(.+)$')
  if grace_ends_at and now < tonumber(grace_ends_at) then
    return tonumber(grace_ends_at), word
  end
end

local function holder_of(one_per, round, user_id)
  if one_per == 'round' then
    return round .. '/' .. user_id
  end
  return user_id
end

-- How many grants the applicant had before, all revoked since. Always 0 with one grant per round, because a round
-- cannot be won twice.
local function won_before(one_per, user_id)
  if one_per == 'round' then
    return 0
  end
  local last = redis.call('HGET', KEYS[8], user_id)
  return last and tonumber(string.match(last, '/(%d+)$')) or 0
end

-- The number of all grants ever made, including revoked ones.
local function ever_granted()
  return redis.call('HLEN', KEYS[4]) + (redis.call('HGET', KEYS[1], 'revokes') or 0)
end

-- The most applicants that the exclusion list of a cached refusal may name (refusal_cache.lua).
local MAX_EXCLUDED = 2048

-- With one grant per round: adds the applicant to the set `known`, which lists the applicants granted a serial since
-- the first grant of the round, so that refusal_cache.lua does not read the grants of other rounds. refusal_cache.lua
-- compares the size of the set with the number of grants, because programs of an older version grant without adding to
-- it. pcall: an error here must not leave a grant half written.
local function note_grantee(round, user_id, granted, serial)
  if granted == 0 then
    redis.call('UNLINK', KEYS[10])
    redis.call('HSET', KEYS[1], 'known', string.format('%s/%.0f', round, ever_granted() - 1))
  end
  if serial <= MAX_EXCLUDED then
    redis.pcall('SADD', KEYS[10], round .. '/' .. user_id)
  end
end

local function pool_member(round, serial)
  return string.format('%s/%09d', round, serial)
end

-- Grants a serial and returns it: the lowest free serial, or else the next new one. The caller has checked that there
-- is one. `revokes` is false if no grant of the campaign was ever revoked, which saves a read.
--
-- XADD is the first write, because it fails whenever Redis refuses writes (apply.lua explains it).
local function grant(campaign_id, one_per, round, user_id, granted, free, revokes)
  local serial, turn, win, member = granted + 1, 1, 1, nil
  if free > 0 then
    member = redis.call('ZRANGEBYLEX', KEYS[9], '[' .. round .. '/', '(' .. round .. '0', 'LIMIT', 0, 1)[1]
    serial = tonumber(string.sub(member, #round + 2))
    turn = 1 + (redis.call('HGET', KEYS[8], round .. '/#' .. serial) or 0)
  end
  if revokes then
    win = 1 + won_before(one_per, user_id)
  end
  -- Converted to text once, because Redis converts a number slowly and would do so for each command.
  local number, at = serial .. '', now .. ''
  if turn > 1 or win > 1 then
    redis.call('XADD', KEYS[5], '*', 'type', 'coupon.granted', 'campaign', campaign_id, 'round', round,
      'serial', number, 'turn', turn, 'user_id', user_id, 'win', win, 'at', at)
  else
    redis.call('XADD', KEYS[5], '*', 'type', 'coupon.granted', 'campaign', campaign_id, 'round', round,
      'serial', number, 'user_id', user_id, 'at', at)
  end
  redis.call('HSET', KEYS[4], holder_of(one_per, round, user_id), round .. '/' .. number .. '/' .. at)
  if member then
    redis.call('ZREM', KEYS[9], member)
    redis.call('HINCRBY', KEYS[3], round .. '/free', -1)
  else
    redis.call('HSET', KEYS[3], round .. '/granted', number)
  end
  if one_per == 'round' then
    note_grantee(round, user_id, granted, serial)
  end
  return serial
end

-- Grants the available serials of a round to the applicants on its waitlist, in their order. Returns the number of
-- grants, and the user id of the first.
--
-- An applicant leaves the waitlist without a grant in two cases: they hold a grant of another round and one grant per
-- campaign is allowed, or their grant of this round was revoked. The second happens if Redis has lost a promotion.
local function promote(campaign_id, one_per, round)
  local promoted, first = 0, ''
  while true do
    local fields = redis.call('HMGET', KEYS[3],
      round .. '/quota', round .. '/granted', round .. '/free', round .. '/waiting')
    local granted, free = tonumber(fields[2]), tonumber(fields[3]) or 0
    if (tonumber(fields[4]) or 0) == 0 or (free == 0 and granted >= tonumber(fields[1])) then
      return promoted, first
    end
    local head = redis.call('ZRANGEBYLEX', KEYS[6], '[' .. round .. '/', '(' .. round .. '0', 'LIMIT', 0, 1)[1]
    local user_id = string.match(head, '([^/]+)$')
    if redis.call('HEXISTS', KEYS[4], holder_of(one_per, round, user_id)) == 0
      and redis.call('HEXISTS', KEYS[8], round .. '/' .. user_id) == 0 then
      grant(campaign_id, one_per, round, user_id, granted, free, true)
      promoted = promoted + 1
      if promoted == 1 then
        first = user_id
      end
    end
    redis.call('ZREM', KEYS[6], head)
    redis.call('HDEL', KEYS[7], round .. '/' .. user_id)
    redis.call('HINCRBY', KEYS[3], round .. '/waiting', -1)
  end
end


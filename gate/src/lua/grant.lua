-- Prepended to the scripts that give places: apply.lua, revoke.lua, project.lua, restore.lua; and to refusal_cache.lua, which
-- tells who gets none. All of them take these keys.
--
-- KEYS  1 campaign  2 schedule  3 rounds  4 grants  5 stream  6 waitlist  7 waiting  8 revoked  9 pool  10 known
--       (gate/src/keys.rs says what is in them)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The round that opened last; rounds do not overlap.
local function current()
  return redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'LIMIT', 0, 1)[1]
end

-- The one that opens next, and when.
local function upcoming()
  local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return found[1], tonumber(found[2])
end

-- Notes in the campaign which round is the current one, from when and until when, and which is next, so that apply.lua
-- need not look into the schedule.
local function note_current()
  local opened = redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  local following, opens_at = upcoming()
  redis.call('HSET', KEYS[1], 'round', opened[1] or '', 'from', opened[2] or '-inf', 'until', opens_at or '+inf',
    'next', following or '')
end

-- Until when strangers are still told what they were told before a change, and with which word; nothing, if it has
-- settled.
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

-- How many times a person had won before, within what he may win once. One round cannot be won twice.
local function won_before(one_per, user_id)
  if one_per == 'round' then
    return 0
  end
  local last = redis.call('HGET', KEYS[8], user_id)
  return last and tonumber(string.match(last, '/(%d+)$')) or 0
end

-- How many grants there ever were, those that were taken back among them.
local function ever_granted()
  return redis.call('HLEN', KEYS[4]) + (redis.call('HGET', KEYS[1], 'revokes') or 0)
end

-- The most applicants that the exclusion list of a cached refusal may name (refusal_cache.lua).
local MAX_EXCLUDED = 2048

-- Where one may win in every round, notes all who were granted something since the round's first grant, so that
-- refusal_cache.lua need not look through those of other rounds. Whether they are all of them, it finds out by counting:
-- programs of an older version grant without a note. A note that cannot be written must not leave a grant half written.
local function note_known(round, user_id, granted, serial)
  if granted == 0 then
    redis.call('UNLINK', KEYS[10])
    redis.call('HSET', KEYS[1], 'known', string.format('%s/%.0f', round, ever_granted() - 1))
  end
  if serial <= MAX_EXCLUDED then
    redis.pcall('SADD', KEYS[10], round .. '/' .. user_id)
  end
end

local function pooled(round, serial)
  return string.format('%s/%09d', round, serial)
end

-- Gives a place that is there: a freed serial first, else the next one. `revokes` is whether any grant of the
-- campaign was ever taken back; if not, there is nothing to look up. Returns the serial.
--
-- XADD is the first of the writes: it meets every reason that Redis has for refusing one.
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
  -- Numbers become text once: Redis takes long over each.
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
    note_known(round, user_id, granted, serial)
  end
  return serial
end

-- Gives what places there are to those who wait, in their order. Returns how many, and who was the first.
-- Applicants leave the waitlist without a place if they have won in another round meanwhile, where one may win once in
-- all, or if their grant of this round was taken back: a Redis that has lost a promotion may have them waiting again.
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


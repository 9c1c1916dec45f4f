-- For the scripts that grant (apply.lua, revoke.lua, cancel.lua, project.lua, restore.lua) and for refusal_cache.lua,
-- after the prelude:
--
--   note_current()                       stores which round is current
--   grace_period(field) → ends_at, word  the running grace period; nil if there is none
--   grant(…) → serial, turn, code        grants a serial
--   MAX_EXCLUDED                         the most applicants that an exclusion list may name (refusal_cache.lua)
--
-- KEYS  1 campaign  2 schedule  3 rounds  4 grants  5 stream  6 waitlist  7 waiting  8 revoked  9 pool  10 known
--       (gate/src/keys.rs describes their content). Scripts refer to them as "the ten keys".
-- Takes from the prelude: now, current, upcoming, turns_before, emit

-- Stores in the campaign which round is current, the period for which that holds, and which round is next. While the
-- note is valid, apply.lua does not read the schedule.
local function note_current()
  local round, opened_at = current()
  local following, opens_at = upcoming()
  redis.call('HSET', KEYS[1], 'round', round or '', 'from', opened_at or '-inf', 'until', opens_at or '+inf',
    'next', following or '')
end

-- The end of the grace period (ms) and the decision that unknown applicants get until then. `field` is the field
-- `settling` of the campaign: <end>/<decision>. grace_period.lua writes it.
local function grace_period(field)
  if not field then
    return nil
  end
  local grace_ends_at, word = string.match(field, '^(%d+)/(.+)$')
  if grace_ends_at and now < tonumber(grace_ends_at) then
    return tonumber(grace_ends_at), word
  end
end

local MAX_EXCLUDED = 2048

-- Grants a serial: the lowest free serial, or else the next new one. Returns it, how often it has been granted, and what
-- binds a pool code to it, as held_of returns it. The caller has checked that there is a serial. `holder` is the
-- applicant's field in the hash `grants`; `granted` and `free` are the counters of the round; `codes` is that field of the
-- campaign.
--
-- With pool codes, each grant takes the next number, also if a code of that number is not loaded yet. A number is never
-- taken twice: it belongs to this grant also after a revocation.
--
-- XADD is the first write, because it fails whenever Redis refuses writes (apply.lua explains it).
--
-- With one grant per round, it adds the applicant to the set `known`, which lists the applicants granted a serial since
-- the first grant of the round, so that refusal_cache.lua does not read the grants of other rounds. refusal_cache.lua
-- compares the size of the set with the number of grants, because programs of an older version grant without adding to
-- it. pcall: an error here must not leave a grant half written.
local function grant(campaign_id, one_per, round, user_id, holder, granted, free, win, codes)
  local serial, turn, member = granted + 1, 1, nil
  if free > 0 then
    member = redis.call('ZRANGEBYLEX', KEYS[9], '[' .. round .. '/', '(' .. round .. '0', 'LIMIT', 0, 1)[1]
    -- pool_member (promoting.lua) writes it.
    serial = tonumber(string.sub(member, #round + 2))
    turn = 1 + turns_before(KEYS[8], round, serial)
  end
  -- Converted to text once, because Redis converts a number slowly and would do so for each command.
  local number, at, code = serial .. '', now .. '', ''
  if codes == 'pool' then
    code = '#' .. 1 + (redis.call('HGET', KEYS[1], 'codes_taken') or 0)
  end
  emit(KEYS[5], 'coupon.granted', campaign_id, round, number, user_id, at, turn, win, code)
  if code ~= '' then
    redis.call('HSET', KEYS[1], 'codes_taken', string.sub(code, 2))
  end
  redis.call('HSET', KEYS[4], holder, round .. '/' .. number .. '/' .. at .. code)
  if member then
    redis.call('ZREM', KEYS[9], member)
    redis.call('HINCRBY', KEYS[3], round .. '/free', -1)
  else
    redis.call('HSET', KEYS[3], round .. '/granted', number)
  end
  if one_per == 'round' then
    if granted == 0 then
      redis.call('UNLINK', KEYS[10])
      local before = redis.call('HLEN', KEYS[4]) - 1 + (redis.call('HGET', KEYS[1], 'revokes') or 0)
      redis.call('HSET', KEYS[1], 'known', string.format('%s/%.0f', round, before))
    end
    if serial <= MAX_EXCLUDED then
      redis.pcall('SADD', KEYS[10], round .. '/' .. user_id)
    end
  end
  return serial, turn, code
end


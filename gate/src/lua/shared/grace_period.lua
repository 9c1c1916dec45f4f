-- Shared functions: the grace period, in which unknown applicants do not yet get a serial that a change has made
-- available. It stands after granting.lua in revoke.lua, cancel.lua and project.lua, which start it, and in
-- refusal_cache.lua. The header of refusal_cache.lua defines the terms, and proves why the grace period is needed.
--
--   CACHE_TTL                                               how long a refusal may be cached
--   refusal_of_unknown(state, waitlist) → word, round, at   the refusal of an unknown applicant; nil if there is none
--   refusal_before_change() → before                        called before a change
--   start_grace_period(before)                              called after it
--
-- Takes from the prelude: now, current, upcoming; from granting.lua: grace_period

-- How long a refusal may be cached, counted from when the gate gave it (ms).
local CACHE_TTL = 900

-- How long the grace period lasts, counted from the change (ms). It is longer than CACHE_TTL, so that refusals cached
-- before the change expire first. The difference is the tolerance for clocks that run at different speeds.
local GRACE_PERIOD = 1000

-- The refusal that the stored state alone gives an unknown applicant: the decision, the round and, for not_open, when
-- it opens. nil if a serial or a place on the waitlist is available. Ignores a pause, a halt and a running grace
-- period.
local function refusal_of_unknown(state, waitlist)
  local round = current()
  if state == 'closed' then
    return 'closed', round or '', 0
  end
  local fields = round and redis.call('HMGET', KEYS[3], round .. '/closes_at', round .. '/quota', round .. '/granted',
    round .. '/free', round .. '/waiting')
  if not round or now >= (tonumber(fields[1] or '') or math.huge) then
    local following, opens_at = upcoming()
    if following then
      return 'not_open', following, opens_at
    end
    return 'closed', round or '', 0
  end
  local waiting = tonumber(fields[5]) or 0
  local quota, granted, free = tonumber(fields[2]) or 0, tonumber(fields[3]) or 0, tonumber(fields[4]) or 0
  if (waiting == 0 and (free > 0 or granted < quota)) or waiting < (tonumber(waitlist) or 0) then
    return nil
  end
  return 'sold_out', round, 0
end

-- Called before a change. Returns what start_grace_period needs after it.
local function refusal_before_change()
  local campaign = redis.call('HMGET', KEYS[1], 'state', 'waitlist')
  if not campaign[1] then
    return {}
  end
  local word, round = refusal_of_unknown(campaign[1], campaign[2])
  local _, opens_at = upcoming()
  return { word = word, round = round, grace_ends_at = math.min(now + GRACE_PERIOD, opens_at or math.huge) }
end

-- Called after a change. Starts a grace period if unknown applicants were refused before the change and would now get a
-- serial or a place on the waitlist, or if the change lets a round open within the grace period. A grace period that
-- ends later is left as it is.
local function start_grace_period(before)
  if not before.word then
    return
  end
  local campaign = redis.call('HMGET', KEYS[1], 'state', 'waitlist', 'settling')
  local _, opens_at = upcoming()
  local opens_early = opens_at and opens_at < before.grace_ends_at
  if refusal_of_unknown(campaign[1], campaign[2]) and not opens_early then
    return
  end
  if (grace_period(campaign[3]) or 0) >= before.grace_ends_at then
    return
  end
  local word = 'not_open'
  if before.word == 'sold_out' and before.round == current() and not opens_early then
    word = 'sold_out'
  end
  redis.call('HSET', KEYS[1], 'settling', string.format('%.0f/%s', before.grace_ends_at, word))
end


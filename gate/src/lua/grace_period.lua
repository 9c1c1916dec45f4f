-- Prepended, after grant.lua, to the scripts that change what strangers are told, revoke.lua and project.lua, and to
-- refusal_cache.lua, which says who they are and why this is needed.
--
-- For how long what a stranger is told may be repeated to others (ms), and for how long after a change places are kept
-- from strangers, because that is still repeated. What lies between is for clocks that do not run alike.
-- refusal_cache.lua says who they are, and why that is safe.
local CACHE_TTL = 900
local GRACE_PERIOD = 1000

-- Why a stranger is refused, whether or not the campaign is paused: the word, the round, and for not_open when that
-- opens. Nothing, if there is a place for him, or one on the waitlist.
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

-- What strangers are told before a change, for `start_grace_period` after it.
local function refusal_before_change()
  local campaign = redis.call('HMGET', KEYS[1], 'state', 'waitlist')
  if not campaign[1] then
    return {}
  end
  local word, round = refusal_of_unknown(campaign[1], campaign[2])
  local _, opens_at = upcoming()
  return { word = word, round = round, grace_ends_at = math.min(now + GRACE_PERIOD, opens_at or math.huge) }
end

-- Where a change gives strangers a place that they were refused before, or lets a round open earlier, it settles first.
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


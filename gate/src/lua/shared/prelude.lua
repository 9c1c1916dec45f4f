-- The prelude: it stands before every script of the gate (gate/src/script.rs) and defines what scripts share. The header
-- of each script says what it takes from here.
--
--   now                                        the clock of Redis, in ms since 1970
--   current() → round, opens_at                the round that opened last; nil before the first
--   upcoming() → round, opens_at               the round that opens next; nil if there is none
--   holder_of(one_per, round, user_id)         the field of a grant in the hash `grants`
--   held_of(text) → round, serial, at, code, mark
--                                              a value of the hash `grants`
--   revoked_of(text) → serial, at, revoked_at  the value of `<round>/<user_id>` in the hash `revoked`
--   place_of(text) → ticket, since             a value of the hash `waiting`
--   last_win_of(text) → round, wins            the value of `<user_id>` in the hash `revoked`
--   waitlist_member(round, ticket, user_id)    a member of the sorted set `waitlist`
--   turns_before(revoked, round, serial)       how often a serial was revoked
--   wins_before(revoked, one_per, user_id)     how many grants of an applicant were revoked
--   emit(stream, type, …)                      appends an event to the stream
--
-- current and upcoming read KEYS[2], which is the schedule in each script that calls them; the other functions take the
-- keys that they need. gate/src/keys.rs describes what is stored. What only scripts that grant use is in granting.lua,
-- grace_period.lua, promoting.lua and revoking.lua, so that the other scripts do not pay for it.
--
-- The functions `…_of` return texts as they are stored, or nil for nil.
--
-- A function costs each call of each script 0.03 µs, and twice that if it uses a local of this file. So the prelude
-- has few, and they take arguments.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Rounds do not overlap. opens_at is a text.
local function current()
  local found = redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return found[1], found[2]
end

local function upcoming()
  local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return found[1], tonumber(found[2])
end

local function holder_of(one_per, round, user_id)
  if one_per == 'round' then
    return round .. '/' .. user_id
  end
  return user_id
end

-- <round>/<serial>/<at>, then in a campaign with pool codes #<number of its code>, then the mark: '' for a grant on its
-- way, /issued if the coupon is committed, /issued/<redeemed_at> if it is redeemed. grant (granting.lua) writes it;
-- confirm.lua and redeem.lua mark it. To programs of an older version, every mark means issued. `code` begins with the #;
-- it is '' if there is none.
local function held_of(text)
  return string.match(text or '', '^([^/]+)/(%d+)/(%d+)(#?%d*)(.*)$')
end

-- <serial>/<at>/<revoked_at>. revoking.lua writes it.
local function revoked_of(text)
  return string.match(text or '', '^(%d+)/(%d+)/(%d+)$')
end

-- <round>/<wins>. revoking.lua writes it.
local function last_win_of(text)
  return string.match(text or '', '^([^/]+)/(%d+)$')
end

-- <ticket>/<since>. apply.lua and restore.lua write it.
local function place_of(text)
  return string.match(text or '', '^(%d+)/(%d+)$')
end

local function waitlist_member(round, ticket, user_id)
  return round .. '/' .. ticket .. '/' .. user_id
end

-- `revoked` is the key of that name.
local function turns_before(revoked, round, serial)
  return tonumber(redis.call('HGET', revoked, round .. '/#' .. serial) or 0)
end

-- Always 0 with one grant per round, because a round cannot be won twice.
local function wins_before(revoked, one_per, user_id)
  if one_per == 'round' then
    return 0
  end
  local _, wins = last_win_of(redis.call('HGET', revoked, user_id))
  return tonumber(wins) or 0
end

-- `turn` counts the grants of the serial, `win` those of the applicant; both are left out if they are 1. `code` is as
-- held_of returns it. Values are texts where that is cheap, because Redis converts a number slowly.
local function emit(stream, event_type, campaign_id, round, serial, user_id, at, turn, win, code)
  if code ~= '' then
    redis.call('XADD', stream, '*', 'type', event_type, 'campaign', campaign_id, 'round', round, 'serial', serial,
      'turn', turn, 'user_id', user_id, 'win', win, 'code_number', string.sub(code, 2), 'at', at)
  elseif turn > 1 or win > 1 then
    redis.call('XADD', stream, '*', 'type', event_type, 'campaign', campaign_id, 'round', round,
      'serial', serial, 'turn', turn, 'user_id', user_id, 'win', win, 'at', at)
  else
    redis.call('XADD', stream, '*', 'type', event_type, 'campaign', campaign_id, 'round', round,
      'serial', serial, 'user_id', user_id, 'at', at)
  end
end


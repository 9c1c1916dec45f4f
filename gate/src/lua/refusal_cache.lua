-- Tells why a stranger is refused, and until when that may be repeated to others without asking. Writes nothing.
--
-- A stranger is somebody of whom the gate knows nothing that his answer depends on: he holds nothing, does not wait, and
-- nothing was taken back from him. All strangers are told the same, so whoever has this reply may answer them in the
-- gate's place, and asks the gate for everybody who is among the known.
--
-- Why nobody is denied what he has. Let somebody be a stranger at `now`, when he is refused, and come again before
-- `ends`. To hold or wait by then, he would have to be granted a place, or one on the waitlist, as a stranger: whoever is
-- promoted waited before, and was known. Strangers get something only where a change gives it to them that they were
-- refused before: a serial is taken back, a waitlist moves up, a quota or waitlist grows, a window, round or state
-- changes. Each such change is made by a script that calls `start_grace_period`, so that apply.lua goes on to refuse strangers for
-- GRACE_PERIOD (1,000 ms) from then on, and a reply may be repeated for CACHE_TTL (900 ms) from `now`, which was before the change.
-- While it settles, `ends` is not after its end. No script is needed for a round to open at its time: `ends` is not
-- after the next opening, and for that reason a change settles no later than the opening that was to come next; if it
-- lets one open earlier, that settles too. Those whom the gate knows are answered as ever: they need not wait.
--
-- What can be late, by CACHE_TTL at most: that a campaign is paused, halted or closed, or that Redis has lost it. Where one
-- may win in every round, so can be what a holder of another round is told after an operator has moved that round, or
-- this one, so that it is the one that opened last. A campaign is halted for longer than GRACE_PERIOD before it is restored. A
-- clock of Redis that jumps forward cuts short what settles, as it does every window.
--
-- KEYS  those of grant.lua, which stands before this, with grace_period.lua
-- Reply {decision, round, at, now, ends, user_ids, known}: flat and always seven long; '' and 0 where there is nothing to
-- say.
--   decision  sold_out, not_open, closed; '' if there is nothing to repeat: somebody would get a place, the campaign is
--             paused, halted or unknown, or too many are known
--   at        for not_open, when the round opens
--   ends      when this must not be repeated any more; not after the next opening
--   user_ids  which the campaign takes: of numeric alone, no other stranger is told this
--   known     everybody who is no stranger, separated by spaces: a user id, perhaps with something and `/` before it
--
-- Example
--   EVAL … 10 rushgate:{welcome}:campaign … rushgate:{welcome}:known
--   → sold_out once 0 1796086800123 1796086801023 any '7 8 once/9'
if #KEYS ~= 10 or #ARGV ~= 0 then
  return redis.error_reply('ERR refusal_cache.lua takes 10 keys and no argument')
end

local nothing = { '', '', 0, now, 0, '', '' }
local campaign = redis.call('HMGET', KEYS[1], 'state', 'one_per', 'waitlist', 'settling', 'user_ids')
local state, one_per = campaign[1], campaign[2]
if state ~= 'running' and state ~= 'closed' then
  return nothing
end
local word, round, at = refusal_of_unknown(state, campaign[3])
local ends = now + CACHE_TTL
if not word then
  local grace_ends_at, still = grace_period(campaign[4])
  if not grace_ends_at then
    return nothing
  end
  word, round, at = still, current(), still == 'not_open' and grace_ends_at or 0
  ends = math.min(ends, grace_ends_at)
end
local _, opens_at = upcoming()
ends = math.min(ends, opens_at or ends)
if word == 'sold_out' then
  local closes_at = redis.call('HGET', KEYS[3], round .. '/closes_at')
  ends = math.min(ends, tonumber(closes_at) or ends)
end

-- What counts is the round that opened last; where one may win once in all, also what he holds or may get in another.
local this = (current() or '') .. '/'
local function of_this(fields)
  local found = {}
  for _, field in ipairs(fields) do
    -- `#` begins the serials that were taken back.
    if string.find(field, this, 1, true) == 1 and string.byte(field, #this + 1) ~= 35 then
      found[#found + 1] = field
    end
  end
  return found
end

-- Where one may win in every round: everybody with something in this one, as far as grant.lua has noted it. No other round
-- is looked at, so it costs what this one costs. Nothing, if a grant was not noted.
local function known_of_this()
  local from, to = '[' .. this, '(' .. string.sub(this, 1, -2) .. '0'
  local granted = {}
  if (tonumber(redis.call('HGET', KEYS[3], this .. 'granted') or '') or 0) > 0 then
    local noted, before = string.match(redis.call('HGET', KEYS[1], 'known') or '', '^(.+/)(%d+)$')
    local count = redis.pcall('SCARD', KEYS[10])
    if noted ~= this or count ~= ever_granted() - tonumber(before) then
      return nil
    end
    if count + redis.call('ZLEXCOUNT', KEYS[6], from, to) > MAX_EXCLUDED then
      return nil
    end
    granted = of_this(redis.call('SMEMBERS', KEYS[10]))
  end
  return { table.concat(granted, ' '), table.concat(redis.call('ZRANGEBYLEX', KEYS[6], from, to), ' ') }
end

-- Looks through everything, unless that is too much: it takes as long as some twenty grants or thirty refusals.
local function all_known()
  if redis.call('HLEN', KEYS[4]) + redis.call('HLEN', KEYS[7]) + redis.call('HLEN', KEYS[8]) > MAX_EXCLUDED then
    return nil
  end
  local known = {}
  for i, key in ipairs({ KEYS[4], KEYS[7], KEYS[8] }) do
    local fields = redis.call('HKEYS', key)
    if one_per == 'round' or key == KEYS[8] then
      fields = of_this(fields)
    end
    known[i] = table.concat(fields, ' ')
  end
  return known
end

local known = (one_per == 'round' and known_of_this()) or all_known()
if not known then
  return nothing
end
return { word, round, at, now, ends, campaign[5] or '', table.concat(known, ' ') }

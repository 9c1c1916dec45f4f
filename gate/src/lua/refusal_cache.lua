-- Reports a refusal that callers may cache, for how long, and to which applicants it does not apply. It writes nothing
-- but the key `filter`, and only while it builds a filter.
--
-- Purpose: after a round has sold out, most requests are refused, and all with the same answer. An instance of the
-- handler asks once, and then answers from its cache instead of the gate, for at most 0.9 s.
--
-- KEYS  the ten keys of granting.lua  11 filter
-- Reply {decision, round, at, now, expires_at, user_ids, excluded, filter}: a flat array, always of 8 elements; '' or 0
-- means "no value".
--   decision    sold_out, not_open, closed; '' if nothing may be cached: an unknown applicant would get a serial or a
--               place on the waitlist, the campaign is paused, halted or unknown, too many applicants are known, or the
--               filter is not complete
--   at          for not_open: when the round opens, or when the grace period ends
--   expires_at  when the refusal expires: at most CACHE_TTL after now; without a refusal, when to ask again
--   user_ids    which user ids the campaign accepts; if numeric, other user ids get user_id_not_numeric instead
--   excluded    the exclusion list: user ids separated by spaces, each perhaps with a prefix that ends in `/`
--   filter      if that would be too long, the bits of the filter (shared/filter.lua), which takes its place
--
-- Takes from the prelude: now, current, upcoming; from granting.lua: grace_period, MAX_EXCLUDED; from grace_period.lua:
-- CACHE_TTL, refusal_of_unknown; from filter.lua: build_filter
--
-- Example
--   EVAL … 11 rushgate:{welcome}:campaign … rushgate:{welcome}:filter
--   → sold_out once 0 1796086800123 1796086801023 any '7 8 once/9' ''
--
-- WHY A CACHED REFUSAL NEVER DENIES A WINNER
--
-- Definitions. All times are read from the clock of Redis. The current round is the one that opened last.
-- - An applicant is known if apply.lua finds them in `grants`, or in `waiting` or `revoked` of the current round. Where
--   one grant per round is allowed, only a grant of the current round counts. All other applicants are unknown.
-- - base(t) is what refusal_of_unknown returns at time t: a refusal, or nil. It ignores a pause, a halt and a running
--   grace period.
-- - A cached refusal C is a reply of this script at time t0, with expires_at e and exclusion list E. If the reply has a
--   filter, E is all applicants whose bits are set in it.
--
-- Assumptions. Redis loses no acknowledged write of the campaign between t0 and e, its clock does not jump, and each applicant
-- in `waitlist` is in `waiting`, too. With a filter, the assumptions in shared/filter.lua hold as well. An instance stops
-- using C when (e - t0) has passed since it sent the question, by its own clock. If both clocks run at the same speed, that
-- is before e. (If the instance's clock is slower, the 100 ms between CACHE_TTL and GRACE_PERIOD make up
-- for it after a change; at the opening of a round, C can then be used a moment too long.)
--
-- Claim 1. apply.lua gives all unknown applicants the same decision, except for user_id_not_numeric.
--   It reads by user id only grants, waiting and revoked, and finds nothing in them. The rest of its input is the
--   campaign, its rounds and the clock. If base(t) is a refusal, or a grace period runs, it refuses.
--
-- Claim 2. From t0 until e, apply.lua grants no serial and adds no applicant to the waitlist.
--   apply.lua does either only if base is nil, no grace period runs, and the campaign is not halted. Call time t safe if
--     (a) a grace period is stored that ends at e or later, or
--     (b) base(t) is a refusal, and no round is scheduled to open after t and before e, or
--     (c) the campaign is halted, and remains so until e.
--   So it is enough to show that each time from t0 until e is safe.
--   - t0 is safe. If the refusal came from base, (b) holds, because e is not after the next opening. If it came from a
--     running grace period, (a) holds, because e is not after its end.
--   - The passing of time keeps it safe. Without a write, base changes from a refusal to nil only when a round opens.
--   - apply.lua writes nothing at a safe time. It would need base = nil without a grace period. The scripts that only
--     report write nothing that base reads; readmit.lua and resend.lua write only to the stream and the dead letters.
--   - confirm.lua and redeem.lua change no count that base reads. If confirm.lua halts the campaign, (c) holds: only project.lua with
--     'restored' ends a halt, and `rushgate restore` sends that more than GRACE_PERIOD after the halt. restore.lua
--     writes only to a halted campaign.
--   - revoke.lua, cancel.lua and project.lua keep it safe. Let one of them run at time c, with t0 <= c < e. It computes the end of
--     its grace period, g = min(c + GRACE_PERIOD, next opening before the change).
--       If (a) holds before, it holds after: start_grace_period never replaces a running period by an earlier end.
--       If (b) holds before, then g >= e, because e <= t0 + CACHE_TTL < c + GRACE_PERIOD, and no opening was scheduled
--       before e. After the change, either base(c) is still a refusal and no round opens before g, and (b) holds; or the
--       script stores a grace period that ends at g or later, and (a) holds.
--       If (c) holds before, or project.lua halts the campaign, (c) holds after.
--
-- Claim 3. While the current round stays the same, an applicant who is not in E is unknown from t0 until e.
--   (By itself the current round changes only when a round opens, which is not before e. For a change of the schedule by
--   an operator, see the limits below.)
--   E names all applicants who are known at t0. (With one grant per round, E can come from the set `known` instead of the
--   hashes. It is used only if its size is the number of all grants since the first grant of the round. Each grant adds
--   one member at most, so no grant of the round is missing. shared/filter.lua proves for the filter that it contains all
--   who are known at t0, and the applicants on the waitlists named below.)
--   To become known later, an applicant needs a new entry in grants, waiting or revoked. By claim 2, apply.lua adds none.
--   The other writers add entries only for applicants who are in E already:
--   - promote() in revoke.lua, cancel.lua and project.lua grants to applicants on a waitlist. They were on it at t0, by
--     claim 2. E names the applicants on the waitlists: of all rounds, or of the current round with one grant per round.
--   - revoke.lua and cancel.lua add to `revoked` an applicant who held a grant: at t0, or by such a promotion.
--   - restore.lua writes only while the campaign is halted, and that lasts until e.
--
-- Result. If an instance answers an applicant from C, then the applicant is not in E, so the applicant is unknown
-- (claim 3) and the gate itself would refuse them at that moment (claims 1 and 2). An applicant whose hash equals that
-- of an excluded one is sent to the gate, which is always right.
--
-- Limits. For at most CACHE_TTL, a cached refusal can differ from the gate's own:
-- - If the campaign has been paused, halted or closed, or Redis has lost it, the reason is out of date. The gate would
--   refuse as well.
-- - If an operator changes the schedule so that another round becomes the current one, E does not name the applicants
--   with an entry in that round. With one grant per round, an applicant who holds a grant of it, or waits for one, may
--   get the cached refusal. With one grant per campaign, only the reason can be wrong (sold_out instead of revoked).
if #KEYS ~= 11 or #ARGV ~= 0 then
  return redis.error_reply('ERR refusal_cache.lua takes 11 keys and no argument')
end

-- When it is worth asking again if nothing may be cached (ms).
local ASK_AGAIN = 1000

local function no_refusal(retry_after)
  return { '', '', 0, now, now + retry_after, '', '', '' }
end

local campaign = redis.call('HMGET', KEYS[1], 'state', 'one_per', 'waitlist', 'settling', 'user_ids')
local state, one_per = campaign[1], campaign[2]
if state ~= 'running' and state ~= 'closed' then
  return no_refusal(ASK_AGAIN)
end
local word, round, at = refusal_of_unknown(state, campaign[3])
local expires_at = now + CACHE_TTL
if not word then
  local grace_ends_at, pending = grace_period(campaign[4])
  if not grace_ends_at then
    return no_refusal(ASK_AGAIN)
  end
  word, round, at = pending, current(), pending == 'not_open' and grace_ends_at or 0
  expires_at = math.min(expires_at, grace_ends_at)
end
local _, opens_at = upcoming()
expires_at = math.min(expires_at, opens_at or expires_at)
if word == 'sold_out' then
  local closes_at = redis.call('HGET', KEYS[3], round .. '/closes_at')
  expires_at = math.min(expires_at, tonumber(closes_at) or expires_at)
end

-- Entries of the current round begin with this prefix.
local prefix = (current() or '') .. '/'
local function in_current_round(fields)
  local found = {}
  for _, field in ipairs(fields) do
    -- `#` (35) begins the entries of revoked serials, which name no applicant.
    if string.find(field, prefix, 1, true) == 1 and string.byte(field, #prefix + 1) ~= 35 then
      found[#found + 1] = field
    end
  end
  return found
end

-- The exclusion list with one grant per round: the set `known` and the waitlist of the current round. Its cost does not
-- depend on other rounds. nil if the set is incomplete, or if the list would be too long.
local function excluded_of_current_round()
  local from, to = '[' .. prefix, '(' .. string.sub(prefix, 1, -2) .. '0'
  local granted = {}
  if (tonumber(redis.call('HGET', KEYS[3], prefix .. 'granted') or '') or 0) > 0 then
    local noted, before = string.match(redis.call('HGET', KEYS[1], 'known') or '', '^(.+/)(%d+)$')
    local count = redis.pcall('SCARD', KEYS[10])
    local ever_granted = redis.call('HLEN', KEYS[4]) + (redis.call('HGET', KEYS[1], 'revokes') or 0)
    if noted ~= prefix or count ~= ever_granted - tonumber(before) then
      return nil
    end
    if count + redis.call('ZLEXCOUNT', KEYS[6], from, to) > MAX_EXCLUDED then
      return nil
    end
    granted = in_current_round(redis.call('SMEMBERS', KEYS[10]))
  end
  return { table.concat(granted, ' '), table.concat(redis.call('ZRANGEBYLEX', KEYS[6], from, to), ' ') }
end

-- The exclusion list from the hashes themselves; nil if they have more than MAX_EXCLUDED fields. At that limit it takes
-- as long as about twenty grants or thirty refusals.
local function excluded_of_campaign()
  if redis.call('HLEN', KEYS[4]) + redis.call('HLEN', KEYS[7]) + redis.call('HLEN', KEYS[8]) > MAX_EXCLUDED then
    return nil
  end
  local excluded = {}
  for i, key in ipairs({ KEYS[4], KEYS[7], KEYS[8] }) do
    local fields = redis.call('HKEYS', key)
    if one_per == 'round' or key == KEYS[8] then
      fields = in_current_round(fields)
    end
    excluded[i] = table.concat(fields, ' ')
  end
  return excluded
end

local excluded = (one_per == 'round' and excluded_of_current_round()) or excluded_of_campaign()
if excluded then
  return { word, round, at, now, expires_at, campaign[5] or '', table.concat(excluded, ' '), '' }
end
local filter, retry_after = build_filter(one_per, current() or '')
-- A filter without bits would exclude no applicant.
if (filter or '') == '' then
  return no_refusal(retry_after or ASK_AGAIN)
end
return { word, round, at, now, expires_at, campaign[5] or '', '', filter }

-- For the scripts that make serials available (revoke.lua, cancel.lua, project.lua), after granting.lua:
--
--   pool_member(round, serial)                            a member of the sorted set `pool`; `grant` reads it
--   promote(campaign_id, one_per, round) → number, first  grants the available serials to the waitlist
--
-- Takes from the prelude: now, holder_of, wins_before; from granting.lua: grant

local function pool_member(round, serial)
  return string.format('%s/%09d', round, serial)
end

-- Grants the available serials of a round to the applicants on its waitlist, in their order. Returns the number of
-- grants, and the user id of the first.
--
-- An applicant leaves the waitlist without a grant in two cases: they hold a grant of another round and one grant per
-- campaign is allowed, or their grant of this round was revoked. The second happens if Redis has lost a promotion.
--
-- After the round has closed, no applicant is promoted if the campaign promotes until then.
local function promote(campaign_id, one_per, round)
  local promoted, first, codes = 0, '', nil
  local closes_at = tonumber(redis.call('HGET', KEYS[3], round .. '/closes_at') or '')
  if closes_at and now >= closes_at and redis.call('HGET', KEYS[1], 'promote_until') == 'closes' then
    return promoted, first
  end
  while true do
    local fields = redis.call('HMGET', KEYS[3],
      round .. '/quota', round .. '/granted', round .. '/free', round .. '/waiting')
    local granted, free = tonumber(fields[2]), tonumber(fields[3]) or 0
    if (tonumber(fields[4]) or 0) == 0 or (free == 0 and granted >= tonumber(fields[1])) then
      return promoted, first
    end
    local head = redis.call('ZRANGEBYLEX', KEYS[6], '[' .. round .. '/', '(' .. round .. '0', 'LIMIT', 0, 1)[1]
    local user_id = string.match(head, '([^/]+)$')
    local holder = holder_of(one_per, round, user_id)
    if redis.call('HEXISTS', KEYS[4], holder) == 0
      and redis.call('HEXISTS', KEYS[8], round .. '/' .. user_id) == 0 then
      local win = 1 + wins_before(KEYS[8], one_per, user_id)
      codes = codes or redis.call('HGET', KEYS[1], 'codes') or ''
      grant(campaign_id, one_per, round, user_id, holder, granted, free, win, codes)
      -- The filter contains the applicants in `waiting`: this grant makes no unknown applicant known (filter.lua).
      if redis.call('HEXISTS', KEYS[7], round .. '/' .. user_id) == 1 then
        redis.call('HINCRBY', KEYS[1], 'promotions', 1)
      end
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


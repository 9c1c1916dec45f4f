-- Marks a grant as redeemed, so that it cannot be revoked or given back any more. Calling it again changes nothing. The
-- coupon has been committed to the database, so the grant is also marked as issued if it was not.
--
-- It runs even when Redis is out of memory (gate/src/redeem.rs sets the flag allow-oom): the grant grows by 21 bytes at
-- most, once. The counter is written first, as in confirm.lua.
--
-- KEYS  1 campaign  2 rounds  3 grants  4 revoked
-- ARGV  1 round id  2 serial  3 user id
-- Reply {outcome, redeemed_at}: a flat array, always of 2 elements.
--   redeemed          by this call
--   already_redeemed  by an earlier call, at redeemed_at (ms since 1970)
--   revoked           the grant was revoked
--   not_granted       the gate does not know the grant
--   halted            nothing was changed
--   unknown_campaign  Redis has lost the campaign
--
-- Takes from the prelude: now, holder_of, held_of, revoked_of
--
-- Example
--   EVAL … 4 rushgate:{welcome}:campaign … rushgate:{welcome}:revoked once 42 7
--   → redeemed 1796087000000
if #KEYS ~= 4 or #ARGV ~= 3 then
  return redis.error_reply('ERR redeem.lua takes 4 keys and 3 arguments')
end
local round, serial, user_id = ARGV[1], ARGV[2], ARGV[3]

local campaign = redis.call('HMGET', KEYS[1], 'state', 'one_per')
local state, one_per = campaign[1], campaign[2]
if not state or state == 'halted' then
  return { state or 'unknown_campaign', 0 }
end
local holder = holder_of(one_per, round, user_id)
local held = redis.call('HGET', KEYS[3], holder)
local held_round, held_serial, at, code, mark = held_of(held)
if held_round ~= round or held_serial ~= serial then
  local past_serial = revoked_of(redis.call('HGET', KEYS[4], round .. '/' .. user_id))
  return { past_serial == serial and 'revoked' or 'not_granted', 0 }
end
local redeemed_at = string.match(mark, '^/issued/(%d+)$')
if redeemed_at then
  return { 'already_redeemed', tonumber(redeemed_at) }
end
if mark == '' then
  redis.call('HINCRBY', KEYS[2], round .. '/issued', 1)
end
redis.call('HSET', KEYS[3], holder, round .. '/' .. serial .. '/' .. at .. code .. '/issued/' .. now)
return { 'redeemed', now }

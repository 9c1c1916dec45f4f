-- Marks grants as issued after their coupons have been committed to the database. Calling it again changes nothing.
--
-- It also detects lost writes, and then halts the campaign, because to go on would grant serials a second time. Redis
-- has lost acknowledged writes if the gate does not know a committed grant, or if it still holds a grant whose row in
-- the database is revoked (only the gate revokes).
--
-- It runs even when Redis is out of memory (gate/src/confirm.rs sets the flag allow-oom): each grant grows by 7 bytes,
-- once. Guarantee: marks and counters change together or not at all. The counters are written first: the hash `rounds`
-- is the only key that the script writes without having read it, so only this write can fail because of a wrong type.
--
-- KEYS  1 campaign  2 rounds  3 grants  4 revoked
-- ARGV  three for each grant: round id, serial (with '-' before it if the row is revoked), user id
-- Reply {outcome, number}: a flat array, always of 2 elements.
--   confirmed         number: grants that this call has marked as issued
--   lost              number: grants that the gate does not know, or does not know as revoked; the campaign is halted
--   unknown_campaign  Redis has lost the whole campaign; its state is written again, as halted
--
-- Takes from the prelude: holder_of, held_of, revoked_of
--
-- Example
--   EVAL … 4 rushgate:{welcome}:campaign … rushgate:{welcome}:revoked once 42 7 once 43 8
--   → confirmed 2
if #KEYS ~= 4 or #ARGV == 0 or #ARGV % 3 ~= 0 then
  return redis.error_reply('ERR confirm.lua takes 4 keys and 3 arguments for each grant')
end

local one_per = redis.call('HGET', KEYS[1], 'one_per')
if not one_per then
  redis.call('HSET', KEYS[1], 'state', 'halted')
  return { 'unknown_campaign', 0 }
end
local holders = {}
for i = 1, #ARGV, 3 do
  holders[#holders + 1] = holder_of(one_per, ARGV[i], ARGV[i + 2])
end
-- One HMGET for all grants: a command for each would cost more than the rest of the script.
local all_held = redis.call('HMGET', KEYS[3], unpack(holders))
local marked, marks, issued_of, issued, lost = {}, {}, {}, 0, 0
for i, holder in ipairs(holders) do
  local round, user_id = ARGV[3 * i - 2], ARGV[3 * i]
  local is_revoked, serial = string.match(ARGV[3 * i - 1], '^(%-?)(%d+)$')
  local held = all_held[i]
  local held_round, held_serial, _, _, mark = held_of(held)
  if held_round == round and held_serial == serial then
    if is_revoked ~= '' then
      lost = lost + 1
    elseif mark == '' and not marked[holder] then
      marked[holder] = true
      marks[#marks + 1] = holder
      marks[#marks + 1] = held .. '/issued'
      issued_of[round] = (issued_of[round] or 0) + 1
      issued = issued + 1
    end
  else
    local past = redis.call('HGET', KEYS[4], round .. '/' .. user_id)
    if revoked_of(past) ~= serial then
      lost = lost + 1
    end
  end
end
if issued > 0 then
  for round, count in pairs(issued_of) do
    redis.call('HINCRBY', KEYS[2], round .. '/issued', count)
  end
  redis.call('HSET', KEYS[3], unpack(marks))
end
if lost > 0 then
  redis.call('HSET', KEYS[1], 'state', 'halted')
  return { 'lost', lost }
end
return { 'confirmed', issued }

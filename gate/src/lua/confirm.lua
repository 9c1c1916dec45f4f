-- Marks grants whose coupons are committed to the database as issued. Doing it twice changes nothing.
--
-- A committed grant that the gate does not know means that Redis has lost acknowledged writes. The campaign is
-- halted then: going on would give serials a second time.
--
-- KEYS  1 campaign  2 rounds  3 grants  4 revoked
-- ARGV  three for each grant: round, serial, user id
-- Reply {outcome, number}: flat and always two long.
--   confirmed         number: how many are issued now and were not before
--   lost              number: how many the gate does not know; the campaign is halted
--   unknown_campaign  the gate has lost it altogether; it is known again, and halted
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
local issued, lost = 0, 0
for i = 1, #ARGV, 3 do
  local round, serial, user_id = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local holder = user_id
  if one_per == 'round' then
    holder = round .. '/' .. user_id
  end
  local held = redis.call('HGET', KEYS[3], holder)
  local held_round, held_serial, _, mark = string.match(held or '', '^([^/]+)/(%d+)/(%d+)(.*)$')
  if held_round == round and held_serial == serial then
    if mark == '' then
      redis.call('HSET', KEYS[3], holder, held .. '/issued')
      redis.call('HINCRBY', KEYS[2], round .. '/issued', 1)
      issued = issued + 1
    end
  else
    local past = redis.call('HGET', KEYS[4], round .. '/' .. user_id)
    if not past or string.match(past, '^%d+') ~= serial then
      lost = lost + 1
    end
  end
end
if lost > 0 then
  redis.call('HSET', KEYS[1], 'state', 'halted')
  return { 'lost', lost }
end
return { 'confirmed', issued }

-- Tells what the gate counts of free serials and of people who wait, beside how many there are. Writes nothing.
--
-- KEYS  those of grant.lua
-- Reply {revokes, revoked, waiting}, then five for each round, in the order of their opening: id, free, pooled, waiting,
--       waitlisted. Flat.
--   revokes     how many revocations the campaign counts      revoked     how many fields tell of revocations
--   free        how many serials of the round are counted as free              pooled      how many are in the pool
--   waiting     first of all rounds: how many people have a place on a waitlist; then how many the round counts
--   waitlisted  how many stand in the order of the round's waitlist
--
-- Example
--   EVAL … 10 rushgate:{welcome}:campaign … rushgate:{welcome}:known
--   → 2 5 0 once 1 1 0 0
if #KEYS ~= 10 or #ARGV ~= 0 then
  return redis.error_reply('ERR balance.lua takes 10 keys and no argument')
end

local reply = { tonumber(redis.call('HGET', KEYS[1], 'revokes')) or 0, redis.call('HLEN', KEYS[8]),
  redis.call('HLEN', KEYS[7]) }
for _, round in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local fields = redis.call('HMGET', KEYS[3], round .. '/free', round .. '/waiting')
  local first, last = '[' .. round .. '/', '(' .. round .. '0'
  for _, value in ipairs({ round, tonumber(fields[1]) or 0, redis.call('ZLEXCOUNT', KEYS[9], first, last),
    tonumber(fields[2]) or 0, redis.call('ZLEXCOUNT', KEYS[6], first, last) }) do
    reply[#reply + 1] = value
  end
end
return reply

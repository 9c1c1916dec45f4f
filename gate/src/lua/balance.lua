-- Reports the counters of a campaign beside what they count, so that the caller can compare them. Writes nothing.
--
-- KEYS  the ten keys that granting.lua lists
-- Reply {revokes, revoked, waiting}, then five elements for each round in the order of opening: {id, free, pooled,
-- waiting, waitlisted}. A flat array.
--   of the campaign
--     revokes     counter of revocations
--     revoked     number of fields in the hash `revoked`
--     waiting     number of applicants in the hash `waiting`, of all rounds
--   of each round
--     free        counter of free serials
--     pooled      number of the round's serials in the pool
--     waiting     counter of waiting applicants
--     waitlisted  number of the round's applicants in the sorted set `waitlist`
--
-- Takes nothing from the prelude.
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

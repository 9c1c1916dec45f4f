-- Removes names of bridges from a consumer group: those under which nothing is pending, and that have ended or have been
-- silent for long. With a name, its pending entries would go, too: so this looks and removes in one step. A bridge that
-- lives all the same gets its name back with its next read.
-- KEYS  1 stream
-- ARGV  1 group  2 the name that has ended, '' for none  3 for how long others must have been silent, in ms
-- Reply how many were removed
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then
  -- There is no such stream or group.
  return 0
end
local removed = 0
for _, consumer in ipairs(consumers) do
  local of = {}
  for i = 1, #consumer, 2 do
    of[consumer[i]] = consumer[i + 1]
  end
  if of.pending == 0 and (of.name == ARGV[2] or of.idle >= tonumber(ARGV[3])) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of.name)
    removed = removed + 1
  end
end
return removed

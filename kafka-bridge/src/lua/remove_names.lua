-- Removes consumer names of bridges from the group of a stream. A name is removed if no entries are pending under it,
-- and it is the name in ARGV[2] or has been silent for ARGV[3] milliseconds.
-- XGROUP DELCONSUMER would also drop the entries that are pending under the name, so this script checks and removes in
-- one step. If a removed bridge is still alive, its next read creates its name again.
--
-- KEYS   1  stream
-- ARGV   1  consumer group
--        2  name of a bridge that has stopped, or '' for none
--        3  how long other bridges must have been silent, in ms
-- Reply  the number of removed names
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then
  -- The stream or the group does not exist.
  return 0
end
local removed = 0
for _, consumer in ipairs(consumers) do
  local info = {}
  for i = 1, #consumer, 2 do
    info[consumer[i]] = consumer[i + 1]
  end
  if info.pending == 0 and (info.name == ARGV[2] or info.idle >= tonumber(ARGV[3])) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], info.name)
    removed = removed + 1
  end
end
return removed

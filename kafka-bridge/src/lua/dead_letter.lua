-- Moves an entry that can never be published from the stream to the campaign's dead letters, in one step.
-- Running it twice changes nothing: the second time, the entry is no longer in the stream.
-- XADD comes first, because only XADD can fail for lack of memory. The entry then stays in the stream. The rights for
-- the other commands are checked before: without them, each retry would add the dead letter again.
--
-- KEYS   1  stream
--        2  dead letters (a stream)
-- ARGV   1  consumer group
--        2  entry id
--        3  reason
-- Reply  1 if the entry was moved, 0 if it was not in the stream any more
for _, command in ipairs({ { 'XACK', KEYS[1], ARGV[1], ARGV[2] }, { 'XDEL', KEYS[1], ARGV[2] } }) do
  if not redis.acl_check_cmd(unpack(command)) then
    return redis.error_reply('NOPERM this user may not run ' .. command[1] .. ' on the stream')
  end
end
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if entry then
  local fields = entry[2]
  for _, field in ipairs({ 'reason', ARGV[3], 'entry_id', ARGV[2] }) do
    fields[#fields + 1] = field
  end
  redis.call('XADD', KEYS[2], '*', unpack(fields))
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return entry and 1 or 0

-- Moves an entry that can never be published to the dead letters. Doing it twice changes nothing.
-- XADD comes first: it alone can be refused (out of memory), and then the entry stays where it is.
-- KEYS  1 stream  2 dead letters
-- ARGV  1 group  2 entry id  3 reason
-- Reply 1 if it was moved, 0 if it was gone already
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if entry then
  local fields = entry[2]
  for _, word in ipairs({ 'reason', ARGV[3], 'entry_id', ARGV[2] }) do
    fields[#fields + 1] = word
  end
  redis.call('XADD', KEYS[2], '*', unpack(fields))
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return entry and 1 or 0

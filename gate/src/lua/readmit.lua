-- Puts a dead letter of the bridge back on the stream, without its reason. Doing it twice changes nothing.
--
-- KEYS  1 stream  2 dead letters
-- ARGV  1 entry id of the dead letter
-- Reply {outcome, entry id}: flat and always two long.
--   readmitted  with its id on the stream
--   not_found   there is no such dead letter
--
-- Example
--   EVAL … 2 rushgate:{welcome}:stream rushgate:{welcome}:dead-letters 1796086800123-0
--   → readmitted 1796086900000-0
if #KEYS ~= 2 or #ARGV ~= 1 then
  return redis.error_reply('ERR readmit.lua takes 2 keys and an entry id')
end
local entry = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1]
if not entry then
  return { 'not_found', '' }
end
-- The bridge has added `reason` and `entry_id` at the end (dead_letter.lua). The entry may have had such fields of its own.
local fields = {}
for i = 1, #entry[2] - 4 do
  fields[i] = entry[2][i]
end
if #fields == 0 then
  return redis.error_reply('ERR dead letter ' .. ARGV[1] .. ' has no field')
end
local id = redis.call('XADD', KEYS[1], '*', unpack(fields))
redis.call('XDEL', KEYS[2], ARGV[1])
return { 'readmitted', id }

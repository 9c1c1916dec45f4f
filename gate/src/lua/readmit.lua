-- Moves a dead letter of the bridge back to the stream, without its reason. A second call reports not_found.
--
-- KEYS  1 stream  2 dead letters
-- ARGV  1 entry id of the dead letter
-- Reply {outcome, entry id}: a flat array, always of 2 elements.
--   readmitted  with the new entry id on the stream
--   not_found   no dead letter has that id
--
-- Takes nothing from the prelude.
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
-- The bridge's dead_letter.lua has appended the fields `reason` and `entry_id`. The last two fields are dropped by
-- position, because the entry may have fields of the same names.
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

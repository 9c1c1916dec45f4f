-- Writes pool codes from the database into the gate, and reports how many there are. Calling it again changes nothing.
--
-- The codes of a campaign are one string of cells with the same width, so that the code of a number is read in constant
-- time, and a code takes little memory. Codes that are longer than the cells need a wider string: its first cells replace
-- the narrow ones. Until the others are written, their codes are missing, as if they had not been loaded yet.
--
-- KEYS  1 campaign  2 codes
-- ARGV  1 width of a cell, in characters  2 number of the first code  3 the cells, filled up with spaces; '' to write none
-- Reply {outcome, loaded, taken}: a flat array, always of 3 elements.
--   outcome  done; unknown_campaign; narrow: the gate has wider cells, nothing was changed; gap: the cells do not follow
--            the last one, nothing was changed. In both cases, write again, with other arguments
--   loaded   how many codes there are; for narrow: the width of the cells
--   taken    how many numbers were taken by grants
--
-- Takes nothing from the prelude.
--
-- Example
--   EVAL … 2 rushgate:{welcome}:campaign rushgate:{welcome}:codes 6 1 'TREE-1TREE-2'
--   → done 2 0
if #KEYS ~= 2 or #ARGV ~= 3 then
  return redis.error_reply('ERR load_codes.lua takes 2 keys and 3 arguments')
end
local width, first, cells = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

local campaign = redis.call('HMGET', KEYS[1], 'state', 'codes_width', 'codes_taken')
local known_width, taken = tonumber(campaign[2]) or 0, tonumber(campaign[3]) or 0
if not campaign[1] then
  return { 'unknown_campaign', 0, 0 }
end
if cells == '' then
  return { 'done', known_width > 0 and redis.call('STRLEN', KEYS[2]) / known_width or 0, taken }
end
if width < known_width then
  return { 'narrow', known_width, taken }
end
local loaded = width == known_width and redis.call('STRLEN', KEYS[2]) / width or 0
if first > loaded + 1 then
  return { 'gap', loaded, taken }
end
if width > known_width then
  redis.call('HSET', KEYS[1], 'codes_width', width)
  redis.call('UNLINK', KEYS[2])
end
return { 'done', redis.call('SETRANGE', KEYS[2], (first - 1) * width, cells) / width, taken }

-- For the scripts that tell applicants their code (apply.lua, status.lua), after the prelude:
--
--   code_in_reply(codes, key, code) → text   the element `codes` of a reply about a grant

-- What the winner's code is made of: '' if the campaign has no codes, signed/<fingerprint of the key>, pool/<code>, or
-- pool if the code is not loaded yet. `codes` is that field of the campaign, `key` is the key of that name, and `code` is
-- as held_of returns it. Only a campaign with pool codes costs more commands.
local function code_in_reply(codes, key, code)
  if codes ~= 'pool' or code == '' then
    return codes or ''
  end
  local width = tonumber(redis.call('HGET', KEYS[1], 'codes_width') or 0)
  local last = width * string.sub(code, 2)
  local cell = width > 0 and redis.call('GETRANGE', key, last - width, last - 1) or ''
  -- After the last cell there is nothing.
  if width == 0 or #cell < width then
    return codes
  end
  return 'pool/' .. string.match(cell, '^(.-) *$')
end


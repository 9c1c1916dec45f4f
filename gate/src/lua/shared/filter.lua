-- For refusal_cache.lua, after granting.lua: the filter, which takes the place of an exclusion list that is too long.
--
--   build_filter(one_per, round) → bits, is_under_way
--     bits          the filter; nil if it is not complete, or if too many applicants are known
--     is_under_way  whether it is worth asking again soon
--
-- The filter is a Bloom filter: bits, of which each applicant sets BITS_OF_APPLICANT, chosen by the SHA-1 of the user id
-- (gate/src/refusal_cache.rs reads them). It has every applicant who is known (refusal_cache.lua defines it), and for
-- about one in a hundred others it says the same by chance. They are sent to the gate, as the known ones are.
--
-- No grant pays for it. It is built from the hashes when it is asked for, which is after a round has sold out, step by
-- step: one call in STEP_INTERVAL, at most, takes a step.
--
-- The key `filter` is a text of HEADER bytes, then the bits. The text:
--   <covers> <process> <phase> <cursor> <time of the last step>
-- - covers: the SHA-1 of the values below. While they stay the same, no unknown applicant becomes known.
--     the current round
--     the highest fencing token, which each command of an operator raises
--     the grants ever made, without those to the waitlist: fields of `grants` + revocations - promotions
--     the places on the waitlist of the round ever given: `tickets`
-- - process: the run_id of the server. Another process (after a restart, a failover, or when the campaign is moved to
--   another node) may list a hash in another order, so a cursor is valid in one process only. When the filter is complete,
--   it is not looked at.
-- - phase: which hash is read: 1 waiting, 2 grants, 3 revoked; 4 when the filter is complete
--
-- WHY IT MISSES NO KNOWN APPLICANT
--
-- Let `covers` be the same from the first step to the time of the reply. An applicant P who is known at the reply became
-- known before the first step, because each way to become known changes `covers`: apply.lua adds a grant or takes a ticket,
-- and restore.lua has a fencing token of its own. promote() changes nothing in it, but grants only to those who wait: they
-- are in `waiting` before, and the filter has the waiting of all rounds whose applicants it can make known.
-- Since then, P has only moved from `waiting` to `grants`, or from `grants` to `revoked`: the order of the phases. HSCAN
-- returns each field that is there from its start to its end. If P was in `waiting` until phase 1 had ended, it has found P.
-- Otherwise P was in `grants` or `revoked` by then. If P was in `grants` until phase 2 had ended, that has found P.
-- Otherwise P was in `revoked` by then, where entries stay, and phase 3 has found P. After the last phase no bit is reset.
--
-- The filter is neither replicated nor written to the append-only file: it can be built again. So a server may have an
-- older filter than it had before, with the data of the same moment, or none. All values of `covers` only grow, so the older
-- one is used only if nothing has changed since.

-- The most applicants of a filter, about: 125 KB.
local MAX_FILTERED = 100000
local BITS_PER_APPLICANT = 10
local BITS_OF_APPLICANT = 4
local HEADER = 128
-- How much a step reads: known applicants, and FIELDS_PER_APPLICANT other fields for one of them. That keeps Redis busy for
-- less than 1 ms.
local STEP = 250
local FIELDS_PER_APPLICANT = 8
-- The shortest time between two steps (ms).
local STEP_INTERVAL = 4
local COMPLETE = 4

local function build_filter(one_per, round)
  local waiting, grants, revoked = KEYS[7], KEYS[4], KEYS[8]
  local phases = { waiting, grants, revoked }

  -- The user id of a field; nil if the applicant is not known by it. No user id has a `/` or `#`.
  local function known_of(key, field)
    if key == grants and one_per ~= 'round' then
      return field
    end
    local of, user_id = string.match(field, '^(.-)/([^#].*)$')
    if of == round or (key == waiting and one_per ~= 'round') then
      return user_id
    end
  end

  local campaign = redis.call('HMGET', KEYS[1], 'fence', 'revokes', 'promotions')
  local in_round = redis.call('HMGET', KEYS[3], round .. '/granted', round .. '/waiting', round .. '/tickets')
  local revokes, held = tonumber(campaign[2]) or 0, redis.call('HLEN', grants)
  local covers = redis.sha1hex(table.concat({ round, campaign[1] or '', in_round[3] or '',
    string.format('%.0f', held + revokes - (tonumber(campaign[3]) or 0)) }, ' '))

  local header = redis.call('GETRANGE', KEYS[11], 0, HEADER - 1)
  local noted, process, phase, cursor, stepped_at = string.match(header, '^(%x+) (%x+) (%d) (%d+) (%d+) *$')
  phase, stepped_at = tonumber(phase), tonumber(stepped_at)
  if noted == covers and phase == COMPLETE then
    return redis.call('GETRANGE', KEYS[11], HEADER, -1), false
  end
  if stepped_at and now >= stepped_at and now < stepped_at + STEP_INTERVAL then
    return nil, true
  end

  local running = string.match(redis.call('INFO', 'server'), '\nrun_id:(%x+)')
  redis.set_repl(redis.REPL_NONE)
  if noted ~= covers or process ~= running then
    local most = held + redis.call('HLEN', waiting) + redis.call('HLEN', revoked)
    if one_per == 'round' then
      most = math.min(most, (tonumber(in_round[1]) or 0) + revokes + (tonumber(in_round[2]) or 0))
    end
    if most > MAX_FILTERED then
      return nil, false
    end
    phase, cursor = 1, '0'
    redis.call('SET', KEYS[11], string.rep(' ', HEADER) .. string.rep('\0', math.ceil(most * BITS_PER_APPLICANT / 8)))
  end

  local bits, work = 8 * (redis.call('STRLEN', KEYS[11]) - HEADER), 0
  while phase ~= COMPLETE and work < STEP do
    local key = phases[phase]
    local found = redis.call('HSCAN', key, cursor, 'COUNT', STEP)
    for i = 1, #found[2], 2 do
      local user_id = known_of(key, found[2][i])
      if user_id then
        work = work + 1
        local digest = redis.sha1hex(user_id)
        for word = 0, BITS_OF_APPLICANT - 1 do
          local number = tonumber(string.sub(digest, 8 * word + 1, 8 * word + 8), 16)
          redis.call('SETBIT', KEYS[11], 8 * HEADER + number % bits, 1)
        end
      end
    end
    cursor, work = found[1], work + #found[2] / 2 / FIELDS_PER_APPLICANT
    if cursor == '0' then
      phase = phase + 1
    end
  end
  header = string.format('%s %s %d %s %.0f', covers, running, phase, cursor, now)
  redis.call('SETRANGE', KEYS[11], 0, header .. string.rep(' ', HEADER - #header))
  if phase == COMPLETE then
    return redis.call('GETRANGE', KEYS[11], HEADER, -1), false
  end
  return nil, true
end


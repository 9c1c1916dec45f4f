-- For refusal_cache.lua, after granting.lua: the filter, which takes the place of an exclusion list that is too long.
--
--   build_filter(one_per, round) → bits, pause
--     bits   the filter; nil if it is not complete, or if there is none for this many applicants
--     pause  if it is worth asking again: after how many ms
--
-- The filter is a Bloom filter: bits, of which each applicant sets BITS_OF_APPLICANT, chosen by the SHA-1 of the user id
-- (gate/src/refusal_cache.rs reads them). It has every applicant who is known (refusal_cache.lua defines it), and for
-- about one in a hundred others it says the same by chance. They are sent to the gate, as the known ones are.
--
-- No grant pays for it. It is built from the hashes when it is asked for, which is after a round has sold out. A call takes
-- one step; after it, no step is taken for at least REST times as long as it took.
--
-- The key `filter` is a text of HEADER bytes, then the bits. The text:
--   <covers> <process> <phase> <cursor> <slowness> <time from which the next step may be taken>
-- - covers: the SHA-1 of the values below. While they are the same, the filter is right: see below.
--     the current round
--     `fence`: the highest fencing token. Each change of the terms, the state or the schedule has a higher one
--     the grants ever made, without promotions: fields of `grants` + `revokes` - `promotions`
--     the places on waitlists ever given: `tickets` of the campaign, and of the round, which older programs count, too
-- - process: the run_id of the server. Each process has a hash seed of its own, so it lists a hash in an order of its own (after
--   a restart, after a failover, on another node), and a cursor is valid only in the process that gave it. When the filter is
--   complete, this does not matter.
-- - phase: which hash is read: 1 waiting, 2 grants, 3 revoked; 4 when the filter is complete
-- - slowness: by which factor steps are rarer. It doubles when the filter is begun again before it was complete, so that one
--   that others overtake again and again costs little.
--
-- WHY IT MISSES NO KNOWN APPLICANT
--
-- Let `covers` be the same at the first step and at the reply. For the same fencing token, the counts in it never fall: only
-- restore.lua sets them back, while the campaign is halted, when no step is taken; and the project.lua call that began the
-- restore has raised the token. So between the two times no serial was granted except by promotion, and no place was taken.
--
-- Let P be known at the reply, by an entry in `waiting`, `grants` or `revoked`. Or, with one grant per campaign, let P wait in
-- any round, because a promotion there would make P known. That entry was there at the first step, or it comes from one that
-- was: a promotion makes an entry in `grants` from one in `waiting`, and a revocation makes one in `revoked` from one in
-- `grants`. Both are about the same round. So the entry moved in the order of the phases, or stayed.
-- HSCAN returns each field that is there from its first call to its last. If the entry was in `waiting` when phase 1 ended,
-- that has found P. Otherwise it had left `waiting` before phase 2 began. If it was in `grants` when phase 2 ended, that has
-- found P. Otherwise it was in `revoked` before phase 3 began, where entries stay, and that has found P. No bit is ever reset.
--
-- The filter is neither replicated nor written to the append-only file, because it can be built again. So another server, or
-- the same one after a restart, may have the filter of an earlier moment of its data, or none. `covers` decides, as above.

-- The most applicants of a filter, about: 125 KB.
local MAX_FILTERED = 100000
-- The most fields that are read for it. With one grant per round, most can be of other rounds.
local MAX_FIELDS = 1000000
local BITS_PER_APPLICANT = 10
local BITS_OF_APPLICANT = 4
local HEADER = 128
-- How much a step reads: known applicants, and FIELDS_PER_APPLICANT other fields for one of them. It takes about 1 ms.
local STEP = 200
local FIELDS_PER_APPLICANT = 4
local REST = 4
local MAX_SLOWNESS = 64
-- By which factor a step reduces the slowness.
local RECOVERY = 0.95
-- When a caller may ask again for whom it was too early to take a step (ms).
local PAUSE = 100
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

  local campaign = redis.call('HMGET', KEYS[1], 'fence', 'revokes', 'promotions', 'tickets')
  local in_round = redis.call('HMGET', KEYS[3], round .. '/tickets', round .. '/granted', round .. '/waiting')
  local held, revokes = redis.call('HLEN', grants), tonumber(campaign[2]) or 0
  local granted = held + revokes - (tonumber(campaign[3]) or 0)
  local covers = redis.sha1hex(table.concat({ round, campaign[1] or '', string.format('%.0f', granted),
    campaign[4] or '', in_round[1] or '' }, ' '))

  local header = redis.call('GETRANGE', KEYS[11], 0, HEADER - 1)
  local noted, process, phase, cursor, slowness, next_at =
    string.match(header, '^(%x+) (%x+) (%d) (%d+) ([%d.]+) (%d+) *$')
  phase, slowness, next_at = tonumber(phase), tonumber(slowness) or 1, tonumber(next_at) or 0
  if noted == covers and phase == COMPLETE then
    return redis.call('GETRANGE', KEYS[11], HEADER, -1)
  end
  -- A time that is far away is of a clock that has been set back.
  if now < next_at and next_at < now + 60000 then
    return nil, PAUSE
  end

  local running = string.match(redis.call('INFO', 'server'), '\nrun_id:(%x+)')
  local fields = held + redis.call('HLEN', waiting) + redis.call('HLEN', revoked)
  local applicants = fields
  if one_per == 'round' then
    applicants = math.min(fields, (tonumber(in_round[2]) or 0) + revokes + (tonumber(in_round[3]) or 0))
  end
  if not running or applicants > MAX_FILTERED or fields > MAX_FIELDS then
    return nil
  end

  redis.set_repl(redis.REPL_NONE)
  if noted ~= covers or process ~= running then
    if noted and phase ~= COMPLETE then
      slowness = math.min(2 * slowness, MAX_SLOWNESS)
    end
    phase, cursor = 1, '0'
    local bytes = math.max(1, math.ceil(applicants * BITS_PER_APPLICANT / 8))
    redis.call('SET', KEYS[11], string.rep(' ', HEADER) .. string.rep('\0', bytes))
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

  local ended = redis.call('TIME')
  local took = (ended[1] - time[1]) * 1000 + (ended[2] - time[2]) / 1000
  local pause = math.ceil((1 + REST * slowness) * math.max(took, 1))
  slowness = phase == COMPLETE and 1 or math.max(1, slowness * RECOVERY)
  header = string.format('%s %s %d %s %.2f %.0f', covers, running, phase, cursor, slowness, now + pause)
  redis.call('SETRANGE', KEYS[11], 0, header .. string.rep(' ', HEADER - #header))
  if phase == COMPLETE then
    return redis.call('GETRANGE', KEYS[11], HEADER, -1)
  end
  return nil, math.min(pause, PAUSE)
end


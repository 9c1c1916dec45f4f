-- For refusal_cache.lua, after granting.lua: the filter, which takes the place of an exclusion list that is too long.
--
--   build_filter(one_per, round) → bits, retry_after
--     bits         the filter; nil if it is not complete, or if the campaign has too many entries
--     retry_after  when it is worth asking again (ms); nil with bits, and if the campaign has too many entries
--
-- The filter is a Bloom filter: bits, of which each applicant sets BITS_OF_APPLICANT, chosen by the SHA-1 of the user id
-- (gate/src/refusal_cache.rs reads them). It contains all known applicants (refusal_cache.lua defines the term). About one in
-- a hundred others match it by chance. They are sent to the gate, as the known ones are.
--
-- Granting an application does no work for it. It is built when an instance asks for it, while unknown applicants are
-- refused. A call takes one step; then no step is taken for a while (REST).
--
-- The key `filter` holds a header of HEADER bytes, then the bits. The header:
--   <covers> <run_id> <phase> <cursor> <slowness> <time from which the next step may be taken>
-- - covers: the SHA-1 of the values below. While they are the same, a complete filter misses no known applicant.
--     the current round
--     `fence`: the highest fencing token. The first projection of each command of an operator stores a higher one
--     a count that each grant raises by one, except a promotion: fields of `grants` + `revokes` - `promotions`
--     `tickets` of the campaign, which each place on a waitlist raises; and of the round, because older programs count only
--     those
-- - run_id: that of the server. Each process has a hash seed of its own, so it lists a hash in an order of its own (after
--   a restart, after a failover, on another node), and a cursor is valid only in the process that gave it. When the filter is
--   complete, this does not matter.
-- - phase: which hash is read: 1 waiting, 2 grants, 3 revoked; 4 when the filter is complete
-- - cursor: of HSCAN, for that hash
-- - slowness: the factor by which the rest is longer. It doubles when the filter is begun again before it was complete, so
--   that a filter that can never be completed costs little.
--
-- WHY IT MISSES NO KNOWN APPLICANT
--
-- Assumptions. Redis loses no acknowledged write and runs each script to its end, and no other program writes these keys,
-- since the first step. (What Redis lost or its clock did before is harmless, if each applicant in `waitlist` is in
-- `waiting`, too; restore.lua repairs that. With handlers of an older version, the clock must not go back over the opening of a
-- round either: they count a place only in its round.)
--
-- Let `covers` be the same at the first step and at the reply. Under one fencing token the counts in it never fall: only
-- restore.lua sets them back. It runs while the campaign is halted, when no step is taken, and after a project.lua call with
-- a higher token than all steps before. So between the two times no serial was granted except by promotion, and no place was
-- taken.
--
-- An entry is a round and an applicant, in `waiting`, `grants` or `revoked`. Let P be known at the reply, by an entry. Or, with
-- one grant per campaign, let P wait in any round, because a promotion there would make P known. That entry was there at
-- the first step, perhaps in another hash: a promotion moves an entry from `waiting` to `grants`, and a revocation moves it
-- from `grants` to `revoked`. That is the order of the phases.
-- A full iteration of HSCAN returns each field that exists from its first call to its last. If the entry was in `waiting` when
-- phase 1 ended, that has found P. Otherwise it was in `grants` or `revoked` before phase 2 began. If it was in `grants` when
-- phase 2 ended, that has found P. Otherwise it was in `revoked` before phase 3 began, where entries stay, and that has found
-- P. No bit is ever reset.
--
-- Its writes are neither replicated nor appended to the append-only file, because it can be built again. Only a snapshot has it:
-- a rewrite of that file, or the first copy to a replica. So another server, or the same one after a restart, may have the
-- filter of an earlier moment of its data, or none. `covers` decides, as above.

-- The most entries that a filter is built for: 125 KB. With one grant per round, those of the current round count.
local MAX_FILTERED = 100000
-- The most fields that are read for it.
local MAX_FIELDS = 1000000
local BITS_PER_ENTRY = 10
local BITS_OF_APPLICANT = 4
local HEADER = 128
-- How much a step reads: this many known applicants, or FIELDS_PER_APPLICANT other fields for each of them. A call of HSCAN
-- counts for WORK_OF_CALL, because it also walks over empty places. A step takes about 1 ms.
local STEP = 200
local FIELDS_PER_APPLICANT = 4
local WORK_OF_CALL = 25
-- From the beginning of a step, no other is taken for this long, times the slowness (ms).
local REST = 10
local MAX_SLOWNESS = 64
-- By which factor a step reduces the slowness.
local RECOVERY = 0.95
-- When it is worth asking again for a caller that took no step (ms).
local RETRY_AFTER = 100
local COMPLETE = 4

local function build_filter(one_per, round)
  local waiting, grants, revoked = KEYS[7], KEYS[4], KEYS[8]
  local phases = { waiting, grants, revoked }

  -- The user id of a field; nil if the applicant is not known by it. No user id has a `/` or `#`.
  local function known_user_id(key, field)
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
  local grant_count, revokes = redis.call('HLEN', grants), tonumber(campaign[2]) or 0
  local unpromoted = grant_count + revokes - (tonumber(campaign[3]) or 0)
  local covers = redis.sha1hex(table.concat({ round, campaign[1] or '', string.format('%.0f', unpromoted),
    campaign[4] or '', in_round[1] or '' }, ' '))

  local header = redis.call('GETRANGE', KEYS[11], 0, HEADER - 1)
  local covers_before, run_id_before, phase, cursor, slowness, next_at =
    string.match(header, '^(%x+) (%x+) (%d) (%d+) ([%d.]+) (%d+) *$')
  phase, slowness, next_at = tonumber(phase), tonumber(slowness) or 1, tonumber(next_at) or 0
  if covers_before == covers and phase == COMPLETE then
    return redis.call('GETRANGE', KEYS[11], HEADER, -1)
  end
  local fields = grant_count + redis.call('HLEN', waiting) + redis.call('HLEN', revoked)
  local entries = fields
  if one_per == 'round' then
    entries = math.min(fields, (tonumber(in_round[2]) or 0) + revokes + (tonumber(in_round[3]) or 0))
  end
  if entries > MAX_FILTERED or fields > MAX_FIELDS then
    return nil
  end
  -- A time that is further away is of a clock that has been set back.
  if now < next_at and next_at <= now + REST * MAX_SLOWNESS then
    return nil, RETRY_AFTER
  end

  local run_id = string.match(redis.call('INFO', 'server'), '\nrun_id:(%x+)')
  if not run_id then
    return nil
  end

  redis.set_repl(redis.REPL_NONE)
  if covers_before ~= covers or run_id_before ~= run_id then
    if covers_before and phase ~= COMPLETE then
      slowness = math.min(2 * slowness, MAX_SLOWNESS)
    end
    phase, cursor = 1, '0'
    local bytes = math.max(1, math.ceil(entries * BITS_PER_ENTRY / 8))
    redis.call('SET', KEYS[11], string.rep(' ', HEADER) .. string.rep('\0', bytes))
  end
  local bits, work = 8 * (redis.call('STRLEN', KEYS[11]) - HEADER), 0
  while phase ~= COMPLETE and work < STEP do
    local key = phases[phase]
    local found = redis.call('HSCAN', key, cursor, 'COUNT', STEP)
    for i = 1, #found[2], 2 do
      local user_id = known_user_id(key, found[2][i])
      if user_id then
        work = work + 1
        local digest = redis.sha1hex(user_id)
        for first = 1, 8 * BITS_OF_APPLICANT, 8 do
          local number = tonumber(string.sub(digest, first, first + 7), 16)
          redis.call('SETBIT', KEYS[11], 8 * HEADER + number % bits, 1)
        end
      end
    end
    cursor, work = found[1], work + WORK_OF_CALL + #found[2] / 2 / FIELDS_PER_APPLICANT
    if cursor == '0' then
      phase = phase + 1
    end
  end

  local rest = math.ceil(REST * slowness)
  slowness = phase == COMPLETE and 1 or math.max(1, slowness * RECOVERY)
  header = string.format('%s %s %d %s %.2f %.0f', covers, run_id, phase, cursor, slowness, now + rest)
  redis.call('SETRANGE', KEYS[11], 0, header .. string.rep(' ', HEADER - #header))
  if phase == COMPLETE then
    return redis.call('GETRANGE', KEYS[11], HEADER, -1)
  end
  return nil, math.min(rest, RETRY_AFTER)
end


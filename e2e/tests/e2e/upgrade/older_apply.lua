-- apply.lua of the last version without coupon codes, with what stood before it, as its handlers sent it to Redis. Comments
-- are left out.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function current()
  local found = redis.call('ZREVRANGEBYSCORE', KEYS[2], now, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return found[1], found[2]
end

local function upcoming()
  local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return found[1], tonumber(found[2])
end

local function holder_of(one_per, round, user_id)
  if one_per == 'round' then
    return round .. '/' .. user_id
  end
  return user_id
end

local function held_of(text)
  local round, serial, at, mark = string.match(text or '', '^([^/]+)/(%d+)/(%d+)(.*)$')
  return round, serial, at, (mark or '') ~= ''
end

local function revoked_of(text)
  return string.match(text or '', '^(%d+)/(%d+)/(%d+)$')
end

local function last_win_of(text)
  return string.match(text or '', '^([^/]+)/(%d+)$')
end

local function place_of(text)
  return string.match(text or '', '^(%d+)/(%d+)$')
end

local function waitlist_member(round, ticket, user_id)
  return round .. '/' .. ticket .. '/' .. user_id
end

local function turns_before(revoked, round, serial)
  return tonumber(redis.call('HGET', revoked, round .. '/#' .. serial) or 0)
end

local function wins_before(revoked, one_per, user_id)
  if one_per == 'round' then
    return 0
  end
  local _, wins = last_win_of(redis.call('HGET', revoked, user_id))
  return tonumber(wins) or 0
end

local function emit(stream, event_type, campaign_id, round, serial, user_id, at, turn, win)
  if turn > 1 or win > 1 then
    redis.call('XADD', stream, '*', 'type', event_type, 'campaign', campaign_id, 'round', round,
      'serial', serial, 'turn', turn, 'user_id', user_id, 'win', win, 'at', at)
  else
    redis.call('XADD', stream, '*', 'type', event_type, 'campaign', campaign_id, 'round', round,
      'serial', serial, 'user_id', user_id, 'at', at)
  end
end

local function note_current()
  local round, opened_at = current()
  local following, opens_at = upcoming()
  redis.call('HSET', KEYS[1], 'round', round or '', 'from', opened_at or '-inf', 'until', opens_at or '+inf',
    'next', following or '')
end

local function grace_period(field)
  if not field then
    return nil
  end
  local grace_ends_at, word = string.match(field, '^(%d+)/(.+)$')
  if grace_ends_at and now < tonumber(grace_ends_at) then
    return tonumber(grace_ends_at), word
  end
end

local MAX_EXCLUDED = 2048

local function grant(campaign_id, one_per, round, user_id, holder, granted, free, win)
  local serial, turn, member = granted + 1, 1, nil
  if free > 0 then
    member = redis.call('ZRANGEBYLEX', KEYS[9], '[' .. round .. '/', '(' .. round .. '0', 'LIMIT', 0, 1)[1]
    serial = tonumber(string.sub(member, #round + 2))
    turn = 1 + turns_before(KEYS[8], round, serial)
  end
  local number, at = serial .. '', now .. ''
  emit(KEYS[5], 'coupon.granted', campaign_id, round, number, user_id, at, turn, win)
  redis.call('HSET', KEYS[4], holder, round .. '/' .. number .. '/' .. at)
  if member then
    redis.call('ZREM', KEYS[9], member)
    redis.call('HINCRBY', KEYS[3], round .. '/free', -1)
  else
    redis.call('HSET', KEYS[3], round .. '/granted', number)
  end
  if one_per == 'round' then
    if granted == 0 then
      redis.call('UNLINK', KEYS[10])
      local before = redis.call('HLEN', KEYS[4]) - 1 + (redis.call('HGET', KEYS[1], 'revokes') or 0)
      redis.call('HSET', KEYS[1], 'known', string.format('%s/%.0f', round, before))
    end
    if serial <= MAX_EXCLUDED then
      redis.pcall('SADD', KEYS[10], round .. '/' .. user_id)
    end
  end
  return serial
end

if #KEYS ~= 10 or #ARGV ~= 2 then
  return redis.error_reply('ERR apply.lua takes 10 keys and 2 arguments')
end
local campaign_id, user_id = ARGV[1], ARGV[2]

local campaign = redis.call('HMGET', KEYS[1], 'state', 'one_per', 'waitlist', 'revokes', 'settling',
  'round', 'from', 'until', 'next', 'user_ids')
local state, one_per = campaign[1], campaign[2]
if not state then
  return { 'unknown_campaign', '', 0, 0, now }
end
if state == 'paused' or state == 'halted' then
  return { state, '', 0, 0, now }
end
if campaign[10] == 'numeric' and not (user_id == '0' or string.find(user_id, '^[1-9]%d*$') and (#user_id < 19
  or #user_id == 19 and user_id <= '9223372036854775807')) then
  return { 'user_id_not_numeric', '', 0, 0, now }
end

local round = campaign[6]
local is_noted = round and now >= tonumber(campaign[7]) and now < tonumber(campaign[8])
if not is_noted then
  round = current()
elseif round == '' then
  round = nil
end

local holder = holder_of(one_per, round or '', user_id)
local held = redis.call('HGET', KEYS[4], holder)
if held then
  local held_round, serial, at = held_of(held)
  return { 'already_granted', held_round, tonumber(serial), tonumber(at), now }
end

local closes_at, quota, granted, free, waiting
if round then
  local fields = redis.call('HMGET', KEYS[3], round .. '/closes_at', round .. '/quota', round .. '/granted',
    round .. '/free', round .. '/waiting')
  closes_at, quota, granted = fields[1], tonumber(fields[2]), tonumber(fields[3])
  free, waiting = tonumber(fields[4]) or 0, tonumber(fields[5]) or 0
  if not (closes_at and quota and granted) then
    return redis.error_reply('ERR round ' .. round .. ' is scheduled, but its quota is missing')
  end
  if waiting > 0 then
    local place = redis.call('HGET', KEYS[7], round .. '/' .. user_id)
    if place then
      local ticket, since = place_of(place)
      local last = '[' .. waitlist_member(round, ticket, user_id)
      local position = redis.call('ZLEXCOUNT', KEYS[6], '[' .. round .. '/', last)
      return { 'waitlisted', round, position, tonumber(since), now }
    end
  end
end

if state == 'closed' then
  return { 'closed', round or '', 0, 0, now }
end
if not round or (closes_at ~= '' and now >= tonumber(closes_at)) then
  local following, opens_at = campaign[9], tonumber(campaign[8])
  if not is_noted then
    following, opens_at = upcoming()
  end
  if following and following ~= '' then
    return { 'not_open', following, 0, opens_at, now }
  end
  return { 'closed', round or '', 0, 0, now }
end

local revokes = (campaign[4] or '0') ~= '0'
if revokes and redis.call('HEXISTS', KEYS[8], round .. '/' .. user_id) == 1 then
  return { 'revoked', round, 0, 0, now }
end

local has_place = waiting == 0 and (free > 0 or granted < quota)
if not has_place and waiting >= (tonumber(campaign[3]) or 0) then
  return { 'sold_out', round, 0, 0, now }
end
local grace_ends_at, word = grace_period(campaign[5])
if grace_ends_at then
  return { word, round, 0, word == 'not_open' and grace_ends_at or 0, now }
end

if has_place then
  local win = revokes and 1 + wins_before(KEYS[8], one_per, user_id) or 1
  local serial = grant(campaign_id, one_per, round, user_id, holder, granted, free, win)
  if not is_noted then
    note_current()
  end
  return { 'granted', round, serial, now, now }
end
local ticket = string.format('%012d', redis.call('HINCRBY', KEYS[3], round .. '/tickets', 1))
redis.call('ZADD', KEYS[6], 0, waitlist_member(round, ticket, user_id))
redis.call('HSET', KEYS[7], round .. '/' .. user_id, ticket .. '/' .. now)
redis.call('HSET', KEYS[3], round .. '/waiting', waiting + 1)
return { 'waitlisted', round, waiting + 1, now, now }

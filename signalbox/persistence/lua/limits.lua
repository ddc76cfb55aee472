-- The gateway's own limits for several processes: the twin of limits_memory.py, on the buckets of
-- machines/limits.py. One call is one step and serves a batch in order.
--
-- KEYS[1]  the slot, `{sb:limits}`; every key begins with it
-- ARGV[1]  now, in seconds, or "": Redis' own time
-- ARGV[2]  the operation
-- ARGV[3]  its batch:   to return
--   reserve  [[id, LimitRequest]…]   [{meters} | {scope, kind, limit, retry_after, meters}…]
--   settle   [LimitSettlement…]      [whether it was open…]
--   count    [ScopeUse…]             nothing
--   expire   nil                     how many reservations are open
-- TOLERANCE, CONCURRENCY_RETRY and MINUTE are constants of machines/limits.py.
--
-- {sb:limits}:use:<scope>:<id>  what a scope has used: its buckets, limits and requests under way
-- {sb:limits}:held              hash: reservation → what it holds, and where
-- {sb:limits}:ends              sorted set: reservation → when it settles itself

local HELD = KEYS[1] .. ":held"
local ENDS = KEYS[1] .. ":ends"

-- Seconds that a key lives on after nothing depends on it. The reservations outlive all uses, so
-- that no use is ever left without the reservation that will free it.
local USE_MARGIN, HELD_MARGIN = 1, 2
-- Seconds after which a debt is forgotten that would take longer to drain: a limit of 0 never does.
local LONGEST_LIFE = 30 * 86400

local operation, batch = cmsgpack.unpack(ARGV[2]), cmsgpack.unpack(ARGV[3])

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call("TIME")
  now = time[1] + time[2] / 1000000
end

-- Units a second. What no limit counts any more is gone at once.
local function rate_of(per_minute)
  return per_minute and per_minute / MINUTE or math.huge
end

local function seconds_for(units, rate)
  if units <= 0 then
    return 0
  end
  return rate > 0 and units / rate or math.huge
end

-- Buckets ---------------------------------------------------------------------------------------

local function level_at(bucket, at, rate)
  if at <= bucket.at then
    return bucket.level
  end
  return math.max(0, bucket.level - (at - bucket.at) * rate)
end

local function drain(bucket, at, rate)
  bucket.level = level_at(bucket, at, rate)
  bucket.at = math.max(bucket.at, at)
end

-- Seconds until the cost fits; nothing: it fits.
local function wait_for(bucket, cost, rate, burst)
  local excess = level_at(bucket, now, rate) + bucket.held + cost - burst
  if excess <= TOLERANCE then
    return nil
  end
  return cost > burst and math.huge or seconds_for(excess, rate)
end

local function meter(kind, bucket, per_minute, burst)
  local rate = rate_of(per_minute)
  local filled = level_at(bucket, now, rate) + bucket.held
  return {
    kind = kind,
    limit = per_minute,
    remaining = math.max(0, math.floor(burst - filled + TOLERANCE)),
    reset_after = seconds_for(filled, rate),
  }
end

-- Uses ------------------------------------------------------------------------------------------

local loaded = {} -- key → use, or false where there is none
local changed = {} -- key → use

local function load(key)
  if loaded[key] == nil then
    local packed = redis.call("GET", key)
    loaded[key] = packed and cmsgpack.unpack(packed)
  end
  return loaded[key]
end

local function burst_of(limits)
  return limits.burst or limits.rpm
end

local function adopt(use, limits)
  local old = use.limits
  if old.rpm ~= limits.rpm or old.tpm ~= limits.tpm
    or old.burst ~= limits.burst or old.concurrency ~= limits.concurrency then
    drain(use.requests, now, rate_of(old.rpm))
    drain(use.tokens, now, rate_of(old.tpm))
    use.limits = limits
    changed[use.key] = use
  end
end

local function use_under(limits)
  local key = KEYS[1] .. ":use:" .. limits.scope .. ":" .. limits.id
  local use = load(key)
  if not use then
    use = {
      key = key,
      limits = limits,
      requests = { level = 0, held = 0, at = 0 },
      tokens = { level = 0, held = 0, at = 0 },
      under_way = 0,
      last_end = 0,
    }
    loaded[key] = use
  end
  adopt(use, limits)
  return use
end

-- The first limit of the scope that has no room, if there is one.
local function refusal_by(use, tokens)
  local limits = use.limits
  local wait = limits.rpm and wait_for(use.requests, 1, rate_of(limits.rpm), burst_of(limits))
  if wait then
    return { scope = limits.scope, kind = "requests", limit = limits.rpm, retry_after = wait }
  end
  wait = limits.tpm and wait_for(use.tokens, tokens, rate_of(limits.tpm), limits.tpm)
  if wait then
    return { scope = limits.scope, kind = "tokens", limit = limits.tpm, retry_after = wait }
  end
  local places = limits.concurrency
  if places and use.under_way >= places then
    wait = CONCURRENCY_RETRY
    return { scope = limits.scope, kind = "concurrency", limit = places, retry_after = wait }
  end
  return nil
end

-- Returns the tokens that are now held.
local function take(use, tokens, ends_at)
  local limits = use.limits
  changed[use.key] = use
  use.under_way = use.under_way + 1
  use.last_end = math.max(use.last_end, ends_at)
  if limits.rpm then
    drain(use.requests, now, rate_of(limits.rpm))
    use.requests.level = use.requests.level + 1
  end
  if not limits.tpm then
    return 0
  end
  drain(use.tokens, now, rate_of(limits.tpm))
  use.tokens.held = use.tokens.held + tokens
  return tokens
end

local function meters_of(uses)
  local meters = {}
  for _, use in ipairs(uses) do
    local limits = use.limits
    if limits.rpm then
      table.insert(meters, meter("requests", use.requests, limits.rpm, burst_of(limits)))
    end
    if limits.tpm then
      table.insert(meters, meter("tokens", use.tokens, limits.tpm, limits.tpm))
    end
  end
  return meters
end

local function is_idle(use)
  return use.under_way == 0
    and level_at(use.requests, now, rate_of(use.limits.rpm)) + use.requests.held <= 0
    and level_at(use.tokens, now, rate_of(use.limits.tpm)) + use.tokens.held <= 0
end

-- Seconds until the use is idle by itself: all reservations at their end, and drained.
local function life_of(use)
  local open = use.under_way > 0 and math.max(0, use.last_end - now) or 0
  local requests = seconds_for(use.requests.level, rate_of(use.limits.rpm))
  local tokens = seconds_for(use.tokens.level + use.tokens.held, rate_of(use.limits.tpm))
  return math.min(LONGEST_LIFE, open + math.max(requests, tokens))
end

local function live_at_least(key, seconds)
  local milliseconds = math.ceil(seconds * 1000)
  if redis.call("PTTL", key) < milliseconds then
    redis.call("PEXPIRE", key, milliseconds)
  end
end

local function save_changes()
  local longest = 0
  for key, use in pairs(changed) do
    if is_idle(use) then
      redis.call("DEL", key)
    else
      local life = life_of(use)
      longest = math.max(longest, life)
      redis.call("SET", key, cmsgpack.pack(use), "PX", math.ceil((life + USE_MARGIN) * 1000))
    end
  end
  live_at_least(HELD, longest + HELD_MARGIN)
  live_at_least(ENDS, longest + HELD_MARGIN)
end

-- Reservations ----------------------------------------------------------------------------------

-- Ends a reservation as of a time; `used` nil: as many tokens as were reserved. Whether it was open.
local function settle(id, at, used)
  local packed = redis.call("HGET", HELD, id)
  redis.call("HDEL", HELD, id)
  redis.call("ZREM", ENDS, id)
  if not packed then
    return false
  end
  local reservation = cmsgpack.unpack(packed)
  for _, hold in ipairs(reservation.holds) do
    local use = load(hold.key)
    if use then -- else evicted for want of memory
      changed[hold.key] = use
      use.under_way = math.max(0, use.under_way - 1)
      drain(use.tokens, at, rate_of(use.limits.tpm))
      use.tokens.level = use.tokens.level + (used or reservation.tokens)
      use.tokens.held = math.max(0, use.tokens.held - hold.tokens)
    end
  end
  return true
end

-- Each as of its end, so that it makes no difference when anybody looks.
local function settle_overdue()
  local overdue = redis.call("ZRANGEBYSCORE", ENDS, "-inf", now, "WITHSCORES")
  for i = 1, #overdue, 2 do
    settle(overdue[i], tonumber(overdue[i + 1]), nil)
  end
end

local function reserve(id, request)
  local uses = {}
  for i, limits in ipairs(request.scopes) do
    uses[i] = use_under(limits)
  end
  if redis.call("HEXISTS", HELD, id) == 1 then
    -- The answer was lost on its way, and the client sent the call again.
    return { meters = meters_of(uses) }
  end
  for _, use in ipairs(uses) do
    local refusal = refusal_by(use, request.tokens)
    if refusal then
      refusal.meters = meters_of(uses)
      return refusal
    end
  end
  local holds, ends_at = {}, now + request.ttl
  for i, use in ipairs(uses) do
    holds[i] = { key = use.key, tokens = take(use, request.tokens, ends_at) }
  end
  local reservation = { owner = request.owner, tokens = request.tokens, holds = holds }
  redis.call("HSET", HELD, id, cmsgpack.pack(reservation))
  redis.call("ZADD", ENDS, ends_at, id)
  return { meters = meters_of(uses) }
end

local function count(used)
  local use = use_under(used.limits)
  changed[use.key] = use
  drain(use.requests, now, rate_of(use.limits.rpm))
  use.requests.level = use.requests.level + used.requests
  drain(use.tokens, now, rate_of(use.limits.tpm))
  use.tokens.level = use.tokens.level + used.tokens
end

settle_overdue()
local answer = {}
if operation == "reserve" then
  for i, asked in ipairs(batch) do
    answer[i] = reserve(asked[1], asked[2])
  end
elseif operation == "settle" then
  for i, settlement in ipairs(batch) do
    answer[i] = settle(settlement.id, now, settlement.tokens)
  end
elseif operation == "count" then
  for _, used in ipairs(batch) do
    count(used)
  end
else
  answer = redis.call("HLEN", HELD)
end
save_changes()
return cmsgpack.pack(answer)

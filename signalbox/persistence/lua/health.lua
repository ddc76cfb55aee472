-- Route health and circuit breakers: the twin of machines/route_health.py, breaker.py and
-- probes.py. The comments there give the rules; here stands only what is different.
--
-- KEYS[1]  the slot, with which every key begins:
--          <slot>:route:<id>  the record of a route (MessagePack)
--          <slot>:used        sorted set: route id by the number of its last change
--          <slot>:counters    hash: attempts, changes
-- ARGV[1]  now, in seconds, or "": Redis' own time
-- ARGV[2]  "started" | "ended" | "look"
-- ARGV[3]  the batch: [route id…] | [[route id, number, verdict, first token, tokens/s]…] | as first
-- ARGV[4]  now, by the caller's clock, on which the answers' times are
-- RULES    the machines' numbers
-- Returns  [attempt number…] | [] | [RouteHealth…]
--
-- A window is a string of samples, oldest first, each two doubles: when and what. To take a string
-- from a record and put it back costs little, so only a look reads the samples.

local SLOT = KEYS[1]
local USED, COUNTERS = SLOT .. ":used", SLOT .. ":counters"
local SAMPLE_BYTES = 16
local operation, batch = cmsgpack.unpack(ARGV[2]), cmsgpack.unpack(ARGV[3])
local callers_now = cmsgpack.unpack(ARGV[4])

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call("TIME")
  now = time[1] + time[2] / 1000000
end

local function on_callers_clock(at)
  return at and callers_now + (at - now)
end

-- Measures -----------------------------------------------------------------------------------

local function new_measure()
  return {total = 0, weight = 0, at = 0, window = ""}
end

local function add(measure, value)
  local fade = 2 ^ (-math.max(0, now - measure.at) / RULES.half_life)
  measure.total = measure.total * fade + value
  measure.weight = measure.weight * fade + 1
  measure.at = math.max(now, measure.at)
  measure.fresh = measure.fresh or {}
  table.insert(measure.fresh, struct.pack("<dd", now, value))
end

local function mean(measure)
  if measure.weight ~= 0 then return measure.total / measure.weight end
end

-- Where the oldest sample begins that is within the window.
local function first_within(window)
  local oldest = now - RULES.window_seconds
  local first = math.max(1, #window - RULES.window_samples * SAMPLE_BYTES + 1)
  while first < #window and struct.unpack("<d", window, first) <= oldest do
    first = first + SAMPLE_BYTES
  end
  return first
end

local function values(window)
  local first = first_within(window)
  local count = (#window - first + 1) / SAMPLE_BYTES
  local found = {struct.unpack("<" .. string.rep("xxxxxxxxd", count), window, first)}
  found[count + 1] = nil -- where the reading stopped
  return found
end

-- A batch has one time, so cutting once at its end leaves what cutting after each sample would.
local function cut(measure)
  if not measure.fresh then return end
  local window = measure.window .. table.concat(measure.fresh)
  measure.window = string.sub(window, first_within(window))
  measure.fresh = nil
end

local function percentiles(found)
  local count = #found
  if count < RULES.min_samples then return nil end
  table.sort(found)
  local function rank(p) return found[math.ceil(p * count / 100)] end
  return {p50 = rank(50), p90 = rank(90), p95 = rank(95), p99 = rank(99)}
end

-- Circuit breaker ----------------------------------------------------------------------------

-- `vacant_at` is absent where the probe's place is free.
local function new_breaker(state)
  return {state = state, recent = {}, trips = 0, reopens_at = 0, open = {}}
end

local function state_now(breaker)
  if breaker.state == "open" and breaker.reopens_at <= now then return "half_open" end
  return breaker.state
end

local function is_vacant(breaker)
  return not breaker.vacant_at or now >= breaker.vacant_at
end

local function opened(breaker)
  local after = new_breaker("open")
  after.trips = breaker.trips + 1
  local delay = math.min(RULES.max_delay, RULES.base_delay * 2 ^ (after.trips - 1))
  after.reopens_at = now + delay
  return after
end

local function start_probe(breaker, number)
  breaker.state = "half_open"
  local open = breaker.open
  open[#open + 1] = number
  if #open > RULES.max_open then table.remove(open, 1) end
  breaker.vacant_at = now + RULES.patience
end

-- The place of a probe among those that are out.
local function probe_index(breaker, number)
  for i, probe in ipairs(breaker.open) do
    if probe == number then return i end
  end
end

local function probe_ended(breaker, index, said)
  if said == "up" then return new_breaker("closed") end
  if said == "fault" then return opened(breaker) end
  if index == #breaker.open then breaker.vacant_at = nil end
  table.remove(breaker.open, index)
  return breaker
end

local function count_result(breaker, success)
  local kept, recent = {}, breaker.recent
  for i = 1, #recent, 2 do
    if recent[i] > now - RULES.recent_seconds then
      kept[#kept + 1] = recent[i]
      kept[#kept + 1] = recent[i + 1]
    end
  end
  kept[#kept + 1] = now
  kept[#kept + 1] = success
  breaker.recent = {unpack(kept, math.max(1, #kept - 2 * RULES.recent + 1))}
end

local function too_many_faults(breaker)
  local recent = breaker.recent
  local count, faults, in_a_row = #recent / 2, 0, 0
  for i = 2, #recent, 2 do
    if recent[i] == 0 then
      faults = faults + 1
      in_a_row = in_a_row + 1
    else
      in_a_row = 0
    end
  end
  return in_a_row >= RULES.trip_after or (count == RULES.recent and faults * 2 >= count)
end

local function result_counted(breaker, said)
  if breaker.state ~= "closed" then return breaker end
  count_result(breaker, said == "up" and 1 or 0)
  if said == "fault" and too_many_faults(breaker) then return opened(breaker) end
  return breaker
end

-- Returns the state as it is shown and, where that is open, when the next probe may come.
local function shown(breaker)
  local state = state_now(breaker)
  if state == "open" then return state, breaker.reopens_at end
  if state == "half_open" and not is_vacant(breaker) then return "open", breaker.vacant_at end
  return state
end

-- Routes -------------------------------------------------------------------------------------

local pasts, changed, changes = {}, {}, 0

local function route_key(id)
  return SLOT .. ":route:" .. id
end

local function past_of(id)
  if not pasts[id] then
    local saved = redis.call("GET", route_key(id))
    pasts[id] = saved and cmsgpack.unpack(saved) or {
      successes = new_measure(),
      first_token = new_measure(),
      tokens_per_second = new_measure(),
      samples = 0,
      breaker = new_breaker("closed"),
    }
  end
  return pasts[id]
end

local function mark_changed(id)
  changes = changes + 1
  changed[id] = changes
end

local function start(id, number)
  local breaker = past_of(id).breaker
  if state_now(breaker) == "half_open" and is_vacant(breaker) then
    start_probe(breaker, number)
    mark_changed(id)
  end
end

local function finish(report)
  local id, number, said, first_token, tokens_per_second = unpack(report, 1, 5)
  local past = past_of(id)
  local index = probe_index(past.breaker, number)
  if index then
    past.breaker = probe_ended(past.breaker, index, said)
  elseif said ~= "nothing" then
    past.breaker = result_counted(past.breaker, said)
  end
  if said ~= "nothing" then
    add(past.successes, said == "up" and 1 or 0)
    past.samples = past.samples + 1
  end
  if said == "fault" then past.last_outage_at = now end
  if first_token then add(past.first_token, first_token) end
  if tokens_per_second then add(past.tokens_per_second, tokens_per_second) end
  if index or said ~= "nothing" or first_token or tokens_per_second then mark_changed(id) end
end

local function seen(id)
  local past = past_of(id)
  local recent, faults = values(past.successes.window), 0
  for _, success in ipairs(recent) do
    if success == 0 then faults = faults + 1 end
  end
  local state, reopens_at = shown(past.breaker)
  return {
    success_rate = mean(past.successes),
    first_token = mean(past.first_token),
    first_token_percentiles = percentiles(values(past.first_token.window)),
    tokens_per_second = mean(past.tokens_per_second),
    tokens_per_second_percentiles = percentiles(values(past.tokens_per_second.window)),
    recent_attempts = #recent,
    recent_faults = faults,
    measured_at = on_callers_clock(past.samples > 0 and past.successes.at or nil),
    last_outage_at = on_callers_clock(past.last_outage_at),
    samples = past.samples,
    breaker = state,
    breaker_reopens_at = on_callers_clock(reopens_at),
  }
end

local function save()
  if changes == 0 then return end
  local before = redis.call("HINCRBY", COUNTERS, "changes", changes) - changes
  for id, order in pairs(changed) do
    local past = pasts[id]
    cut(past.successes)
    cut(past.first_token)
    cut(past.tokens_per_second)
    redis.call("SET", route_key(id), cmsgpack.pack(past), "EX", RULES.forget_after)
    redis.call("ZADD", USED, before + order, id)
  end
  local excess = redis.call("ZCARD", USED) - RULES.max_routes
  if excess > 0 then
    local oldest = redis.call("ZPOPMIN", USED, excess)
    for i = 1, #oldest, 2 do redis.call("DEL", route_key(oldest[i])) end
  end
  redis.call("EXPIRE", USED, RULES.forget_after)
  redis.call("EXPIRE", COUNTERS, RULES.forget_after)
end

local answers = {}
if operation == "started" then
  local last = redis.call("HINCRBY", COUNTERS, "attempts", #batch)
  redis.call("EXPIRE", COUNTERS, RULES.forget_after)
  for i, id in ipairs(batch) do
    answers[i] = last - #batch + i
    start(id, answers[i])
  end
elseif operation == "ended" then
  for _, report in ipairs(batch) do finish(report) end
else
  -- Requests of one time ask for the same routes.
  local looks = {}
  for i, id in ipairs(batch) do
    looks[id] = looks[id] or seen(id)
    answers[i] = looks[id]
  end
end
save()
return cmsgpack.pack(answers)

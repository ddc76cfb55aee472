-- Budgets' counters: the twin of `Counter` in machines/budget.py.
--
-- {sb:money}:counter:<budget>  a counter
-- {sb:money}:open:<budget>     set: the requests that have a hold under the budget
--
-- A budget comes as {id, limit, period, hard, alert_at}.

-- Seconds. Longer than any hold, so that no counter is forgotten that somebody holds something of.
local COUNTER_LIFE = 2 * DAY
-- What was alerted of is remembered to the end of its window, or for so long.
local LONGEST_COUNTER_LIFE = 40 * DAY

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call("TIME")
  now = time[1] + time[2] / 1000000
end

local counters = {} -- key → counter, or false where there is none
local changed = {} -- key → counter

local function find_counter(budget_id)
  local key = KEYS[1] .. ":counter:" .. budget_id
  if counters[key] == nil then
    local packed = redis.call("GET", key)
    counters[key] = packed and cmsgpack.unpack(packed)
  end
  return counters[key], key
end

local function doubt(counter)
  counter.loaded, counter.load, counter.spent = false, nil, 0
end

local function counter_of(budget)
  local counter, key = find_counter(budget.id)
  if not counter then
    counter = { key = key, ids = KEYS[1] .. ":open:" .. budget.id, held = 0, newer = {} }
    counters[key] = counter
  end
  local start, finish = window_of(budget.period, now)
  if counter.period ~= budget.period or counter.start ~= start then
    counter.period, counter.start, counter.finish = budget.period, start, finish
    counter.told = { limit = -1, fraction = 0, over = false }
    doubt(counter)
  end
  changed[counter.key] = counter
  return counter
end

local function left(counter, limit)
  return math.max(0, limit - counter.spent - counter.held)
end

local function add_hold(counter, id, amount)
  counter.held = counter.held + amount
  redis.call("SADD", counter.ids, id)
  if counter.load then
    counter.newer[id] = true
  end
end

local function remove_hold(counter, id, amount)
  counter.held = counter.held - amount
  counter.newer[id] = nil
  redis.call("SREM", counter.ids, id)
end

-- Whether the last load may have seen the charge of a hold that was opened meanwhile.
local function may_have_summed(counter, id, at)
  return counter.newer[id] and (counter.load or at < counter.summed_at + CERTAIN_AFTER)
end

-- `held`: what the request had as a hold; nothing: it had none.
local function charge(counter, id, held, amount, at)
  local certain = held and not may_have_summed(counter, id, at)
  if held then
    remove_hold(counter, id, held)
  end
  if amount == 0 or at < counter.start or (counter.finish and at >= counter.finish) then
    return
  end
  if not certain then
    doubt(counter)
  else
    counter.spent = math.min(MOST, counter.spent + amount)
  end
end

-- Which of an alert's thresholds were passed for the first time, in order; `false`: a hard limit.
local function newly_passed(counter, budget, fresh)
  local total, passed = counter.spent + counter.held, {}
  if not counter.loaded or total == 0 or not (fresh or counter.told.limit == budget.limit) then
    return passed
  end
  local told = counter.told
  if told.limit ~= budget.limit then
    told = { limit = budget.limit, fraction = 0, over = false }
    counter.told = told
  end
  local beyond = told.fraction
  table.sort(budget.alert_at)
  for _, fraction in ipairs(budget.alert_at) do
    if fraction > beyond and total >= fraction * budget.limit then
      table.insert(passed, fraction)
      told.fraction = math.max(told.fraction, fraction)
    end
  end
  if budget.hard and total > budget.limit and not told.over then
    told.over = true
    table.insert(passed, false)
  end
  return passed
end

-- What is to be told of: [budget id, spent, held, fraction or false].
local function crossings(budgets, fresh)
  local found = {}
  for _, budget in ipairs(budgets) do
    local counter = counter_of(budget)
    for _, fraction in ipairs(newly_passed(counter, budget, fresh)) do
      table.insert(found, { budget.id, counter.spent, counter.held, fraction })
    end
  end
  return found
end

local function unloaded(budgets, hard_only)
  local ids = {}
  for _, budget in ipairs(budgets) do
    if not (counter_of(budget).loaded or (hard_only and not budget.hard)) then
      table.insert(ids, budget.id)
    end
  end
  return ids
end

local function life_of(counter)
  if not (counter.told.over or counter.told.fraction > 0) then
    return COUNTER_LIFE
  end
  local ends_in = counter.finish and counter.finish - now or LONGEST_COUNTER_LIFE
  return math.min(LONGEST_COUNTER_LIFE, math.max(COUNTER_LIFE, ends_in))
end

local function save_counters()
  for key, counter in pairs(changed) do
    redis.call("SET", key, cmsgpack.pack(counter), "EX", math.ceil(life_of(counter)))
    redis.call("EXPIRE", counter.ids, COUNTER_LIFE)
  end
end

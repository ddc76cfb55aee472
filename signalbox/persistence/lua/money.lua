-- Budgets and holds for several processes: the twin of money_memory.py. One call is one step and
-- serves a batch in order. Before it stand money_windows, money_counters and money_memory.
--
-- KEYS[1]  the slot, `{sb:money}`; every key begins with it
-- ARGV[1]  now, in Unix seconds, or "": Redis' own time
-- ARGV[2]  the instance that calls
-- ARGV[3]  the operation
-- ARGV[4]  its batch:     to return
--   hold      [HoldRequest…]        [{amount, crossed, unloaded} | {refused, spent, held, resets_at}
--                                    | {not_loaded}…]
--   extend    [Extension…]          [{amount, crossed} | {not_loaded}…]
--   open      [OpenHold…]           [{amount, crossed, unloaded}…]
--   settle    [HoldSettlement…]         [{done, crossed, unloaded}…]
--   begin     [{budget, loader, token}…]  [{token, since, until, without} | {loaded}…]
--   finish    [{budget, token, spent}…]   [{done, crossed}…]
--   stand     [budget…]             [{spent, held, resets_at} | {not_loaded}…]
--   forget    [budget id…]          nothing
--   rejoin    {holds, known}        whether all have told
--   expire    nil                   [the instances that live]
--   leave     nil                   nothing
-- Where the memory was lost and is not whole again, all that need a counter answer {told} instead.
-- A budget in an answer is its id. MOST, LONGEST_TTL, LOAD_PATIENCE, CERTAIN_AFTER, SETTLED_FOR,
-- INSTANCE_LIFE, VETERANS_WAIT and NEWCOMERS_WAIT are constants of the Python modules.
--
-- {sb:money}:holds              hash: request → amount and budgets of its hold
-- {sb:money}:ends               sorted set: request → when its hold lapses
-- {sb:money}:settled:<request>  its charge has been counted

local HOLDS, ENDS = KEYS[1] .. ":holds", KEYS[1] .. ":ends"
-- Seconds. Longer than any hold.
local HOLDS_LIFE = 2 * DAY

local instance, operation = cmsgpack.unpack(ARGV[2]), cmsgpack.unpack(ARGV[3])
local batch = cmsgpack.unpack(ARGV[4])

local function marker(id)
  return KEYS[1] .. ":settled:" .. id
end

local function find_hold(id)
  local packed = redis.call("HGET", HOLDS, id)
  return packed and cmsgpack.unpack(packed)
end

local function save_hold(id, hold)
  redis.call("HSET", HOLDS, id, cmsgpack.pack(hold))
end

local function delete_hold(id)
  redis.call("HDEL", HOLDS, id)
  redis.call("ZREM", ENDS, id)
end

local function lapse_overdue()
  for _, id in ipairs(redis.call("ZRANGEBYSCORE", ENDS, "-inf", now)) do
    local hold = find_hold(id)
    delete_hold(id)
    for _, budget in ipairs(hold and hold.budgets or {}) do
      local counter = counter_of(budget)
      remove_hold(counter, id, hold.amount)
      doubt(counter)
    end
  end
end

-- Returns what the request has now, and whether that is new.
local function open_if_new(id, amount, ttl, budgets)
  local known = find_hold(id)
  if known then
    return known.amount, false
  elseif redis.call("EXISTS", marker(id)) == 1 then
    return 0, false
  end
  save_hold(id, { amount = amount, budgets = budgets })
  redis.call("ZADD", ENDS, now + math.min(ttl, LONGEST_TTL), id)
  for _, budget in ipairs(budgets) do
    add_hold(counter_of(budget), id, amount)
  end
  return amount, true
end

local function opened(id, amount, ttl, budgets)
  local has, is_new = open_if_new(id, amount, ttl, budgets)
  if not is_new then
    return { amount = has, crossed = {}, unloaded = {} }
  end
  return { amount = has, crossed = crossings(budgets, true), unloaded = unloaded(budgets) }
end

-- The least that any hard budget has left, and which one that is.
local function least_left(budgets)
  local least, which = math.huge, nil
  for _, budget in ipairs(budgets) do
    local room = budget.hard and left(counter_of(budget), budget.limit) or math.huge
    if room < least then
      least, which = room, budget
    end
  end
  return least, which
end

local function hold(request)
  local known = find_hold(request.id)
  if known then
    return { amount = known.amount, crossed = {}, unloaded = {} }
  end
  local missing = unloaded(request.budgets, true)
  if #missing > 0 then
    return { not_loaded = missing }
  end
  local room, which = least_left(request.budgets)
  local amount = math.min(request.want, room)
  if amount < request.least then
    local counter = counter_of(which)
    return {
      refused = which.id,
      spent = counter.spent,
      held = counter.held,
      resets_at = counter.finish,
    }
  end
  return opened(request.id, amount, request.ttl, request.budgets)
end

local function extend(extension)
  local known = find_hold(extension.id)
  if not known then
    return { amount = 0, crossed = {} }
  end
  local missing = unloaded(extension.budgets, true)
  if #missing > 0 then
    return { not_loaded = missing }
  end
  local amount = math.min(extension.want, (least_left(extension.budgets)))
  known.amount = known.amount + amount
  save_hold(extension.id, known)
  for _, budget in ipairs(known.budgets) do
    local counter = counter_of(budget)
    counter.held = counter.held + amount
  end
  return { amount = amount, crossed = crossings(known.budgets, false) }
end

local function settle(settlement)
  local id, amount = settlement.id, settlement.amount
  local known = find_hold(id)
  if redis.call("EXISTS", marker(id)) == 1 or (not known and amount == 0) then
    return { done = false, crossed = {}, unloaded = {} }
  end
  delete_hold(id)
  if amount > 0 then
    redis.call("SET", marker(id), "", "EX", SETTLED_FOR)
  end
  local budgets = known and known.budgets or settlement.budgets
  for _, budget in ipairs(budgets) do
    charge(counter_of(budget), id, known and known.amount, amount, settlement.at)
  end
  return { done = true, crossed = crossings(budgets, false), unloaded = unloaded(budgets) }
end

local function begin_load(request)
  local counter = counter_of(request.budget)
  local load = counter.load
  if counter.loaded or (load and load.loader ~= request.loader
    and math.abs(now - load.at) < LOAD_PATIENCE) then
    return { loaded = counter.loaded }
  end
  counter.spent, counter.newer = 0, {}
  counter.load = { token = request.token, loader = request.loader, at = now }
  return {
    token = request.token,
    since = counter.start,
    ["until"] = counter.finish,
    without = redis.call("SMEMBERS", counter.ids),
  }
end

local function finish_load(load)
  local counter = counter_of(load.budget)
  local done = counter.load ~= nil and counter.load.token == load.token
  if done then
    counter.loaded, counter.load, counter.summed_at = true, nil, now
    counter.spent = math.min(MOST, counter.spent + load.spent)
  end
  return { done = done, crossed = crossings({ load.budget }, true) }
end

local function stand(budget)
  local counter = counter_of(budget)
  if not counter.loaded then
    return { not_loaded = { budget.id } }
  end
  return { spent = counter.spent, held = counter.held, resets_at = counter.finish }
end

local function forget(budget_id)
  local counter = find_counter(budget_id)
  if counter then
    doubt(counter)
    changed[counter.key] = counter
  end
  return false
end

local function rejoin(told)
  for _, again in ipairs(told.holds) do
    local _, is_new = open_if_new(again.id, again.amount, again.ttl, again.budgets)
    if is_new then
      for _, budget in ipairs(again.budgets) do
        doubt(counter_of(budget))
      end
    end
  end
  tell_again(instance, told.known)
  return rebuilding(instance) == nil
end

-- Which of them needs a counter, and so a memory.
local NEEDY = { hold = true, extend = true, begin = true, stand = true }
local EACH = {
  hold = hold,
  extend = extend,
  open = function(new)
    return opened(new.id, new.amount, new.ttl, new.budgets)
  end,
  settle = settle,
  begin = begin_load,
  finish = finish_load,
  stand = stand,
  forget = forget,
}

lapse_overdue()
local lost = rebuilding(instance)
local answer = {}
if EACH[operation] then
  for number, item in ipairs(batch) do
    answer[number] = NEEDY[operation] and lost or EACH[operation](item)
  end
elseif operation == "rejoin" then
  answer = rejoin(batch)
elseif operation == "expire" then
  live(instance)
  answer = { lost = lost, lives = redis.call("ZRANGE", LIVES, 0, -1) }
elseif operation == "leave" then
  redis.call("ZREM", LIVES, instance)
  redis.call("SREM", EXPECTED, instance)
end
save_counters()
redis.call("EXPIRE", HOLDS, HOLDS_LIFE)
redis.call("EXPIRE", ENDS, HOLDS_LIFE)
return cmsgpack.pack(answer)

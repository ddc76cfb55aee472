-- A key's use for one model: open leases, the beliefs of Allowance in machines/limits.py, parking.

local uses = {}
local changed_uses = {}

local function use_field(key_id, model)
  return key_id .. " " .. model
end

local function load_use(key_id, model)
  local field = use_field(key_id, model)
  if uses[field] == nil then
    uses[field] = get(MODEL_USES, field)
  end
  return uses[field]
end

local function change_use(key_id, model)
  local field = use_field(key_id, model)
  uses[field] = load_use(key_id, model)
    or { forbidden_until = -math.huge, open_requests = 0, open_tokens = 0 }
  changed_uses[field] = uses[field]
  return uses[field]
end

local function save_uses()
  for field, use in pairs(changed_uses) do
    put(MODEL_USES, field, use)
  end
end

local function idle(use)
  return use.open_requests == 0
    and use.forbidden_until <= NOW
    and (not use.requests or use.requests.ends <= NOW)
    and (not use.tokens or use.tokens.ends <= NOW)
end

local function forget_idle_uses()
  local all = redis.call("HGETALL", MODEL_USES)
  for index = 1, #all, 2 do
    local field = all[index]
    if idle(uses[field] or cmsgpack.unpack(all[index + 1])) then
      redis.call("HDEL", MODEL_USES, field)
      changed_uses[field] = nil
    end
  end
end

local function spend(belief, cost)
  if belief then
    belief.remaining = math.max(0, belief.remaining - cost)
  end
end

local function occupy(use, tokens)
  use.open_requests = use.open_requests + 1
  use.open_tokens = use.open_tokens + tokens
  spend(use.requests, 1)
  spend(use.tokens, tokens)
end

local function vacate(use, tokens)
  use.open_requests = use.open_requests - 1
  use.open_tokens = use.open_tokens - tokens
end

local function learnt(known, remaining, limit, reset, observed_at, in_flight)
  if not remaining or (known and known.observed_at > observed_at) then
    return known
  end
  local seconds = reset and reset >= 0 and reset or WINDOW
  return {
    remaining = math.max(0, remaining - in_flight),
    limit = limit,
    observed_at = observed_at,
    ends = observed_at + math.min(seconds, LONGEST_BELIEF),
  }
end

local function learn(use, said, observed_at)
  use.requests = learnt(
    use.requests, said.remaining_requests, said.limit_requests, said.reset_requests,
    observed_at, use.open_requests
  )
  use.tokens = learnt(
    use.tokens, said.remaining_tokens, said.limit_tokens, said.reset_tokens,
    observed_at, use.open_tokens
  )
end

local function belief_share(belief)
  if not belief or belief.ends <= NOW or not belief.limit or belief.limit == 0 then
    return nil
  end
  return remaining_share(belief.remaining, belief.limit)
end

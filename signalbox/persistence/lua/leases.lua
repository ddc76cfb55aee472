-- The twin of MemoryLeaseStore, for the keys of one provider: a batch is one step.

local function limited(quota)
  return quota.rpm or quota.tpm
end

-- Why a key cannot be used now: the wait that ends last. `at` nil: there is no time to wait for.
local function longer(wait, at, reason)
  if not wait or (at or math.huge) > (wait.at or math.huge) then
    return { at = at, reason = reason }
  end
  return wait
end

local function state_wait(key)
  if usable(key) then
    return nil
  elseif key.phase == "evicted" then
    return longer(nil, nil, UNAVAILABLE.EVICTED)
  elseif key.phase == "cooling" then
    return longer(nil, key.ends, UNAVAILABLE.COOLING)
  end
  return longer(nil, math.min(key.vacant_at, NOW + PROBE_POLL), UNAVAILABLE.PROBING)
end

local function window_wait(wait, quota, tokens)
  if not limited(quota) then
    return wait
  end
  local window = load_window(quota.key_id)
  local at = window_available_at(window, tokens, quota.rpm, quota.tpm)
  if not at then
    return longer(wait, nil, UNAVAILABLE.TOO_LARGE)
  elseif at <= NOW then
    return wait
  end
  local full = quota.rpm and window.requests >= quota.rpm
  return longer(wait, at, full and UNAVAILABLE.REQUESTS or UNAVAILABLE.TOKENS)
end

local function belief_wait(wait, belief, cost, reason)
  if not belief or cost <= belief.remaining or belief.ends <= NOW then
    return wait
  end
  return longer(wait, belief.ends, reason)
end

local function model_wait(wait, use, tokens)
  if use.forbidden_until > NOW then
    wait = longer(wait, nil, UNAVAILABLE.FORBIDDEN)
  end
  wait = belief_wait(wait, use.requests, 1, UNAVAILABLE.REQUESTS)
  return belief_wait(wait, use.tokens, tokens, UNAVAILABLE.TOKENS)
end

local function share_of(quota)
  return limited(quota) and window_share(load_window(quota.key_id), quota.rpm, quota.tpm) or nil
end

-- { at, reason, share } of one key; reason nil: it has room now.
local function room_of(quota, request)
  local use = load_use(quota.key_id, request.model)
  local wait = window_wait(state_wait(load_key(quota.key_id)), quota, request.tokens)
  if use then
    wait = model_wait(wait, use, request.tokens)
  end
  if wait then
    return wait
  end
  local beliefs = use and lesser(belief_share(use.requests), belief_share(use.tokens))
  return { at = NOW, share = lesser(share_of(quota), beliefs or nil) }
end

local function ranks_before(quota, room, best, best_room)
  local share, best_share = room.share or 1, best_room.share or 1
  if share ~= best_share then
    return share > best_share
  end
  return load_key(quota.key_id).last_used < load_key(best.key_id).last_used
end

-- The key to lease and its room; without one, nil and the room of the key that is free first.
local function best_of(request)
  local best, best_room, soonest
  for _, quota in ipairs(request.keys) do
    local room = room_of(quota, request)
    if room.reason then
      if not soonest or (room.at or math.huge) < (soonest.at or math.huge) then
        soonest = room
      end
    elseif quota.key_id == request.prefer then
      return quota, room
    elseif not best or ranks_before(quota, room, best, best_room) then
      best, best_room = quota, room
    end
  end
  return best, best_room or soonest
end

local function told(id, lease)
  return {
    id = id,
    owner = lease.owner,
    token = lease.token,
    key_id = lease.key_id,
    model = lease.model,
    tokens = lease.tokens,
    granted_at = theirs(lease.granted_at),
    expires_at = theirs(lease.expires_at),
  }
end

local function grant(quota, request, nonce)
  local token = redis.call("INCR", TOKEN)
  local lease = {
    owner = request.owner,
    token = token,
    key_id = quota.key_id,
    model = request.model,
    tokens = request.tokens,
    granted_at = NOW,
    expires_at = NOW + request.ttl,
    entry = limited(quota) and count(load_window(quota.key_id), request.tokens, 1) or nil,
  }
  occupy(change_use(quota.key_id, request.model), request.tokens)
  local key = change_key(quota.key_id)
  start_probe(key, token)
  key.last_used = token
  key.leases = key.leases + 1
  local id = quota.key_id .. "#" .. nonce
  put(LEASES, id, lease)
  redis.call("ZADD", EXPIRY, lease.expires_at, id)
  return told(id, lease)
end

local function acquire(asked)
  local request, nonce = asked[1], asked[2]
  local quota, room = best_of(request)
  if not quota then
    return { reason = room.reason, available_at = theirs(room.at) }
  end
  return grant(quota, request, nonce)
end

local function look(request)
  local quota, room = best_of(request)
  return {
    available = quota ~= nil,
    share = room.share or NONE,
    available_at = quota and NONE or theirs(room.at),
    reason = room.reason or "",
  }
end

local function release(id, lease)
  redis.call("HDEL", LEASES, id)
  redis.call("ZREM", EXPIRY, id)
  local key = change_key(lease.key_id)
  key.leases = key.leases - 1
  vacate(change_use(lease.key_id, lease.model), lease.tokens)
end

-- The lease's time is over. It may have been sent, so what it counted stays.
local function abandon(id, lease)
  release(id, lease)
  answered(change_key(lease.key_id), lease.token, "nothing")
end

local function settle_window(lease, settlement)
  if not lease.entry then
    return
  end
  local window = load_window(lease.key_id)
  if settlement.never_sent then
    correct(window, lease.entry, -1, -lease.tokens)
    forget_empty_tail(window)
  elseif settlement.used then
    correct(window, lease.entry, 0, settlement.used - lease.tokens)
  end
end

local function teach(use, settlement)
  if settlement.rate_limits then
    local observed_at = settlement.observed_at and ours(settlement.observed_at) or NOW
    learn(use, settlement.rate_limits, observed_at)
  end
  if settlement.parks_model then
    use.forbidden_until = NOW + MODEL_PARKING
  end
end

local function settle(settlement)
  local id = settlement.lease_id
  local lease = get(LEASES, id)
  if not lease or lease.token ~= settlement.token then
    return { done = false, evicted = false }
  end
  if lease.expires_at <= NOW then
    abandon(id, lease)
    return { done = false, evicted = false }
  end
  release(id, lease)
  settle_window(lease, settlement)
  teach(change_use(lease.key_id, lease.model), settlement)
  local key = change_key(lease.key_id)
  local evictions = key.evictions
  answered(key, lease.token, settlement.finding.verdict, settlement.finding.wait)
  return { done = true, evicted = evictions == 0 and key.evictions > 0 }
end

-- Of the ids that a lease may have which nobody was told of: nothing was sent on it.
local function take_back(ids)
  for _, id in ipairs(ids) do
    local lease = get(LEASES, id)
    if lease then
      local nothing = { verdict = "nothing" }
      settle({ lease_id = id, token = lease.token, finding = nothing, never_sent = true })
    end
  end
  return true
end

local function condition(quota)
  local key = load_key(quota.key_id)
  local waits = key.phase == "cooling" or key.phase == "evicted"
  return {
    key_id = quota.key_id,
    phase = key.phase,
    ["until"] = waits and theirs(key.ends) or NONE,
    open_leases = key.leases,
    share = share_of(quota) or NONE,
  }
end

local function count_use(use)
  count(load_window(use.key_id), use.tokens, use.requests)
  return true
end

local function each(operation)
  return function(batch)
    local answers = {}
    for index, item in ipairs(batch) do
      answers[index] = operation(item)
    end
    return answers
  end
end

local function expire()
  local over = {}
  for _, id in ipairs(redis.call("ZRANGEBYSCORE", EXPIRY, "-inf", NOW)) do
    local lease = get(LEASES, id)
    table.insert(over, told(id, lease))
    abandon(id, lease)
  end
  forget_idle_uses()
  return over
end

local function open_leases()
  local all, open = redis.call("HGETALL", LEASES), {}
  for index = 1, #all, 2 do
    table.insert(open, told(all[index], cmsgpack.unpack(all[index + 1])))
  end
  return open
end

local operations = {
  acquire = each(acquire),
  settle = each(settle),
  take_back = each(take_back),
  look = each(look),
  conditions = each(condition),
  count = each(count_use),
  expire = expire,
  open_leases = open_leases,
}

local answer = operations[cmsgpack.unpack(ARGV[2])](cmsgpack.unpack(ARGV[4]))
save_keys()
save_windows()
save_uses()
renew_lifetimes()
return cmsgpack.pack(answer)

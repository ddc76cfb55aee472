-- The twin of machines/keys.py and machines/probes.py. `ends` is KeyState.until, a word that Lua
-- keeps for itself.

local keys = {}
local changed_keys = {}

local function follow(key, event)
  local target = KEY_TRANSITIONS[key.phase .. " " .. event]
  if target == nil then
    error("the event " .. event .. " is not allowed in the state " .. key.phase)
  end
  if target then
    key.phase = target
  end
  return target
end

-- As it is now: a cooldown or eviction that is over makes it half-open.
local function load_key(key_id)
  local key = keys[key_id]
  if not key then
    key = get(KEY_STATES, key_id)
      or {
        phase = "active",
        ends = 0,
        strikes = 0,
        suspect = false,
        evictions = 0,
        probes = {},
        vacant_at = -math.huge,
        leases = 0,
        last_used = 0,
      }
    keys[key_id] = key
    if (key.phase == "cooling" or key.phase == "evicted") and key.ends <= NOW then
      follow(key, "cooldown_elapsed")
    end
  end
  return key
end

local function change_key(key_id)
  changed_keys[key_id] = load_key(key_id)
  return changed_keys[key_id]
end

local function save_keys()
  for key_id, key in pairs(changed_keys) do
    put(KEY_STATES, key_id, key)
  end
end

local function usable(key)
  if key.phase == "half_open" then
    return NOW >= key.vacant_at
  end
  return key.phase == "active"
end

local function start_probe(key, token)
  if key.phase ~= "half_open" then
    return
  end
  table.insert(key.probes, token)
  if #key.probes > MAX_OPEN_PROBES then
    table.remove(key.probes, 1)
  end
  key.vacant_at = NOW + PROBE_PATIENCE
  follow(key, "probe_started")
end

local function is_probe(key, token)
  for _, probe in ipairs(key.probes) do
    if probe == token then
      return true
    end
  end
  return false
end

local function abandon_probe(key, token)
  if key.probes[#key.probes] == token then
    key.vacant_at = -math.huge
  end
  for index = #key.probes, 1, -1 do
    if key.probes[index] == token then
      table.remove(key.probes, index)
    end
  end
end

local function clear_probes(key)
  key.probes = {}
  key.vacant_at = -math.huge
end

local function cool(key, wait, probe)
  local strikes = key.strikes + (key.phase == "cooling" and 0 or 1)
  local delay = math.min(MAX_COOLDOWN, BASE_COOLDOWN * 2 ^ (strikes - 1))
  if wait then
    delay = probe and math.max(wait, delay) or wait
  end
  if follow(key, probe and "probe_failed" or "rate_limited") then
    key.strikes = strikes
    key.ends = math.max(key.ends, NOW + delay)
    clear_probes(key)
  end
end

local function reject(key, token, wait)
  if not key.suspect then
    follow(key, "suspected")
    key.suspect = true
    abandon_probe(key, token)
  elseif follow(key, "rejected") then
    key.evictions = key.evictions + 1
    key.ends = math.max(key.ends, NOW + math.max(EVICTION, wait or 0))
    clear_probes(key)
  end
end

local function prove(key)
  follow(key, "probe_succeeded")
  key.ends, key.strikes, key.suspect, key.evictions = 0, 0, false, 0
  clear_probes(key)
end

-- `verdict` and `wait` are a Finding of machines/keys.py.
local function answered(key, token, verdict, wait)
  local probe = is_probe(key, token)
  if verdict == "rejected" then
    reject(key, token, wait)
  elseif verdict == "limited" then
    cool(key, wait, probe)
  elseif probe and verdict == "nothing" then
    abandon_probe(key, token)
    follow(key, "probe_abandoned")
  elseif probe then
    prove(key)
  end
end

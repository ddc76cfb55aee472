-- The time, and the Redis keys of one provider's pool. All of them begin with the slot's hash tag.
--
-- ARGV: the time, the operation, the caller's own time, the operation's batch.

local function redis_time()
  local parts = redis.call("TIME")
  return parts[1] + parts[2] / 1e6
end

local NOW = tonumber(ARGV[1]) or redis_time()
local SHIFT = NOW - cmsgpack.unpack(ARGV[3])
local NONE = cjson.null -- packed as nil, so that the field is there

local SLOT = KEYS[1]
local KEY_STATES = SLOT .. ":keys" -- hash: key id -> state
local MODEL_USES = SLOT .. ":models" -- hash: key id and model -> use
local LEASES = SLOT .. ":leases" -- hash: lease id -> lease
local EXPIRY = SLOT .. ":expiry" -- sorted set: lease id by the end of its time
local TOKEN = SLOT .. ":token" -- the last fencing token

-- A moment in the caller's time; nil stays none.
local function theirs(at)
  return at and at - SHIFT or NONE
end

local function ours(at)
  return at + SHIFT
end

local function get(name, field)
  local packed = redis.call("HGET", name, field)
  return packed and cmsgpack.unpack(packed)
end

local function put(name, field, value)
  redis.call("HSET", name, field, cmsgpack.pack(value))
end

-- All at once: what is known of leases and of their keys goes together.
local function renew_lifetimes()
  for _, name in ipairs({ KEY_STATES, MODEL_USES, LEASES, EXPIRY, TOKEN }) do
    redis.call("EXPIRE", name, LIFETIME)
  end
end

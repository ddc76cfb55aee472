-- Whether this Redis has its memory. After a flush or a restart it knows of no holds, although there
-- are some: nothing is granted before the instances that live have told theirs again.
--
-- {sb:money}:epoch     hash: since (when the memory began), ready, veteran
-- {sb:money}:lives     sorted set: instance → when it is taken for dead
-- {sb:money}:told      set: the instances that have told their holds in this memory
-- {sb:money}:expected  set: those that are waited for
--
-- An instance that has been here before the loss (a veteran) names all that it knew to live: those
-- are waited for, and any that came after it had looked has looked in by then. Instances that are
-- new know of nobody, and give others the time that they take to find a Redis that was away. Whoever
-- has not come when it would be taken for dead is dead.

local EPOCH, LIVES = KEYS[1] .. ":epoch", KEYS[1] .. ":lives"
local TOLD, EXPECTED = KEYS[1] .. ":told", KEYS[1] .. ":expected"
local MEMORY_LIFE = 2 * DAY

-- Seconds since the memory began.
local function age()
  local since = tonumber(redis.call("HGET", EPOCH, "since"))
  if not since then
    redis.call("DEL", TOLD, EXPECTED)
  end
  if not since or since > now then -- or the clock was put back
    redis.call("HSET", EPOCH, "since", string.format("%.6f", now))
    redis.call("EXPIRE", EPOCH, MEMORY_LIFE)
    return 0
  end
  return now - since
end

local function is_ready()
  return redis.call("HEXISTS", EPOCH, "ready") == 1
end

local function all_have_told(aged)
  for _, name in ipairs(redis.call("SDIFF", EXPECTED, TOLD)) do
    local lives_until = tonumber(redis.call("ZSCORE", LIVES, name))
    if aged < INSTANCE_LIFE or (lives_until and lives_until > now) then
      return false
    end
  end
  local has_veteran = redis.call("HEXISTS", EPOCH, "veteran") == 1
  return aged >= (has_veteran and VETERANS_WAIT or NEWCOMERS_WAIT)
end

-- nil: it has its memory. Else whether `instance` has told its holds.
local function rebuilding(instance)
  local aged = age()
  if redis.call("SISMEMBER", TOLD, instance) == 0 then
    return { told = false }
  elseif is_ready() then
    return nil
  elseif all_have_told(aged) then
    redis.call("HSET", EPOCH, "ready", "1")
    return nil
  end
  return { told = true }
end

-- Gives a sign of life of `instance`.
local function live(instance)
  redis.call("ZADD", LIVES, now + INSTANCE_LIFE, instance)
  redis.call("ZREMRANGEBYSCORE", LIVES, "-inf", now)
  for _, key in ipairs({ EPOCH, LIVES, TOLD, EXPECTED }) do
    redis.call("EXPIRE", key, MEMORY_LIFE)
  end
end

-- `known`: the instances that lived when this one last looked, before the memory was lost.
local function tell_again(instance, known)
  age()
  for _, name in ipairs(known) do
    redis.call("SADD", EXPECTED, name)
    redis.call("HSET", EPOCH, "veteran", "1")
  end
  redis.call("SADD", TOLD, instance)
  if is_ready() then
    for _, name in ipairs(redis.call("SMEMBERS", TOLD)) do
      if name ~= instance and not redis.call("ZSCORE", LIVES, name) then
        redis.call("SREM", TOLD, name)
      end
    end
  end
  live(instance)
end

-- Which instances of a gateway live. One call is one sign of life, or the last one.
--
-- KEYS[1]  {sb:instances}, a sorted set: instance -> when it is taken for dead
-- ARGV[1]  now, in seconds, or "": Redis' own time
-- ARGV[2]  the instance
-- ARGV[3]  seconds after this sign that it is taken for dead; 0: it leaves
-- Returns  how many live

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call("TIME")
  now = time[1] + time[2] / 1000000
end

local instance, seconds = cmsgpack.unpack(ARGV[2]), cmsgpack.unpack(ARGV[3])

redis.call("ZADD", KEYS[1], now + seconds, instance)
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", now)
redis.call("EXPIRE", KEYS[1], 3600)
return cmsgpack.pack(redis.call("ZCARD", KEYS[1]))

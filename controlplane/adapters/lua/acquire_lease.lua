-- Takes the lease on a domain and hides it from the schedule while it lasts. Returns the fencing token, 0 when it is not to be had.
-- The time is the store's: a worker whose clock is ahead must not hide a domain for longer than its lease.
-- KEYS: domain, lease, due, fence   ARGV: own name, owner, TTL (ms)
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local token = redis.call('INCR', KEYS[4])
local time = redis.call('TIME')
redis.call('SET', KEYS[2], ARGV[2] .. ':' .. token, 'PX', ARGV[3])
redis.call('HSET', KEYS[1], 'fence', token)
redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3], ARGV[1])
return token

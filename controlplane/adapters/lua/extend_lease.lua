-- Prolongs a lease that nobody else has taken. Returns 1; 0 when it is another's, -1 when the domain is gone.
-- KEYS: domain, lease, due   ARGV: own name, owner, fencing token, TTL (ms)
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[3] then return redis.call('EXISTS', KEYS[1]) - 1 end
local time = redis.call('TIME')
redis.call('SET', KEYS[2], ARGV[2] .. ':' .. ARGV[3], 'PX', ARGV[4])
if not redis.call('HGET', KEYS[1], 'wake') then
  redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4], ARGV[1])
end
return 1

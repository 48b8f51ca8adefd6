-- Prolongs a lease that nobody else has taken. Returns 1, or 0 when it is lost.
-- KEYS: domain, lease, due   ARGV: own name, owner, fencing token, TTL (ms), now (ms)
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[2], ARGV[2] .. ':' .. ARGV[3], 'PX', ARGV[4])
if not redis.call('HGET', KEYS[1], 'wake') then redis.call('ZADD', KEYS[3], ARGV[5] + ARGV[4], ARGV[1]) end
return 1

-- Gives a lease back. A domain that is still hidden by it (nothing was saved) becomes due at once.
-- KEYS: domain, lease, due   ARGV: own name, owner, fencing token, now (ms), 1 when a due time was saved under the lease
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[3] then return 0 end
if redis.call('GET', KEYS[2]) == ARGV[2] .. ':' .. ARGV[3] then redis.call('DEL', KEYS[2]) end
if ARGV[5] ~= '1' then redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1]) end
return 1

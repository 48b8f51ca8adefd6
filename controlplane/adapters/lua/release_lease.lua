-- Gives a lease back. A domain that is still hidden by it (nothing was saved) becomes due at once.
-- KEYS: domain, lease, due sets   ARGV: own name, owner, fencing token, 1 when a due time was saved under the lease
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[3] then return 0 end
if redis.call('GET', KEYS[2]) == ARGV[2] .. ':' .. ARGV[3] then redis.call('DEL', KEYS[2]) end
if ARGV[4] ~= '1' then schedule(KEYS[1], ARGV[1], lane_of(KEYS[1]), now_ms()) end
return 1

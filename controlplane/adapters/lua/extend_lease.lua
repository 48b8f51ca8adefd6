-- Prolongs a lease that nobody else has taken. Returns 1; 0 when it is another's, -1 when the domain is gone.
-- KEYS: domain, lease, due sets   ARGV: own name, owner, fencing token, TTL (ms), 1 when a due time was saved under the lease
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[3] then return redis.call('EXISTS', KEYS[1]) - 1 end
redis.call('SET', KEYS[2], ARGV[2] .. ':' .. ARGV[3], 'PX', ARGV[4])
if ARGV[5] ~= '1' and not redis.call('HGET', KEYS[1], 'wake') then
  schedule(KEYS[1], ARGV[1], lane_of(KEYS[1]), now_ms() + ARGV[4])
end
return 1

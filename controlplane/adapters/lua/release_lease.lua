-- Gives a lease back. A domain that is still hidden by it (nothing was saved) becomes due at once.
-- KEYS: domain, lease, due   ARGV: own name, owner, fencing token, 1 when a due time was saved under the lease
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[3] then return 0 end
if redis.call('GET', KEYS[2]) == ARGV[2] .. ':' .. ARGV[3] then redis.call('DEL', KEYS[2]) end
if ARGV[4] ~= '1' then
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
end
return 1

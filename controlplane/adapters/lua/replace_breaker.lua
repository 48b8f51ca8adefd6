-- Replaces a circuit breaker, if it still is what the caller read ('': absent). Returns 1, or 0 when it changed.
-- KEYS: breaker   ARGV: value as read, new value ('' removes), TTL (ms)
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1

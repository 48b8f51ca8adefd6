-- Replaces the order in a domain's hash, if it still is what the caller read and no worker has it in hand: that one would write it back
-- as it read it. A worker whose lease ran out without its knowing loses its right to write, by a new fencing token. Publishes nothing.
-- Returns 1, else 0.
-- KEYS: domain, lease, fence   ARGV: value as read, new value
if redis.call('HGET', KEYS[1], 'order') ~= ARGV[1] or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'order', ARGV[2], 'fence', redis.call('INCR', KEYS[3]))
return 1

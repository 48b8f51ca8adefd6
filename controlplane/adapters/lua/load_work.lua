-- Reads a domain under its lease and takes note of the wake-up that led to it.
-- KEYS: domain   ARGV: fencing token
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return {} end
redis.call('HDEL', KEYS[1], 'wake')
return redis.call('HMGET', KEYS[1], 'spec', 'status', 'revision', 'sealed', 'order', 'certificate')

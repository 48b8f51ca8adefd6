-- Replaces a string, if it still is what the caller read. Returns 1, or 0 when it changed.
-- KEYS: key   ARGV: value as read, new value
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1

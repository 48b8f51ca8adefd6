-- Replaces a field of a domain's hash, if it still is what the caller read. Publishes nothing. Returns 1, or 0 when it changed.
-- KEYS: domain   ARGV: field, value as read, new value, how the certificate's key is sealed now ('' keeps, and keeps the head), its head
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'sealed', ARGV[4], 'head', ARGV[5]) end
return 1

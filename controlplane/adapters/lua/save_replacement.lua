-- Writes how far a replacement is, if the job is the owner's, and prolongs that. Returns 1, or 0 when it is another's.
-- KEYS: job, records   ARGV: owner, TTL (ms), id, record
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
return 1

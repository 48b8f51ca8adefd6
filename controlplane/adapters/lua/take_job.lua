-- Makes somebody the one whose job goes on, or prolongs that. Returns 1, or 0 when it is another.
-- KEYS: job   ARGV: owner, TTL (ms)
local current = redis.call('GET', KEYS[1])
if current and current ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1

-- Claims an additional name for one life of an owner; returns '' on success, else what is in the way.
-- KEYS: domain of that name, claim of that name
-- ARGV: claim ('OWNER|UID|MILLISECONDS'), prefix 'OWNER|UID|', stale claim that may be replaced ('' for none)
if redis.call('EXISTS', KEYS[1]) == 1 then return 'domain' end
local current = redis.call('GET', KEYS[2])
if current and current ~= ARGV[3] and string.sub(current, 1, #ARGV[2]) ~= ARGV[2] then return current end
redis.call('SET', KEYS[2], ARGV[1])
return ''

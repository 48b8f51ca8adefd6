-- Gives an additional name back if it is still claimed by this life of its owner, and remembers that the name went with a deletion.
-- KEYS: claim, tombstone   ARGV: prefix 'OWNER|UID|', tombstone's TTL (ms; 0 for none)
local current = redis.call('GET', KEYS[1])
if not current or string.sub(current, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
if ARGV[2] ~= '0' then redis.call('SET', KEYS[2], 1, 'PX', ARGV[2]) end
return redis.call('DEL', KEYS[1])

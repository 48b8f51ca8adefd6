-- Gives an additional name back if it is still claimed by this owner.
-- KEYS: claim   ARGV: prefix 'OWNER|'
local current = redis.call('GET', KEYS[1])
if current and string.sub(current, 1, #ARGV[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0

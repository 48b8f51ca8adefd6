-- Replaces the spec that the caller read and makes the domain due at once, whatever a worker writes meanwhile.
-- KEYS: domain, due, sequence, changes
-- ARGV: own name, spec as read, new spec, now (ms), all names, stream length
local spec = redis.call('HGET', KEYS[1], 'spec')
if not spec then return 'missing' end
if spec ~= ARGV[2] then return 'conflict' end
redis.call('HSET', KEYS[1], 'spec', ARGV[3], 'wake', 1)
redis.call('HINCRBY', KEYS[1], 'revision', 1)
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
local number = redis.call('INCR', KEYS[3])
local entry = redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], '*', 'q', number, 'n', ARGV[1], 'a', ARGV[5], 'k', 'spec')
redis.call('PUBLISH', KEYS[4] .. '/spec', table.concat({entry, number, ARGV[1], ARGV[5], 'spec'}, '\n'))
return 'updated'

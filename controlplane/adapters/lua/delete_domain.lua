-- Deletes everything about a domain that the caller read, and remembers for a while that it was deleted.
-- KEYS: domain, names, expiry, lease, sequence, changes, tombstone, due sets
-- ARGV: own name, spec as read, revision that it must have ('' for any), all names, stream length, tombstone's TTL (ms)
local spec = redis.call('HGET', KEYS[1], 'spec')
if not spec then return 'missing' end
if spec ~= ARGV[2] then return 'conflict' end
if ARGV[3] ~= '' and redis.call('HGET', KEYS[1], 'revision') ~= ARGV[3] then return 'stale' end
redis.call('DEL', KEYS[1], KEYS[4])
unschedule(ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('SET', KEYS[7], 1, 'PX', ARGV[6])
local number = redis.call('INCR', KEYS[5])
local entry = redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[5], '*', 'q', number, 'n', ARGV[1], 'a', ARGV[4], 'k', 'deleted')
redis.call('PUBLISH', KEYS[6] .. '/deleted', table.concat({entry, number, ARGV[1], ARGV[4], 'deleted'}, '\n'))
return 'deleted'

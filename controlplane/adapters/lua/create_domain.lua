-- Creates a domain, due at once, unless its name is taken.
-- KEYS: domain, claim, names, sequence, changes, due sets
-- ARGV: own name, spec, status, lane, all names (comma separated), stream length, stale claim that may be removed
local claim = redis.call('GET', KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 1 then return 'exists' end
if claim then
  if ARGV[7] == '' or claim ~= ARGV[7] then return claim end
  redis.call('DEL', KEYS[2])
end
redis.call('HSET', KEYS[1], 'spec', ARGV[2], 'status', ARGV[3], 'revision', 1)
schedule(KEYS[1], ARGV[1], ARGV[4], now_ms())
redis.call('ZADD', KEYS[3], 0, ARGV[1])
local number = redis.call('INCR', KEYS[4])
local entry = redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[6], '*', 'q', number, 'n', ARGV[1], 'a', ARGV[5], 'k', 'spec')
redis.call('PUBLISH', KEYS[5] .. '/spec', table.concat({entry, number, ARGV[1], ARGV[5], 'spec'}, '\n'))
return 'created'

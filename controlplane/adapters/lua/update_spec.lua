-- Replaces the spec that the caller read and makes the domain due by a time, whatever a worker writes meanwhile; it never becomes due later.
-- KEYS: domain, sequence, changes, due sets
-- ARGV: own name, spec as read, new spec, due (ms; '' at once), lane, all names, stream length
local spec = redis.call('HGET', KEYS[1], 'spec')
if not spec then return 'missing' end
if spec ~= ARGV[2] then return 'conflict' end
redis.call('HSET', KEYS[1], 'spec', ARGV[3], 'wake', 1)
redis.call('HINCRBY', KEYS[1], 'revision', 1)
local due = tonumber(ARGV[4]) or now_ms()
schedule(KEYS[1], ARGV[1], ARGV[5], math.min(due, due_ms(ARGV[1]) or due))
local number = redis.call('INCR', KEYS[2])
local entry = redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], '*', 'q', number, 'n', ARGV[1], 'a', ARGV[6], 'k', 'spec')
redis.call('PUBLISH', KEYS[3] .. '/spec', table.concat({entry, number, ARGV[1], ARGV[6], 'spec'}, '\n'))
return 'updated'

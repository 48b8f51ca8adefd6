-- One fenced write of a worker: any of status, order, certificate, due time and expiry, with its change event. Returns 1; 0 when the lease
-- is another's, -1 when the domain is gone.
-- KEYS: domain, expiry, sequence, changes, due sets
-- ARGV: own name, fencing token, status ('' keeps), order ('' keeps, '-' removes), certificate ('' keeps), its head,
--       due (ms; '' keeps, '-' never), end of validity (ms; '' keeps), all names, event kind ('' none), stream length,
--       how the certificate's key is sealed, lane ('' keeps)
local fence = redis.call('HGET', KEYS[1], 'fence')
if fence ~= ARGV[2] then return redis.call('EXISTS', KEYS[1]) - 1 end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'status', ARGV[3]) end
if ARGV[4] == '-' then redis.call('HDEL', KEYS[1], 'order') elseif ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'order', ARGV[4]) end
if ARGV[5] ~= '' then
  local current = redis.call('HGET', KEYS[1], 'certificate')
  if current then redis.call('HSET', KEYS[1], 'previous', current) end
  redis.call('HSET', KEYS[1], 'certificate', ARGV[5], 'head', ARGV[6], 'sealed', ARGV[12])
end
if redis.call('HGET', KEYS[1], 'wake') then
  -- In the lane of whoever woke it: the worker does not know of it yet.
  schedule(KEYS[1], ARGV[1], lane_of(KEYS[1]), now_ms())
elseif ARGV[7] == '-' then unschedule(ARGV[1])
elseif ARGV[7] ~= '' then schedule(KEYS[1], ARGV[1], ARGV[13] ~= '' and ARGV[13] or lane_of(KEYS[1]), ARGV[7]) end
if ARGV[8] ~= '' then redis.call('ZADD', KEYS[2], ARGV[8], ARGV[1]) end
-- What is not told does not change the etag either.
if ARGV[3] ~= '' and ARGV[10] ~= '' then redis.call('HINCRBY', KEYS[1], 'revision', 1) end
if ARGV[10] ~= '' then
  local number = redis.call('INCR', KEYS[3])
  local entry = redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[11], '*', 'q', number, 'n', ARGV[1], 'a', ARGV[9], 'k', ARGV[10])
  redis.call('PUBLISH', KEYS[4] .. '/' .. ARGV[10], table.concat({entry, number, ARGV[1], ARGV[9], ARGV[10]}, '\n'))
end
return 1

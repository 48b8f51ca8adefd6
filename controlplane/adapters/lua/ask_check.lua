-- Lets a check wait, unless the same one waits, runs, or has just ended. Returns 1, or 0 when too many wait.
-- KEYS: waiting, check   ARGV: id, request, run, most waiting, lifetime, fresh, running (ms)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Microseconds, so that checks are taken in their order.
local score = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', score - tonumber(ARGV[5]) * 1000)
if redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('EXISTS', KEYS[2]) == 1 then
  return 1
end
local taken, done = unpack(redis.call('HMGET', KEYS[2], 'taken', 'done'))
taken, done = tonumber(taken or nil), tonumber(done or nil)
if done then
  if now - done < tonumber(ARGV[6]) then
    return 1
  end
elseif taken and now - taken < tonumber(ARGV[7]) then
  return 1
end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'request', ARGV[2], 'run', ARGV[3])
-- A little longer than it may wait, so that it is never taken without its request.
redis.call('PEXPIRE', KEYS[2], tonumber(ARGV[5]) + 1000)
redis.call('ZADD', KEYS[1], score, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1

-- Takes waiting checks, the longest waiting first, and notes that a worker is there. Returns {id, run, request, ...}.
-- KEYS: waiting, runner   ARGV: how many, lifetime, heard (ms), prefix of a check's key
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[2], now, 'PX', ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', (now - tonumber(ARGV[2])) * 1000)
local found = {}
if tonumber(ARGV[1]) > 0 then
  local popped = redis.call('ZPOPMIN', KEYS[1], ARGV[1])
  for i = 1, #popped, 2 do
    local key = ARGV[4] .. popped[i]
    local run, request = unpack(redis.call('HMGET', key, 'run', 'request'))
    if run and request then
      redis.call('HSET', key, 'taken', now)
      redis.call('PEXPIRE', key, ARGV[2])
      found[#found + 1] = popped[i]
      found[#found + 1] = run
      found[#found + 1] = request
    end
  end
end
return found

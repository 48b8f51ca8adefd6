-- Writes the result of a check, if it is still the same run.
-- KEYS: check   ARGV: run, result, lifetime (ms)
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'result', ARGV[2], 'done', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1

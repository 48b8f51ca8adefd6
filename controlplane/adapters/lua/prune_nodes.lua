-- Forgets nodes that were written before a time, and those written longest ago of more than so many. Returns their ids, some at a time.
-- KEYS: nodes, seen. ARGV: time (ms), how many nodes may stay, how many to forget at most.
local limit = tonumber(ARGV[3])
local forgotten = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[1], 'LIMIT', 0, limit)
local surplus = math.min(redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[2]), limit)
if surplus > #forgotten then
  forgotten = redis.call('ZRANGE', KEYS[2], 0, surplus - 1)
end
for _, id in ipairs(forgotten) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return forgotten

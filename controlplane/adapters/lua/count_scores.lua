-- Counts the members of many sorted sets up to each of two scores.
-- KEYS: sorted sets   ARGV: score, greater score
local first, second = 0, 0
for _, key in ipairs(KEYS) do
  first = first + redis.call('ZCOUNT', key, '-inf', ARGV[1])
  second = second + redis.call('ZCOUNT', key, '-inf', ARGV[2])
end
return {first, second}

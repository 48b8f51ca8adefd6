-- Returns members that are due and not leased, as {name, ms, index of the set, ...}.
-- KEYS: due of every shard   ARGV: now (ms), how many of each, then the lease prefix of every shard
local found, wanted = {}, tonumber(ARGV[2])
for index, key in ipairs(KEYS) do
  local ready = redis.call('ZRANGE', key, '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, wanted, 'WITHSCORES')
  for i = 1, #ready, 2 do
    if redis.call('EXISTS', ARGV[index + 2] .. ready[i]) == 0 then
      found[#found + 1] = ready[i]
      found[#found + 1] = ready[i + 1]
      found[#found + 1] = index - 1
    end
  end
end
return found

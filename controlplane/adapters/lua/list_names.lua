-- Returns up to a number of own names, going on behind a name.
-- KEYS: names of consecutive shards   ARGV: how many, name to go on behind in the first of them ('' for its start)
local found, wanted, from = {}, tonumber(ARGV[1]), '-'
if ARGV[2] ~= '' then from = '(' .. ARGV[2] end
for index, key in ipairs(KEYS) do
  if #found >= wanted then break end
  for _, name in ipairs(redis.call('ZRANGE', key, from, '+', 'BYLEX', 'LIMIT', 0, wanted - #found)) do
    found[#found + 1] = name
  end
  from = '-'
end
return found

-- Looks in some domains for one of which a field mentions a certificate's id. Returns the index of the shard, the last name looked at, and 1
-- when it is that one's, else 0; nothing when there was none left to look at.
-- KEYS: names of consecutive shards
-- ARGV: id, field, field to look in where that is missing, how many domains, name to go on behind in the first shard ('' for its start),
--       then what every domain's key of a shard starts with
local left, from = tonumber(ARGV[4]), '-'
if ARGV[5] ~= '' then from = '(' .. ARGV[5] end
for index, key in ipairs(KEYS) do
  local names = redis.call('ZRANGE', key, from, '+', 'BYLEX', 'LIMIT', 0, left)
  for _, name in ipairs(names) do
    -- A key of another type gives an error, which is no string.
    local value = redis.pcall('HGET', ARGV[index + 5] .. name, ARGV[2])
    if not value then value = redis.pcall('HGET', ARGV[index + 5] .. name, ARGV[3]) end
    if type(value) == 'string' and string.find(value, ARGV[1], 1, true) then return {index - 1, name, 1} end
  end
  left = left - #names
  if left <= 0 then return {index - 1, names[#names], 0} end
  from = '-'
end
return {}

-- Counts the domains of one shard by how their certificate's key is sealed. Returns pairs of value and count.
-- KEYS: names   ARGV: what every domain's key starts with
local counts = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local sealed = redis.call('HGET', ARGV[1] .. name, 'sealed')
  if sealed then counts[sealed] = (counts[sealed] or 0) + 1 end
end
local pairs_of = {}
for sealed, count in pairs(counts) do
  pairs_of[#pairs_of + 1] = sealed
  pairs_of[#pairs_of + 1] = count
end
return pairs_of

-- Returns the least score from a number up of many sorted sets with its member, or nothing.
-- KEYS: sorted sets   ARGV: least score that counts
local least, who = nil, nil
for _, key in ipairs(KEYS) do
  local first = redis.call('ZRANGE', key, ARGV[1], '1e15', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  if #first == 2 and (least == nil or tonumber(first[2]) < least) then least, who = tonumber(first[2]), first[1] end
end
if who == nil then return {} end
return {who, string.format('%.0f', least)}

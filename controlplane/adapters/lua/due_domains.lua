-- Returns the members that have been due the longest and are not leased: {next time that something is due (ms, '' when unknown),
-- name, ms, index of the set, ...}.
-- KEYS: due sets of one lane, one a shard   ARGV: now (ms), how many
if redis.call('EXISTS', unpack(KEYS)) == 0 then return {''} end
local now, wanted = tonumber(ARGV[1]), tonumber(ARGV[2])
local following, found = nil, {}
local function earlier(one, other) return one[1] < other[1] end

for index, key in ipairs(KEYS) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  local score = tonumber(first[2])
  if score and score <= now then found[#found + 1] = {score, first[1], index}
  elseif score and (following == nil or score < following) then following = score end
end
table.sort(found, earlier)
-- Nobody is wanted who is later than the last wanted of the first ones; behind each first one there may be some who are earlier.
local heads, latest = math.min(#found, wanted), now
if #found >= wanted then latest = found[wanted][1] end
for position = 1, heads do
  local index = found[position][3]
  local more = redis.call('ZRANGE', KEYS[index], '-inf', string.format('%.0f', latest), 'BYSCORE', 'LIMIT', 1, wanted - 1, 'WITHSCORES')
  for i = 1, #more, 2 do found[#found + 1] = {tonumber(more[i + 1]), more[i], index} end
end
table.sort(found, earlier)
local answer = {following and string.format('%.0f', following) or ''}
for _, entry in ipairs(found) do
  if #answer > 3 * wanted then break end
  local lease = string.match(KEYS[entry[3]], '^.-}:') .. 'lease:' .. entry[2]
  if redis.call('EXISTS', lease) == 0 then
    answer[#answer + 1] = entry[2]
    answer[#answer + 1] = string.format('%.0f', entry[1])
    answer[#answer + 1] = entry[3] - 1
  end
end
return answer

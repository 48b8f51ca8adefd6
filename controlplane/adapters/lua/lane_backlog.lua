-- Counts one lane: {members that are due, those due by a later time as well, earliest time (ms, '' for none)}.
-- KEYS: its due sets, one a shard   ARGV: now (ms), later time (ms)
if redis.call('EXISTS', unpack(KEYS)) == 0 then return {0, 0, ''} end
local due, soon, least = 0, 0, nil
for _, key in ipairs(KEYS) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  local score = tonumber(first[2])
  if score and score <= tonumber(ARGV[2]) then
    soon = soon + redis.call('ZCOUNT', key, '-inf', ARGV[2])
    if score <= tonumber(ARGV[1]) then due = due + redis.call('ZCOUNT', key, '-inf', ARGV[1]) end
  end
  if score and (least == nil or score < least) then least = score end
end
return {due, soon, least and string.format('%.0f', least) or ''}

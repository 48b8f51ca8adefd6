-- Moves domains of one shard that are due, and whose certificate ends before a time, to the lane of what is urgent. Returns how many.
-- KEYS: expiry, due sets   ARGV: what every domain's key starts with, now (ms), time (ms), how many to look at at most
local moved = 0
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], '(' .. ARGV[2], ARGV[3], 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
  local domain, due = ARGV[1] .. name, due_ms(name)
  if due and due <= tonumber(ARGV[2]) and redis.call('EXISTS', domain) == 1 then
    local lane = lane_of(domain)
    if lane == 'renewal' or lane == 'new' then
      schedule(domain, name, 'urgent', due)
      moved = moved + 1
    end
  end
end
return moved

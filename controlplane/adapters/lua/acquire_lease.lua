-- Takes the lease on a domain and hides it from the schedule while it lasts. Returns {fencing token, lane}, {} when it is not to be had.
-- The time is the store's: a worker whose clock is ahead must not hide a domain for longer than its lease.
-- KEYS: domain, lease, fence, due sets   ARGV: own name, owner, TTL (ms), time (ms) by which it must be due ('' for any)
if redis.call('EXISTS', KEYS[1]) == 0 then
  unschedule(ARGV[1])
  return {}
end
if redis.call('EXISTS', KEYS[2]) == 1 then return {} end
local now = now_ms()
if ARGV[4] ~= '' then
  -- Whoever read the schedule a while ago must not do again what another has done since.
  local due = due_ms(ARGV[1])
  if due == nil or due > math.max(tonumber(ARGV[4]), now) then return {} end
end
local lane = lane_of(KEYS[1])
local token = redis.call('INCR', KEYS[3])
redis.call('SET', KEYS[2], ARGV[2] .. ':' .. token, 'PX', ARGV[3])
redis.call('HSET', KEYS[1], 'fence', token)
schedule(KEYS[1], ARGV[1], lane, now + ARGV[3])
return {token, lane}

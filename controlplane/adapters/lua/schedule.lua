-- What the scripts share that write due times. Every one of them has the due sets of its shard as its last keys, in this order.
-- The lane of a domain is in its hash; none there means renewal, so that a domain at rest costs nothing for it.
local LANES = {'urgent', 'renewal', 'new', 'sick'}
local FIRST_DUE = #KEYS - #LANES

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function lane_of(domain)
  local lane = redis.call('HGET', domain, 'lane')
  for _, known in ipairs(LANES) do
    if lane == known then return lane end
  end
  return 'renewal'
end

-- Puts a domain into one lane, and takes it out of all others: a version that knows no lanes may have put it into another.
local function schedule(domain, name, lane, score)
  for index, each in ipairs(LANES) do
    if each == lane then redis.call('ZADD', KEYS[FIRST_DUE + index], score, name)
    else redis.call('ZREM', KEYS[FIRST_DUE + index], name) end
  end
  if lane == 'renewal' then redis.call('HDEL', domain, 'lane') else redis.call('HSET', domain, 'lane', lane) end
end

local function unschedule(name)
  for index = 1, #LANES do redis.call('ZREM', KEYS[FIRST_DUE + index], name) end
end

-- Returns when a domain is due (ms), nil when never.
local function due_ms(name)
  local least = nil
  for index = 1, #LANES do
    local score = tonumber(redis.call('ZSCORE', KEYS[FIRST_DUE + index], name) or nil)
    if score and (least == nil or score < least) then least = score end
  end
  return least
end


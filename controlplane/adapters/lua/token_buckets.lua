-- Token buckets: the twin of core/token_bucket.py, by the store's clock. All times are microseconds.
-- KEYS: buckets, each a string 'FULL_AT BLOCKED_UNTIL' that expires by itself once it says no more than its absence does
-- ARGV: what to do, the time ('': the store's), then for each bucket its capacity, its interval and two numbers:
--   take: tokens needed, most to take.  All or nothing. Returns {0, tokens of each}, or {the longest wait, its index from 1}
--   count: tokens used, 0.              Whatever is there. Returns {}
--   hold: empty for, blocked for.       0: not. Returns {}
--   read: 0, 0.                         Returns {now, full at and blocked until of each}
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local buckets = {}
for index, key in ipairs(KEYS) do
  local at, full, blocked = 4 * index - 1, 0, 0
  local kept = redis.call('GET', key)
  if kept then
    local first, second = string.match(kept, '^(%d+) (%d+)$')
    full, blocked = tonumber(first) or 0, tonumber(second) or 0
    -- Not a time that we have written, and beyond what these numbers hold exactly.
    if math.max(full, blocked) > 2^53 then full, blocked = 0, 0 end
  end
  buckets[index] = {
    key = key, full = full, blocked = blocked, capacity = tonumber(ARGV[at]), interval = tonumber(ARGV[at + 1]),
    first = tonumber(ARGV[at + 2]), second = tonumber(ARGV[at + 3]),
  }
end

local function save(bucket)
  local last = math.max(bucket.full, bucket.blocked)
  if last <= now then
    redis.call('DEL', bucket.key)
  else
    local value = string.format('%.0f %.0f', bucket.full, bucket.blocked)
    redis.call('SET', bucket.key, value, 'PXAT', string.format('%.0f', math.ceil(last / 1000)))
  end
end

local function use(bucket, tokens)
  local empty = math.max(bucket.full, now + bucket.capacity * bucket.interval)
  bucket.full = math.min(math.max(math.max(bucket.full, now) + tokens * bucket.interval, now), empty)
  save(bucket)
end

local answer = {}
if ARGV[1] == 'take' then
  local longest, slowest = 0, 0
  for index, bucket in ipairs(buckets) do
    local needed = bucket.blocked - now
    if bucket.first > 0 then
      needed = math.max(needed, math.max(bucket.full, now) + (bucket.first - bucket.capacity) * bucket.interval - now)
    end
    if needed > longest then longest, slowest = needed, index end
  end
  answer[1] = longest
  if slowest > 0 then
    answer[2] = slowest
  else
    for index, bucket in ipairs(buckets) do
      local free = math.max(0, now + bucket.capacity * bucket.interval - math.max(bucket.full, now))
      local tokens = math.min(bucket.second, (free - math.fmod(free, bucket.interval)) / bucket.interval)
      if tokens > 0 then use(bucket, tokens) end
      answer[index + 1] = tokens
    end
  end
elseif ARGV[1] == 'count' then
  for _, bucket in ipairs(buckets) do use(bucket, bucket.first) end
elseif ARGV[1] == 'hold' then
  for _, bucket in ipairs(buckets) do
    if bucket.first > 0 then bucket.full = math.max(bucket.full, now + bucket.first + (bucket.capacity - 1) * bucket.interval) end
    if bucket.second > 0 then bucket.blocked = math.max(bucket.blocked, now + bucket.second) end
    save(bucket)
  end
else
  answer[1] = now
  for index, bucket in ipairs(buckets) do
    answer[2 * index] = bucket.full
    answer[2 * index + 1] = bucket.blocked
  end
end
return answer

-- reap: end what nobody else will end, and trim what the retention no longer keeps.
-- ARGV: limit, dedup ms, ledger total, ledger age ms. Returns {id, flat run} for each ended run.
hear()
local limit, dedup = tonumber(ARGV[1]), tonumber(ARGV[2])
-- More is trimmed than is ended in one act: runs end by themselves all the time.
local TRIMMED = 5
local ended = {}

local function end_all(index, verdict)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key(index), '-inf', now, 'LIMIT', 0, limit)) do
    local run = load_run(id)
    if run then
      local state, reason, memory = verdict(run)
      finish(id, run, state, reason, memory, 0)
      ended[#ended + 1] = { id, redis.call('HGETALL', key('run:' .. id)) }
    else
      redis.call('ZREM', key(index), id)
    end
  end
end

end_all('live', function(run) return 'lost', run.state == 'retrying' and 'retry_lost' or 'process_lost', dedup end)
end_all('queued', function(run)
  local deadline = tonumber(run.deadline)
  if deadline and deadline <= now then return 'expired', 'past_deadline', dedup end
  -- No done memory: its message may still turn up, and then it may begin.
  return 'expired', 'queue', 0
end)

local old = redis.call('ZRANGEBYSCORE', key('ended'), '-inf', now - tonumber(ARGV[4]), 'LIMIT', 0, TRIMMED * limit)
local excess = redis.call('ZCARD', key('ended')) - tonumber(ARGV[3])
if excess > #old then old = redis.call('ZRANGE', key('ended'), 0, math.min(excess, TRIMMED * limit) - 1) end
for _, id in ipairs(old) do
  local job = redis.call('HGET', key('run:' .. id), 'job')
  if job then redis.call('LREM', key('ledger:' .. job), -1, id) end
  forget(id)
end
return ended

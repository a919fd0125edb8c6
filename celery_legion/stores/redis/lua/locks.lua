-- locks: the locks that are held; with ARGV[2] = "release" they are freed in the same act, and those that nobody holds
-- forgotten. Reading writes nothing: a server that takes no writes, as one without its replicas, can still be looked at.
-- ARGV: name ("" = all), "read" or "release". Returns {name, {{id, job, state, worker, ms left}, …}} for each.
local names = { ARGV[1] }
if ARGV[1] == '' then names = redis.call('SMEMBERS', key('locks')) end
local answer = {}
for _, name in ipairs(names) do
  local held = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('lock:' .. name), '(' .. now, '+inf')) do
    local run = redis.call('HMGET', key('run:' .. id), 'job', 'state', 'worker')
    local till = redis.call('ZSCORE', key('lock:' .. name), id)
    -- A run that goes on does not take back what was cleared.
    if ARGV[2] == 'release' and (run[2] == 'running' or run[2] == 'retrying') then redis.call('HSET', key('run:' .. id), 'freed', 1) end
    held[#held + 1] = { id, run[1] or '', run[2] or '', run[3] or '', till - now }
  end
  if #held > 0 then answer[#answer + 1] = { name, held } end
  if ARGV[2] == 'release' then
    redis.call('DEL', key('lock:' .. name))
    redis.call('SREM', key('locks'), name)
  end
end
return answer

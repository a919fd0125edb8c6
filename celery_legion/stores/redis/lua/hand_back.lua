-- hand_back: let go of a worker's begun runs that can be delivered again, and forget the worker.
-- ARGV: worker. Returns their ids.
hear()
local worker = ARGV[1]
local ids = {}
for _, id in ipairs(redis.call('ZRANGE', key('live'), 0, -1)) do
  local run = redis.call('HMGET', key('run:' .. id), 'worker', 'state', 'late', 'accepted', 'attempt', 'ttl', 'visibility', 'deadline', 'lock', 'queue',
    'retries', 'jumps')
  if run[1] == worker and run[2] == 'running' then
    if run[3] == '1' then
      redis.call('HSET', key('run:' .. id), 'lease', now, 'accepted', 0, 'asker', '')
      redis.call('ZADD', key('live'), now + (whole(run[7]) or 0), id)
      ids[#ids + 1] = id
    elseif run[4] ~= '1' then
      redis.call('HSET', key('run:' .. id), 'state', 'sent', 'lease', now, 'attempt', (whole(run[5]) or 1) - 1, 'asker', '', 'token', 0)
      redis.call('ZREM', key('live'), id)
      local ttl = whole(run[6]) or 0
      local over = now + ttl
      local deadline = tonumber(run[8])
      if deadline and deadline < over then over = deadline end
      redis.call('ZADD', key('queued'), over, id)
      -- The message of a retry is not kept.
      if run[11] == '0' then expect(id, { queue = run[10], jumps = run[12] }) end
      if run[9] and redis.call('ZSCORE', key('lock:' .. run[9]), id) then hold(run[9], id, now + ttl) end
      ids[#ids + 1] = id
    end
  end
end
local info = redis.call('HGET', key('worker'), worker)
if info then
  local read, data = pcall(cjson.decode, info)
  local queues = read and type(data) == 'table' and type(data.queues) == 'table' and data.queues or {}
  for _, queue in ipairs(queues) do redis.call('ZREM', key('queue:' .. tostring(queue)), worker) end
end
redis.call('ZREM', key('workers'), worker)
redis.call('HDEL', key('worker'), worker)
return ids

-- hand_back: let go of a worker's begun runs that can be delivered again, and forget the worker.
-- ARGV: worker. Returns their ids.
local worker = ARGV[1]
local ids = {}
for _, id in ipairs(redis.call('ZRANGE', key('live'), 0, -1)) do
  local run = redis.call('HMGET', key('run:' .. id), 'worker', 'state', 'late', 'accepted', 'attempt', 'ttl', 'visibility', 'deadline', 'lock')
  if run[1] == worker and run[2] == 'running' then
    if run[3] == '1' then
      redis.call('HSET', key('run:' .. id), 'lease', now, 'accepted', 0, 'asker', '')
      redis.call('ZADD', key('live'), now + tonumber(run[7]), id)
      ids[#ids + 1] = id
    elseif run[4] ~= '1' then
      redis.call('HSET', key('run:' .. id), 'state', 'sent', 'lease', now, 'attempt', tonumber(run[5]) - 1, 'asker', '', 'token', 0)
      redis.call('ZREM', key('live'), id)
      local over = now + tonumber(run[6])
      local deadline = tonumber(run[8])
      if deadline and deadline < over then over = deadline end
      redis.call('ZADD', key('queued'), over, id)
      if redis.call('ZSCORE', key('lock:' .. run[9]), id) then hold(run[9], id, now + tonumber(run[6])) end
      ids[#ids + 1] = id
    end
  end
end
local info = redis.call('HGET', key('worker'), worker)
if info then
  for _, queue in ipairs(cjson.decode(info).queues) do redis.call('ZREM', key('queue:' .. queue), worker) end
end
redis.call('ZREM', key('workers'), worker)
redis.call('HDEL', key('worker'), worker)
return ids

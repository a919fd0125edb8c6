-- hand_back: let go of a worker's begun runs that can be delivered again, and forget the worker.
-- ARGV: worker, its process ("" = whichever), whether runs are named (0/1), then id, token for each. Returns their ids.
hear()
local worker, pid = ARGV[1], ARGV[2]
local ids, named = {}, nil
if ARGV[3] == '1' then
  named = {}
  for i = 4, #ARGV, 2 do named[ARGV[i]] = ARGV[i + 1] end
end
for _, id in ipairs(redis.call('ZRANGE', key('live'), 0, -1)) do
  local run = redis.call('HMGET', key('run:' .. id), 'worker', 'state', 'late', 'accepted', 'attempt', 'ttl', 'visibility', 'deadline', 'lock', 'queue',
    'retries', 'jumps', 'token')
  if run[1] == worker and run[2] == 'running' and (not named or named[id] == run[13]) then
    if run[3] == '1' then
      redis.call('HSET', key('run:' .. id), 'lease', now, 'accepted', 0, 'asker', '')
      -- It waits in its queue now, as one that has not begun.
      redis.call('ZADD', key('live'), now + math.max(whole(run[7]) or 0, whole(run[6]) or 0), id)
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
local read, data
if info then
  read, data = pcall(cjson.decode, info)
  -- Another process goes on under its name.
  if pid ~= '' and read and type(data) == 'table' and data.pid and tostring(data.pid) ~= pid then return ids end
  local queues = read and type(data) == 'table' and type(data.queues) == 'table' and data.queues or {}
  for _, queue in ipairs(queues) do redis.call('ZREM', key('queue:' .. tostring(queue)), worker) end
end
redis.call('ZREM', key('workers'), worker)
redis.call('HDEL', key('worker'), worker)
return ids

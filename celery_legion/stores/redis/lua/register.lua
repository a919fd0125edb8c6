-- register: a worker that knows legion, with its queues, under a lease.
-- ARGV: worker, lease ms, info as JSON, for how many ms it has waited for messages in vain (0 = not), then its queues
hear()
local worker, till, idle = ARGV[1], now + tonumber(ARGV[2]), tonumber(ARGV[4])
redis.call('ZADD', key('workers'), till, worker)
redis.call('HSET', key('worker'), worker, ARGV[3])
for i = 5, #ARGV do
  redis.call('ZREMRANGEBYSCORE', key('queue:' .. ARGV[i]), '-inf', now)
  redis.call('ZADD', key('queue:' .. ARGV[i]), till, worker)
  redis.call('SADD', key('queues'), ARGV[i])
  if idle > 0 then
    note_gone(key('waiting:' .. ARGV[i]), now - idle)
    note_gone(key('jumping:' .. ARGV[i]), now - idle)
  end
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '-inf', now)) do
  redis.call('ZREM', key('workers'), gone)
  redis.call('HDEL', key('worker'), gone)
end
return 1

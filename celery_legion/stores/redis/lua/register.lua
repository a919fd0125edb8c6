-- register: a worker that knows legion, with its queues, under a lease.
-- ARGV: worker, lease ms, info as JSON, then its queues
local worker, till = ARGV[1], now + tonumber(ARGV[2])
redis.call('ZADD', key('workers'), till, worker)
redis.call('HSET', key('worker'), worker, ARGV[3])
for i = 4, #ARGV do
  redis.call('ZREMRANGEBYSCORE', key('queue:' .. ARGV[i]), '-inf', now)
  redis.call('ZADD', key('queue:' .. ARGV[i]), till, worker)
  redis.call('SADD', key('queues'), ARGV[i])
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '-inf', now)) do
  redis.call('ZREM', key('workers'), gone)
  redis.call('HDEL', key('worker'), gone)
end
return 1

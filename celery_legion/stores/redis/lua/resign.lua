-- resign: give up the lead if it is the owner's, and wake the standbys.
-- ARGV: owner. Returns 1 or 0.
redis.call('ZREM', key('schedulers'), ARGV[1])
redis.call('HDEL', key('scheduler'), ARGV[1])
if redis.call('HGET', key('lead'), 'owner') ~= ARGV[1] then return 0 end
redis.call('DEL', key('lead'))
redis.call('PUBLISH', key('wake'), 'resigned')
return 1

-- refuse: an interruption cannot be carried out.
-- ARGV: id, token, why. Returns 1 or 0.
hear()
local run = redis.call('HMGET', key('run:' .. ARGV[1]), 'token', 'stop', 'refused')
if run[1] ~= ARGV[2] then return 0 end
if not run[2] then return run[3] == ARGV[3] and 1 or 0 end
redis.call('HDEL', key('run:' .. ARGV[1]), 'stop')
redis.call('HSET', key('run:' .. ARGV[1]), 'refused', ARGV[3])
return 1

-- get: one run's record. ARGV: id. Returns the flat run, empty if unknown.
return redis.call('HGETALL', key('run:' .. ARGV[1]))

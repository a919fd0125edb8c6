-- put: store a job's definition. ARGV: name, definition. Returns the new version.
redis.call('HSET', key('jobs'), ARGV[1], ARGV[2])
return bump(ARGV[1])

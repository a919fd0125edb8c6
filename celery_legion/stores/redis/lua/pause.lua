-- pause: pause a job or all. ARGV: name, pause as JSON. Returns the new version.
redis.call('HSET', key('pauses'), ARGV[1], ARGV[2])
return bump(ARGV[1])

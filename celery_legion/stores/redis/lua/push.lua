-- push: put a request into the inbox and wake the scheduler. ARGV: request
redis.call('LPUSH', key('inbox'), ARGV[1])
redis.call('PUBLISH', key('wake'), 'push')
return 1

-- asides: the newest requests that were put aside. ARGV: limit. Returns each as JSON.
return redis.call('LRANGE', key('aside'), 0, tonumber(ARGV[1]) - 1)

-- definitions: all stored definitions, flat.
return redis.call('HGETALL', key('jobs'))

-- drop: remove a stored definition. ARGV: name. Returns 1 or 0.
if redis.call('HDEL', key('jobs'), ARGV[1]) == 0 then return 0 end
bump(ARGV[1])
return 1

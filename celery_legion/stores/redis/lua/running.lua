-- running: the runs that have begun and not ended. Returns {id, flat run} for each.
local answer = {}
for _, id in ipairs(redis.call('ZRANGE', key('live'), 0, -1)) do
  answer[#answer + 1] = { id, redis.call('HGETALL', key('run:' .. id)) }
end
return answer

-- workers: those whose lease runs. Returns {name, JSON, ms left} for each.
local answer = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '(' .. now, '+inf')) do
  answer[#answer + 1] = { name, redis.call('HGET', key('worker'), name) or '{}', redis.call('ZSCORE', key('workers'), name) - now }
end
return answer

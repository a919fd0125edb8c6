-- schedulers: those whose lease runs. Returns {owner, JSON, ms left, epoch or 0} for each.
local lead = redis.call('HMGET', key('lead'), 'owner', 'epoch')
local answer = {}
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', key('schedulers'), '(' .. now, '+inf')) do
  local leads = lead[1] == owner
  local left = leads and redis.call('PTTL', key('lead')) or redis.call('ZSCORE', key('schedulers'), owner) - now
  answer[#answer + 1] = { owner, redis.call('HGET', key('scheduler'), owner) or '{}', left, leads and lead[2] or 0 }
end
return answer

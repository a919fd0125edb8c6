-- unsent: claimed runs not confirmed for longer than an age, oldest first.
-- ARGV: age ms, limit. Returns for each {id, job, kind, fire, claimed, msg, queue, deadline}
local answer = {}
local ids = redis.call('ZRANGEBYSCORE', key('unsent'), '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(ids) do
  local run = redis.call('HMGET', key('run:' .. id), 'job', 'kind', 'fire', 'claimed', 'msg', 'queue', 'deadline')
  if run[1] then
    answer[#answer + 1] = { id, run[1], run[2], run[3], run[4], run[5] or '', run[6] or '', run[7] or '' }
  else
    redis.call('ZREM', key('unsent'), id)
  end
end
return answer

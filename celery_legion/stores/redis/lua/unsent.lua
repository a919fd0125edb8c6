-- unsent: what is to be sent again: claimed runs not confirmed for longer than an age, oldest first, then sent runs whose
-- message is missing for longer than a span, the longest missing first. Each of those is told of once a span: whoever
-- does not send it again leaves the turn to others.
-- ARGV: age ms, limit, missing ms ("" = none of those)
-- Returns for each {id, job, kind, fire, claimed, msg, queue, deadline, lost (0/1)}
hear()
local limit, span = tonumber(ARGV[2]), tonumber(ARGV[3])
local answer = {}

local function read(index, till, lost)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key(index), '-inf', till, 'LIMIT', 0, limit - #answer)) do
    local run = redis.call('HMGET', key('run:' .. id), 'job', 'kind', 'fire', 'claimed', 'msg', 'queue', 'deadline', 'spare')
    if run[1] then
      answer[#answer + 1] = { id, run[1], run[2], run[3], run[4], run[5] or '', run[6] or '', run[7] or '', lost }
      -- Each time it is sent again it gets twice the time: the guess may be wrong.
      if lost == 1 then
        redis.call('HSET', key('run:' .. id), 'again', 2 * (whole(run[8]) or 0) + span)
        redis.call('ZADD', key('missing'), now, id)
      end
    else
      redis.call('ZREM', key(index), id)
    end
  end
end

read('unsent', now - tonumber(ARGV[1]), 0)
if span and #answer < limit then read('missing', now - span, 1) end
return answer

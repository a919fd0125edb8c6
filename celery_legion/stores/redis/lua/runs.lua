-- runs: the newest records of one job, or of the jobs with the newest records.
-- ARGV: job ("" = all), limit. Returns {job, item} with item a lapse as JSON or {id, flat run}.
local limit = tonumber(ARGV[2])
local jobs = { ARGV[1] }
if ARGV[1] == '' then jobs = redis.call('ZREVRANGE', key('recent'), 0, limit - 1) end
local answer = {}
for _, job in ipairs(jobs) do
  for _, item in ipairs(redis.call('LRANGE', key('ledger:' .. job), 0, limit - 1)) do
    if string.byte(item) == 123 then
      answer[#answer + 1] = { job, item }
    else
      local run = redis.call('HGETALL', key('run:' .. item))
      if #run > 0 then answer[#answer + 1] = { job, { item, run } } end
    end
  end
end
return answer

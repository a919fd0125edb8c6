-- runs: the newest records of one job, or of some of the jobs with the newest records.
-- ARGV: job ("" = all), limit, number of jobs to pass over, number of jobs to read
-- Returns {time of the newest record of the next job or "", rows}, each row {job, item} with item a lapse as JSON or
-- {id, flat run}.
local limit, over, count = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local jobs = { ARGV[1] }
local following = {}
if ARGV[1] == '' then
  jobs = redis.call('ZREVRANGE', key('recent'), over, over + count - 1)
  following = redis.call('ZREVRANGE', key('recent'), over + count, over + count, 'WITHSCORES')
end
local rows = {}
for _, job in ipairs(jobs) do
  for _, item in ipairs(redis.call('LRANGE', key('ledger:' .. job), 0, limit - 1)) do
    if string.byte(item) == 123 then
      rows[#rows + 1] = { job, item }
    else
      local run = redis.call('HGETALL', key('run:' .. item))
      if #run > 0 then rows[#rows + 1] = { job, { item, run } } end
    end
  end
end
return { following[2] or '', rows }

-- progress: keep the tail of what a run has written so far.
-- ARGV: id, token, output, outputs kept a job, bytes of output kept in all. Returns 1 or 0.
local id = ARGV[1]
local run = load_run(id)
if not run or run.state ~= 'running' or run.left == '1' or run.token ~= ARGV[2] or ARGV[3] == '' then return 0 end
keep_output(id, run.job, false, ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))
if redis.call('HEXISTS', key('run:' .. id), 'output') == 1 then redis.call('HSET', key('run:' .. id), 'partial', 1) end
return 1

-- end: end a run; the first call wins.
-- ARGV: id, token, state, reason, started ms, ended ms, pid, exit code, error, hook error, output, dying ms, dedup ms,
--   who runs the hooks, for how many ms, outputs kept a job, bytes of output kept in all ("" = not given)
-- Returns 1 or 0.
hear()
local id = ARGV[1]
local run = load_run(id)
if not run or not is_open(run.state, run.reason) then return 0 end
local began = run.state == 'running' or run.state == 'retrying'
if began and run.token ~= ARGV[2] then return 0 end
if not began and ARGV[2] ~= '0' then return 0 end
local names = { 'started', 'ended', 'pid', 'exit', 'error', 'hook_error' }
for i = 1, #names do
  if ARGV[4 + i] ~= '' then
    redis.call('HSET', key('run:' .. id), names[i], ARGV[4 + i])
    run[names[i]] = ARGV[4 + i]
  end
end
if ARGV[3] == 'sent' then redis.call('HSETNX', key('run:' .. id), 'sent', now) end
if ARGV[11] ~= '' then
  run.output, run.partial = ARGV[11], nil
  keep_output(id, run.job, ARGV[3] ~= 'succeeded', ARGV[11], tonumber(ARGV[16]), tonumber(ARGV[17]))
end
finish(id, run, ARGV[3], ARGV[4], tonumber(ARGV[13]), tonumber(ARGV[12]), ARGV[14], tonumber(ARGV[15]))
if ARGV[3] == 'succeeded' then
  local last = whole(redis.call('HGET', key('wins'), run.job)) or 0
  if (whole(run.fire) or 0) > last then redis.call('HSET', key('wins'), run.job, run.fire) end
end
return 1

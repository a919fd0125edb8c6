-- leave: nothing of a run is executed any more.
-- ARGV: id, token, exit code, output, outputs kept a job, bytes of output kept in all ("" = not given). Returns 1 or 0.
hear()
local id = ARGV[1]
local run = load_run(id)
if not run or run.token ~= ARGV[2] then return 0 end
redis.call('HSET', key('run:' .. id), 'left', 1)
if ARGV[3] ~= '' then redis.call('HSETNX', key('run:' .. id), 'exit', ARGV[3]) end
if ARGV[4] ~= '' and (not run.output or run.partial == '1') then
  keep_output(id, run.job, not OPEN[run.state] and run.state ~= 'succeeded', ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]))
end
if not is_open(run.state, run.reason) then redis.call('ZREM', key('lock:' .. run.lock), id) end
return 1

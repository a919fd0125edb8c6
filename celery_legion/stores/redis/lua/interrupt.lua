-- interrupt: ask for the end of a run, and hurry its worker.
-- ARGV: id, signal, grace ms, dedup ms. Returns the run as a flat list, empty if it is unknown.
local id = ARGV[1]
local run = load_run(id)
if run and is_open(run.state, run.reason) then
  if run.state == 'running' then
    redis.call('HSET', key('run:' .. id), 'stop', ARGV[2] .. '|' .. ARGV[3])
    redis.call('HDEL', key('run:' .. id), 'refused')
    -- Without a right to the channel it is told at its next renewal.
    redis.pcall('PUBLISH', key('hurry'), run.worker or '')
  else
    finish(id, run, 'interrupted', 'revoked', tonumber(ARGV[4]), 0)
  end
end
return redis.call('HGETALL', key('run:' .. id))

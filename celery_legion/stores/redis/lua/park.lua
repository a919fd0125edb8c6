-- park: hold a run and its lock for a retry.
-- ARGV: id, token, until ms, retries, dedup ms. Returns 1 or 0.
hear()
local id = ARGV[1]
local run = load_run(id)
if not run or run.state ~= 'running' or run.token ~= ARGV[2] then
  -- A repeated call finds the run as it left it.
  return run and run.state == 'retrying' and run.token == ARGV[2] and run.retries == ARGV[4] and 1 or 0
end
if run.stop then
  finish(id, run, 'interrupted', 'terminated', tonumber(ARGV[5]), 0)
  return 1
end
local till = tonumber(ARGV[3]) + tonumber(run.term or run.ttl)
redis.call('HSET', key('run:' .. id), 'state', 'retrying', 'lease', till, 'retries', ARGV[4], 'accepted', 0, 'retry', ARGV[3])
-- The retry's message is another one.
redis.call('HDEL', key('run:' .. id), 'msg')
if tonumber(run.limit) > 0 and run.freed ~= '1' then hold(run.lock, id, till) end
-- No grace: it may begin even after it was given up.
redis.call('ZADD', key('live'), till, id)
return 1

-- renew: extend the leases of runs that a worker answers for.
-- ARGV: worker, lease ms, dedup ms, then id, token, accepted (0/1), pid ("" = not known) for each.
-- Returns "ok", "lost" or "interrupt" for each.
hear()
local worker, lease, dedup = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local function renew_begun(id, run, accepted, pid)
  -- One whose lock was cleared goes on without.
  local locked = tonumber(run.limit) > 0 and run.freed ~= '1'
  if locked and not admit(id, run, dedup) then return 'lost' end
  local till = now + lease
  if run.lease and tonumber(run.lease) > till then till = tonumber(run.lease) end
  if locked then hold(run.lock, id, till) end
  redis.call('HSET', key('run:' .. id), 'lease', till, 'revived', 0)
  if accepted and run.state == 'running' then redis.call('HSET', key('run:' .. id), 'accepted', 1) end
  if pid ~= '' then redis.call('HSET', key('run:' .. id), 'pid', pid) end
  redis.call('ZADD', key('live'), till + (run.state == 'running' and run.late == '1' and tonumber(run.visibility) or 0), id)
  return run.stop and run.state == 'running' and 'interrupt' or 'ok'
end

local function renew_queued(id, run, gone)
  -- Its message has come to a worker, and is acknowledged: nobody shall wait for it in the queue.
  if gone then
    expect_no_more(id, run)
    return 'ok'
  end
  local till = ready(run) + tonumber(run.ttl)
  if tonumber(run.limit) > 0 and redis.call('ZSCORE', key('lock:' .. run.lock), id) then hold(run.lock, id, till) end
  if run.state == 'sent' then
    local deadline = tonumber(run.deadline)
    if deadline and deadline < till then till = deadline end
    redis.call('ZADD', key('queued'), till, id)
    expect(id, run)
  end
  return 'ok'
end

local answers = {}
for i = 4, #ARGV, 4 do
  local id, token = ARGV[i], ARGV[i + 1]
  local run = load_run(id)
  local answer = 'lost'
  if run then
    if token == '0' then
      if (run.state == 'claimed' or run.state == 'sent') and is_open(run.state, run.reason) then
        answer = renew_queued(id, run, ARGV[i + 2] == '1')
      elseif run.state == 'retrying' then
        answer = renew_begun(id, run, false, '')
      end
    elseif run.token == token and (run.state == 'running' or run.state == 'retrying') then
      answer = renew_begun(id, run, ARGV[i + 2] == '1', ARGV[i + 3])
    end
  end
  answers[#answers + 1] = answer
end
return answers

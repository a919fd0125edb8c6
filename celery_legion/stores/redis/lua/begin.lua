-- begin: say whether a message may run now.
-- ARGV: id, job, fire ms, kind, worker, retries, late (0/1), lock, limit, lock ttl ms, lease ms,
--   visibility ms, asker, dedup ms, owed endings with commas between, known (0/1)
-- Returns {answer, token, attempt, wait ms, fire of the previous success or ""}
hear()
local id, job, fire, kind, worker = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local retries, late, lock, limit = tonumber(ARGV[6]), ARGV[7] == '1', ARGV[8], ARGV[9]
local ttl, lease, visibility, asker, dedup = ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13], tonumber(ARGV[14])

local function wait(span) return { 'wait', 0, 0, math.max(100, math.min(1000, math.ceil(span))), '' } end
local function success() return redis.call('HGET', key('wins'), job) or '' end

local run = load_run(id)
if not run then
  if redis.call('EXISTS', key('done:' .. id)) == 1 then return { 'duplicate', 0, 0, 0, '' } end
  if ARGV[16] == '1' then return { 'refused', 0, 0, 0, '' } end
  if kind == 'scheduled' then
    local mark = read_mark(job)
    local forgotten = whole(redis.call('HGET', key('forgotten'), job))
    if not mark or fire > mark.fire then
      -- What was sent before it may be as unknown, and still come.
      move_mark(job, ARGV[3], '', 'run', '')
      redis.call('HSET', key('forgotten'), job, ARGV[3])
    elseif not forgotten or fire > forgotten then
      return { 'superseded', 0, 0, 0, '' }
    end
  end
  run = { job = job, kind = kind, fire = ARGV[3], state = 'sent', lock = lock, limit = limit, ttl = ttl, attempt = 0, token = 0,
    owes = ARGV[15], claimed = now }
  redis.call('HSET', key('run:' .. id), 'job', job, 'kind', kind, 'fire', ARGV[3], 'state', 'sent', 'lock', lock,
    'limit', limit, 'ttl', ttl, 'claimed', now, 'attempt', 0, 'token', 0, 'owes', ARGV[15])
  redis.call('LPUSH', key('ledger:' .. job), id)
  touch(job)
elseif run.job ~= job then
  return { 'refused', 0, 0, 0, '' }
end

-- One may still go on whose message was given up, a retry's or an unacknowledged one, and turns up after all.
local given_up = run.state == 'lost' and (run.reason == 'retry_lost' or (run.reason == 'process_lost' and run.late == '1'))
local began = run.state == 'running' or run.state == 'retrying' or given_up
local left = (tonumber(run.lease) or 0) - now
if run.state == 'running' and left > 0 then
  if retries == tonumber(run.retries) then
    if asker == run.asker then
      local till = math.max(now + lease, tonumber(run.lease))
      if tonumber(run.limit) > 0 and run.freed ~= '1' then hold(run.lock, id, till) end
      redis.call('HSET', key('run:' .. id), 'lease', till)
      redis.call('ZADD', key('live'), till + (late and visibility or 0), id)
      return { 'go', tonumber(run.token), tonumber(run.attempt), 0, success() }
    end
    if run.accepted == '1' and run.late ~= '1' then return { 'duplicate', 0, 0, 0, '' } end
  end
  return wait(left)
elseif run.state == 'retrying' or given_up then
  if retries < tonumber(run.retries) then return { 'duplicate', 0, 0, 0, '' } end
  if retries > tonumber(run.retries) and left > 0 and not given_up then return wait(left) end
elseif not is_open(run.state, run.reason) and not (run.state == 'expired' and run.reason == 'queue')
  and not (run.state == 'skipped' and run.reason == 'not_sent') then
  return { 'duplicate', 0, 0, 0, '' }
end

if run.stop then
  finish(id, run, 'interrupted', 'terminated', dedup, 0)
  return { 'duplicate', 0, 0, 0, '' }
end

if not admit(id, run, dedup) then
  if not given_up then finish(id, run, began and 'lost' or 'skipped', 'superseded', dedup, 0) end
  return { 'superseded', 0, 0, 0, '' }
end

-- Not below the clock: a store that has lost its counter must not issue numbers that a guarded resource has seen.
local token = math.max(count_up('token'), now)
redis.call('SET', key('token'), token)
local attempt = tonumber(run.attempt) + 1
if tonumber(run.limit) > 0 then hold(run.lock, id, now + lease) end
redis.call('HSET', key('run:' .. id), 'state', 'running', 'token', token, 'attempt', attempt, 'worker', worker,
  'retries', retries, 'late', late and 1 or 0, 'visibility', visibility, 'lease', now + lease, 'term', lease, 'accepted', 0, 'asker', asker, 'revived', 0,
  'left', 0, 'previous', success())
redis.call('HSETNX', key('run:' .. id), 'started', now)
-- Why nothing was sent is true no more.
if run.state == 'skipped' then redis.call('HDEL', key('run:' .. id), 'error') end
redis.call('HDEL', key('run:' .. id), 'again', 'reason', 'ended', 'refused', 'pid', 'exit', 'freed', 'retry')
drop_output(id)
redis.call('ZREM', key('unsent'), id)
redis.call('ZREM', key('queued'), id)
expect_no_more(id, run)
-- A queue is first in, first out: what was sent before this run was claimed has left it, by one and the same clock.
local waiting = lane(run.queue, run.jumps)
if not began and waiting and run.jumps ~= '1' then
  local claimed = whole(run.claimed)
  if claimed and claimed <= now then note_gone(waiting, claimed) end
end
redis.call('ZREM', key('ended'), id)
redis.call('ZADD', key('live'), now + lease + (late and visibility or 0), id)
return { 'go', token, attempt, 0, success() }

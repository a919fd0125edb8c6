-- What every verb's script begins with: key names, the store's clock, and the
-- acts that several verbs share. KEYS[1] is the prefix under one hash tag,
-- "{legion:shop}:"; every key of the app lies under it:
--
--   lead                hash    the leader: owner, epoch, app, print, host, pid, place, done (expires with its lease)
--   epoch, token        int     counters of take-overs and of begun attempts
--   schedulers          zset    owner -> lease end; scheduler: hash owner -> JSON
--   marks               hash    job -> "fire ms|owner|verdict|holder" of the last accounted fire
--   notes               hash    job -> "fire ms|what the claim of that fire has noted" for its trigger
--   sights              hash    job -> "anchor ms|trigger's fingerprint"
--   forgotten           hash    job -> fire ms up to which there may be runs that this store has never heard of, or lost
--   run:<id>            hash    one run
--   ledger:<job>        list    newest first: a run's id, or a lapse as JSON
--   recent              zset    job -> time of its newest record
--   ended               zset    id of an ended run -> when; done:<id> string, the done memory
--   lock:<name>         zset    run id -> lease end; locks: set of names that may be held
--   unsent              zset    id of a claimed run -> when
--   queued              zset    id of a sent run -> when its queue time is over
--   waiting:<queue>     zset    id of a sent run -> when its message was last sent, or shown by a worker that holds it, or when
--                               its countdown is over, whichever is last
--   jumping:<queue>     zset    the same, of messages with a priority of their own: their queue is no queue to them
--   missing             zset    id of a sent run -> since when its message is known to have left its queue unseen (a run
--                               that was sent again has a longer time of grace, "spare", added to it)
--   live                zset    id of a begun run -> when it is lost
--   wins                hash    job -> fire time of its last success
--   owed                zset    id of a debt of hooks -> when it is due; debt:<id>: hash of one debt
--   outputs             zset    id of a run with output -> when; output_bytes: int, the size of all
--   outputs:<job>       list    ids of a job's runs with output, newest first; failures: hash job -> the last failed one
--   inbox               list    pushes, oldest last: each its id, a unit separator and its body, or as another program put it
--   aside               list    pushes that could not be handled, newest first: each a JSON list of ms, id, body, why
--   pushes              int     counter of pushes that came without an id
--   version             int     of the schedule; changed: zset job -> version; jobs, pauses: hash job -> JSON
--   heard               int     when a scheduler or worker was last heard of
--   workers             zset    worker -> lease end; worker: hash worker -> JSON
--   queue:<name>        zset    worker -> lease end; queues: set of names ever registered
local base = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local OPEN = { claimed = true, sent = true, running = true, retrying = true }

-- Whether anything may still follow; an unwatched run is over once it is sent.
local function is_open(state, reason)
  return OPEN[state] and reason ~= 'unwatched'
end

local function key(name) return base .. name end

-- The whole number that a field holds, nil if it holds none that fits.
local function whole(text)
  return text and #text <= 15 and string.match(text, '^%-?%d+$') and tonumber(text) or nil
end

-- Count up. A counter that is no number begins anew at the clock, above whatever anybody has seen of it.
local function count_up(name)
  local count = redis.pcall('INCR', key(name))
  if type(count) == 'number' and count < 2 ^ 53 then return count end
  redis.call('SET', key(name), now)
  return now
end

-- A run, or nil. What it lacks, or is no number where one must be, harms no other that the same act is about.
local MUST = { limit = '1', ttl = '3600000', attempt = '0', token = '0', retries = '0', lease = false, visibility = false,
  term = false }
local function load_run(id)
  local flat = redis.call('HGETALL', key('run:' .. id))
  if #flat == 0 then return nil end
  local run = { job = '', lock = '' }
  for i = 1, #flat, 2 do run[flat[i]] = flat[i + 1] end
  for name, value in pairs(MUST) do
    if not whole(run[name]) then run[name] = value or nil end
  end
  return run
end

-- Runs that hold a lock now, the one whose lease ends first in front.
local function holders(name)
  redis.call('ZREMRANGEBYSCORE', key('lock:' .. name), '-inf', now)
  return redis.call('ZRANGE', key('lock:' .. name), 0, -1)
end

local function hold(name, id, till)
  redis.call('ZADD', key('lock:' .. name), till, id)
  local last = whole(redis.call('ZRANGE', key('lock:' .. name), -1, -1, 'WITHSCORES')[2])
  if last then redis.call('PEXPIREAT', key('lock:' .. name), last) end
  redis.call('SADD', key('locks'), name)
end

local function contains(list, item)
  for i = 1, #list do if list[i] == item then return true end end
  return false
end

-- A mark is moved with who moved it and what the verdict was, so that a repeated claim gets the same answer.
local function move_mark(job, fire, owner, verdict, holder)
  redis.call('HSET', key('marks'), job, fire .. '|' .. owner .. '|' .. verdict .. '|' .. (holder or ''))
end

local function read_mark(job)
  local text = redis.call('HGET', key('marks'), job)
  if not text then return nil end
  local fire, owner, verdict, holder = string.match(text, '^(%-?%d+)|(.-)|(%a[%a_]*)|(.*)$')
  -- One that cannot be read, or that no calendar reaches, is none: the leader tells it anew.
  if not fire or #fire > 14 then return nil end
  return { fire = tonumber(fire), owner = owner, verdict = verdict, holder = holder }
end

local function touch(job)
  redis.call('ZADD', key('recent'), now, job)
end

local function owes(list, state)
  return list and string.find(',' .. list .. ',', ',' .. state .. ',', 1, true) ~= nil
end

-- Owe hooks for an ending, which `record` (JSON) describes: due at once, or when the process that runs them itself
-- has had its lease.
local function owe(id, job, record, by, lease)
  if by == '' then lease = 0 end
  local due = now + lease
  redis.call('HSET', key('debt:' .. id), 'job', job, 'record', record, 'sends', 0, 'by', by, 'till', due, 'since', now, 'takes', by == '' and 0 or 1)
  redis.call('ZADD', key('owed'), due, id)
  if lease == 0 then redis.call('PUBLISH', key('wake'), 'owed') end
end

local function note_hook_error(id, text)
  if id and redis.call('EXISTS', key('run:' .. id)) == 1 then
    local before = redis.call('HGET', key('run:' .. id), 'hook_error')
    redis.call('HSET', key('run:' .. id), 'hook_error', before and before ~= '' and before .. '; ' .. text or text)
  end
end

local function forgive(debt)
  redis.call('ZREM', key('owed'), debt)
  redis.call('DEL', key('debt:' .. debt))
end

-- Write fires that become no run; consecutive ones of one state and reason are one record. Each writing owes hooks.
local function write_lapse(job, kind, state, reason, first, last, count, owner, owing, id)
  if owes(owing, state) then
    local lapse = { kind = kind, state = state, reason = reason, first = first, last = last, count = count, at = now,
      since = now, scheduler = owner }
    owe('lapse:' .. (id or job .. ':' .. first) .. ':' .. state .. ':' .. reason, job, cjson.encode(lapse), '', 0)
  end
  local ledger = key('ledger:' .. job)
  local head = redis.call('LINDEX', ledger, 0)
  if head and string.byte(head) == 123 then
    local read, record = pcall(cjson.decode, head)
    if read and record.state == state and record.reason == reason and record.kind == kind and tonumber(record.count)
      and tonumber(record.last) then
      record.count = record.count + count
      if last > record.last then record.last = last end
      record.at = now
      redis.call('LSET', ledger, 0, cjson.encode(record))
      touch(job)
      return
    end
  end
  redis.call('LPUSH', ledger, cjson.encode({
    kind = kind, state = state, reason = reason, first = first, last = last,
    count = count, at = now, since = now, scheduler = owner,
  }))
  touch(job)
end

-- Add to the size of all outputs, and return it. One that is no number is counted anew.
local function weigh(bytes)
  local total = redis.pcall('INCRBY', key('output_bytes'), bytes)
  if type(total) == 'number' then return total end
  total = 0
  for _, id in ipairs(redis.call('ZRANGE', key('outputs'), 0, -1)) do
    total = total + redis.call('HSTRLEN', key('run:' .. id), 'output')
  end
  redis.call('SET', key('output_bytes'), total)
  return total
end

local function drop_output(id)
  redis.call('HDEL', key('run:' .. id), 'partial')
  local size = redis.call('HSTRLEN', key('run:' .. id), 'output')
  if size == 0 then return end
  local job = redis.call('HGET', key('run:' .. id), 'job') or ''
  if redis.call('HGET', key('failures'), job) == id then redis.call('HDEL', key('failures'), job) end
  redis.call('LREM', key('outputs:' .. job), 0, id)
  redis.call('HDEL', key('run:' .. id), 'output')
  redis.call('ZREM', key('outputs'), id)
  weigh(-size)
end

-- Keep what a run wrote, and of its job's others the newest and the last failure's, as long as all fit in.
local function keep_output(id, job, failed, output, kept, total)
  drop_output(id)
  redis.call('HSET', key('run:' .. id), 'output', output)
  redis.call('ZADD', key('outputs'), now, id)
  weigh(#output)
  local list = key('outputs:' .. job)
  redis.call('LREM', list, 0, id)
  redis.call('LPUSH', list, id)
  if failed then redis.call('HSET', key('failures'), job, id) end
  local spared = redis.call('HGET', key('failures'), job)
  for _, old in ipairs(redis.call('LRANGE', list, kept, -1)) do
    if old ~= spared then drop_output(old) end
  end
  while weigh(0) > total do
    local oldest = redis.call('ZRANGE', key('outputs'), 0, 0)[1]
    if not oldest then break end
    drop_output(oldest)
    redis.call('ZREM', key('outputs'), oldest)
  end
end

local function forget(id)
  drop_output(id)
  redis.call('DEL', key('run:' .. id))
  redis.call('ZREM', key('ended'), id)
end

-- Keep a job's ledger to its size, from the tail, as long as the tail is over.
local function trim(job, size)
  local ledger = key('ledger:' .. job)
  while redis.call('LLEN', ledger) > size do
    local tail = redis.call('LINDEX', ledger, -1)
    if string.byte(tail) ~= 123 then
      local run = redis.call('HMGET', key('run:' .. tail), 'state', 'reason')
      if run[1] and is_open(run[1], run[2]) then return end
      forget(tail)
    end
    redis.call('RPOP', ledger)
  end
end

-- Where a sent run waits, or nil where its queue is not known.
local function lane(queue, jumps)
  if not queue or queue == '' then return nil end
  return key((jumps == '1' and 'jumping:' or 'waiting:') .. queue)
end

-- From when on a run's message can begin: now, or when its countdown is over.
local function ready(run)
  return math.max(now, whole(run.eta) or 0)
end

-- Expect a sent run's message: it is on its way, or a worker has just shown that it holds it. Until its countdown is over
-- a broker may keep it where no worker sees it.
local function expect(id, run)
  local waiting = lane(run.queue, run.jumps)
  if not waiting then return end
  redis.call('ZREM', key('missing'), id)
  redis.call('ZADD', waiting, ready(run), id)
end

local function expect_no_more(id, run)
  redis.call('ZREM', key('missing'), id)
  local waiting = lane(run.queue, run.jumps)
  if waiting then redis.call('ZREM', waiting, id) end
end

-- Most messages that one act notes as gone; the next act goes on.
local GONE = 500

-- Note that what waited before a moment has left its queue: from now on a run among it is missing, until it begins
-- or a worker shows its message.
local function note_gone(waiting, before)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', '(' .. before, 'LIMIT', 0, GONE)) do
    redis.call('ZREM', waiting, id)
    redis.call('ZADD', key('missing'), now + (whole(redis.call('HGET', key('run:' .. id), 'spare')) or 0), id)
  end
end

-- Bring a run to its end: every index forgets it, the ledger's record says how, the lock is let go
-- (or kept until `dying` more milliseconds have passed, while its process may not be dead yet), and its hooks are owed:
-- to `by` for `lease` ms, who runs them itself, or to anyone.
local function finish(id, run, state, reason, dedup, dying, by, lease)
  run.state, run.reason, run.ended = state, reason or '', run.ended or now
  if state ~= 'succeeded' and redis.call('HEXISTS', key('run:' .. id), 'output') == 1 then redis.call('HSET', key('failures'), run.job, id) end
  redis.call('HSET', key('run:' .. id), 'state', state, 'reason', run.reason, 'ended', run.ended)
  redis.call('HDEL', key('run:' .. id), 'msg', 'stop', 'spare', 'again')
  redis.call('ZREM', key('unsent'), id)
  redis.call('ZREM', key('queued'), id)
  expect_no_more(id, run)
  redis.call('ZREM', key('live'), id)
  redis.call('ZADD', key('ended'), now, id)
  if dedup > 0 then redis.call('SET', key('done:' .. id), state, 'PX', dedup) end
  if owes(run.owes, state) then
    run.id, run.msg = id, nil
    owe(id .. ':' .. (run.token or '0'), run.job, cjson.encode(run), by or '', lease or 0)
  end
  if run.left == '1' then dying = 0 end
  if redis.call('ZSCORE', key('lock:' .. run.lock), id) then
    if dying > 0 then
      hold(run.lock, id, now + dying)
    else
      redis.call('ZREM', key('lock:' .. run.lock), id)
    end
  end
end

-- Whether a run may hold its lock as a begun one: it holds it, it is free, or a holder that has not begun gives way.
local function admit(id, run, dedup)
  if tonumber(run.limit) == 0 then return true end
  local held = holders(run.lock)
  if contains(held, id) or #held < tonumber(run.limit) then return true end
  for i = 1, #held do
    local other = load_run(held[i])
    if not other then
      redis.call('ZREM', key('lock:' .. run.lock), held[i])
      return true
    end
    if (other.state == 'claimed' or other.state == 'sent') and is_open(other.state, other.reason) then
      finish(held[i], other, 'skipped', 'superseded', dedup, 0)
      return true
    end
  end
  return false
end

-- The clock was set back: leases would last as much longer, and what waits would wait. A retry or a countdown waits for
-- a moment, and a deadline is one; those stay.
local function set_back(span)
  local left = redis.call('PTTL', key('lead'))
  if left > 0 then redis.call('PEXPIRE', key('lead'), math.max(1, left - span)) end
  for _, index in ipairs({ 'unsent', 'missing', 'owed', 'schedulers', 'workers' }) do
    for _, id in ipairs(redis.call('ZRANGE', key(index), 0, -1)) do redis.call('ZINCRBY', key(index), -span, id) end
  end
  for _, queue in ipairs(redis.call('SMEMBERS', key('queues'))) do
    local serving = key('queue:' .. queue)
    for _, worker in ipairs(redis.call('ZRANGE', serving, 0, -1)) do redis.call('ZINCRBY', serving, -span, worker) end
  end
  for _, id in ipairs(redis.call('ZRANGE', key('owed'), 0, -1)) do
    local till = whole(redis.call('HGET', key('debt:' .. id), 'till'))
    if till then redis.call('HSET', key('debt:' .. id), 'till', till - span) end
  end
  for _, id in ipairs(redis.call('ZRANGE', key('queued'), 0, -1)) do
    local run = redis.call('HMGET', key('run:' .. id), 'deadline', 'queue', 'jumps', 'eta')
    local early = (whole(run[4]) or 0) > now + span
    if not early and redis.call('ZSCORE', key('queued'), id) ~= run[1] then redis.call('ZINCRBY', key('queued'), -span, id) end
    local waiting = lane(run[2], run[3])
    if waiting and not early and redis.call('ZSCORE', waiting, id) then redis.call('ZINCRBY', waiting, -span, id) end
  end
  for _, id in ipairs(redis.call('ZRANGE', key('live'), 0, -1)) do
    local run = redis.call('HMGET', key('run:' .. id), 'state', 'lease')
    if run[1] == 'running' and whole(run[2]) then
      redis.call('HSET', key('run:' .. id), 'lease', tonumber(run[2]) - span)
      redis.call('ZINCRBY', key('live'), -span, id)
    end
  end
  for _, name in ipairs(redis.call('SMEMBERS', key('locks'))) do
    for _, id in ipairs(redis.call('ZRANGE', key('lock:' .. name), 0, -1)) do
      local till = whole(redis.call('ZSCORE', key('lock:' .. name), id))
      local run = redis.call('HMGET', key('run:' .. id), 'state', 'eta')
      if till and run[1] ~= 'retrying' and (whole(run[2]) or 0) <= now + span then hold(name, id, till - span) end
    end
  end
end

-- When nobody has been heard of for a while, the store was away (or nobody was there), or its clock was set ahead:
-- workers could not renew, so leases that ended meanwhile say nothing. Each such run gets what was left of its lease
-- when someone was last heard of, and at least one more moment to be renewed in, once between two renewals, before
-- anyone may claim its job or call it lost. Every verb that judges leases, or writes when something is due, begins with
-- this: what it writes must not be set back as if it were old.
local SILENCE, MOMENT = 3000, 10000
local BACK, MOST = 1000, 10 * 365 * 86400000

local function hear()
  local heard = whole(redis.call('GET', key('heard'))) or now
  redis.call('SET', key('heard'), now)
  -- No clock was set back by years: it cannot be read.
  if heard - now > MOST then return end
  if heard - now > BACK then return set_back(heard - now) end
  if now - heard < SILENCE then return end
  -- Nor could they show what they hold.
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('missing'), '-inf', now)) do
    redis.call('ZADD', key('missing'), now, id)
  end
  for _, id in ipairs(redis.call('ZRANGE', key('live'), 0, -1)) do
    local run = redis.call('HMGET', key('run:' .. id), 'lease', 'late', 'visibility', 'lock', 'limit', 'revived', 'state',
      'freed')
    local lease = whole(run[1]) or 0
    if run[7] and run[6] ~= '1' and lease > heard and lease < now + MOMENT then
      local till = now + math.max(MOMENT, lease - heard)
      redis.call('HSET', key('run:' .. id), 'lease', till, 'revived', 1)
      redis.call('ZADD', key('live'), till + (run[7] == 'running' and run[2] == '1' and whole(run[3]) or 0), id)
      if run[4] and (whole(run[5]) or 0) > 0 and run[8] ~= '1' then hold(run[4], id, till) end
    end
  end
end

local function bump(name)
  local version = count_up('version')
  redis.call('ZADD', key('changed'), version, name)
  redis.call('PUBLISH', key('wake'), name)
  return version
end

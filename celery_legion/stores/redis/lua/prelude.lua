-- What every verb's script begins with: key names, the store's clock, and the
-- acts that several verbs share. KEYS[1] is the prefix under one hash tag,
-- "{legion:shop}:"; every key of the app lies under it:
--
--   lead                hash    the leader: owner, epoch, app, print, host, pid (expires with its lease)
--   epoch, token        int     counters of take-overs and of begun attempts
--   schedulers          zset    owner -> lease end; scheduler: hash owner -> JSON
--   marks               hash    job -> "fire ms|owner|verdict|holder" of the last accounted fire
--   sights              hash    job -> "anchor ms|trigger's fingerprint"
--   run:<id>            hash    one run
--   ledger:<job>        list    newest first: a run's id, or a lapse as JSON
--   recent              zset    job -> time of its newest record
--   ended               zset    id of an ended run -> when; done:<id> string, the done memory
--   lock:<name>         zset    run id -> lease end; locks: set of names that may be held
--   unsent              zset    id of a claimed run -> when
--   queued              zset    id of a sent run -> when its queue time is over
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

local function load_run(id)
  local flat = redis.call('HGETALL', key('run:' .. id))
  if #flat == 0 then return nil end
  local run = {}
  for i = 1, #flat, 2 do run[flat[i]] = flat[i + 1] end
  return run
end

-- Runs that hold a lock now, the one whose lease ends first in front.
local function holders(name)
  redis.call('ZREMRANGEBYSCORE', key('lock:' .. name), '-inf', now)
  return redis.call('ZRANGE', key('lock:' .. name), 0, -1)
end

local function hold(name, id, till)
  redis.call('ZADD', key('lock:' .. name), till, id)
  local last = redis.call('ZRANGE', key('lock:' .. name), -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', key('lock:' .. name), last[2])
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
    local record = cjson.decode(head)
    if record.state == state and record.reason == reason and record.kind == kind then
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

local function drop_output(id)
  redis.call('HDEL', key('run:' .. id), 'partial')
  local size = redis.call('HSTRLEN', key('run:' .. id), 'output')
  if size == 0 then return end
  local job = redis.call('HGET', key('run:' .. id), 'job')
  if redis.call('HGET', key('failures'), job) == id then redis.call('HDEL', key('failures'), job) end
  redis.call('LREM', key('outputs:' .. job), 0, id)
  redis.call('HDEL', key('run:' .. id), 'output')
  redis.call('DECRBY', key('output_bytes'), size)
  redis.call('ZREM', key('outputs'), id)
end

-- Keep what a run wrote, and of its job's others the newest and the last failure's, as long as all fit in.
local function keep_output(id, job, failed, output, kept, total)
  drop_output(id)
  redis.call('HSET', key('run:' .. id), 'output', output)
  redis.call('INCRBY', key('output_bytes'), #output)
  redis.call('ZADD', key('outputs'), now, id)
  local list = key('outputs:' .. job)
  redis.call('LREM', list, 0, id)
  redis.call('LPUSH', list, id)
  if failed then redis.call('HSET', key('failures'), job, id) end
  local spared = redis.call('HGET', key('failures'), job)
  for _, old in ipairs(redis.call('LRANGE', list, kept, -1)) do
    if old ~= spared then drop_output(old) end
  end
  while tonumber(redis.call('GET', key('output_bytes'))) > total do
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

-- Bring a run to its end: every index forgets it, the ledger's record says how, the lock is let go
-- (or kept until `dying` more milliseconds have passed, while its process may not be dead yet), and its hooks are owed:
-- to `by` for `lease` ms, who runs them itself, or to anyone.
local function finish(id, run, state, reason, dedup, dying, by, lease)
  run.state, run.reason, run.ended = state, reason or '', run.ended or now
  if state ~= 'succeeded' and redis.call('HEXISTS', key('run:' .. id), 'output') == 1 then redis.call('HSET', key('failures'), run.job, id) end
  redis.call('HSET', key('run:' .. id), 'state', state, 'reason', run.reason, 'ended', run.ended)
  redis.call('HDEL', key('run:' .. id), 'msg', 'stop')
  redis.call('ZREM', key('unsent'), id)
  redis.call('ZREM', key('queued'), id)
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

-- When nobody has been heard of for a while, the store was away (or nobody was there): workers could not renew, so
-- leases that ended meanwhile say nothing. Each such run gets one more moment to be renewed in, once between two
-- renewals, before anyone may claim its job or call it lost. Every verb that judges leases begins with this.
local SILENCE, MOMENT = 3000, 10000

local function hear()
  local heard = tonumber(redis.call('GET', key('heard')) or now)
  redis.call('SET', key('heard'), now)
  if now - heard < SILENCE then return end
  for _, id in ipairs(redis.call('ZRANGE', key('live'), 0, -1)) do
    local run = redis.call('HMGET', key('run:' .. id), 'lease', 'late', 'visibility', 'lock', 'limit', 'revived', 'state',
      'freed')
    local lease = tonumber(run[1] or 0)
    if run[7] and run[6] ~= '1' and lease > heard and lease < now + MOMENT then
      redis.call('HSET', key('run:' .. id), 'lease', now + MOMENT, 'revived', 1)
      redis.call('ZADD', key('live'), now + MOMENT + (run[2] == '1' and tonumber(run[3]) or 0), id)
      if tonumber(run[5]) > 0 and run[8] ~= '1' then hold(run[4], id, now + MOMENT) end
    end
  end
end

-- A text as a client can read it: bytes that are no UTF-8 make every byte beyond ASCII a question mark.
local function readable(text)
  if not string.find(text, '[\128-\255]') then return text end
  -- Longer forms than needed, and halves of surrogate pairs.
  local wrong = string.find(text, '\224[\128-\159]') or string.find(text, '\237[\160-\191]')
    or string.find(text, '\240[\128-\143]') or string.find(text, '\244[\144-\191]')
  local rest = string.gsub(text, '[\194-\223][\128-\191]', '.')
  rest = string.gsub(rest, '[\224-\239][\128-\191][\128-\191]', '.')
  rest = string.gsub(rest, '[\240-\244][\128-\191][\128-\191][\128-\191]', '.')
  if not wrong and not string.find(rest, '[\128-\255]') then return text end
  return (string.gsub(text, '[\128-\255]', '?'))
end

-- What lies in the inbox of other programs' pushes is not bounded, and this server is not only ours: one that is longer
-- than any push may be is put aside unread, a reading ends after so many bytes, and a search after so many requests.
local LONGEST, READING, TOGETHER, SEARCH = 1100000, 2000000, 100, 1000
local ASIDES, BODY = 100, 8000

-- Keep a request that was taken out of the inbox, with the reason.
local function keep_aside(id, body, why)
  local last = BODY
  -- Cut between two characters.
  while #body > last and string.find(body, '^[\128-\191]', last + 1) do last = last - 1 end
  redis.call('LPUSH', key('aside'), cjson.encode({ string.format('%.0f', now), id, string.sub(body, 1, last), why }))
  redis.call('LTRIM', key('aside'), 0, ASIDES - 1)
end

-- A request in the form of an id, a unit separator and the body. One that lies there as another program has put it gets its id in front: the one in
-- its JSON if that can be one, else a new one, so that it stays the same however often it is read.
local function identified(text)
  local given = string.match(text, '^([%w._:-]+)\31')
  if given and #given <= 128 then return text end
  local read, data = pcall(cjson.decode, text)
  local id = read and type(data) == 'table' and data.id
  if type(id) ~= 'string' or #id > 128 or not string.match(id, '^[%w._:-]+$') then
    local hex = redis.sha1hex(base .. now .. ' ' .. redis.call('INCR', key('pushes')) .. text)
    id = string.format('%s-%s-%s-%s-%s', hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20), hex:sub(21, 32))
  end
  return id .. '\31' .. text
end

-- The oldest requests in the inbox, oldest first.
local function read_inbox(limit)
  local requests, bytes, last = {}, 0, 0
  while #requests < limit and bytes < (#requests > 0 and READING or 10 * READING) do
    local raw = redis.call('LINDEX', key('inbox'), last - 1)
    if not raw then break end
    if #raw > LONGEST then
      -- Not taken out by its content, which would be compared with each.
      redis.call('LSET', key('inbox'), last - 1, 'gone')
      redis.call('LREM', key('inbox'), -1, 'gone')
      local text = identified(readable(string.sub(raw, 1, BODY)))
      local id, body = string.match(text, '^([^\31]+)\31(.*)$')
      keep_aside(id, body or '', 'it has ' .. #raw .. ' bytes, which is too long; send a reference to the data')
      bytes = bytes + #raw
    else
      local text = identified(readable(raw))
      if text ~= raw then redis.call('LSET', key('inbox'), last - 1, text) end
      requests[#requests + 1] = text
      bytes, last = bytes + #text, last - 1
    end
  end
  return requests
end

-- Take requests out of the inbox by their ids; returns a list of {id, body}. Those that have been read are its oldest.
local function take_requests(ids)
  local wanted, left, found, at, bytes = {}, 0, {}, -1, 0
  for _, id in ipairs(ids) do
    if not wanted[id] then wanted[id], left = true, left + 1 end
  end
  -- When all are found, as far as they may have been read together: the same id may lie there twice.
  while at >= -(left > 0 and SEARCH or TOGETHER) and (left > 0 or bytes < READING) do
    local text = redis.call('LINDEX', key('inbox'), at)
    if not text then break end
    bytes = bytes + #text
    local id = string.match(text, '^([%w._:-]+)\31')
    if id and wanted[id] then
      redis.call('LSET', key('inbox'), at, 'gone')
      redis.call('LREM', key('inbox'), -1, 'gone')
      found[#found + 1] = { id, string.sub(text, #id + 2) }
      if wanted[id] == true then wanted[id], left = 'found', left - 1 end
    else
      at = at - 1
    end
  end
  return found
end

local function bump(name)
  local version = redis.call('INCR', key('version'))
  redis.call('ZADD', key('changed'), version, name)
  redis.call('PUBLISH', key('wake'), name)
  return version
end

-- claim: give each fire to exactly one scheduler, in one act for all.
-- ARGV: owner, epoch ("" = one-shot), lead ttl ms, ledger size, then for each claim
--   job, fire ms, mark ms ("" = any), run id ("" = none), kind, lapses as JSON ("" = none),
--   lock, limit, lock ttl ms, message, deadline ms ("" = none), queue, watched (0/1), owed endings with commas between,
--   jumps its queue (0/1), when its countdown is over in ms ("" = at once), note for the mark
-- Returns for each {verdict, mark ms or "", holder}
hear()
local owner, epoch, size = ARGV[1], ARGV[2], tonumber(ARGV[4])
local FIELDS = 17
local REFUSED = 86400000 -- a day, as the done memory's least
local answers = {}

if epoch ~= '' then
  local lead = redis.call('HMGET', key('lead'), 'owner', 'epoch')
  if lead[1] ~= owner or lead[2] ~= epoch then
    for i = 5, #ARGV, FIELDS do
      local mark = read_mark(ARGV[i])
      answers[#answers + 1] = { 'deposed', mark and mark.fire or '', '' }
    end
    return answers
  end
  redis.call('PEXPIRE', key('lead'), tonumber(ARGV[3]))
  redis.call('ZADD', key('schedulers'), now + tonumber(ARGV[3]), owner)
end

-- Whether a lock's holder waits in a queue that no worker who knows legion consumes.
local function unattended(id)
  local run = redis.call('HMGET', key('run:' .. id), 'state', 'queue')
  if run[1] ~= 'sent' or not run[2] or run[2] == '' then return false end
  return redis.call('ZCOUNT', key('queue:' .. run[2]), '(' .. now, '+inf') == 0
end

-- The holder that took the lock first; a lock is ordered by its leases' ends.
local function first_of(held)
  local first, since = held[1], nil
  if #held == 1 then return first end
  for _, id in ipairs(held) do
    local claimed = whole(redis.call('HGET', key('run:' .. id), 'claimed')) or now
    if not since or claimed < since then first, since = id, claimed end
  end
  return first
end

for i = 5, #ARGV, FIELDS do
  local job, fire, expected, id, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local lapses, lock, limit, ttl = ARGV[i + 5], ARGV[i + 6], tonumber(ARGV[i + 7]), tonumber(ARGV[i + 8])
  local pushed = expected == ''
  local mark = read_mark(job)
  local answer

  if pushed then
    local known = redis.call('HMGET', key('run:' .. id), 'state', 'scheduler')
    if known[1] then
      answer = { known[1] == 'claimed' and known[2] == owner and 'run' or 'known', mark and mark.fire or '', '' }
    else
      local done = redis.call('GET', key('done:' .. id))
      if done then
        local verdict, asker, holder = string.match(done, '^([%w_]+)|(.*)|(.*)$')
        local again = verdict and asker == owner
        answer = { again and verdict or 'known', mark and mark.fire or '', again and holder or '' }
      end
    end
  elseif not mark then
    answer = { 'stale', '', '' }
  elseif mark.fire ~= tonumber(expected) then
    if mark.fire == tonumber(fire) and mark.owner == owner and mark.verdict ~= 'sight' then
      answer = { mark.verdict, mark.fire, mark.holder }
    else
      answer = { 'stale', mark.fire, '' }
    end
  end

  if not answer then
    if lapses ~= '' then
      for _, lapse in ipairs(cjson.decode(lapses)) do
        write_lapse(job, kind, lapse[1], lapse[2], lapse[3], lapse[4], lapse[5], owner, ARGV[i + 13])
      end
    end
    local verdict, holder = 'lapsed', ''
    if id ~= '' then
      verdict = 'run'
      if limit > 0 then
        local held = holders(lock)
        if #held >= limit and not contains(held, id) then
          holder = first_of(held)
          verdict = unattended(holder) and 'no_worker' or 'overlap'
        end
      end
      if verdict == 'run' then
        if limit > 0 then hold(lock, id, ready({ eta = ARGV[i + 15] }) + ttl) end
        redis.call('HSET', key('run:' .. id), 'job', job, 'kind', kind, 'fire', fire, 'state', 'claimed', 'lock', lock,
          'limit', limit, 'ttl', ttl, 'queue', ARGV[i + 11], 'deadline', ARGV[i + 10], 'msg', ARGV[i + 9],
          'claimed', now, 'scheduler', owner, 'attempt', 0, 'token', 0, 'watched', ARGV[i + 12], 'owes', ARGV[i + 13],
          'previous', redis.call('HGET', key('wins'), job) or '')
        if ARGV[i + 14] == '1' then redis.call('HSET', key('run:' .. id), 'jumps', 1) end
        if ARGV[i + 15] ~= '' then redis.call('HSET', key('run:' .. id), 'eta', ARGV[i + 15]) end
        redis.call('ZADD', key('unsent'), now, id)
        redis.call('LPUSH', key('ledger:' .. job), id)
        touch(job)
      else
        write_lapse(job, kind, 'skipped', verdict, tonumber(fire), tonumber(fire), 1, owner, ARGV[i + 13], id)
        -- A push that came to nothing is accounted for: whoever claims it again has read it before it was acknowledged.
        if pushed then redis.call('SET', key('done:' .. id), verdict .. '|' .. owner .. '|' .. holder, 'PX', REFUSED) end
      end
    end
    trim(job, size)
    if pushed then
      answer = { verdict, mark and mark.fire or '', holder }
    else
      move_mark(job, fire, owner, verdict, holder)
      if ARGV[i + 16] == '' then
        redis.call('HDEL', key('notes'), job)
      else
        redis.call('HSET', key('notes'), job, fire .. '|' .. ARGV[i + 16])
      end
      answer = { verdict, fire, holder }
    end
  end
  answers[#answers + 1] = answer
end
return answers

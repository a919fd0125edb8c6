-- sent: the broker has these runs' messages.
-- ARGV: dedup ms, how many of the ids (the first) have messages in another queue than the claim said, ids
hear()
for i = 3, #ARGV do
  local id = ARGV[i]
  local run = load_run(id)
  redis.call('ZREM', key('unsent'), id)
  if run then
    redis.call('HSETNX', key('run:' .. id), 'sent', now)
    if i - 2 <= tonumber(ARGV[2]) and (run.state == 'claimed' or run.state == 'sent') then
      expect_no_more(id, run)
      run.queue = ''
      redis.call('HSET', key('run:' .. id), 'queue', '')
    end
    if run.state == 'claimed' and run.watched == '0' then
      finish(id, run, 'sent', 'unwatched', tonumber(ARGV[1]), 0)
    elseif run.state == 'claimed' then
      local over = ready(run) + tonumber(run.ttl)
      local deadline = tonumber(run.deadline)
      if deadline and deadline < over then over = deadline end
      redis.call('HSET', key('run:' .. id), 'state', 'sent')
      redis.call('ZADD', key('queued'), over, id)
      expect(id, run)
    elseif run.state == 'sent' and run.again then
      -- Found lost, and sent once more; its queue time stays what it was.
      redis.call('HSET', key('run:' .. id), 'spare', run.again)
      redis.call('HDEL', key('run:' .. id), 'again')
      expect(id, run)
    end
  end
end
return #ARGV - 2

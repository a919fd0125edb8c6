-- owed: debts of hooks that are due, the longest due first; each is put off.
-- ARGV: limit, patience ms, ledger age ms. Returns {id, job, record as JSON, sends} for each.
local LONGEST = 3600000
local answer = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('owed'), '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))) do
  local debt = redis.call('HMGET', key('debt:' .. id), 'job', 'record', 'since')
  local since = whole(debt[3])
  if debt[1] and not since then
    since = now
    redis.call('HSET', key('debt:' .. id), 'since', now)
  end
  if debt[1] and now - since <= tonumber(ARGV[3]) then
    local sends = redis.pcall('HINCRBY', key('debt:' .. id), 'sends', 1)
    if type(sends) ~= 'number' then
      sends = 1
      redis.call('HSET', key('debt:' .. id), 'sends', 1)
    end
    redis.call('ZADD', key('owed'), now + math.min(LONGEST, tonumber(ARGV[2]) * 2 ^ math.min(sends - 1, 30)), id)
    answer[#answer + 1] = { id, debt[1], debt[2], sends }
  else
    forgive(id)
  end
end
return answer

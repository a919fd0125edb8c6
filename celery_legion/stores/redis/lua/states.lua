-- states: what is known of each job.
-- ARGV: names. Returns for each {mark text, sight text, pause JSON, latest, last run's id, last run flat};
-- latest is a lapse as JSON, or {id, flat run}.
local answer = {}
for i = 1, #ARGV do
  local name = ARGV[i]
  local latest, id, last = '', '', {}
  for _, item in ipairs(redis.call('LRANGE', key('ledger:' .. name), 0, -1)) do
    local lapse = string.byte(item) == 123
    local run = lapse and {} or redis.call('HGETALL', key('run:' .. item))
    if latest == '' and (lapse or #run > 0) then latest = lapse and item or { item, run } end
    if #run > 0 then
      id, last = item, run
      break
    end
  end
  answer[i] = {
    redis.call('HGET', key('marks'), name) or '', redis.call('HGET', key('sights'), name) or '',
    redis.call('HGET', key('pauses'), name) or '', latest, id, last,
  }
end
return answer

-- sight: look jobs up and remember those seen for the first time.
-- ARGV: mark ms, then name, fingerprint for each job. Returns mark, anchor for each.
local fresh = tonumber(ARGV[1])
local answer = {}
for i = 2, #ARGV, 2 do
  local name, print = ARGV[i], ARGV[i + 1]
  local mark = read_mark(name)
  local seen = redis.call('HGET', key('sights'), name)
  local anchor, known
  if seen then anchor, known = string.match(seen, '^(%-?%d+)|(.*)$') end
  if not anchor then anchor = ARGV[1] end
  if not mark or (known and known ~= print and mark.fire < fresh) then
    move_mark(name, ARGV[1], '', 'sight', '')
    mark = { fire = fresh }
  end
  if known ~= print then redis.call('HSET', key('sights'), name, anchor .. '|' .. print) end
  answer[#answer + 1] = mark.fire
  answer[#answer + 1] = tonumber(anchor)
end
return answer

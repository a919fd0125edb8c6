-- sight: look jobs up and remember those seen for the first time.
-- ARGV: mark ms, then name, fingerprint for each job. Returns for each mark, anchor, whether there was a mark that
--   cannot be read (0/1), and what is noted of the mark.
local fresh = tonumber(ARGV[1])
local answer = {}
for i = 2, #ARGV, 2 do
  local name, print = ARGV[i], ARGV[i + 1]
  local mark = read_mark(name)
  local seen = redis.call('HGET', key('sights'), name)
  local anchor, known
  if seen then anchor, known = string.match(seen, '^(%-?%d+)|(.*)$') end
  if not anchor or #anchor > 14 then anchor, known = ARGV[1], nil end
  local lost = not mark and redis.call('HEXISTS', key('marks'), name)
  if not mark or (known and known ~= print and mark.fire < fresh) then
    if not mark then redis.call('HSET', key('forgotten'), name, ARGV[1]) end
    move_mark(name, ARGV[1], '', 'sight', '')
    mark = { fire = fresh }
  end
  if known ~= print then redis.call('HSET', key('sights'), name, anchor .. '|' .. print) end
  answer[#answer + 1] = mark.fire
  answer[#answer + 1] = tonumber(anchor)
  answer[#answer + 1] = lost or 0
  -- A note of another mark is none: the mark has been moved up by one who knew better.
  local at, note = string.match(redis.call('HGET', key('notes'), name) or '', '^(%-?%d+)|(.*)$')
  answer[#answer + 1] = tonumber(at or '') == mark.fire and note or ''
end
return answer

-- remind: move marks up that are behind. Of the fires up to there this store may have lost the runs.
-- ARGV: name, mark ms for each job. Returns the names of those that were.
local behind = {}
for i = 1, #ARGV, 2 do
  local mark = read_mark(ARGV[i])
  if not mark or mark.fire < tonumber(ARGV[i + 1]) then
    move_mark(ARGV[i], ARGV[i + 1], '', 'sight', '')
    redis.call('HSET', key('forgotten'), ARGV[i], ARGV[i + 1])
    behind[#behind + 1] = ARGV[i]
  end
end
return behind

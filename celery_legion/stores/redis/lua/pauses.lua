-- pauses: the pauses in force, flat name and JSON. Writes nothing; see locks.
local flat = redis.call('HGETALL', key('pauses'))
local answer = {}
for i = 1, #flat, 2 do
  local read, pause = pcall(cjson.decode, flat[i + 1])
  local till = read and type(pause) == 'table' and pause['until']
  if type(till) ~= 'number' or till > now then
    answer[#answer + 1] = flat[i]
    answer[#answer + 1] = flat[i + 1]
  end
end
return answer

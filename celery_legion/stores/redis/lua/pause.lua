-- pause: pause a job or all, and forget the pauses whose time is over.
-- ARGV: name, pause as JSON. Returns the new version.
local flat = redis.call('HGETALL', key('pauses'))
for i = 1, #flat, 2 do
  local read, pause = pcall(cjson.decode, flat[i + 1])
  local till = read and type(pause) == 'table' and pause['until']
  if type(till) == 'number' and till <= now then redis.call('HDEL', key('pauses'), flat[i]) end
end
redis.call('HSET', key('pauses'), ARGV[1], ARGV[2])
return bump(ARGV[1])

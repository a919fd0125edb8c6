-- resume: lift a pause. ARGV: name. Returns 1 or 0.
local text = redis.call('HGET', key('pauses'), ARGV[1])
if not text then return 0 end
redis.call('HDEL', key('pauses'), ARGV[1])
bump(ARGV[1])
local read, pause = pcall(cjson.decode, text)
local till = read and type(pause) == 'table' and pause['until']
return (type(till) == 'number' and till <= now) and 0 or 1

-- take: give a debt of hooks to one process.
-- ARGV: id, asker, lease ms. Returns {job, record as JSON, sends}, empty if there is none or another's lease runs.
local debt = redis.call('HMGET', key('debt:' .. ARGV[1]), 'job', 'record', 'sends', 'by', 'till')
if not debt[1] then return {} end
if debt[4] ~= '' and debt[4] ~= ARGV[2] and tonumber(debt[5]) > now then return {} end
local till = now + tonumber(ARGV[3])
redis.call('HSET', key('debt:' .. ARGV[1]), 'by', ARGV[2], 'till', till)
redis.call('ZADD', key('owed'), till, ARGV[1])
return { debt[1], debt[2], debt[3] }

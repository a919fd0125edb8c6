-- take: give a debt of hooks to one process.
-- ARGV: id, asker, lease ms. Returns {job, record as JSON, sends, the run's exit code and output now}, empty if there is
-- none or another's lease runs.
local LIMIT = 5
local debt = redis.call('HMGET', key('debt:' .. ARGV[1]), 'job', 'record', 'sends', 'by', 'till', 'takes')
if not debt[1] then return {} end
if debt[4] ~= '' and debt[4] ~= ARGV[2] and tonumber(debt[5]) > now then return {} end
local id = cjson.decode(debt[2]).id
local takes = tonumber(debt[6])
if debt[4] ~= ARGV[2] then
  if takes >= LIMIT then
    note_hook_error(id, 'given up: ' .. LIMIT .. ' processes have died or were stuck while they ran the hooks')
    forgive(ARGV[1])
    return {}
  end
  takes = takes + 1
end
local till = now + tonumber(ARGV[3])
redis.call('HSET', key('debt:' .. ARGV[1]), 'by', ARGV[2], 'till', till, 'takes', takes)
redis.call('ZADD', key('owed'), till, ARGV[1])
local added = id and redis.call('HMGET', key('run:' .. id), 'exit', 'output') or {}
return { debt[1], debt[2], debt[3], added[1] or '', added[2] or '' }

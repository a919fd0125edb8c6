-- take: give a debt of hooks to one process.
-- ARGV: id, asker, lease ms. Returns {job, record as JSON, sends, the run's exit code and output now}, empty if there is
-- none or another's lease runs.
hear()
local LIMIT = 5
local debt = redis.call('HMGET', key('debt:' .. ARGV[1]), 'job', 'record', 'sends', 'by', 'till', 'takes')
if not debt[1] then return {} end
if debt[4] ~= '' and debt[4] ~= ARGV[2] and (whole(debt[5]) or 0) > now then return {} end
local read, record = pcall(cjson.decode, debt[2])
local id = read and type(record) == 'table' and type(record.id) == 'string' and record.id or nil
local takes = whole(debt[6]) or 0
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

-- hooked: a debt of hooks is paid.
-- ARGV: id of the debt, error ("" = none). Returns 1 or 0.
local record = redis.call('HGET', key('debt:' .. ARGV[1]), 'record')
redis.call('ZREM', key('owed'), ARGV[1])
if not record then return 0 end
redis.call('DEL', key('debt:' .. ARGV[1]))
local id = ARGV[2] ~= '' and cjson.decode(record).id
if id and redis.call('EXISTS', key('run:' .. id)) == 1 then
  local before = redis.call('HGET', key('run:' .. id), 'hook_error')
  redis.call('HSET', key('run:' .. id), 'hook_error', before and before ~= '' and before .. '; ' .. ARGV[2] or ARGV[2])
end
return 1

-- hooked: a debt of hooks is paid.
-- ARGV: id of the debt, error ("" = none). Returns 1 or 0.
local record = redis.call('HGET', key('debt:' .. ARGV[1]), 'record')
forgive(ARGV[1])
if not record then return 0 end
local read, ended = pcall(cjson.decode, record)
if ARGV[2] ~= '' and read and type(ended) == 'table' and type(ended.id) == 'string' then note_hook_error(ended.id, ARGV[2]) end
return 1

-- hooked: a debt of hooks is paid.
-- ARGV: id of the debt, error ("" = none). Returns 1 or 0.
local record = redis.call('HGET', key('debt:' .. ARGV[1]), 'record')
forgive(ARGV[1])
if not record then return 0 end
if ARGV[2] ~= '' then note_hook_error(cjson.decode(record).id, ARGV[2]) end
return 1

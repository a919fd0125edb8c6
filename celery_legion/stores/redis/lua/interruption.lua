-- interruption: how a run shall be interrupted, or why it cannot be.
-- ARGV: id. Returns {"signal|grace ms" or "", refusal or ""}
local run = redis.call('HMGET', key('run:' .. ARGV[1]), 'stop', 'refused')
return { run[1] or '', run[2] or '' }

-- put_aside: take a request that cannot be handled out of the inbox, and keep it with the reason.
-- ARGV: the request as it lies there, what is kept of it as JSON, how many are kept. Returns 1 or 0.
if redis.call('LREM', key('inbox'), -1, ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', key('aside'), string.format('%.0f', now) .. ' ' .. ARGV[2])
redis.call('LTRIM', key('aside'), 0, tonumber(ARGV[3]) - 1)
return 1

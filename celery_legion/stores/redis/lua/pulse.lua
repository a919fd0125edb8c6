-- pulse: take or renew the lead, register the scheduler, read changes and the inbox.
-- ARGV: owner, ttl ms, since, limit, app, fingerprint, host, pid, up to when all is claimed in ms ("" = not said), serial number,
--   whether Legion(app) stands in its app (0/1), the place it sends to
-- Returns {epoch or 0, lead owner, lead epoch, app, print, host, pid, done, legion, place, ms left, version, changes, requests,
--   number of debts of hooks that are due, the store's time in ms, the serial number of the pulse before ("" = unknown)}
hear()
local owner, ttl = ARGV[1], tonumber(ARGV[2])
local lead = key('lead')
local holder = redis.call('HGET', lead, 'owner')
local epoch = 0
if not holder then
  epoch = count_up('epoch')
elseif holder == owner then
  epoch = tonumber(redis.call('HGET', lead, 'epoch')) or 0
  if ARGV[9] ~= '' then redis.call('HSET', lead, 'done', ARGV[9]) end
end
if epoch > 0 then
  redis.call('HSET', lead, 'owner', owner, 'epoch', epoch, 'app', ARGV[5], 'print', ARGV[6], 'host', ARGV[7], 'pid', ARGV[8],
    'legion', ARGV[11], 'place', ARGV[12])
  redis.call('PEXPIRE', lead, ttl)
end
local said, before = pcall(cjson.decode, redis.call('HGET', key('scheduler'), owner) or '')
local last = said and type(before) == 'table' and type(before.serial) == 'number' and before.serial or ''
redis.call('ZADD', key('schedulers'), now + ttl, owner)
redis.call('HSET', key('scheduler'), owner, cjson.encode({ app = ARGV[5], print = ARGV[6], host = ARGV[7], pid = tonumber(ARGV[8]), serial = tonumber(ARGV[10]), legion = ARGV[11], place = ARGV[12] }))
local gone = redis.call('ZRANGEBYSCORE', key('schedulers'), '-inf', now)
for i = 1, #gone do
  redis.call('ZREM', key('schedulers'), gone[i])
  redis.call('HDEL', key('scheduler'), gone[i])
end
local since = tonumber(ARGV[3])
local version = tonumber(redis.pcall('GET', key('version')) or '0')
if not version or not (math.abs(version) < 2 ^ 53) then version = count_up('version') end
local changes = {}
if version > since then changes = redis.call('ZRANGEBYSCORE', key('changed'), '(' .. since, '+inf') end
local requests = {}
if epoch > 0 and tonumber(ARGV[4]) > 0 then
  requests = read_inbox(tonumber(ARGV[4]))
end
local record = redis.call('HMGET', lead, 'owner', 'epoch', 'app', 'print', 'host', 'pid', 'done', 'legion', 'place')
return { epoch, record[1], record[2], record[3], record[4], record[5], record[6], whole(record[7]) or '', record[8] or '', record[9] or '', redis.call('PTTL', lead), version, changes, requests,
  redis.call('ZCOUNT', key('owed'), '-inf', now), now, last }

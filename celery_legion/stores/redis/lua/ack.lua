-- ack: take handled requests out of the inbox. ARGV: the requests as they lie there.
for i = 1, #ARGV do redis.call('LREM', key('inbox'), -1, ARGV[i]) end
return #ARGV

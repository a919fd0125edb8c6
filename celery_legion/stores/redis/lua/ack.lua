-- ack: take handled requests out of the inbox. ARGV: ids. Returns how many were there.
local taken = 0
for i = 1, #ARGV do
  for _, text in ipairs(requests_of(ARGV[i])) do
    redis.call('LREM', key('inbox'), -1, text)
    taken = taken + 1
  end
end
return taken

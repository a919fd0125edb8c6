-- put_aside: take a request that cannot be handled out of the inbox, and keep it with the reason.
-- ARGV: id, why, how many are kept, bytes of a body that are kept. Returns 1 or 0.
local texts = requests_of(ARGV[1])
for _, text in ipairs(texts) do
  redis.call('LREM', key('inbox'), -1, text)
  local body = string.sub(text, #ARGV[1] + 2)
  local last = tonumber(ARGV[4])
  -- Cut between two characters.
  while #body > last and string.find(body, '^[\128-\191]', last + 1) do last = last - 1 end
  redis.call('LPUSH', key('aside'), cjson.encode({ string.format('%.0f', now), ARGV[1], string.sub(body, 1, last), ARGV[2] }))
end
redis.call('LTRIM', key('aside'), 0, tonumber(ARGV[3]) - 1)
return #texts > 0 and 1 or 0

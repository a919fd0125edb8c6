-- put_aside: take a request that cannot be handled out of the inbox, and keep it with the reason. ARGV: id, why.
-- Returns 1 or 0.
local taken = take_requests({ ARGV[1] })
for _, request in ipairs(taken) do keep_aside(request[1], request[2], ARGV[2]) end
return #taken > 0 and 1 or 0

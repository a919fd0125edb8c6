-- requests: what lies in the inbox, oldest first. ARGV: limit.
return read_inbox(tonumber(ARGV[1]))

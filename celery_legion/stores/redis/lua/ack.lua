-- ack: take handled requests out of the inbox. ARGV: ids. Returns how many were there.
return #take_requests(ARGV)

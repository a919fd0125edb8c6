-- The second part of what every verb's script begins with: how the inbox is read.

-- A text as a client can read it: bytes that are no UTF-8 make every byte beyond ASCII a question mark.
local function readable(text)
  if not string.find(text, '[\128-\255]') then return text end
  -- Longer forms than needed, and halves of surrogate pairs.
  local wrong = string.find(text, '\224[\128-\159]') or string.find(text, '\237[\160-\191]')
    or string.find(text, '\240[\128-\143]') or string.find(text, '\244[\144-\191]')
  local rest = string.gsub(text, '[\194-\223][\128-\191]', '.')
  rest = string.gsub(rest, '[\224-\239][\128-\191][\128-\191]', '.')
  rest = string.gsub(rest, '[\240-\244][\128-\191][\128-\191][\128-\191]', '.')
  if not wrong and not string.find(rest, '[\128-\255]') then return text end
  return (string.gsub(text, '[\128-\255]', '?'))
end

-- What lies in the inbox of other programs' pushes is not bounded, and this server is not only ours: one that is longer
-- than any push may be is put aside unread, a reading ends after so many bytes, and a search after so many requests.
local LONGEST, READING, TOGETHER, SEARCH = 1100000, 2000000, 100, 1000
local ASIDES, BODY = 100, 8000

-- Keep a request that was taken out of the inbox, with the reason.
local function keep_aside(id, body, why)
  local last = BODY
  -- Cut between two characters.
  while #body > last and string.find(body, '^[\128-\191]', last + 1) do last = last - 1 end
  redis.call('LPUSH', key('aside'), cjson.encode({ string.format('%.0f', now), id, string.sub(body, 1, last), why }))
  redis.call('LTRIM', key('aside'), 0, ASIDES - 1)
end

-- A request in the form of an id, a unit separator and the body. One that lies there as another program has put it gets its id in front: the one in
-- its JSON if that can be one, else a new one, so that it stays the same however often it is read.
local function identified(text)
  local given = string.match(text, '^([%w._:-]+)\31')
  if given and #given <= 128 then return text end
  local read, data = pcall(cjson.decode, text)
  local id = read and type(data) == 'table' and data.id
  if type(id) ~= 'string' or #id > 128 or not string.match(id, '^[%w._:-]+$') then
    local hex = redis.sha1hex(base .. now .. ' ' .. count_up('pushes') .. text)
    id = string.format('%s-%s-%s-%s-%s', hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20), hex:sub(21, 32))
  end
  return id .. '\31' .. text
end

-- The oldest requests in the inbox, oldest first.
local function read_inbox(limit)
  local requests, bytes, last = {}, 0, 0
  while #requests < limit and bytes < (#requests > 0 and READING or 10 * READING) do
    local raw = redis.call('LINDEX', key('inbox'), last - 1)
    if not raw then break end
    if #raw > LONGEST then
      -- Not taken out by its content, which would be compared with each.
      redis.call('LSET', key('inbox'), last - 1, 'gone')
      redis.call('LREM', key('inbox'), -1, 'gone')
      local text = identified(readable(string.sub(raw, 1, BODY)))
      local id, body = string.match(text, '^([^\31]+)\31(.*)$')
      keep_aside(id, body or '', 'it has ' .. #raw .. ' bytes, which is too long; send a reference to the data')
      bytes = bytes + #raw
    else
      local text = identified(readable(raw))
      if text ~= raw then redis.call('LSET', key('inbox'), last - 1, text) end
      requests[#requests + 1] = text
      bytes, last = bytes + #text, last - 1
    end
  end
  return requests
end

-- Take requests out of the inbox by their ids; returns a list of {id, body}. Those that have been read are its oldest.
local function take_requests(ids)
  local wanted, left, found, at, bytes = {}, 0, {}, -1, 0
  for _, id in ipairs(ids) do
    if not wanted[id] then wanted[id], left = true, left + 1 end
  end
  -- When all are found, as far as they may have been read together: the same id may lie there twice.
  while at >= -(left > 0 and SEARCH or TOGETHER) and (left > 0 or bytes < READING) do
    local text = redis.call('LINDEX', key('inbox'), at)
    if not text then break end
    bytes = bytes + #text
    local id = string.match(text, '^([%w._:-]+)\31')
    if id and wanted[id] then
      redis.call('LSET', key('inbox'), at, 'gone')
      redis.call('LREM', key('inbox'), -1, 'gone')
      found[#found + 1] = { id, string.sub(text, #id + 2) }
      if wanted[id] == true then wanted[id], left = 'found', left - 1 end
    else
      at = at - 1
    end
  end
  return found
end

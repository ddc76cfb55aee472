-- The twin of SlidingWindow in machines/limits.py.
--
-- A hash per key: "sums" with the numbers of the first entry and the next one and what all entries
-- come to; a running number -> entry; "block <n>" -> what each run of BLOCK entries comes to.
-- Adding, changing and forgetting an entry is O(1). A refusal finds the entry after which there is
-- room in O(sqrt(entries)): block by block, then within one.

local windows = {}
local changed_windows = {}

local function remaining_share(remaining, limit)
  if limit <= 0 then
    return 0
  end
  return math.min(1, math.max(0, remaining / limit))
end

-- The lesser of two numbers of which either may be nil.
local function lesser(a, b)
  if a and b then
    return math.min(a, b)
  end
  return a or b
end

local function load_block(window, number)
  local index = math.floor(number / BLOCK)
  local block = window.blocks[index]
  if not block then
    block = get(window.name, "block " .. index) or { requests = 0, tokens = 0 }
    window.blocks[index] = block
  end
  return block, index
end

-- Adds to what the entry of this number, its block and the window come to.
local function add(window, number, requests, tokens)
  local block = load_block(window, number)
  for _, sum in ipairs({ window, block }) do
    sum.requests = sum.requests + requests
    sum.tokens = sum.tokens + tokens
  end
  changed_windows[window.name] = window
end

local function put_entry(window, number, entry)
  put(window.name, number, entry)
  changed_windows[window.name] = window
end

-- Forgets the entries up to `last`, which are of one block and come to so much.
local function drop(window, last, requests, tokens)
  local numbers = {}
  for number = window.first, last do
    table.insert(numbers, number)
  end
  redis.call("HDEL", window.name, unpack(numbers))
  add(window, window.first, -requests, -tokens)
  window.first = last + 1
end

local function has_left(entry)
  return entry.at + WINDOW <= NOW
end

-- Whole blocks where it can: after a pause all entries leave at once.
local function slide(window)
  while window.first < window.next do
    local block, index = load_block(window, window.first)
    local last = math.min((index + 1) * BLOCK, window.next) - 1
    if has_left(get(window.name, last)) then
      drop(window, last, block.requests, block.tokens)
    else
      local entry = get(window.name, window.first)
      if not has_left(entry) then
        return
      end
      drop(window, window.first, entry.requests, entry.tokens)
    end
  end
end

local function load_window(key_id)
  local window = windows[key_id]
  if not window then
    local name = SLOT .. ":window:" .. key_id
    window = get(name, "sums")
    if not window then
      -- Past the numbers that open leases hold of a window that Redis has forgotten since.
      local first = (redis.call("GET", TOKEN) or 0) + 1
      window = { first = first, next = first, requests = 0, tokens = 0 }
    end
    window.name, window.blocks = name, {}
    windows[key_id] = window
    slide(window)
  end
  return window
end

local function save_block(window, index, block)
  local field = "block " .. index
  if block.requests == 0 and block.tokens == 0 then
    redis.call("HDEL", window.name, field)
  else
    put(window.name, field, block)
  end
end

local function save_windows()
  for name, window in pairs(changed_windows) do
    for index, block in pairs(window.blocks) do
      save_block(window, index, block)
    end
    local sums = {
      first = window.first,
      next = window.next,
      requests = window.requests,
      tokens = window.tokens,
    }
    put(name, "sums", sums)
    redis.call("EXPIRE", name, 2 * WINDOW)
  end
end

-- Counts requests with their expected tokens; the number of their entry.
local function count(window, tokens, requests)
  local number, entry = window.next, { requests = 0, tokens = 0 }
  if window.next - window.first < WINDOW_ENTRIES then
    window.next = window.next + 1
  else
    number = window.next - 1
    entry = get(window.name, number)
  end
  entry.at = NOW
  entry.requests = entry.requests + requests
  entry.tokens = entry.tokens + tokens
  put_entry(window, number, entry)
  add(window, number, requests, tokens)
  return number
end

-- Changes an entry by what became of a request; nothing once it has left.
local function correct(window, number, requests, tokens)
  local entry = get(window.name, number)
  if entry then
    entry.requests = entry.requests + requests
    entry.tokens = entry.tokens + tokens
    put_entry(window, number, entry)
    add(window, number, requests, tokens)
  end
end

-- A number that is taken back here is free: all that counted in its entry were taken back.
local function forget_empty_tail(window)
  while window.next > window.first do
    local newest = get(window.name, window.next - 1)
    if newest.requests > 0 then
      return
    end
    window.next = window.next - 1
    redis.call("HDEL", window.name, window.next)
  end
end

-- When one more request of so many tokens fits, if nothing else comes; nil: never.
local function window_available_at(window, tokens, rpm, tpm)
  if (rpm and rpm < 1) or (tpm and tokens > tpm) then
    return nil
  end
  local requests_over = rpm and window.requests + 1 - rpm or 0
  local tokens_over = tpm and window.tokens + tokens - tpm or 0
  if requests_over <= 0 and tokens_over <= 0 then
    return NOW
  end
  local function is_enough(gone)
    return requests_over <= gone.requests and tokens_over <= gone.tokens
  end
  local function leave(gone)
    requests_over = requests_over - gone.requests
    tokens_over = tokens_over - gone.tokens
  end
  local number = window.first
  local block, index = load_block(window, number)
  while not is_enough(block) do
    leave(block)
    number = (index + 1) * BLOCK
    block, index = load_block(window, number)
  end
  local entry = get(window.name, number)
  while not is_enough(entry) do
    leave(entry)
    number = number + 1
    entry = get(window.name, number)
  end
  return entry.at + WINDOW
end

local function window_share(window, rpm, tpm)
  local of_requests = rpm and remaining_share(rpm - window.requests, rpm)
  local of_tokens = tpm and remaining_share(tpm - window.tokens, tpm)
  return lesser(of_requests, of_tokens)
end

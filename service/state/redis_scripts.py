"""What has to happen as one step inside Redis. Every script takes the key prefix as its first argument.

The keys are not declared, for they depend on the arguments: one Redis, or a cluster in which the prefix is a hash tag.
"""

APPEND = """
local prefix, ttl, new = ARGV[1], ARGV[2], 0
for at = 3, #ARGV, 5 do
  local event_id, user, item, day, body = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  if redis.call('SADD', prefix .. 'event_ids', event_id) == 1 then
    local version = redis.call('INCR', prefix .. 'version')
    redis.call('XADD', prefix .. 'log', version .. '-0', 'u', user, 'e', body, 'd', day)
    redis.call('RPUSH', prefix .. 'user:' .. user, version)
    if day ~= '' then
      redis.call('HINCRBY', prefix .. 'day:' .. day, item, 1)
      redis.call('EXPIRE', prefix .. 'day:' .. day, ttl)
    end
    new = new + 1
  end
end
return new
"""

EVENTS_OF = """
local prefix, found = ARGV[1], {}
for at = 2, #ARGV do
  local entries = {}
  for _, version in ipairs(redis.call('LRANGE', prefix .. 'user:' .. ARGV[at], 0, -1)) do
    local event = redis.call('XRANGE', prefix .. 'log', version .. '-0', version .. '-0')
    if event[1] then
      entries[#entries + 1] = { version, event[1][2][4] }
    end
  end
  found[#found + 1] = { redis.call('HGET', prefix .. 'forgotten', ARGV[at]) or '0', entries }
end
return found
"""

KEEP_ANSWERS = """
for at = 2, #ARGV, 3 do
  redis.call('SET', ARGV[1] .. 'answer:' .. ARGV[at], ARGV[at + 2], 'PX', ARGV[at + 1])
end
"""

FORGET = """
local prefix, user = ARGV[1], ARGV[2]
for _, version in ipairs(redis.call('LRANGE', prefix .. 'user:' .. user, 0, -1)) do
  local found = redis.call('XRANGE', prefix .. 'log', version .. '-0', version .. '-0')
  if found[1] then
    local event, day = cjson.decode(found[1][2][4]), found[1][2][6]
    redis.call('SREM', prefix .. 'event_ids', event['event_id'])
    redis.call('XDEL', prefix .. 'log', version .. '-0')
    if day ~= '' and redis.call('HEXISTS', prefix .. 'day:' .. day, event['item']) == 1 then
      if redis.call('HINCRBY', prefix .. 'day:' .. day, event['item'], -1) <= 0 then
        redis.call('HDEL', prefix .. 'day:' .. day, event['item'])
      end
    end
  end
end
redis.call('DEL', prefix .. 'user:' .. user)
local version = redis.call('INCR', prefix .. 'version')
redis.call('XADD', prefix .. 'log', version .. '-0', 'u', user)
redis.call('HSET', prefix .. 'forgotten', user, version)
return version
"""

REMEMBER = """
local prefix = ARGV[1]
for at = 2, #ARGV do
  if redis.call('HEXISTS', prefix .. 'forgotten', ARGV[at]) == 0 then
    local version = redis.call('INCR', prefix .. 'version')
    redis.call('XADD', prefix .. 'log', version .. '-0', 'u', ARGV[at])
    redis.call('HSET', prefix .. 'forgotten', ARGV[at], version)
  end
end
"""

SET_ITEM = """
local prefix, item, hidden, content = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if content == '' then
  local before = redis.call('HGET', prefix .. 'items', item)
  if before then content = string.match(before, '^%d+ %d (.*)$') or '' end
end
local version = redis.call('INCR', prefix .. 'version')
local kept = version .. ' ' .. hidden .. ' ' .. content
redis.call('HSET', prefix .. 'items', item, kept)
local now = redis.call('TIME')
redis.call('XADD', prefix .. 'log', version .. '-0', 'i', item, 't', now[1] .. '.' .. now[2])
return kept
"""

-- Settles entries that Kafka has: no longer pending, and out of the stream. Doing it twice changes nothing.
-- KEYS  1 stream
-- ARGV  1 group, then the entry ids (at most a few thousand: Lua's stack holds them)
-- Reply how many the stream still had
redis.call('XACK', KEYS[1], unpack(ARGV))
return redis.call('XDEL', KEYS[1], unpack(ARGV, 2))

-- Who is at the head of a line: without it, whoever ends a delivery reads all that wait behind it.
-- The twin of this file in the other engine's folder is the same.
CREATE INDEX outbox_heads ON outbox (destination, ordering_key) WHERE ordering_key IS NOT NULL AND state = 'pending';

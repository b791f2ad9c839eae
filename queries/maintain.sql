-- name: PartitionMaintain :one
-- PartitionMaintain makes the partitions of the coming days; it answers how many it made.
select otto.partition_maintain(@days_ahead::int)::int as made;

-- name: PartitionDrop :one
-- PartitionDrop drops past partitions of log chunks that are empty; it answers how many.
select otto.partition_drop(@older::interval)::int as dropped;

-- name: RequestBegin :one
-- RequestBegin notes a mutation with an idempotency key; a status in the row is the answer given before.
select * from otto.request_begin(@principal::text, @key::text, @request::bytea);

-- name: RequestEnd :exec
-- RequestEnd keeps the answer of a mutation.
select otto.request_end(@principal::text, @key::text, @status::int, @answer::bytea);

-- name: Ping :one
-- Ping proves that the database answers and that its schema is there.
select otto.clock()::timestamptz as now;

-- name: QueueDepth :one
-- QueueDepth counts what waits and what runs, for metrics.
select (select count(*) from tasks where state = 'ready' and ready_at <= otto.clock())::bigint as ready,
       (select count(*) from leases where ended_at is null)::bigint as leased,
       (select count(*) from agents where state = 'online')::bigint as agents,
       coalesce((select extract(epoch from otto.clock() - min(ready_at)) from tasks where state = 'ready' and ready_at <= otto.clock()), 0)::float8 as oldest_ready_seconds;

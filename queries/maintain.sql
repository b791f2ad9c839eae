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

-- name: RequestsBegin :many
-- RequestsBegin is RequestBegin for many; it answers those that were never sent before.
select * from otto.requests_begin(@principals::text[], @keys::text[], @requests::bytea[]);

-- name: RequestsEnd :exec
-- RequestsEnd is RequestEnd for many.
select otto.requests_end(@principals::text[], @keys::text[], @status::int, @answers::bytea[]);

-- name: Ping :one
-- Ping proves that the database answers and that its schema is there.
select otto.clock()::timestamptz as now;

-- name: QueueDepth :one
-- QueueDepth counts what waits and what runs, for metrics.
select (select count(*) from tasks where state = 'ready' and ready_at <= otto.clock())::bigint as ready,
       (select count(*) from leases where ended_at is null)::bigint as leased,
       (select count(*) from agents where state = 'online')::bigint as agents,
       coalesce((select extract(epoch from otto.clock() - min(ready_at)) from tasks where state = 'ready' and ready_at <= otto.clock()), 0)::float8 as oldest_ready_seconds;

-- name: RunsPrune :one
-- RunsPrune deletes the oldest runs that have been over for longer than they are kept; it answers how many, and how many logs go with them.
select pruned::int, logs::int from otto.runs_prune(@at_most::int, @actor::text);

-- name: LogsExpire :one
-- LogsExpire gives up logs that are older than logs are kept; it answers how many.
select otto.logs_expire(@at_most::int, @actor::text)::int as expired;

-- name: PlansPrune :one
-- PlansPrune deletes plans that no run needs; it answers how many.
select otto.plans_prune(@at_most::int)::int as pruned;

-- name: SourcesPrune :one
-- SourcesPrune deletes sources that no run needs; it answers how many.
select otto.sources_prune(@at_most::int)::int as pruned;

-- name: EventsPrune :one
-- EventsPrune deletes old events outside of the partitions of days; it answers how many.
select otto.events_prune(@at_most::int)::int as pruned;

-- name: ObjectsTake :many
-- ObjectsTake locks objects that are to be deleted from the store, until the transaction ends.
select object from otto.objects_take(@at_most::int);

-- name: ObjectsPrune :exec
-- ObjectsPrune takes objects off the list that are gone from the store.
select otto.objects_prune(@objects::text[]);

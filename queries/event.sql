-- name: EventsAfter :many
-- EventsAfter pages events in commit order after a cursor (tx, id). Events of transactions that may still commit
-- something older are not shown yet, so a reader never skips one. Run 0 means all.
select e.id, e.tx, e.at, e.kind, coalesce(e.run_id, 0)::bigint as run, coalesce(s.name, '')::text as stage, coalesce(e.task_id, 0)::bigint as task,
       coalesce(t.name, '')::text as name, e.epoch, e.step, e.actor, e.data
  from events e left join stages s on s.id = e.stage_id left join tasks t on t.id = e.task_id
 where (e.tx, e.id) > (@tx::bigint, @id::bigint)
   and e.tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
 order by e.tx, e.id limit @at_most::int;

-- name: EventsOfRunAfter :many
-- EventsOfRunAfter is EventsAfter for one run.
select e.id, e.tx, e.at, e.kind, coalesce(e.run_id, 0)::bigint as run, coalesce(s.name, '')::text as stage, coalesce(e.task_id, 0)::bigint as task,
       coalesce(t.name, '')::text as name, e.epoch, e.step, e.actor, e.data
  from events e left join stages s on s.id = e.stage_id left join tasks t on t.id = e.task_id
 where e.run_id = @run::bigint and (e.tx, e.id) > (@tx::bigint, @id::bigint)
   and e.tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
 order by e.tx, e.id limit @at_most::int;

-- name: EventsEnd :one
-- EventsEnd is the cursor after everything that is visible now.
select (pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1)::bigint as tx, 9223372036854775807::bigint as id;

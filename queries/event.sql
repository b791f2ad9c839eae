-- name: EventsAfter :many
-- EventsAfter pages events in commit order after a cursor (tx, id); of all runs where run is absent.
select e.id, e.tx, e.at, e.kind, coalesce(e.run_id, 0)::bigint as run, coalesce(s.name, '')::text as stage, coalesce(e.task_id, 0)::bigint as task,
       coalesce(t.name, '')::text as name, e.epoch, e.step, e.actor, e.data
  from otto.events_after(sqlc.narg('run')::bigint, @tx::bigint, @id::bigint, @at_most::int) e
  left join stages s on s.id = e.stage_id left join tasks t on t.id = e.task_id
 order by e.tx, e.id;

-- name: EventsEnd :one
-- EventsEnd is the cursor after everything that is visible now.
select (otto.event_horizon() - 1)::bigint as tx, 9223372036854775807::bigint as id;

-- name: RunCreate :one
-- RunCreate starts a run: at once with a stored plan, else after a job has planned its source.
select * from otto.run_create(@project::text, sqlc.narg('source')::text, sqlc.narg('ottofile')::text, sqlc.narg('plan')::text, null, @actor::text,
                               sqlc.narg('event')::jsonb, sqlc.narg('params')::jsonb, sqlc.narg('priority')::int,
                               sqlc.narg('repository')::text, sqlc.narg('ref')::text, sqlc.narg('commit')::text);

-- name: RunsCreate :many
-- RunsCreate is RunCreate for many, in the order of the requests.
select * from otto.runs_create(@requests::jsonb);

-- name: RunPlan :one
-- RunPlan lays out the stored plan of a pending run and starts it.
select * from otto.run_plan(@run::bigint, @plan::text, @diagnostics::jsonb, @actor::text);

-- name: RunFail :one
-- RunFail ends a pending run whose source cannot be planned.
select * from otto.run_fail(@run::bigint, @reason::text, @diagnostics::jsonb, @actor::text);

-- name: RunAbort :one
-- RunAbort stops a run; a second time it stops what is marked always, too.
select * from otto.run_abort(@run::bigint, @actor::text, sqlc.narg('reason')::text);

-- name: RunRerun :one
-- RunRerun repeats a final run as a new one.
select * from otto.run_rerun(@run::bigint, @actor::text);

-- name: RunReconcile :one
-- RunReconcile derives all pending work from the state tables.
select planning::int, advanced::int, deciding::int, admitting::int, auctioning::int from otto.run_reconcile(@actor::text);

-- name: RunByID :one
-- RunByID reads a run by its number.
select sqlc.embed(r), p.name as project, coalesce(l.name, '')::text as name
  from runs r join projects p on p.id = r.project_id left join plans l on l.digest = r.plan_digest
 where r.id = @run::bigint;

-- name: RunByUUID :one
-- RunByUUID finds the number of a run id.
select id from runs where uuid = @uuid::uuid;

-- name: RunList :many
-- RunList pages runs, newest first. Absent filters match all; before is the cursor, 0 for the first page.
select sqlc.embed(r), p.name as project, coalesce(l.name, '')::text as name
  from runs r join projects p on p.id = r.project_id left join plans l on l.digest = r.plan_digest
 where (@before::bigint = 0 or r.id < @before::bigint)
   and (cardinality(@states::text[]) = 0 or r.state = any(@states::text[]))
   and (@project::text = '' or p.name = @project::text)
   and (sqlc.narg('since')::timestamptz is null or r.created_at >= sqlc.narg('since')::timestamptz)
   and (sqlc.narg('until')::timestamptz is null or r.created_at < sqlc.narg('until')::timestamptz)
 order by r.id desc limit @at_most::int;

-- name: RunsLive :many
-- RunsLive lists the runs that are not final.
select r.id from runs r where r.finished_at is null order by r.id;

-- name: StagesOfRun :many
-- StagesOfRun reads a run's stages in order.
select * from stages where run_id = @run::bigint order by index;

-- name: PlanOfRun :one
-- PlanOfRun reads the plan that a run executes.
select l.digest, l.body from runs r join plans l on l.digest = r.plan_digest where r.id = @run::bigint;

-- name: RunFacts :many
-- RunFacts reads what a run is planned with beside its source, if there is anything.
select event, params from run_facts where run_id = @run::bigint;

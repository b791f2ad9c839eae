-- name: TaskLease :many
-- TaskLease grants ready tasks to agents: one for each slot, a slot being an agent's id. All offer the same.
select * from otto.task_lease(@slots::bigint[], @actor::text, @warm::bigint[]);

-- name: TaskGrant :many
-- TaskGrant is TaskLease, and reads what the agents must know of their leases: an agent waits for both.
select id::uuid as id, epoch::int as epoch, task_id::bigint as task_id, run_id::bigint as run_id, agent_id::bigint as agent_id, run_uuid::uuid as run_uuid,
       project::text as project, stage::text as stage, spec::json as spec, decided::jsonb as decided, source_digest::text as source_digest, source_bytes::bigint as source_bytes,
       repository::text as repository, ref::text as ref, commit_sha::text as commit_sha,
       project_id::bigint as project_id, reserves::boolean as reserves
  from otto.lease_grants(array(select l.id from otto.task_lease(@slots::bigint[], @actor::text, @warm::bigint[]) l));

-- name: TaskStart :one
-- TaskStart says that the work of a lease has begun.
select * from otto.task_start(@lease::uuid, @epoch::int, @agent::bigint, @steps::jsonb, @actor::text, sqlc.narg('isolation')::int);

-- name: StepReport :one
-- StepReport takes over what the holder of a lease says of its steps.
select * from otto.step_report(@lease::uuid, @epoch::int, @agent::bigint, @steps::jsonb, @actor::text);

-- name: TaskFinish :one
-- TaskFinish takes the result of a lease and advances stage and run.
select * from otto.task_finish(@lease::uuid, @epoch::int, @agent::bigint, sqlc.narg('outcome')::text, sqlc.narg('exit_code')::int,
                               sqlc.narg('reason')::text, @steps::jsonb, @log::jsonb, @actor::text, sqlc.narg('outputs')::jsonb);

-- name: ReportsTake :many
-- ReportsTake is TaskStart, LogAppend and TaskFinish for many. What it leaves out, ask for with those.
select kind::text as kind, lease::uuid as lease, task::bigint as task, state::text as state, next::int as next
  from otto.reports_take(@starts::jsonb, @logs::jsonb, @finishes::jsonb);

-- name: TaskInterrupt :one
-- TaskInterrupt takes a lease away, if the reason holds now.
select * from otto.task_interrupt(@lease::uuid, @epoch::int, @why::text, @actor::text);

-- name: TaskRelease :one
-- TaskRelease hands a lease back, by its holder.
select * from otto.task_release(@lease::uuid, @epoch::int, @agent::bigint, sqlc.narg('reason')::text, sqlc.narg('log')::jsonb, @actor::text);

-- name: TaskAbort :one
-- TaskAbort stops one task.
select * from otto.task_abort(@task::bigint, @actor::text, sqlc.narg('reason')::text);

-- name: TaskQuarantine :one
-- TaskQuarantine parks a task that cannot be read.
select * from otto.task_quarantine(@task::bigint, @actor::text, @reason::text);

-- name: TaskDecide :one
-- TaskDecide says what was decided of a blocked task: whether it runs, and the values of its variables.
select * from otto.task_decide(@task::bigint, @runs::boolean, sqlc.narg('reason')::text, sqlc.narg('decided')::jsonb, @actor::text);

-- name: TaskFail :one
-- TaskFail ends a blocked task for which nothing can be decided.
select * from otto.task_fail(@task::bigint, @reason::text, @actor::text);

-- name: TaskUndecided :many
-- TaskUndecided reads what is to be decided of a task; no row: it waits for no decision any more.
select t.id, t.run_id, t.name, r.state as run_state, r.severity as run_severity, pt.spec
  from tasks t
  join runs r on r.id = t.run_id
  join plan_tasks pt on pt.plan_digest = r.plan_digest and pt.stage_index = t.stage_index and pt.task_index = t.index
 where t.id = @task::bigint and t.state = 'blocked' and t.undecided;

-- name: GroupPromote :one
-- GroupPromote gives the room in a concurrency group to those that wait; late: some of it could not be done, as somebody holds a run.
select late::boolean as late from otto.group_promote(@project::bigint, @name::text, @actor::text);

-- name: GroupSuperseded :many
-- GroupSuperseded lists the tasks of a concurrency group that a newer run supersedes.
select task::bigint as task, run::bigint as run from otto.group_superseded(@project::bigint, @name::text);

-- name: TaskSupersede :one
-- TaskSupersede aborts a task that a newer run supersedes.
select * from otto.task_supersede(@task::bigint, @run::bigint, @actor::text);

-- name: TaskByID :one
-- TaskByID reads one task with its stage, its agent and what it waits for.
select sqlc.embed(t), s.name as stage, coalesce(a.name, '')::text as agent, coalesce('S' || l.isolation, '')::text as isolation, coalesce(l.warm, false)::boolean as warm,
       coalesce(otto.task_waits_for(t), '')::text as waiting_for
  from tasks t
  join stages s on s.id = t.stage_id
  left join leases l on l.task_id = t.id and l.epoch = t.epoch
  left join agents a on a.id = l.agent_id
 where t.id = @task::bigint;

-- name: TasksOfRun :many
-- TasksOfRun reads a run's tasks in the order of the plan. What is ready waits for what its requirements wait for: asked once
-- for all tasks that have the same.
with kinds as materialized (
    select k.pool, k.requires, otto.agent_waited_for(k.pool, k.project_id, k.requires) as agent
      from (select distinct x.pool, x.project_id, x.requires from tasks x where x.run_id = @run::bigint and x.state = 'ready') k)
select sqlc.embed(t), s.name as stage, coalesce(a.name, '')::text as agent, coalesce('S' || l.isolation, '')::text as isolation, coalesce(l.warm, false)::boolean as warm,
       coalesce(case when t.state = 'ready' and t.ready_at <= otto.clock() then (select k.agent from kinds k where k.pool = t.pool and k.requires = t.requires)
                     else otto.task_waits_for(t) end, '')::text as waiting_for
  from tasks t
  join stages s on s.id = t.stage_id
  left join leases l on l.task_id = t.id and l.epoch = t.epoch
  left join agents a on a.id = l.agent_id
 where t.run_id = @run::bigint
 order by t.stage_index, t.index;

-- name: TaskWhy :one
-- TaskWhy says what holds a task back, as a tree.
select otto.task_why(@task::bigint)::jsonb as why;

-- name: StepsOfRun :many
-- StepsOfRun reads the steps of the current attempts of a run's tasks.
select st.* from steps st join tasks t on t.id = st.task_id and t.epoch = st.epoch
 where t.run_id = @run::bigint order by st.task_id, st.index;

-- name: StepsOfTask :many
-- StepsOfTask reads the steps of all attempts of a task.
select * from steps where task_id = @task::bigint order by epoch, index;

-- name: AttemptsOfTask :many
-- AttemptsOfTask reads all leases of a task.
select sqlc.embed(l), a.name as agent from leases l join agents a on a.id = l.agent_id where l.task_id = @task::bigint order by l.epoch;

-- name: OutputsOfRun :many
-- OutputsOfRun reads the outputs of a run's final tasks. Of all together at most so many bytes; what is beyond is null.
select o.task_id, o.epoch, case when sum(o.bytes) over (order by o.task_id) <= @at_most::bigint then o.outputs end as outputs
  from tasks t join task_outputs o on o.task_id = t.id and o.epoch = t.epoch
 where t.run_id = @run::bigint and t.finished_at is not null;

-- name: OutputsOfTask :many
-- OutputsOfTask reads the outputs of a task, if it is final and has some.
select o.outputs from tasks t join task_outputs o on o.task_id = t.id and o.epoch = t.epoch where t.id = @task::bigint and t.finished_at is not null;

-- name: OutputsKnown :many
-- OutputsKnown reads the outputs of a run's final tasks by what expressions call them: the task's name, or the one before its
-- matrix. Of all together at most so many bytes; what is beyond is null.
select t.name, coalesce(pt.spec ->> 'base', '')::text as base, case when sum(o.bytes) over (order by o.task_id) <= @at_most::bigint then o.outputs end as outputs
  from tasks t
  join task_outputs o on o.task_id = t.id and o.epoch = t.epoch
  join runs r on r.id = t.run_id
  join plan_tasks pt on pt.plan_digest = r.plan_digest and pt.stage_index = t.stage_index and pt.task_index = t.index
 where t.run_id = @run::bigint and t.finished_at is not null;

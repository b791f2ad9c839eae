-- name: LeaseGrants :many
-- LeaseGrants reads what an agent must know of leases it was granted.
select id::uuid as id, epoch::int as epoch, task_id::bigint as task_id, run_id::bigint as run_id, agent_id::bigint as agent_id, run_uuid::uuid as run_uuid,
       project::text as project, stage::text as stage, spec::json as spec, decided::jsonb as decided, source_digest::text as source_digest, source_bytes::bigint as source_bytes,
       repository::text as repository, ref::text as ref, commit_sha::text as commit_sha,
       project_id::bigint as project_id, reserves::boolean as reserves
  from otto.lease_grants(@leases::uuid[]);

-- name: LeasesRenew :many
-- LeasesRenew takes the heartbeats of many agents. What it leaves out or finds locked, ask for with LeaseRenew.
select place::int as place, fenced::uuid[] as fenced, locked::uuid[] as locked, orders::jsonb as orders from otto.leases_renew(@beats::jsonb);

-- name: LeaseRenew :many
-- LeaseRenew is one agent's heartbeat. It answers the leases that are still the agent's.
select * from otto.lease_renew(@agent::bigint, @held::uuid[], @draining::boolean);

-- name: LeaseAborts :many
-- LeaseAborts lists the orders for the agents given.
select id, agent_id, abort_level::text as level, coalesce(abort_reason, '')::text as reason
  from leases where agent_id = any(@agents::bigint[]) and ended_at is null and abort_at is not null;

-- name: LeaseJudge :many
-- LeaseJudge lists leases to take away, each with the reason.
select lease::uuid as lease, epoch::int as epoch, why::text as why from otto.lease_judge(@at_most::int);

-- name: LeaseByID :one
-- LeaseByID reads one attempt.
select * from leases where id = @lease::uuid;

-- name: LeaseOfAttempt :one
-- LeaseOfAttempt finds the lease of a task's attempt; attempt 0 is the current one.
select l.* from leases l join tasks t on t.id = l.task_id
 where l.task_id = @task::bigint and l.epoch = case when @attempt::int = 0 then t.epoch else @attempt::int end;

-- name: LeasesActive :many
-- LeasesActive lists what is being worked on now.
select sqlc.embed(l), t.name, a.name as agent from leases l join tasks t on t.id = l.task_id join agents a on a.id = l.agent_id
 where l.ended_at is null and (@agent::bigint = 0 or l.agent_id = @agent::bigint) and l.task_id > @after::bigint
 order by l.task_id limit @at_most::int;

-- name: LeaseSource :one
-- LeaseSource names the source that the holder of a living lease may read.
select coalesce(r.source_digest, '')::text as digest from leases l join runs r on r.id = l.run_id
 where l.id = @lease::uuid and l.agent_id = @agent::bigint and l.ended_at is null;

-- name: ServerBeat :one
-- ServerBeat says that an API node is alive; it answers the settings.
select * from otto.server_beat(@name::text);

-- name: ClusterSettings :one
-- ClusterSettings reads the settings that agents are told.
select * from cluster;

-- name: LeaseDeclares :many
-- LeaseDeclares reads which outputs the task of an agent's lease declares, and what it may add.
select coalesce(pt.spec -> 'outputs', '{}')::json as outputs, coalesce(pt.spec -> 'may_add', 'null')::json as may_add
  from leases l join tasks t on t.id = l.task_id join runs r on r.id = l.run_id
  join plan_tasks pt on pt.plan_digest = r.plan_digest and pt.stage_index = t.stage_index and pt.task_index = t.index
 where l.id = @lease::uuid and l.agent_id = @agent::bigint;
